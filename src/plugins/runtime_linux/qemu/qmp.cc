#include "plugins/runtime_linux/qemu/qmp.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "nlohmann/json.hpp"

namespace container::runtime_linux {
namespace {

using nlohmann::json;

constexpr size_t kMaxLineBytes = 1 << 20;
constexpr std::chrono::milliseconds kNegotiationTimeout(1000);

std::string Text(const json& object, const char* key) {
  auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

struct Qmp::Answer {
  bool arrived = false;
  json result;
  std::string error;
};

absl::StatusOr<std::unique_ptr<Qmp>> Qmp::Create(base::Fd socket, EventHandler on_event) {
  RETURN_IF_ERROR(base::SetNonBlocking(socket.get(), true));
  std::unique_ptr<Qmp> qmp(new Qmp(std::move(socket), std::move(on_event)));
  // QEMU's greeting says nothing that we need: no reason to wait for it.
  RETURN_IF_ERROR(qmp->Send("qmp_capabilities", nullptr, kNegotiationTimeout));
  return qmp;
}

Qmp::Qmp(base::Fd socket, EventHandler on_event)
    : socket_(std::move(socket)), on_event_(std::move(on_event)) {}

Qmp::~Qmp() = default;

void Qmp::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

absl::Status Qmp::Fail(absl::Status status) {
  Close();
  return status;
}

absl::Status Qmp::OnReadable() {
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count == 0) return Fail(absl::UnavailableError("QEMU has closed its QMP socket"));
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return absl::OkStatus();
      return Fail(base::ErrnoStatus("read from QMP"));
    }
    received_.append(buffer.data(), static_cast<size_t>(count));
    size_t begin = 0;
    for (size_t end; (end = received_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      absl::Status status = OnLine(absl::string_view(received_.data() + begin, end - begin));
      if (!status.ok()) return Fail(std::move(status));
    }
    received_.erase(0, begin);
    if (received_.size() > kMaxLineBytes) {
      return Fail(absl::InternalError("QEMU sends a QMP line that is too long"));
    }
  }
}

absl::Status Qmp::OnLine(absl::string_view line) {
  json message = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (message.is_discarded() || !message.is_object()) {
    return absl::InternalError("QEMU sends something that is not QMP");
  }
  if (message.contains("event")) {
    auto data = message.find("data");
    if (on_event_) on_event_(Text(message, "event"), data == message.end() ? json() : *data);
    return absl::OkStatus();
  }
  auto id = message.find("id");
  if (id == message.end() || !id->is_number_unsigned()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  auto found = answers_.find(id->get<uint64_t>());
  if (found == answers_.end()) return absl::OkStatus();  // Its caller waits no more.
  Answer& answer = *found->second;
  answer.arrived = true;
  if (auto error = message.find("error"); error != message.end() && error->is_object()) {
    answer.error = Text(*error, "desc");
    if (answer.error.empty()) answer.error = "unknown error";
  } else if (auto result = message.find("return"); result != message.end()) {
    answer.result = std::move(*result);
  }
  changed_.notify_all();
  return absl::OkStatus();
}

absl::Status Qmp::Write(const std::string& line, Clock::time_point deadline) {
  std::lock_guard lock(write_mutex_);
  absl::string_view left = line;
  while (!left.empty()) {
    const ssize_t count =
        ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      left.remove_prefix(static_cast<size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return absl::UnavailableError("QEMU has closed its QMP socket");
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    ASSIGN_OR_RETURN(bool ready,
                     base::PollFd(socket_.get(), POLLOUT, std::max(wait, decltype(wait)(0))));
    if (!ready) return absl::DeadlineExceededError("QEMU takes no QMP commands");
  }
  return absl::OkStatus();
}

absl::Status Qmp::Send(absl::string_view command, const json& arguments,
                       std::chrono::milliseconds timeout) {
  json message = {{"execute", std::string(command)}};
  if (!arguments.is_null()) message["arguments"] = arguments;
  return Write(message.dump() + "\n", Clock::now() + timeout);
}

absl::StatusOr<json> Qmp::Execute(absl::string_view command, const json& arguments,
                                  std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  json message = {{"execute", std::string(command)}};
  if (!arguments.is_null()) message["arguments"] = arguments;
  uint64_t id;
  {
    std::lock_guard lock(mutex_);
    id = next_id_++;
    answers_.emplace(id, std::make_unique<Answer>());
  }
  message["id"] = id;
  absl::Status written = Write(message.dump() + "\n", deadline);

  std::unique_lock lock(mutex_);
  auto forget = [&] {
    auto node = answers_.extract(id);
    return std::move(node.mapped());
  };
  if (!written.ok()) {
    forget();
    return base::Annotate(std::move(written), command);
  }
  Answer& pending = *answers_.at(id);
  changed_.wait_until(lock, deadline, [&] { return pending.arrived || closed_; });
  const std::unique_ptr<Answer> answer = forget();
  if (answer->arrived) {
    if (!answer->error.empty())
      return absl::InternalError(absl::StrCat(command, ": ", answer->error));
    return std::move(answer->result);
  }
  if (closed_) return absl::UnavailableError(absl::StrCat(command, ": QEMU has ended"));
  return absl::DeadlineExceededError(absl::StrCat(command, ": QEMU does not answer"));
}

}  // namespace container::runtime_linux
