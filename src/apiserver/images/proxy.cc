#include "apiserver/images/proxy.h"

#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/rpc.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"

namespace container::apiserver {
namespace {

using grpc::ByteBuffer;

class Upstream;
class Downstream;

/// One call: its halves and what they share. The downstream half lives until Finish, which the
/// upstream half calls when it is done; the upstream half can't be done while it is held for reads
/// or writes, which is whenever the other half uses it.
struct Link {
  std::mutex mutex;
  Downstream* downstream = nullptr;
  Upstream* upstream = nullptr;  // null until started and once done
  /// Not part of Upstream: it is cancelled outside the lock, when Upstream may be done.
  std::shared_ptr<grpc::ClientContext> context = std::make_shared<grpc::ClientContext>();
  bool started = false;
  bool cancelled = false;
  bool write_held = true;    // the hold on Upstream for writes
  bool write_busy = false;   // a message is on its way upstream
  bool reads_ended = false;  // the server has sent all it will
};

/// The server's side of a call: we are its client.
class Upstream : public grpc::ClientBidiReactor<ByteBuffer, ByteBuffer> {
 public:
  Upstream(std::shared_ptr<Link> link, std::shared_ptr<grpc::Channel> channel)
      : link_(std::move(link)), channel_(std::move(channel)), stub_(channel_) {}

  void Begin(const std::string& method, std::chrono::system_clock::time_point deadline) {
    link_->context->set_deadline(deadline);
    stub_.PrepareBidiStreamingCall(link_->context.get(), method, {}, this);
    // Reads and writes are started from the other half's reactions: one hold for each.
    AddMultipleHolds(2);
    StartCall();
  }
  void Read() {
    response_.Clear();
    StartRead(&response_);
  }
  void Write(ByteBuffer* message) { StartWrite(message); }
  void EndWrites() {
    StartWritesDone();
    RemoveHold();
  }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  const std::shared_ptr<Link> link_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::TemplatedGenericStub<ByteBuffer, ByteBuffer> stub_;
  ByteBuffer response_;
};

/// The caller's side of a call: we are its server.
class Downstream : public grpc::ServerGenericBidiReactor {
 public:
  explicit Downstream(std::shared_ptr<Link> link) : link_(std::move(link)) {}

  void ReadNext() {
    request_.Clear();
    StartRead(&request_);
  }
  void Write(ByteBuffer* message) { StartWrite(message); }

  void OnReadDone(bool ok) override {
    Upstream* upstream;
    {
      std::lock_guard lock(link_->mutex);
      if (!link_->write_held) return;  // The server has ended the call.
      upstream = link_->upstream;
      (ok ? link_->write_busy : link_->write_held) = ok;
    }
    if (ok) {
      upstream->Write(&request_);
    } else {
      upstream->EndWrites();
    }
  }
  void OnWriteDone(bool ok) override {
    if (!ok) link_->context->TryCancel();
    Upstream* upstream;
    {
      std::lock_guard lock(link_->mutex);
      upstream = link_->upstream;
    }
    // Goes on to the end even then: the last read is what tells that there is no more.
    upstream->Read();
  }
  void OnCancel() override {
    {
      std::lock_guard lock(link_->mutex);
      link_->cancelled = true;
      if (!link_->started) return;
    }
    link_->context->TryCancel();
  }
  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<Link> link_;
  ByteBuffer request_;
};

void Upstream::OnReadDone(bool ok) {
  if (ok) {
    link_->downstream->Write(&response_);
    return;
  }
  bool release_writes;
  {
    std::lock_guard lock(link_->mutex);
    link_->reads_ended = true;
    release_writes = link_->write_held && !link_->write_busy;
    if (release_writes) link_->write_held = false;
  }
  if (release_writes) RemoveHold();
  RemoveHold();
}

void Upstream::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(link_->mutex);
    link_->write_busy = false;
    if (!ok || link_->reads_ended) link_->write_held = false;
    ok = link_->write_held;
  }
  if (ok) {
    link_->downstream->ReadNext();
  } else {
    RemoveHold();
  }
}

void Upstream::OnDone(const grpc::Status& status) {
  {
    std::lock_guard lock(link_->mutex);
    link_->upstream = nullptr;
  }
  link_->downstream->Finish(status);
  delete this;
}

/// A call that ends at once.
class Refusal : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerGenericBidiReactor* Proxy::CreateReactor(grpc::GenericCallbackServerContext* context) {
  if (!absl::StartsWith(context->method(), prefix_)) {
    return new Refusal(grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                                    absl::StrCat("no such call: ", context->method())));
  }
  auto link = std::make_shared<Link>();
  auto* downstream = new Downstream(link);
  link->downstream = downstream;
  connect_(
      [link, downstream, method = context->method(), deadline = context->deadline()](auto channel) {
        // `downstream` lives until Finish, which is called here or by the upstream half.
        if (!channel.ok()) {
          downstream->Finish(base::ToGrpc(channel.status()));
          return;
        }
        auto* upstream = new Upstream(link, *std::move(channel));
        {
          std::lock_guard lock(link->mutex);
          link->upstream = upstream;
        }
        upstream->Begin(method, deadline);
        bool cancelled;
        {
          std::lock_guard lock(link->mutex);
          link->started = true;
          cancelled = link->cancelled;
        }
        if (cancelled) link->context->TryCancel();
        upstream->Read();
        downstream->ReadNext();
      });
  return downstream;
}

}  // namespace container::apiserver
