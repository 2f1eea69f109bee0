// The gRPC face of the helper: decodes, checks, calls images/, logs, encodes.
#pragma once

#include <memory>
#include <string>

#include "grpcpp/impl/service_type.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

/// An Images service (proto/images.proto) over `store`, which must outlive it. Threads: as gRPC
/// calls it. Below `containers_folder` are the containers' bundles, which link the roots.
std::unique_ptr<grpc::Service> NewImagesService(store::ContentStore& store,
                                                std::string containers_folder);

}  // namespace container::images
