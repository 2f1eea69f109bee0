// container.apiserver.v1.System.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apiserver/concurrency/event_loop.h"
#include "apiserver/concurrency/task_pool.h"
#include "apiserver/containers/manager.h"
#include "apiserver/images/images_helper.h"
#include "apiserver/system/virtual_machines.h"
#include "proto/apiserver.grpc.pb.h"

namespace container::apiserver {

class SystemService : public v1::System::CallbackService {
 public:
  struct Parts {
    const base::Paths& paths;
    ContainerManager& manager;
    ImagesHelper& images;
    VirtualMachines& machines;
    TaskPool& pool;
    FileWatcher& watcher;
    std::vector<std::string> warnings;  // of the start-up
    /// Ends the process; called when the answer to Shutdown is sent.
    std::function<void()> exit;
  };
  /// All that `parts` refers to must outlive the service.
  explicit SystemService(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::StatusRequest* request,
                                   v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* SetKernel(grpc::CallbackServerContext* context,
                                      const v1::SetKernelRequest* request,
                                      v1::SetKernelResponse* response) override;
  grpc::ServerUnaryReactor* Shutdown(grpc::CallbackServerContext* context,
                                     const v1::ShutdownRequest* request,
                                     v1::ShutdownResponse* response) override;
  grpc::ServerWriteReactor<v1::SystemLogsResponse>* Logs(
      grpc::CallbackServerContext* context, const v1::SystemLogsRequest* request) override;

 private:
  void FillStatus(v1::StatusResponse& response);
  absl::StatusOr<std::string> InstallKernel(const v1::SetKernelRequest& request);
  Parts parts_;
};

}  // namespace container::apiserver
