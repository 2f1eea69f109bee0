#include "plugins/core_images/service.h"

#include <chrono>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/version.h"
#include "model/system_config.h"
#include "plugins/core_images/images/catalog.h"
#include "plugins/core_images/images/load.h"
#include "plugins/core_images/images/pull.h"
#include "plugins/core_images/images/push.h"
#include "plugins/core_images/images/save.h"
#include "plugins/core_images/images/verify.h"
#include "plugins/core_images/oci/credentials.h"
#include "plugins/core_images/oci/endpoint.h"
#include "proto/images.grpc.pb.h"

namespace container::images {
namespace {

namespace v1 = ::container::images::v1;

constexpr int kDefaultDownloads = 3;
constexpr int kDownloadLimit = 64;

absl::StatusOr<oci::Platform> PlatformOf(const std::string& text) {
  if (text.empty()) return oci::Platform::Host();
  return oci::Platform::Parse(text);
}

// From config.toml as it is now, so that a change needs no restart.
absl::StatusOr<oci::RegistryOptions> RegistryOptionsFor(v1::PullRequest::Scheme scheme) {
  ASSIGN_OR_RETURN(const model::SystemConfig config, model::SystemConfig::Load());
  oci::RegistryOptions options;
  if (scheme == v1::PullRequest::HTTP) options.scheme = oci::Scheme::kHttp;
  if (scheme == v1::PullRequest::HTTPS) options.scheme = oci::Scheme::kHttps;
  for (const auto& [domain, host] : config.registry_hosts) {
    options.hosts[domain] = {host.mirrors, host.ca_file, host.insecure};
  }
  options.credentials =
      std::make_shared<oci::CredentialStore>(oci::CredentialStore::FromEnvironment());
  return options;
}

// Where names without a registry lead: [registry] domain of config.toml as it is now.
absl::StatusOr<std::string> DefaultDomain() {
  ASSIGN_OR_RETURN(const model::SystemConfig config, model::SystemConfig::Load());
  absl::StatusOr<std::string> domain = oci::CheckDefaultDomain(config.registry_domain);
  RETURN_IF_ERROR(domain.status(), "[registry] domain in config.toml");
  return domain;
}

void Encode(const ProgressEvent& event, common::v1::Progress* progress) {
  progress->set_task_id(event.task_id);
  progress->set_description(event.description);
  progress->set_completed(event.completed_bytes);
  progress->set_total(event.total_bytes);
  progress->set_unit(common::v1::Progress::UNIT_BYTES);
  progress->set_done(event.done);
}

// One call: logs its end, with how long it took and what became of it.
class CallLog {
 public:
  CallLog(const char* what, std::string subject)
      : what_(what), subject_(std::move(subject)), start_(std::chrono::steady_clock::now()) {}

  grpc::Status Finish(const absl::Status& status) const {
    const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start_);
    if (status.ok()) {
      spdlog::info("{} image=\"{}\" ms={}", what_, subject_, elapsed.count());
    } else {
      spdlog::warn("{} failed image=\"{}\" ms={} code={} error=\"{}\"", what_, subject_,
                   elapsed.count(), absl::StatusCodeToString(status.code()),
                   std::string(status.message()));
    }
    return base::ToGrpc(status);
  }

 private:
  const char* what_;
  std::string subject_;
  std::chrono::steady_clock::time_point start_;
};

class ImagesService final : public v1::Images::Service {
 public:
  ImagesService(store::ContentStore& store, std::string containers_folder)
      : store_(store), containers_folder_(std::move(containers_folder)) {}

  grpc::Status Pull(grpc::ServerContext* context, const v1::PullRequest* request,
                    grpc::ServerWriter<v1::ImageEvent>* writer) override {
    const CallLog log("pull", request->reference());
    return log.Finish(DoPull(context, *request, writer));
  }

  grpc::Status Load(grpc::ServerContext* context, const v1::LoadRequest* request,
                    grpc::ServerWriter<v1::ImageEvent>* writer) override {
    const CallLog log("load", request->path());
    return log.Finish(DoLoad(context, *request, writer));
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*,
                    v1::ListResponse* response) override {
    for (const store::NamedImage& image : store_.List()) {
      response->add_image_json(ImageJson(store_, image));
    }
    return grpc::Status::OK;
  }

  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest* request,
                   v1::GetResponse* response) override {
    const auto domain = DefaultDomain();
    if (!domain.ok()) return base::ToGrpc(domain.status());
    const auto image = FindImage(store_, request->reference(), *domain);
    if (!image.ok()) return base::ToGrpc(image.status());
    response->set_image_json(ImageJson(store_, *image));
    return grpc::Status::OK;
  }

