#include "plugins/core_images/oci/credentials.h"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/units.h"
#include "nlohmann/json.hpp"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::oci {
namespace {

constexpr size_t kFileLimitBytes = 4 << 20;
constexpr size_t kHelperAnswerLimitBytes = 1 << 20;
constexpr auto kHelperTimeout = std::chrono::seconds(30);
// What docker writes for its own registry.
constexpr char kDockerHubKey[] = "https://index.docker.io/v1/";
constexpr char kIdentityUser[] = "<token>";

// The registry that a key of "auths" or "credHelpers" is for.
std::string RegistryOfKey(absl::string_view key) {
  if (!absl::ConsumePrefix(&key, "https://")) absl::ConsumePrefix(&key, "http://");
  const std::string host = absl::AsciiStrToLower(key.substr(0, key.find('/')));
  if (host == "index.docker.io" || host == "registry-1.docker.io") {
    return std::string(kDefaultDomain);
  }
  return host;
}

// A file's JSON object; an empty one if the file is not there.
absl::StatusOr<nlohmann::json> ReadObject(const std::string& path) {
  if (path.empty()) return nlohmann::json::object();
  const absl::StatusOr<std::string> text = base::ReadFile(path, kFileLimitBytes);
  if (absl::IsNotFound(text.status())) return nlohmann::json::object();
  RETURN_IF_ERROR(text.status());
  // Not the parser's own words: they may quote the secrets.
  const absl::StatusOr<nlohmann::json> document = ParseJson(*text, kFileLimitBytes);
  if (!document.ok() || !document->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is no JSON object: repair or remove it"));
  }
  return *document;
}

std::string Text(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::StatusOr<Credential> ParseAuth(const nlohmann::json& entry) {
  Credential credential;
  credential.identity_token = Text(entry, "identitytoken");
  credential.username = Text(entry, "username");
  credential.password = Text(entry, "password");
  if (const std::string auth = Text(entry, "auth"); !auth.empty()) {
    std::string plain;
    const bool decoded = absl::Base64Unescape(auth, &plain);
    const size_t colon = plain.find(':');
    if (!decoded || colon == std::string::npos) {
      return absl::InvalidArgumentError("'auth' is not the base64 form of user:password");
    }
    credential.username = plain.substr(0, colon);
    credential.password = plain.substr(colon + 1);
    // Some writers fill up with zero bytes.
    while (!credential.password.empty() && credential.password.back() == '\0') {
      credential.password.pop_back();
    }
  }
  return credential;
}

bool IsEmpty(const Credential& credential) {
  return credential.username.empty() && credential.identity_token.empty();
}

absl::StatusOr<std::optional<Credential>> FindInAuths(const nlohmann::json& document,
                                                      const std::string& registry,
                                                      const std::string& path) {
  const auto auths = document.find("auths");
  if (auths == document.end() || !auths->is_object()) return std::optional<Credential>();
  for (const auto& [key, entry] : auths->items()) {
    if (RegistryOfKey(key) != registry || !entry.is_object()) continue;
    ASSIGN_OR_RETURN(Credential credential, ParseAuth(entry),
                     absl::StrCat(path, ": the login for ", registry));
    // Docker leaves an empty entry behind where a helper keeps the secret.
    if (!IsEmpty(credential)) return std::optional(std::move(credential));
  }
  return std::optional<Credential>();
}

bool IsProgramPart(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

// Asks `docker-credential-NAME get`: the server's name in, a JSON object out.
absl::StatusOr<std::optional<Credential>> AskHelper(const std::string& name,
                                                    const std::string& server) {
  if (!IsProgramPart(name)) {
    return absl::InvalidArgumentError("a credential helper has a name that is no program's");
  }
  const std::string program = absl::StrCat("docker-credential-", name);
  ASSIGN_OR_RETURN(base::FdPair input, base::MakePipe());
  ASSIGN_OR_RETURN(base::FdPair output, base::MakePipe());
  base::SubprocessSpec spec;
  spec.program = program;
  spec.arguments = {"get"};
  spec.fds = {{input.first.get(), 0}, {output.second.get(), 1}};
  absl::StatusOr<base::Subprocess> spawned = base::Subprocess::Spawn(spec);
  if (!spawned.ok()) {
    return absl::UnavailableError(
        absl::StrCat("credential helper ", program, " can't be run: ", spawned.status().message()));
  }
  base::Subprocess process = *std::move(spawned);
  input.first.Reset();
  output.second.Reset();
  // Shorter than a pipe's buffer, and SIGPIPE is ignored: this neither blocks nor kills.
  base::WriteAll(input.second.get(), server).IgnoreError();
  input.second.Reset();
  const auto deadline = std::chrono::steady_clock::now() + kHelperTimeout;
  std::string answer;
  std::vector<char> buffer(16 << 10);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    ASSIGN_OR_RETURN(const bool readable,
                     base::PollFd(output.first.get(), POLLIN, std::max(left, left.zero())));
    if (!readable || answer.size() > kHelperAnswerLimitBytes) {
      return absl::UnavailableError(absl::StrCat("credential helper ", program, " hangs"));
    }
    ASSIGN_OR_RETURN(const size_t count, base::ReadSome(output.first.get(), buffer));
    if (count == 0) break;
    answer.append(buffer.data(), count);
  }
  ASSIGN_OR_RETURN(const auto end, process.WaitFor(std::chrono::seconds(5)));
  if (!end.has_value()) {
    return absl::UnavailableError(absl::StrCat("credential helper ", program, " hangs"));
  }
  if (*end != base::ProcessEnd{}) {
    // The protocol's own words for "I have none".
    if (absl::StrContains(answer, "credentials not found")) return std::optional<Credential>();
    return absl::UnavailableError(
        absl::StrCat("credential helper ", program, " failed: ", end->ToString()));
  }
  const absl::StatusOr<nlohmann::json> document = ParseJson(answer, kHelperAnswerLimitBytes);
  if (!document.ok() || !document->is_object()) {
    return absl::UnavailableError(
        absl::StrCat("credential helper ", program, " gave an answer that is no JSON object"));
  }
  Credential credential;
  credential.username = Text(*document, "Username");
  const std::string secret = Text(*document, "Secret");
  if (credential.username == kIdentityUser) {
    credential.username.clear();
    credential.identity_token = secret;
  } else {
    credential.password = secret;
  }
  if (IsEmpty(credential)) return std::optional<Credential>();
  return std::optional(std::move(credential));
}

// Changes our own file under its lock. `change` returns false where nothing is to be written.
template <typename Change>
absl::StatusOr<bool> Edit(const std::string& path, Change change) {
  if (path.empty()) {
    return absl::FailedPreconditionError("there is no place for logins: HOME is not set");
  }
  RETURN_IF_ERROR(base::MakeDirectories(std::filesystem::path(path).parent_path()));
  ASSIGN_OR_RETURN(const base::Fd lock, base::LockFile(path + ".lock", /*wait=*/true));
  ASSIGN_OR_RETURN(nlohmann::json document, ReadObject(path));
  nlohmann::json& auths = document["auths"];
  if (!auths.is_object()) auths = nlohmann::json::object();
  if (!change(auths)) return false;
  RETURN_IF_ERROR(base::WriteFileAtomically(path, document.dump(2) + "\n", 0600));
  return true;
}

}  // namespace

CredentialStore CredentialStore::FromEnvironment() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  std::string folder = variable("DOCKER_CONFIG");
  if (folder.empty() && !variable("HOME").empty()) folder = variable("HOME") + "/.docker";
  return CredentialStore(base::RegistryAuthFile(), folder.empty() ? "" : folder + "/config.json");
}

