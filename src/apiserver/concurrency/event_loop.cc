#include "apiserver/concurrency/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/status.h"

namespace container::apiserver {

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  base::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return base::ErrnoStatus("epoll_create1");
  base::Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return base::ErrnoStatus("eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return base::ErrnoStatus("epoll_ctl");
  }
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wake)));
}

EventLoop::EventLoop(base::Fd epoll, base::Fd wake)
    : epoll_(std::move(epoll)), wake_(std::move(wake)), thread_([this] { Run(); }) {}

EventLoop::~EventLoop() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  Wake();
  thread_.join();
}

void EventLoop::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t ignored = ::write(wake_.get(), &one, sizeof one);
}

EventLoop::Token EventLoop::OnReadable(int fd, Callback callback) {
  std::lock_guard lock(mutex_);
  const Token token = next_token_++;
  watches_[token] = {fd, std::move(callback)};
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = token;
  // Left over in the set from an earlier, fired watch of the same descriptor: changed then.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
  }
  return token;
}

EventLoop::Token EventLoop::After(std::chrono::milliseconds delay, Callback callback) {
  std::lock_guard lock(mutex_);
  const Token token = next_token_++;
  auto added = timers_.emplace(Clock::now() + delay, Timer{token, std::move(callback)});
  if (added == timers_.begin()) Wake();
  return token;
}

void EventLoop::Cancel(Token token) {
  Callback dropped;  // What it holds dies outside the lock.
  std::lock_guard lock(mutex_);
  if (auto found = watches_.find(token); found != watches_.end()) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fd, nullptr);
    dropped = std::move(found->second.callback);
    watches_.erase(found);
    return;
  }
  auto timer = std::find_if(timers_.begin(), timers_.end(),
                            [token](const auto& item) { return item.second.token == token; });
  if (timer == timers_.end()) return;
  dropped = std::move(timer->second.callback);
  timers_.erase(timer);
}

int EventLoop::NextTimeoutMs() {
  if (timers_.empty()) return -1;
  auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3600 * 1000));
}

void EventLoop::Run() {
  std::array<epoll_event, 32> events;
  for (;;) {
    int timeout_ms;
    {
      std::lock_guard lock(mutex_);
      if (closing_) return;
      timeout_ms = NextTimeoutMs();
    }
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
    std::vector<Callback> due;
    {
      std::lock_guard lock(mutex_);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.u64 == 0) {
          uint64_t ignored;
          [[maybe_unused]] ssize_t size = ::read(wake_.get(), &ignored, sizeof ignored);
          continue;
        }
        auto found = watches_.find(events[i].data.u64);
        if (found == watches_.end()) continue;
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.fd, nullptr);
        due.push_back(std::move(found->second.callback));
        watches_.erase(found);
      }
      const auto now = Clock::now();
      while (!timers_.empty() && timers_.begin()->first <= now) {
        due.push_back(std::move(timers_.begin()->second.callback));
        timers_.erase(timers_.begin());
      }
    }
    for (Callback& callback : due) callback();
  }
}

absl::StatusOr<std::unique_ptr<FileWatcher>> FileWatcher::Create(EventLoop& loop) {
  base::Fd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) return base::ErrnoStatus("inotify_init1");
  std::unique_ptr<FileWatcher> watcher(new FileWatcher(loop, std::move(inotify)));
  watcher->Arm();
  return watcher;
}

FileWatcher::FileWatcher(EventLoop& loop, base::Fd inotify)
    : loop_(loop), inotify_(std::move(inotify)) {}

FileWatcher::~FileWatcher() {
  std::lock_guard lock(mutex_);
  loop_.Cancel(armed_);
}

void FileWatcher::Arm() {
  std::lock_guard lock(mutex_);
  armed_ = loop_.OnReadable(inotify_.get(), [this] { Read(); });
}

void FileWatcher::Read() {
  alignas(inotify_event) std::array<char, 4096> buffer;
  std::vector<std::function<void()>> due;
  ssize_t size;
  while ((size = ::read(inotify_.get(), buffer.data(), buffer.size())) > 0) {
    std::lock_guard lock(mutex_);
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      for (const auto& [token, subscriber] : subscribers_) {
        // Events were lost: everybody looks.
        if (subscriber.watch == event->wd || (event->mask & IN_Q_OVERFLOW) != 0) {
          due.push_back(subscriber.callback);
        }
      }
    }
  }
  for (auto& callback : due) callback();
  Arm();
}

absl::StatusOr<uint64_t> FileWatcher::Subscribe(const std::string& path,
                                                std::function<void()> callback) {
  std::lock_guard lock(mutex_);
  const int watch = ::inotify_add_watch(inotify_.get(), path.c_str(), IN_MODIFY | IN_MASK_ADD);
  if (watch < 0) return base::ErrnoStatus("watch " + path);
  const uint64_t token = next_token_++;
  subscribers_[token] = {watch, std::move(callback)};
  return token;
}

void FileWatcher::Unsubscribe(uint64_t token) {
  std::lock_guard lock(mutex_);
  auto found = subscribers_.find(token);
  if (found == subscribers_.end()) return;
  const int watch = found->second.watch;
  subscribers_.erase(found);
  for (const auto& [other, subscriber] : subscribers_) {
    if (subscriber.watch == watch) return;
  }
  ::inotify_rm_watch(inotify_.get(), watch);
}

}  // namespace container::apiserver