  grpc::Status Tag(grpc::ServerContext*, const v1::TagRequest* request,
                   v1::TagResponse* response) override {
    const CallLog log("tag", absl::StrCat(request->source(), "->", request->target()));
    const auto domain = DefaultDomain();
    if (!domain.ok()) return log.Finish(domain.status());
    const auto image = images::Tag(store_, request->source(), request->target(), *domain);
    if (image.ok()) response->set_image_json(ImageJson(store_, *image));
    return log.Finish(image.status());
  }

  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                      v1::DeleteResponse* response) override {
    const CallLog log("delete", request->reference());
    const auto domain = DefaultDomain();
    if (!domain.ok()) return log.Finish(domain.status());
    const auto deletion = images::Delete(store_, request->reference(), *domain);
    if (deletion.ok()) {
      response->set_name(deletion->name);
      response->set_reclaimed_bytes(deletion->reclaimed_bytes);
      if (!deletion->sweep_status.ok()) {
        spdlog::warn("nothing was swept image=\"{}\" error=\"{}\"", deletion->name,
                     std::string(deletion->sweep_status.message()));
      }
    }
    LogWarnings();
    return log.Finish(deletion.status());
  }

  grpc::Status PrepareRoot(grpc::ServerContext* context, const v1::PrepareRootRequest* request,
                           grpc::ServerWriter<v1::PrepareRootEvent>* writer) override {
    const CallLog log("prepare root", request->reference());
    return log.Finish(DoPrepareRoot(context, *request, writer));
  }

  grpc::Status Push(grpc::ServerContext* context, const v1::PushRequest* request,
                    grpc::ServerWriter<v1::PushEvent>* writer) override {
    const CallLog log("push", request->reference());
    return log.Finish(DoPush(context, *request, writer));
  }

  grpc::Status Save(grpc::ServerContext* context, const v1::SaveRequest* request,
                    grpc::ServerWriter<v1::SaveEvent>* writer) override {
    const CallLog log("save", absl::StrJoin(request->references(), " "));
    return log.Finish(DoSave(context, *request, writer));
  }

  grpc::Status Prune(grpc::ServerContext*, const v1::PruneRequest* request,
                     v1::PruneResponse* response) override {
    const CallLog log("prune", request->all() ? "all" : "unnamed");
    PruneOptions options;
    options.all = request->all();
    options.in_use_references = {request->in_use_references().begin(),
                                 request->in_use_references().end()};
    options.in_use_digests = {request->in_use_digests().begin(), request->in_use_digests().end()};
    const auto pruned = images::Prune(store_, options);
    if (pruned.ok()) {
      for (const std::string& name : pruned->names) response->add_names(name);
      response->set_reclaimed_bytes(pruned->reclaimed_bytes);
    }
    LogWarnings();
    return log.Finish(pruned.status());
  }

  grpc::Status DiskUsage(grpc::ServerContext*, const v1::DiskUsageRequest* request,
                         v1::DiskUsageResponse* response) override {
    const auto usage = images::DiskUsage(
        store_, {request->in_use_references().begin(), request->in_use_references().end()},
        {request->in_use_digests().begin(), request->in_use_digests().end()});
    if (!usage.ok()) return base::ToGrpc(usage.status());
    response->set_images(usage->images);
    response->set_images_in_use(usage->images_in_use);
    response->set_blob_bytes(usage->store.blob_bytes);
    response->set_reclaimable_blob_bytes(usage->store.reclaimable_blob_bytes);
    response->set_roots(usage->store.roots);
    response->set_roots_in_use(usage->store.linked_roots);
    response->set_root_bytes(usage->store.root_bytes);
    response->set_reclaimable_root_bytes(usage->store.reclaimable_root_bytes);
    response->set_leftover_bytes(usage->store.leftover_bytes);
    return grpc::Status::OK;
  }

  grpc::Status Verify(grpc::ServerContext* context, const v1::VerifyRequest*,
                      grpc::ServerWriter<v1::VerifyEvent>* writer) override {
    const CallLog log("verify", "all");
    Reporter reporter(SinkTo(writer));
    const auto verification =
        VerifyStore(store_, containers_folder_, reporter, CancelledBy(context));
    LogWarnings();
    if (!verification.ok()) return log.Finish(verification.status());
    for (const Fault& fault : verification->faults) {
      v1::VerifyEvent event;
      event.mutable_fault()->set_is_error(fault.is_error);
      event.mutable_fault()->set_subject(fault.subject);
      for (const std::string& name : fault.images) event.mutable_fault()->add_images(name);
      event.mutable_fault()->set_message(fault.message);
      writer->Write(event);
    }
    v1::VerifyEvent event;
    event.mutable_summary()->set_blobs(verification->blobs);
    event.mutable_summary()->set_blob_bytes(verification->blob_bytes);
    event.mutable_summary()->set_roots(verification->roots);
    event.mutable_summary()->set_containers(verification->containers);
    writer->Write(event);
    return log.Finish(absl::OkStatus());
  }

  grpc::Status Login(grpc::ServerContext* context, const v1::LoginRequest* request,
                     v1::LoginResponse* response) override {
    const CallLog log("login", request->registry());
    return log.Finish(DoLogin(context, *request, *response));
  }

  grpc::Status Logout(grpc::ServerContext*, const v1::LogoutRequest* request,
                      v1::LogoutResponse* response) override {
    const CallLog log("logout", request->registry());
    const auto logout = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(const std::string registry, oci::CanonicalRegistry(request->registry()));
      ASSIGN_OR_RETURN(const bool removed,
                       oci::CredentialStore::FromEnvironment().Remove(registry));
      if (!removed) return absl::NotFoundError(absl::StrCat("there is no login for ", registry));
      response->set_registry(registry);
      return absl::OkStatus();
    };
    return log.Finish(logout());
  }

  grpc::Status ListLogins(grpc::ServerContext*, const v1::ListLoginsRequest*,
                          v1::ListLoginsResponse* response) override {
    const auto logins = oci::CredentialStore::FromEnvironment().List();
    if (!logins.ok()) return base::ToGrpc(logins.status());
    for (const oci::Login& login : *logins) {
      v1::ListLoginsResponse::Login& entry = *response->add_logins();
      entry.set_registry(login.registry);
      entry.set_username(login.username);
      entry.set_modified_ns(login.modified_ns);
    }
    return grpc::Status::OK;
  }

  grpc::Status Ping(grpc::ServerContext*, const v1::PingRequest*,
                    v1::PingResponse* response) override {
    response->set_version(std::string(base::kVersion));
    return grpc::Status::OK;
  }

 private:
  template <typename Event>
  static ProgressSink SinkTo(grpc::ServerWriter<Event>* writer) {
    return [writer](const ProgressEvent& progress) {
      Event event;
      Encode(progress, event.mutable_progress());
      // A client that has gone shows itself as a cancelled call.
      writer->Write(event);
    };
  }

  static Cancelled CancelledBy(grpc::ServerContext* context) {
    return [context] { return context->IsCancelled(); };
  }

  absl::Status DoPull(grpc::ServerContext* context, const v1::PullRequest& request,
                      grpc::ServerWriter<v1::ImageEvent>* writer) {
    PullOptions options;
    ASSIGN_OR_RETURN(const std::string domain, DefaultDomain());
    ASSIGN_OR_RETURN(options.reference, oci::Reference::Parse(request.reference(), domain));
    ASSIGN_OR_RETURN(options.platform, PlatformOf(request.platform()));
    ASSIGN_OR_RETURN(options.registry, RegistryOptionsFor(request.scheme()));
    options.max_concurrent_downloads = request.max_concurrent_downloads() == 0
                                           ? kDefaultDownloads
                                           : request.max_concurrent_downloads();
    if (options.max_concurrent_downloads < 1 || options.max_concurrent_downloads > kDownloadLimit) {
      return absl::InvalidArgumentError(
          absl::StrCat("the number of concurrent downloads must be 1 to ", kDownloadLimit));
    }
    Reporter reporter(SinkTo(writer));
    const auto image = images::Pull(store_, options, reporter, CancelledBy(context));
    LogWarnings();
    RETURN_IF_ERROR(image.status(), absl::StrCat("pull ", options.reference.Familiar()));
    v1::ImageEvent event;
    event.set_image_json(ImageJson(store_, *image));
    writer->Write(event);
    return absl::OkStatus();
  }

  absl::Status DoPush(grpc::ServerContext* context, const v1::PushRequest& request,
                      grpc::ServerWriter<v1::PushEvent>* writer) {
    PushOptions options;
    options.reference = request.reference();
    ASSIGN_OR_RETURN(options.default_domain, DefaultDomain());
    if (!request.platform().empty()) {
      ASSIGN_OR_RETURN(options.platform, oci::Platform::Parse(request.platform()));
    }
    ASSIGN_OR_RETURN(options.registry, RegistryOptionsFor(request.scheme()));
    options.max_concurrent_uploads = request.max_concurrent_uploads() == 0
                                         ? kDefaultDownloads
                                         : request.max_concurrent_uploads();
    if (options.max_concurrent_uploads < 1 || options.max_concurrent_uploads > kDownloadLimit) {
      return absl::InvalidArgumentError(
          absl::StrCat("the number of concurrent uploads must be 1 to ", kDownloadLimit));
    }
    Reporter reporter(SinkTo(writer));
    const auto pushed = images::Push(store_, options, reporter, CancelledBy(context));
    RETURN_IF_ERROR(pushed.status(), absl::StrCat("push ", request.reference()));
    v1::PushEvent event;
    event.set_name(pushed->name);
    event.set_descriptor_json(pushed->descriptor.ToJson().dump());
    writer->Write(event);
    return absl::OkStatus();
  }

  absl::Status DoSave(grpc::ServerContext* context, const v1::SaveRequest& request,
                      grpc::ServerWriter<v1::SaveEvent>* writer) {
    SaveOptions options;
    options.references = {request.references().begin(), request.references().end()};
    ASSIGN_OR_RETURN(options.default_domain, DefaultDomain());
    if (!request.platform().empty()) {
      ASSIGN_OR_RETURN(options.platform, oci::Platform::Parse(request.platform()));
    }
    const Cancelled cancelled = CancelledBy(context);
    Reporter reporter(SinkTo(writer));
    absl::StatusOr<std::vector<std::string>> saved;
    if (request.path().empty()) {
      v1::SaveEvent event;
      const ArchiveSink sink = [&](absl::string_view data) -> absl::Status {
        event.set_data(data.data(), data.size());
        if (writer->Write(event)) return absl::OkStatus();
        return absl::CancelledError("the client has gone");
      };
      // Progress would come from the same thread: it fits between the parts.
      saved = images::Save(store_, options, sink, reporter, cancelled);
    } else if (request.path()[0] != '/') {
      return absl::InvalidArgumentError("the archive's path is not absolute");
    } else {
      saved = images::SaveFile(store_, options, request.path(), reporter, cancelled);
    }
    RETURN_IF_ERROR(saved.status(), "save");
    v1::SaveEvent event;
    for (const std::string& name : *saved) event.add_names(name);
    writer->Write(event);
    return absl::OkStatus();
  }

  absl::Status DoLogin(grpc::ServerContext* context, const v1::LoginRequest& request,
                       v1::LoginResponse& response) {
    ASSIGN_OR_RETURN(const std::string registry, oci::CanonicalRegistry(request.registry()));
    if (request.username().empty() || absl::StrContains(request.username(), ":")) {
      return absl::InvalidArgumentError("the user name is empty or has a ':' in it");
    }
    ASSIGN_OR_RETURN(const oci::RegistryOptions options, RegistryOptionsFor(request.scheme()));
    const oci::Credential credential{request.username(), request.password(), ""};
    oci::Endpoint endpoint(registry, options, CancelledBy(context), credential);
    RETURN_IF_ERROR(endpoint.Check(), absl::StrCat("log in to ", registry));
    RETURN_IF_ERROR(oci::CredentialStore::FromEnvironment().Put(registry, credential),
                    "keep the login");
    response.set_registry(registry);
    return absl::OkStatus();
  }

  absl::Status DoLoad(grpc::ServerContext* context, const v1::LoadRequest& request,
                      grpc::ServerWriter<v1::ImageEvent>* writer) {
    if (request.path().empty() || request.path()[0] != '/') {
      return absl::InvalidArgumentError("the archive's path is not absolute");
    }
    Reporter reporter(SinkTo(writer));
    const auto loaded = images::Load(store_, request.path(), reporter, CancelledBy(context));
    LogWarnings();
    RETURN_IF_ERROR(loaded.status());
    for (const store::NamedImage& image : *loaded) {
      v1::ImageEvent event;
      event.set_image_json(ImageJson(store_, image));
      writer->Write(event);
    }
    return absl::OkStatus();
  }

  absl::Status DoPrepareRoot(grpc::ServerContext* context, const v1::PrepareRootRequest& request,
                             grpc::ServerWriter<v1::PrepareRootEvent>* writer) {
    ASSIGN_OR_RETURN(const oci::Platform platform, PlatformOf(request.platform()));
    ASSIGN_OR_RETURN(const std::string domain, DefaultDomain());
    Reporter reporter(SinkTo(writer));
    const auto prepared = images::PrepareRoot(store_, request.reference(), platform, reporter,
                                              CancelledBy(context), domain);
    LogWarnings();
    RETURN_IF_ERROR(prepared.status());
    v1::PrepareRootEvent event;
    v1::Root& root = *event.mutable_root();
    root.set_path(prepared->path);
    root.set_reference(prepared->image.name);
    root.set_descriptor_json(prepared->image.descriptor.ToJson().dump());
    root.set_config_json(prepared->variant.config.json.dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace));
    root.set_platform(prepared->variant.platform.ToString());
    writer->Write(event);
    return absl::OkStatus();
  }

  void LogWarnings() {
    for (const std::string& warning : store_.TakeWarnings()) spdlog::error("{}", warning);
  }

  store::ContentStore& store_;
  const std::string containers_folder_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewImagesService(store::ContentStore& store,
                                                std::string containers_folder) {
  return std::make_unique<ImagesService>(store, std::move(containers_folder));
}

}  // namespace container::images
