#include "vminitd/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace container::vminitd {

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  std::unique_ptr<EventLoop> loop(new EventLoop);
  loop->epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  loop->wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->epoll_ || !loop->wake_) return base::ErrnoStatus("make an event loop");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = loop->wake_.get();
  if (::epoll_ctl(loop->epoll_.get(), EPOLL_CTL_ADD, loop->wake_.get(), &event) != 0) {
    return base::ErrnoStatus("epoll_ctl");
  }
  return loop;
}

void EventLoop::Post(Task task) {
  bool was_empty;
  {
    std::lock_guard lock(mutex_);
    was_empty = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (was_empty) ::eventfd_write(wake_.get(), 1);
}

absl::Status EventLoop::Watch(int fd, uint32_t events, Task ready) {
  epoll_event event{};
  event.events = (events & EPOLLET) != 0 ? events : events | EPOLLONESHOT;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return base::ErrnoStatus("epoll_ctl");
  }
  watched_[fd] = std::make_shared<Task>(std::move(ready));
  return absl::OkStatus();
}

void EventLoop::Arm(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLONESHOT;
  event.data.fd = fd;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::Unwatch(int fd) {
  if (watched_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::PostAfter(std::chrono::milliseconds delay, Task task) {
  timers_.push_back({Clock::now() + delay, std::move(task)});
}

void EventLoop::Run() {
  epoll_event events[16];
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events, std::size(events), TimeoutMilliseconds());
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_.get()) {
        RunPosted();
        continue;
      }
      // A task may unwatch any descriptor, its own included.
      auto found = watched_.find(fd);
      if (found == watched_.end()) continue;
      const std::shared_ptr<Task> ready = found->second;
      (*ready)();
    }
    RunDueTimers();
  }
}

void EventLoop::RunPosted() {
  eventfd_t value;
  ::eventfd_read(wake_.get(), &value);
  std::vector<Task> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) task();
}

void EventLoop::RunDueTimers() {
  if (timers_.empty()) return;
  const auto now = Clock::now();
  const auto pending = std::stable_partition(timers_.begin(), timers_.end(),
                                             [&](const Timer& timer) { return timer.due > now; });
  std::vector<Timer> due(std::make_move_iterator(pending), std::make_move_iterator(timers_.end()));
  timers_.erase(pending, timers_.end());
  for (Timer& timer : due) timer.task();
}

int EventLoop::TimeoutMilliseconds() const {
  if (timers_.empty()) return -1;
  const auto next = std::min_element(timers_.begin(), timers_.end(),
                                     [](const Timer& a, const Timer& b) { return a.due < b.due; });
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next->due - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(wait, 0));
}

}  // namespace container::vminitd
