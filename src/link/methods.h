// The numbers of the calls of proto/vminitd.proto on the wire: their order in the service.
#pragma once

#include <cstdint>

namespace container::link {

enum class VminitdMethod : uint16_t {
  kHello = 1,
  kCreateContainer = 2,
  kRunProcess = 3,
  kSignalProcess = 4,
  kResizeTerminal = 5,
  kPowerOff = 6,
};

}  // namespace container::link
