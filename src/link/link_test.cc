// Both ends over a socketpair, and each against a peer that breaks the rules.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "link/client.h"
#include "link/server.h"

namespace container::link {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTimeout(20'000);

enum Method : uint16_t { kUpper = 1, kFail, kNever, kEcho, kFlood, kCount };

// A server on a thread of its own. kEcho sends each message back, and at the end of them "bye";
// kFlood sends as many bytes as the request says; kCount tells how many bytes have come.
class Peer : public Server::Handler {
 public:
  explicit Peer(base::Fd socket) : socket_(std::move(socket)), server_(socket_.get(), this) {
    EXPECT_TRUE(base::SetNonBlocking(socket_.get(), true).ok());
    thread_ = std::thread([this] { Run(); });
  }
  ~Peer() override { Stop(); }
  void Stop() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    socket_.Reset();
  }
  absl::Status end() {
    if (thread_.joinable()) thread_.join();
    return end_;
  }
  int cancelled() const { return cancelled_; }

  void OnCall(uint32_t id, uint16_t method, absl::string_view request) override {
    switch (method) {
      case kUpper: {
        std::string upper(request);
        for (char& c : upper) c = static_cast<char>(std::toupper(c));
        return server_.Respond(id, absl::OkStatus(), upper);
      }
      case kFail:
        return server_.Respond(id, absl::NotFoundError("no such thing"));
      case kNever:
        return;
      default:
        streams_[id] = std::make_unique<Stream>(this, id, method, std::string(request));
        server_.Attach(id, streams_[id].get());
        return;
    }
  }

 private:
  class Stream : public StreamEvents {
   public:
    Stream(Peer* peer, uint32_t id, uint16_t method, std::string request)
        : peer_(peer), id_(id), method_(method) {
      if (method == kFlood) {
        left_ = std::stoul(request);
        peer_->tasks_.push_back([this] { Go(); });
      }
    }
    void OnMessage(absl::string_view message) override {
      received_ += message.size();
      if (method_ == kCount) return peer_->server_.Consumed(id_, message.size());
      messages_.emplace_back(message);
      peer_->tasks_.push_back([this] { Go(); });
    }
    void OnClose() override {
      closed_ = true;
      peer_->tasks_.push_back([this] { Go(); });
    }
    void OnSent() override {
      sending_ = false;
      peer_->tasks_.push_back([this] { Go(); });
    }
    void OnCancel() override {
      ++peer_->cancelled_;
      ended_ = true;
      peer_->server_.Respond(id_, absl::CancelledError(""));
    }

   private:
    void Go() {
      if (sending_ || ended_) return;
      if (method_ == kFlood && left_ > 0) {
        const size_t count = std::min<size_t>(left_, 64 << 10);
        left_ -= count;
        sending_ = true;
        return peer_->server_.Send(id_, std::string(count, 'f'));
      }
      if (method_ == kEcho && !messages_.empty()) {
        const std::string message = messages_.front();
        messages_.pop_front();
        sending_ = true;
        peer_->server_.Consumed(id_, message.size());
        return peer_->server_.Send(id_, message);
      }
      if (method_ == kFlood || closed_) {
        ended_ = true;
        peer_->server_.SendLast(id_, method_ == kCount ? std::to_string(received_) : "bye");
      }
    }
    Peer* const peer_;
    const uint32_t id_;
    const uint16_t method_;
    std::deque<std::string> messages_;
    size_t left_ = 0;
    size_t received_ = 0;
    bool sending_ = false;
    bool closed_ = false;
    bool ended_ = false;
  };

  void Run() {
    for (;;) {
      end_ = server_.OnReadable();
      if (!end_.ok()) break;
      server_.OnWritable();
      while (!tasks_.empty()) {
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        task();
      }
      // What can't be written is tried again soon: simpler here than to ask for writability.
      pollfd wait{socket_.get(), POLLIN, 0};
      ::poll(&wait, 1, 2);
    }
    ::shutdown(socket_.get(), SHUT_RDWR);
  }

  base::Fd socket_;
  Server server_;
  std::map<uint32_t, std::unique_ptr<Stream>> streams_;
  std::deque<std::function<void()>> tasks_;
  std::atomic<int> cancelled_ = 0;
  absl::Status end_;
  std::thread thread_;
};

class LinkTest : public testing::Test {
 protected:
  LinkTest() {
    base::FdPair pair = *base::MakeSocketPair();
    client_ = *Client::Create(std::move(pair.first));
    peer_ = std::make_unique<Peer>(std::move(pair.second));
  }
  absl::StatusOr<std::string> Upper(const std::string& text) {
    return client_->Start(kUpper, text)->Await(kTimeout);
  }
  static std::string ReadAll(Call& call) {
    std::string all;
    std::string message;
    while (call.Read(&message)) all += message;
    return all;
  }
  std::unique_ptr<Client> client_;
  std::unique_ptr<Peer> peer_;
};

TEST_F(LinkTest, UnaryCalls) {
  EXPECT_EQ(Upper("abc").value(), "ABC");
  EXPECT_EQ(Upper("").value(), "");
  EXPECT_EQ(Upper(std::string(kMaxMessageBytes, 'x')).value(), std::string(kMaxMessageBytes, 'X'));
  EXPECT_TRUE(absl::IsResourceExhausted(Upper(std::string(kMaxMessageBytes + 1, 'x')).status()));
  EXPECT_EQ(client_->Start(kFail, "")->Await(kTimeout).status(),
            absl::NotFoundError("no such thing"));
}

TEST_F(LinkTest, CallsGoOutTogetherAndHaveDeadlines) {
  auto never = client_->Start(kNever, "");
  auto one = client_->Start(kUpper, "one");
  auto two = client_->Start(kUpper, "two");
  EXPECT_EQ(two->Await(kTimeout).value(), "TWO");
  EXPECT_EQ(one->Await(kTimeout).value(), "ONE");
  EXPECT_TRUE(absl::IsDeadlineExceeded(never->Await(milliseconds(20)).status()));
  EXPECT_EQ(Upper("three").value(), "THREE");
}

TEST_F(LinkTest, ManyThreadsCall) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 100; ++j) {
        EXPECT_EQ(Upper("x" + std::to_string(i * 1000 + j)).value(),
                  "X" + std::to_string(i * 1000 + j));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(LinkTest, StreamsGoBothWays) {
  auto call = client_->Start(kEcho, "");
  std::thread writer([&] {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(call->Write(std::string(50000, 'a')));
    call->CloseWrites();
  });
  const std::string all = ReadAll(*call);
  writer.join();
  EXPECT_EQ(all, std::string(5000000, 'a') + "bye");
  EXPECT_TRUE(call->Finish().ok());
  EXPECT_FALSE(call->Write("late"));
  auto count = client_->Start(kCount, "");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(count->Write(std::string(kMaxDataBytes, 'a')));
  EXPECT_FALSE(count->Write(std::string(kMaxDataBytes + 1, 'a')));
  count->CloseWrites();
  EXPECT_EQ(ReadAll(*count), std::to_string(100 * kMaxDataBytes));
}

TEST_F(LinkTest, AReaderThatStallsHoldsUpNobodyElse) {
  auto stalled = client_->Start(kFlood, "10000000");
  auto other = client_->Start(kFlood, "10000000");
  EXPECT_EQ(ReadAll(*other).size(), 10000003u);
  EXPECT_EQ(Upper("abc").value(), "ABC");
  EXPECT_EQ(ReadAll(*stalled).size(), 10000003u);
  EXPECT_TRUE(stalled->Finish().ok());
}

TEST_F(LinkTest, AWriterBlocksAndCancelWakesIt) {
  auto call = client_->Start(kEcho, "");  // whose echoes nobody reads
  std::thread writer([&] {
    while (call->Write(std::string(60000, 'a'))) {
    }
  });
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(Upper("abc").value(), "ABC");
  call->Cancel();
  writer.join();
  std::string message;
  EXPECT_FALSE(call->Read(&message));
  EXPECT_TRUE(absl::IsCancelled(call->Finish()));
  EXPECT_EQ(Upper("abc").value(), "ABC");
  EXPECT_EQ(peer_->cancelled(), 1);
}

TEST_F(LinkTest, ThePeersDeathEndsAllCalls) {
  auto unary = client_->Start(kNever, "");
  auto stream = client_->Start(kEcho, "");
  std::thread waiter([&] { EXPECT_TRUE(absl::IsUnavailable(unary->Await(kTimeout).status())); });
  std::thread reader([&] { EXPECT_EQ(ReadAll(*stream), ""); });
  EXPECT_EQ(Upper("abc").value(), "ABC");
  peer_->Stop();
  waiter.join();
  reader.join();
  EXPECT_TRUE(absl::IsUnavailable(stream->Finish()));
  EXPECT_TRUE(absl::IsUnavailable(Upper("abc").status()));
}

TEST_F(LinkTest, ACallMayOutliveItsClient) {
  auto call = client_->Start(kEcho, "");
  client_.reset();
  EXPECT_TRUE(absl::IsUnavailable(call->Finish()));
  EXPECT_TRUE(absl::IsUnavailable(peer_->end()));
}

TEST_F(LinkTest, TooManyCallsAtOnceAreRefused) {
  std::vector<std::unique_ptr<Call>> calls;
  for (size_t i = 0; i < kMaxStreams; ++i) calls.push_back(client_->Start(kNever, ""));
  EXPECT_TRUE(absl::IsResourceExhausted(Upper("one too many").status()));
}

// What a client makes of `bytes` as the answer to its call of stream 1.
absl::Status ClientMeets(const std::string& bytes, bool close = false) {
  base::FdPair pair = *base::MakeSocketPair();
  std::unique_ptr<Client> client = *Client::Create(std::move(pair.first));
  auto call = client->Start(kEcho, "");
  EXPECT_TRUE(base::WriteAll(pair.second.get(), bytes).ok());
  if (close) pair.second.Reset();
  return call->Finish();
}

std::string FrameOf(FrameType type, uint32_t stream, const std::string& payload = "",
                    uint16_t code = 0) {
  std::string bytes;
  AppendFrame(bytes, {type, stream, code, payload});
  return bytes;
}

TEST(LinkMalformedTest, TheClientSurvivesAnything) {
  std::string credit;
  AppendWindow(credit, 1, 1);
  const std::string data = FrameOf(FrameType::kData, 1, std::string(kMaxDataBytes, 'x'));
  for (const std::string& bytes : {
           std::string("HTTP/1.1 400 Bad Request\r\n\r\n"),
           FrameOf(FrameType::kRequest, 1),
           FrameOf(FrameType::kCancel, 1),
           FrameOf(FrameType::kResponse, 2),
           FrameOf(FrameType::kData, 0, "x"),
           FrameOf(FrameType::kData, 1),
           FrameOf(FrameType::kWindow, 1, "abc"),
           credit,
           data + data + data,
       }) {
    EXPECT_TRUE(absl::IsDataLoss(ClientMeets(bytes)));
  }
  EXPECT_TRUE(absl::IsUnavailable(ClientMeets("", true)));
  EXPECT_TRUE(absl::IsUnavailable(ClientMeets(data.substr(0, 100), true)));
  EXPECT_EQ(ClientMeets(FrameOf(FrameType::kResponse, 1, "why", 999)).code(),
            absl::StatusCode::kUnknown);
  EXPECT_TRUE(
      ClientMeets(FrameOf(static_cast<FrameType>(77), 1, "new") + FrameOf(FrameType::kResponse, 1))
          .ok());
}

// How a server ends that reads `bytes`.
absl::Status ServerMeets(const std::string& bytes) {
  base::FdPair pair = *base::MakeSocketPair();
  Peer peer(std::move(pair.second));
  // A server that has seen enough closes while there is more to say.
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t count =
        ::send(pair.first.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) break;
    sent += static_cast<size_t>(count);
  }
  ::shutdown(pair.first.get(), SHUT_WR);
  return peer.end();
}

