#include <filesystem>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
namespace {

std::string Absolute(const std::string& path) {
  std::error_code error;
  return std::filesystem::absolute(path, error);
}

}  // namespace

int SystemKernelSet(Invocation& call) {
  KernelSource source;
  OptionParser parser(call, "Installs a kernel for the virtual machines of new containers.");
  parser.Value("--binary", "PATH", &source.binary,
               "An uncompressed vmlinux; with --tar, its path in the archive");
  parser.Value("--tar", "PATH", &source.archive, "An archive that holds the kernel");
  parser.Value("--digest", "sha256:HEX", &source.digest, "What the archive must hash to");
  parser.Flag("--recommended", &source.recommended,
              "The kernel of this installation, or of config.toml");
  parser.Flag("--force", &source.force, "Replace one that is installed");
  parser.Example("container system kernel set --recommended", "Back to the default");
  parser.Example("container system kernel set --binary ./vmlinux", "One of your own");
  parser.Example("container system kernel set --tar k.tar.gz --binary boot/vmlinux",
                 "Out of an archive");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (source.recommended && !(source.binary.empty() && source.archive.empty())) {
    return parser.WrongUsage("--recommended excludes --binary and --tar");
  }
  if (!source.recommended && source.binary.empty()) {
    return parser.WrongUsage(source.archive.empty()
                                 ? "one of --recommended, --binary and --tar is needed"
                                 : "--tar needs --binary, the kernel's path in the archive");
  }
  if (!source.digest.empty() && source.archive.empty()) {
    return parser.WrongUsage("--digest is for --tar");
  }
  if (!source.archive.empty()) {
    source.archive = Absolute(source.archive);
  } else if (!source.binary.empty()) {
    source.binary = Absolute(source.binary);
  }

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::string> path = (*client)->SetKernel(source);
  if (!path.ok()) return Fail(path.status());
  PrintLine(*path);
  return kSuccess;
}

}  // namespace container::cli
