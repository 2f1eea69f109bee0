#include "apiserver/images/proxy.h"

#include <condition_variable>
#include <thread>

#include "base/file.h"
#include "base/rpc.h"
#include "base/unix_socket.h"
#include "gtest/gtest.h"
#include "proto/images.grpc.pb.h"

namespace container::apiserver {
namespace {

using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;
using images::v1::Images;

/// Answers as the tests want it.
class RealImages : public Images::Service {
 public:
  Status Get(ServerContext* context, const images::v1::GetRequest* request,
             images::v1::GetResponse* response) override {
    if (request->reference() == "missing") return Status(StatusCode::NOT_FOUND, "no such image");
    has_deadline = context->deadline() < std::chrono::system_clock::now() + std::chrono::hours(1);
    response->set_image_json(request->reference());
    return Status::OK;
  }
  Status Pull(ServerContext* context, const images::v1::PullRequest* request,
              grpc::ServerWriter<images::v1::ImageEvent>* writer) override {
    images::v1::ImageEvent event;
    // The cancellation may come while the first messages are still being written.
    const bool endless = request->reference() == "endless";
    bool gone = false;
    for (int i = 0; i < (endless ? 3 : 1000) && !gone; ++i) {
      event.mutable_progress()->set_completed(i);
      gone = !writer->Write(event);
    }
    if (endless) {
      while (!gone && !context->IsCancelled()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      std::lock_guard lock(mutex);
      cancelled = true;
      changed.notify_all();
      return Status::CANCELLED;
    }
    return Status(StatusCode::DATA_LOSS, "digest mismatch");
  }
  bool has_deadline = false;
  std::mutex mutex;
  std::condition_variable changed;
  bool cancelled = false;
};

class ProxyTest : public testing::Test {
 protected:
  /// gRPC 1.51 does not survive the end of its last callback server or channel unharmed (its shared
  /// queue is unreferenced twice, and a poller is waited for up to ten seconds). The apiserver's
  /// server lives as long as its process; so does this one.
  static void SetUpTestSuite() {
    static auto& folder = *new base::TemporaryDirectory(base::TemporaryDirectory::Create().value());
    static auto& proxy = *new Proxy("keeper", [](Proxy::ChannelDone) {});
    const std::string path = folder.path() + "/keeper";
    base::RpcServer::Start(base::ListenUnix(path).value(), {}, &proxy).value().release();
    ASSERT_TRUE(base::RemoveTree(folder.path()).ok());
  }

  ProxyTest()
      : proxy_("container.images.v1.Images", [this](Proxy::ChannelDone done) {
          if (!connect_.ok()) {
            done(connect_);
          } else {
            // Later, and from another thread, as the real one does while its helper starts.
            std::thread([this, done = std::move(done)] {
              done(base::ConnectRpc(behind_));
            }).detach();
          }
        }) {
    back_ = base::RpcServer::Start(base::ListenUnix(behind_).value(), {&images_}).value();
    front_ = base::RpcServer::Start(base::ListenUnix(before_).value(), {}, &proxy_).value();
    channel_ = base::ConnectRpc(before_).value();
    stub_ = Images::NewStub(channel_);
    base::SetDeadline(context_, std::chrono::seconds(20));
  }

  base::TemporaryDirectory folder_ = base::TemporaryDirectory::Create().value();
  const std::string behind_ = folder_.path() + "/behind";
  const std::string before_ = folder_.path() + "/before";
  absl::Status connect_;
  RealImages images_;
  Proxy proxy_;
  std::unique_ptr<base::RpcServer> back_;
  std::unique_ptr<base::RpcServer> front_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Images::Stub> stub_;
  grpc::ClientContext context_;
};

TEST_F(ProxyTest, UnaryCallsAndDeadlines) {
  images::v1::GetRequest request;
  request.set_reference(std::string(1 << 20, 'x'));
  images::v1::GetResponse response;
  const Status status = stub_->Get(&context_, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.image_json(), request.reference());
  EXPECT_TRUE(images_.has_deadline);
}

TEST_F(ProxyTest, StatusesPassUnchanged) {
  images::v1::GetRequest request;
  request.set_reference("missing");
  images::v1::GetResponse response;
  const Status status = stub_->Get(&context_, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no such image");
}

TEST_F(ProxyTest, StreamsPassWholeAndInOrder) {
  auto reader = stub_->Pull(&context_, {});
  images::v1::ImageEvent event;
  int count = 0;
  while (reader->Read(&event)) EXPECT_EQ(event.progress().completed(), count++);
  EXPECT_EQ(count, 1000);
  const Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::DATA_LOSS);
  EXPECT_EQ(status.error_message(), "digest mismatch");
}

TEST_F(ProxyTest, CancellationReachesTheServer) {
  images::v1::PullRequest request;
  request.set_reference("endless");
  auto reader = stub_->Pull(&context_, request);
  images::v1::ImageEvent event;
  ASSERT_TRUE(reader->Read(&event));
  context_.TryCancel();
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  std::unique_lock lock(images_.mutex);
  EXPECT_TRUE(images_.changed.wait_for(lock, std::chrono::seconds(10),
                                       [this] { return images_.cancelled; }));
}

TEST_F(ProxyTest, NoServerIsAnError) {
  connect_ = absl::UnavailableError("the image service is not running");
  images::v1::GetResponse response;
  const Status status = stub_->Get(&context_, {}, &response);
  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the image service is not running");
}

TEST_F(ProxyTest, TheServersDeathEndsTheCall) {
  images::v1::PullRequest request;
  request.set_reference("endless");
  auto reader = stub_->Pull(&context_, request);
  images::v1::ImageEvent event;
  ASSERT_TRUE(reader->Read(&event));
  back_->Shutdown(std::chrono::milliseconds(0));
  while (reader->Read(&event)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST_F(ProxyTest, OtherServicesAreNotPassedOn) {
  Proxy other("container.other.v1.Other", [](Proxy::ChannelDone) { FAIL() << "connected"; });
  const std::string path = folder_.path() + "/other";
  auto server = base::RpcServer::Start(base::ListenUnix(path).value(), {}, &other).value();
  auto stub = Images::NewStub(base::ConnectRpc(path).value());
  images::v1::GetResponse response;
  EXPECT_EQ(stub->Get(&context_, {}, &response).error_code(), StatusCode::UNIMPLEMENTED);
}

TEST_F(ProxyTest, ManyAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([this, i] {
      for (int round = 0; round < 10; ++round) {
        grpc::ClientContext context;
        base::SetDeadline(context, std::chrono::seconds(20));
        images::v1::GetRequest request;
        request.set_reference(std::to_string(i * 100 + round));
        images::v1::GetResponse response;
        EXPECT_TRUE(stub_->Get(&context, request, &response).ok());
        EXPECT_EQ(response.image_json(), request.reference());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace container::apiserver
