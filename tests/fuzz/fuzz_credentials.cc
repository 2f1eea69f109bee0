// Our own file of logins and docker's. Helpers that the input names are not found: tests/fuzz/run
// empties PATH.

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "plugins/core_images/oci/credentials.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  ::signal(SIGPIPE, SIG_IGN);
  return ::setenv("PATH", "/nonexistent", 1);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = ::memfd_create("credentials", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const container::oci::CredentialStore own(path, "");
  const container::oci::CredentialStore docker("", path);
  own.List().status().IgnoreError();
  for (const char* registry : {"docker.io", "localhost:5000"}) {
    own.Find(registry).status().IgnoreError();
    docker.Find(registry).status().IgnoreError();
  }
  ::close(fd);
  return 0;
}
