#include "plugins/core_images/oci/digest.h"

#include <openssl/evp.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace container::oci {

absl::Status CheckDigest(absl::string_view digest) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!absl::StartsWith(digest, kSha256Prefix)) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest '", digest.substr(0, 80), "' is not a sha256 digest"));
  }
  const absl::string_view hex = digest.substr(kSha256Prefix.size());
  if (hex.size() != 64 || !std::all_of(hex.begin(), hex.end(), is_hex)) {
    return absl::InvalidArgumentError(
        absl::StrCat("digest '", digest.substr(0, 80), "' does not have 64 lower-case hex digits"));
  }
  return absl::OkStatus();
}

absl::string_view DigestHex(absl::string_view digest) {
  return absl::StartsWith(digest, kSha256Prefix) ? digest.substr(kSha256Prefix.size()) : digest;
}

std::string ShortDigest(absl::string_view digest) {
  return std::string(DigestHex(digest).substr(0, 12));
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(context_, EVP_sha256(), nullptr);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(absl::string_view data) {
  EVP_DigestUpdate(context_, data.data(), data.size());
}

std::string Sha256::Finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_, digest, &size);
  return absl::StrCat(kSha256Prefix, absl::BytesToHexString(absl::string_view(
                                         reinterpret_cast<const char*>(digest), size)));
}

std::string Sha256Digest(absl::string_view data) {
  Sha256 hasher;
  hasher.Update(data);
  return hasher.Finish();
}

}  // namespace container::oci
