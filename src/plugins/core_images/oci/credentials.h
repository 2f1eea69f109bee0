// Logins: who we are at which registry.
//
// They come from two places, the first that knows the registry wins:
// 1. our own file (base::RegistryAuthFile, mode 0600, replaced atomically): what `registry login`
//    wrote;
// 2. docker's config.json: "credHelpers" and "credsStore" (programs named docker-credential-NAME,
//    asked over their standard streams), then "auths" with "auth" or "identitytoken".
// Both files have the same form: {"auths": {"host[:port]": {"auth": base64("user:password")}}}.
//
// Nothing here logs, and no secret is ever part of an error or of a program's arguments.
// Errors: INVALID_ARGUMENT (a file that can't be understood: the message names it), those of the
// file system, UNAVAILABLE (a credential helper is missing or fails).
// Threads: may be used by several at once; files are locked where they are changed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::oci {

struct Credential {
  std::string username;
  std::string password;
  std::string identity_token;  // an OAuth2 refresh token, in place of the two above

  friend bool operator==(const Credential&, const Credential&) = default;
};

struct Login {
  std::string registry;  // "docker.io", "localhost:5000"
  std::string username;
  int64_t modified_ns = 0;  // when it was written, since the epoch; 0: not known

  friend bool operator==(const Login&, const Login&) = default;
};

class CredentialStore {
 public:
  /// An empty path stands for a file that is not there.
  CredentialStore(std::string own_file, std::string docker_file)
      : own_file_(std::move(own_file)), docker_file_(std::move(docker_file)) {}
  /// With base::RegistryAuthFile and docker's $DOCKER_CONFIG/config.json or ~/.docker/config.json.
  static CredentialStore FromEnvironment();

  /// `registry` is a reference's domain: "docker.io", "localhost:5000".
  absl::StatusOr<std::optional<Credential>> Find(const std::string& registry) const;

  // Our own file alone.

  absl::Status Put(const std::string& registry, const Credential& credential) const;
  /// False if there was no login.
  absl::StatusOr<bool> Remove(const std::string& registry) const;
  /// Sorted by registry.
  absl::StatusOr<std::vector<Login>> List() const;

 private:
  std::string own_file_;
  std::string docker_file_;
};

/// The registry that a person means by "https://Host:443/v1/", "index.docker.io" or "host:5000", as
/// references have it. INVALID_ARGUMENT if it is none.
absl::StatusOr<std::string> CanonicalRegistry(absl::string_view text);

}  // namespace container::oci
