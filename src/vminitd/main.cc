// vminitd, PID 1 of a container's VM.
//
// Threads: main is the event loop that owns all state and speaks to the host; one thread a
// container lives in its namespaces. The order of the start hides latency: the container's root is
// mounted on its thread while this one opens the agent port.
#include <linux/reboot.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/status.h"
#include "vminitd/agent_port.h"
#include "vminitd/bounds.h"
#include "vminitd/container.h"
#include "vminitd/event_loop.h"
#include "vminitd/guest_log.h"
#include "vminitd/mounts.h"
#include "vminitd/service.h"
#include "vminitd/supervisor.h"

namespace container::vminitd {
namespace {

void BlockSignals() {
  // SIGCHLD is read by signalfd; PID 1 is sent nothing else that it hasn't asked for.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

absl::Status Run() {
  RETURN_IF_ERROR(MountGuest());
  ASSIGN_OR_RETURN(std::unique_ptr<EventLoop> loop, EventLoop::Create());
  ASSIGN_OR_RETURN(std::unique_ptr<Supervisor> supervisor, Supervisor::Create(loop.get()));
  // If there are no such disks this fails, and CreateContainer names others.
  supervisor->Adopt(
      std::make_unique<Container>(RootDisks{{kLowerSerial, "erofs"}, {kUpperSerial, "ext4"}}));
  ASSIGN_OR_RETURN(base::Fd port, OpenAgentPort());
  ASSIGN_OR_RETURN(std::unique_ptr<AgentServer> server,
                   AgentServer::Create(supervisor.get(), std::move(port)));
  ConfigureKernel();
  loop->Run();
}

}  // namespace
}  // namespace container::vminitd

int main() {
  namespace vminitd = container::vminitd;
  if (::getpid() != 1) {
    std::fputs("vminitd is the init of a container's VM and runs as process 1 only\n", stderr);
    return 2;
  }
  // One heap for all threads, and no processes of a container's that look into it: the child of a
  // spawn shares it for a moment.
  ::mallopt(M_ARENA_MAX, 1);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  vminitd::BlockSignals();
  const absl::Status status = vminitd::Run();
  vminitd::Log("can't start: %s", std::string(status.message()).c_str());
  ::sync();
  ::reboot(RB_AUTOBOOT);
  return 1;
}