TEST(LinkMalformedTest, TheServerSurvivesAnything) {
  const std::string open = FrameOf(FrameType::kRequest, 5, "", kEcho);
  std::string credit;
  AppendWindow(credit, 5, 1);
  const std::string data = FrameOf(FrameType::kData, 5, std::string(kMaxDataBytes, 'x'));
  for (const std::string& bytes : {
           std::string("GET / HTTP/1.1\r\n\r\n"),
           open + open,
           open + FrameOf(FrameType::kRequest, 4, "", kUpper),
           open + FrameOf(FrameType::kResponse, 5),
           open + FrameOf(FrameType::kData, 6, "x"),
           open + FrameOf(FrameType::kClose, 5, "payload"),
           open + credit,
           open + FrameOf(FrameType::kData, 5),
       }) {
    EXPECT_TRUE(absl::IsDataLoss(ServerMeets(bytes)));
  }
  // More than the credit, to a method that takes nothing and so gives none back.
  const std::string flood = FrameOf(FrameType::kRequest, 5, "100000000", kFlood);
  EXPECT_TRUE(absl::IsDataLoss(ServerMeets(flood + data + data + data)));
  EXPECT_TRUE(absl::IsUnavailable(ServerMeets(open + data.substr(0, 100))));
  EXPECT_TRUE(absl::IsUnavailable(ServerMeets(FrameOf(FrameType::kRequest, 1, "x", kUpper) +
                                              FrameOf(FrameType::kData, 1, "x") +
                                              FrameOf(FrameType::kCancel, 1))));
}

}  // namespace
}  // namespace container::link
