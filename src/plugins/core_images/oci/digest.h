// Content digests: "sha256:" and 64 lower-case hexadecimal digits. Other algorithms are refused, as
// nothing in use writes them.
//
// Source: OCI image specification, descriptor.md, "Digests".
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace container::oci {

inline constexpr absl::string_view kSha256Prefix = "sha256:";

/// INVALID_ARGUMENT unless `digest` is a well-formed sha256 digest.
absl::Status CheckDigest(absl::string_view digest);

/// The digits after "sha256:" of a digest that CheckDigest accepts.
absl::string_view DigestHex(absl::string_view digest);

/// The first 12 digits, for people.
std::string ShortDigest(absl::string_view digest);

/// Hashes a stream.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(absl::string_view data);
  /// "sha256:<hex>". Ends the stream: nothing may be called after it.
  std::string Finish();

 private:
  evp_md_ctx_st* context_;
};

/// "sha256:<hex>" of `data`.
std::string Sha256Digest(absl::string_view data);

}  // namespace container::oci