absl::StatusOr<std::optional<Credential>> CredentialStore::Find(const std::string& registry) const {
  ASSIGN_OR_RETURN(const nlohmann::json own, ReadObject(own_file_));
  ASSIGN_OR_RETURN(std::optional<Credential> found, FindInAuths(own, registry, own_file_));
  if (found.has_value()) return found;

  ASSIGN_OR_RETURN(const nlohmann::json docker, ReadObject(docker_file_));
  const std::string server = registry == kDefaultDomain ? kDockerHubKey : registry;
  const auto helpers = docker.find("credHelpers");
  if (helpers != docker.end() && helpers->is_object()) {
    for (const auto& [key, name] : helpers->items()) {
      if (RegistryOfKey(key) != registry || !name.is_string()) continue;
      return AskHelper(name.get<std::string>(), server);
    }
  }
  if (const std::string name = Text(docker, "credsStore"); !name.empty()) {
    ASSIGN_OR_RETURN(found, AskHelper(name, server));
    if (found.has_value()) return found;
  }
  return FindInAuths(docker, registry, docker_file_);
}

absl::Status CredentialStore::Put(const std::string& registry, const Credential& credential) const {
  return Edit(own_file_,
              [&](nlohmann::json& auths) {
                nlohmann::json entry = nlohmann::json::object();
                if (credential.identity_token.empty()) {
                  entry["auth"] = absl::Base64Escape(
                      absl::StrCat(credential.username, ":", credential.password));
                } else {
                  entry["username"] = credential.username;
                  entry["identitytoken"] = credential.identity_token;
                }
                entry["modified"] = base::FormatTimestamp(std::chrono::system_clock::now());
                auths[registry] = std::move(entry);
                return true;
              })
      .status();
}

absl::StatusOr<bool> CredentialStore::Remove(const std::string& registry) const {
  return Edit(own_file_, [&](nlohmann::json& auths) { return auths.erase(registry) > 0; });
}

absl::StatusOr<std::vector<Login>> CredentialStore::List() const {
  ASSIGN_OR_RETURN(const nlohmann::json document, ReadObject(own_file_));
  std::vector<Login> logins;
  const auto auths = document.find("auths");
  if (auths == document.end() || !auths->is_object()) return logins;
  for (const auto& [key, entry] : auths->items()) {
    if (!entry.is_object()) continue;
    ASSIGN_OR_RETURN(const Credential credential, ParseAuth(entry),
                     absl::StrCat(own_file_, ": the login for ", key));
    Login login{RegistryOfKey(key), credential.username};
    const auto modified = base::ParseTimestamp(Text(entry, "modified"));
    if (modified.ok()) {
      login.modified_ns =
          std::chrono::duration_cast<std::chrono::nanoseconds>(modified->time_since_epoch())
              .count();
    }
    logins.push_back(std::move(login));
  }
  std::sort(logins.begin(), logins.end(),
            [](const Login& a, const Login& b) { return a.registry < b.registry; });
  return logins;
}

absl::StatusOr<std::string> CanonicalRegistry(absl::string_view text) {
  const std::string registry = RegistryOfKey(text);
  // The grammar of references decides; a bare word is a host here, though not there.
  const absl::StatusOr<Reference> reference = Reference::Parse(absl::StrCat(registry, "/a/b"));
  const bool has_mark = registry.find_first_of(".:") != std::string::npos;
  if (registry.empty() || (has_mark && (!reference.ok() || reference->domain != registry)) ||
      (!has_mark && !reference.ok())) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is no registry; expected a name such as ghcr.io or host:5000"));
  }
  return registry;
}

}  // namespace container::oci
