#include "plugins/runtime_linux/qemu/qmp.h"

#include <poll.h>
#include <sys/socket.h>

#include <thread>

#include "base/subprocess.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace container::runtime_linux {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

/// A Qmp with its reading thread, and QEMU's end of the socket for the test to speak on.
class QmpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = base::MakeSocketPair();
    ASSERT_TRUE(pair.ok());
    peer_ = std::move(pair->second);
    auto qmp = Qmp::Create(
        std::move(pair->first),
        [this](const std::string& name, const json& data) { events_ += name + data.dump(); });
    ASSERT_TRUE(qmp.ok()) << qmp.status();
    qmp_ = *std::move(qmp);
    reader_ = std::thread([this] {
      do {
        if (!base::PollFd(qmp_->fd(), POLLIN, milliseconds(10'000)).value_or(false)) return;
      } while (end_ = qmp_->OnReadable(), end_.ok());
    });
    EXPECT_EQ(json::parse(ReadLine()), json({{"execute", "qmp_capabilities"}}));
  }

  void TearDown() override {
    peer_.Reset();
    if (reader_.joinable()) reader_.join();
  }

  void Say(const std::string& line) {
    ASSERT_TRUE(base::WriteAll(peer_.get(), line + "\r\n").ok());
  }

  std::string ReadLine() {
    std::string line;
    for (char c; ::recv(peer_.get(), &c, 1, 0) == 1 && c != '\n';) line += c;
    return line;
  }

  base::Fd peer_;
  std::unique_ptr<Qmp> qmp_;
  std::thread reader_;
  std::string events_;
  absl::Status end_;
};

TEST_F(QmpTest, AnswersFindTheirCallsAndEventsTheHandler) {
  absl::StatusOr<json> status;
  std::thread caller([&] { status = qmp_->Execute("query-status", nullptr, milliseconds(5000)); });
  json request = json::parse(ReadLine());
  EXPECT_EQ(request["execute"], "query-status");
  EXPECT_FALSE(request.contains("arguments"));
  Say(R"({"QMP": {"version": {}, "capabilities": []}})");
  Say(R"({"return": {}})");
  Say(R"({"timestamp": {}, "event": "VSERPORT_CHANGE", "data": {"id": "agent", "open": true}})");
  Say(R"({"return": {"stray": 1}, "id": 99})");
  Say(json({{"id", request["id"]}, {"return", {{"status", "running"}}}}).dump());
  caller.join();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status, json({{"status", "running"}}));
  EXPECT_EQ(events_, R"(VSERPORT_CHANGE{"id":"agent","open":true})");
}

TEST_F(QmpTest, ErrorsOfQemuBecomeStatuses) {
  absl::StatusOr<json> result;
  std::thread caller([&] {
    result = qmp_->Execute("device_del", json{{"id", "x"}}, milliseconds(5000));
  });
  json request = json::parse(ReadLine());
  EXPECT_EQ(request["arguments"], json({{"id", "x"}}));
  Say(json({{"id", request["id"]}, {"error", {{"class", "DeviceNotFound"}, {"desc", "no x"}}}})
          .dump());
  caller.join();
  EXPECT_EQ(result.status(), absl::InternalError("device_del: no x"));
}

TEST_F(QmpTest, SilenceEndsAtTheDeadline) {
  EXPECT_EQ(qmp_->Execute("quit", nullptr, milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(QmpTest, TheEndOfTheConnectionWakesCallers) {
  absl::StatusOr<json> result;
  std::thread caller([&] { result = qmp_->Execute("quit", nullptr, milliseconds(10'000)); });
  ReadLine();
  peer_.Reset();
  caller.join();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(qmp_->Execute("quit", nullptr, milliseconds(10'000)).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(QmpTest, GarbageEndsTheConnection) {
  Say("this is no JSON");
  reader_.join();
  EXPECT_EQ(end_.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(qmp_->Execute("quit", nullptr, milliseconds(10'000)).ok());
}

TEST_F(QmpTest, LinesAreBounded) {
  std::thread writer([this] {
    const std::string block(64 << 10, 'x');
    for (int i = 0; i < 64; ++i) {
      if (::send(peer_.get(), block.data(), block.size(), MSG_NOSIGNAL) < 0) break;
      if (!end_.ok()) break;
    }
  });
  reader_.join();
  EXPECT_EQ(end_.code(), absl::StatusCode::kInternal);
  ::shutdown(peer_.get(), SHUT_RDWR);
  writer.join();
}

}  // namespace
}  // namespace container::runtime_linux
