// What a container's configuration means to its guest.
#pragma once

#include "model/container.h"
#include "proto/vminitd.pb.h"

namespace container::runtime_linux {

/// Fills in all of `request` that options of run and create decide. The container's id, its root's
/// disks and its hostname are the caller's.
void DescribeOptions(const model::ContainerConfiguration& configuration,
                     vminitd::v1::CreateContainerRequest& request);

/// `mount` as mount(2) wants it. Options that ParseTmpfs would refuse are passed on as they are.
vminitd::v1::Tmpfs DescribeTmpfs(const model::TmpfsMount& mount);

}  // namespace container::runtime_linux
