// The container-apiserver as the commands see it: plain structs, no gRPC.
//
// Every call has a deadline but those that last as long as a process or a transfer. Errors are
// those of the .proto files. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/paths.h"
#include "cli/output/progress.h"
#include "cli/output/terminal.h"

namespace container::cli {

/// Paths of sockets on which this process listens; empty: the stream is not wanted.
struct StdioSockets {
  std::string in;
  std::string out;
  std::string error;
};

/// The program could not be executed.
struct ExecFailure {
  int exit_code = 0;  // 126 or 127
  std::string message;
};

struct LogChunk {
  std::string data;
  bool standard_error = false;
  int64_t time_ns = 0;  // since the epoch; 0: not known
};

struct HelperStatus {
  std::string name;
  int pid = 0;
  std::string version;
  std::string state;
};

struct SystemStatus {
  std::string version;
  std::string commit;
  int pid = 0;
  std::string app_root;
  std::string install_root;
  std::string log_root;
  std::string accelerator;
  std::string accelerator_reason;
  std::string qemu_version;
  std::string kernel_path;
  std::string kernel_version;
  std::vector<HelperStatus> helpers;
  int64_t containers_running = 0;
  int64_t containers_total = 0;
  std::vector<std::string> warnings;
};

/// Which kernel `system kernel set` installs.
struct KernelSource {
  std::string binary;   // absolute path; in an archive: the member's
  std::string archive;  // absolute path, or ""
  std::string digest;
  bool recommended = false;
  bool force = false;
};

struct PullOptions {
  std::string reference;
  std::string platform;
  std::string scheme = "auto";  // "auto", "http", "https"
  int max_concurrent_downloads = 0;
};

struct DeletedImage {
  std::string name;
  int64_t reclaimed_bytes = 0;
};

struct PushOptions {
  std::string reference;
  std::string platform;
  std::string scheme = "auto";
  int max_concurrent_uploads = 0;
};

struct PushedImage {
  std::string name;
  std::string digest;  // "sha256:…", in the registry
};

struct SaveOptions {
  std::vector<std::string> references;
  std::string platform;
  std::string path;  // absolute; empty: the archive comes in parts
};

struct PruneOptions {
  bool all = false;
  std::vector<std::string> in_use_references;
  std::vector<std::string> in_use_digests;
};

struct PrunedImages {
  std::vector<std::string> names;
  int64_t reclaimed_bytes = 0;
};

/// What images take of the disk; see images.v1.DiskUsageResponse.
struct ImageUsage {
  int64_t images = 0;
  int64_t images_in_use = 0;
  int64_t blob_bytes = 0;
  int64_t reclaimable_blob_bytes = 0;
  int64_t roots = 0;
  int64_t roots_in_use = 0;
  int64_t root_bytes = 0;
  int64_t reclaimable_root_bytes = 0;
  int64_t leftover_bytes = 0;
};

struct StoreFault {
  bool is_error = true;
  std::string subject;
  std::vector<std::string> images;
  std::string message;
};

struct StoreVerification {
  std::vector<StoreFault> faults;
  int64_t blobs = 0;
  int64_t blob_bytes = 0;
  int64_t roots = 0;
  int64_t containers = 0;
};

struct RegistryLogin {
  std::string registry;
  std::string username;
  int64_t modified_ns = 0;  // since the epoch; 0: not known
};

class Client {
 public:
  using OnProgress = std::function<void(const ProgressEvent&)>;
  /// Returns false to end the stream.
  using OnLog = std::function<bool(const LogChunk&)>;

  /// UNAVAILABLE with a hint if no apiserver answers at `paths`.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const base::Paths& paths, bool debug);
  /// With the paths of the environment.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(bool debug);
  ~Client();

  // Containers. Options are the JSON of model::CreateOptions and model::ProcessOptions; objects are
  // the JSON of `container inspect`.
  absl::StatusOr<std::string> Create(const std::string& options_json);
  absl::StatusOr<std::optional<ExecFailure>> Start(const std::string& id, const StdioSockets& stdio,
                                                   TerminalSize size);
  absl::StatusOr<std::optional<ExecFailure>> Exec(const std::string& id,
                                                  const std::string& process_id,
                                                  const std::string& options_json,
                                                  const StdioSockets& stdio, TerminalSize size);
  /// The exit code; blocks until the process has ended. An empty process id: the first process.
  absl::StatusOr<int> Wait(const std::string& id, const std::string& process_id);
  absl::Status Signal(const std::string& id, const std::string& process_id, int signal);
  absl::Status Resize(const std::string& id, const std::string& process_id, TerminalSize size);
  /// Signal 0: the container's own; a negative timeout: the container's own.
  absl::Status Stop(const std::string& id, int signal, std::chrono::milliseconds timeout);
  absl::Status Delete(const std::string& id, bool force);
  absl::StatusOr<std::vector<std::string>> List(bool all);
  absl::StatusOr<std::string> Get(const std::string& id);
  absl::Status Logs(const std::string& id, bool follow, int64_t tail, bool boot,
                    const OnLog& on_log);

  // Images; objects are the JSON of `container image inspect`.
  absl::StatusOr<std::string> PullImage(const PullOptions& options, const OnProgress& on_progress);
  absl::StatusOr<std::vector<std::string>> LoadImages(const std::string& path,
                                                      const OnProgress& on_progress);
  absl::StatusOr<std::vector<std::string>> ListImages();
  absl::StatusOr<std::string> GetImage(const std::string& reference);
  absl::StatusOr<std::string> TagImage(const std::string& source, const std::string& target);
  absl::StatusOr<DeletedImage> DeleteImage(const std::string& reference);

  absl::StatusOr<PushedImage> PushImage(const PushOptions& options, const OnProgress& on_progress);
  /// The names in the archive. `on_data` gets its parts where no path is given.
  absl::StatusOr<std::vector<std::string>> SaveImages(
      const SaveOptions& options, const OnProgress& on_progress,
      const std::function<absl::Status(const std::string&)>& on_data);
  absl::StatusOr<PrunedImages> PruneImages(const PruneOptions& options);
  /// `in_use`: its references and digests.
  absl::StatusOr<ImageUsage> GetImageUsage(const PruneOptions& in_use);
  absl::StatusOr<StoreVerification> VerifyImages(const OnProgress& on_progress);

  // Registries; the results are the registry's name as it is kept.
  absl::StatusOr<std::string> Login(const std::string& registry, const std::string& username,
                                    const std::string& password, const std::string& scheme);
  absl::StatusOr<std::string> Logout(const std::string& registry);
  absl::StatusOr<std::vector<RegistryLogin>> ListLogins();

  // The system.
  absl::StatusOr<SystemStatus> GetStatus();
  absl::StatusOr<std::string> SetKernel(const KernelSource& source);
  absl::Status SystemLogs(bool follow, std::chrono::seconds last, const OnLog& on_log);
  absl::Status Shutdown();

 private:
  struct Stubs;
  explicit Client(std::unique_ptr<Stubs> stubs);
  std::unique_ptr<Stubs> stubs_;
};

}  // namespace container::cli
