// The options that run, create and exec share, and what they come to.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/env_file.h"
#include "cli/options.h"
#include "model/container.h"

namespace container::cli {

/// -e --env-file -w -u --uid --gid --ulimit -i -t.
struct ProcessFlags {
  bool interactive = false;
  bool terminal = false;
  std::vector<std::string> environment;
  std::vector<std::string> env_files;
  std::optional<std::string> working_directory;
  std::optional<std::string> user;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::vector<model::Rlimit> rlimits;

  void Declare(OptionParser& parser);
  /// INVALID_ARGUMENT for malformed entries; NOT_FOUND for a missing file.
  absl::StatusOr<model::ProcessOptions> Resolve(std::vector<std::string> arguments,
                                                const HostEnvironment& host) const;
};

/// --platform, -a, --os.
struct PlatformFlags {
  std::string platform;
  std::string architecture;
  std::string os;

  void Declare(OptionParser& parser);
  /// "os/arch[/variant]", or "" for the host's; INVALID_ARGUMENT if they contradict one another.
  absl::StatusOr<std::string> Resolve() const;
};

/// --scheme, --progress, --max-concurrent-downloads.
struct FetchFlags {
  std::string scheme = "auto";
  ProgressMode progress = ProgressMode::kNone;
  std::optional<int> max_concurrent_downloads;

  /// Sets `progress` to the automatic mode.
  void Declare(OptionParser& parser);
  // Parts of it, for commands that don't fetch.
  void DeclareScheme(OptionParser& parser);
  void DeclareProgress(OptionParser& parser);
  void DeclareConnection(OptionParser& parser) {
    DeclareScheme(parser);
    DeclareProgress(parser);
  }
  PullOptions Resolve(std::string reference, std::string platform) const;
};

/// What run and create have in common.
struct CreateFlags {
  ProcessFlags process;
  PlatformFlags platform;
  FetchFlags fetch;
  std::string name;
  std::string image;
  std::string cidfile;
  std::optional<std::string> entrypoint;
  std::optional<int> cpus;
  std::optional<int64_t> memory_bytes;
  bool auto_remove = false;
  std::string pull = "missing";
  /// Those options that need no more than their parsing; the rest is filled in by Resolve.
  model::CreateOptions options;
  std::vector<std::string> arguments;

  void Declare(OptionParser& parser);
  absl::StatusOr<model::CreateOptions> Resolve(const HostEnvironment& host) const;

 private:
  void DeclareRights(OptionParser& parser);
  void DeclareMachine(OptionParser& parser);
};

/// Creates the container, pulling its image as `pull` says (shown as `fetch` says), and writes
/// the cidfile. ALREADY_EXISTS if that file is there. Returns the id.
absl::StatusOr<std::string> CreateContainer(Client& client, const CreateFlags& flags,
                                            const model::CreateOptions& options);

}  // namespace container::cli
