// The container command line: see app.h.
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/app.h"

int main(int argc, char** argv) {
  // A program started without standard streams must not give their numbers to its sockets.
  for (int fd = ::open("/dev/null", O_RDWR); fd >= 0; fd = ::open("/dev/null", O_RDWR)) {
    if (fd > 2) {
      ::close(fd);
      break;
    }
  }
  const int code =
      container::cli::Main(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  // Nothing is buffered, and tearing down gRPC would cost a millisecond.
  ::_exit(code);
}
