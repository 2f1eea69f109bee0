// What a container becomes of what the user asks for and what its image says, by docker's rules:
//
// - The words behind the image replace Cmd. --entrypoint replaces Entrypoint and drops Cmd;
//   --entrypoint "" drops both.
// - PATH, HOSTNAME and, with a terminal, TERM have defaults; the image's Env goes over them, the
//   user's over both.
// - User, WorkingDir, StopSignal and Labels are the image's unless the user says otherwise.
//
// Source of the image's side: the OCI image specification, "Image Configuration".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/container.h"

namespace container::apiserver {

/// The parts of an OCI image configuration that a container takes over.
struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::vector<std::string> environment;
  std::string user;
  std::string working_directory;
  std::string stop_signal;
  std::map<std::string, std::string> labels;
};

/// DATA_LOSS if `config_json` is not an OCI image configuration. Missing and null fields are empty.
absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view config_json);

/// The limits of one host and the defaults of its config.toml.
struct CreateDefaults {
  int cpus = 4;
  int64_t memory_bytes = int64_t{1} << 30;
  int host_cpus = 1;
};

/// Checks all of `options` that can be checked without the image. INVALID_ARGUMENT.
absl::Status ValidateCreateOptions(const model::CreateOptions& options,
                                   const CreateDefaults& defaults);

/// The first process, resources, labels, stop signal, hostname. `id` is the container's;
/// the image's identity and the creation date are the caller's to fill in. INVALID_ARGUMENT if
/// there is no command at all.
absl::StatusOr<model::ContainerConfiguration> MakeConfiguration(const std::string& id,
                                                                const model::CreateOptions& options,
                                                                const ImageConfig& image,
                                                                const CreateDefaults& defaults);

/// A further process of a container: what `options` leave open is that of the first process.
absl::StatusOr<model::ProcessConfiguration> MakeExecConfiguration(
    const model::ProcessOptions& options, const model::ContainerConfiguration& container);

/// `over` on top of `under`: entries with the same key are replaced in place, others appended.
std::vector<std::string> MergeEnvironment(std::vector<std::string> under,
                                          const std::vector<std::string>& over);

}  // namespace container::apiserver
