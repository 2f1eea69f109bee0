#include "vminitd/clock_and_entropy.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cstring>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace container::vminitd {

absl::Status SetWallClock(int64_t nanoseconds) {
  constexpr int64_t kStartOf2020Seconds = 1577836800;
  constexpr int64_t kNanosecondsASecond = 1'000'000'000;
  timespec time{};
  time.tv_sec = nanoseconds / kNanosecondsASecond;
  time.tv_nsec = nanoseconds % kNanosecondsASecond;
  if (time.tv_sec < kStartOf2020Seconds) {
    return absl::InvalidArgumentError("the wall clock is not set");
  }
  if (::clock_settime(CLOCK_REALTIME, &time) != 0) return base::ErrnoStatus("clock_settime");
  return absl::OkStatus();
}

absl::Status AddEntropy(const std::string& entropy) {
  if (entropy.size() < 32 || entropy.size() > 4096) {
    return absl::InvalidArgumentError("entropy must hold 32 to 4096 bytes");
  }
  ASSIGN_OR_RETURN(base::Fd random, base::Open("/dev/random", O_RDWR));
  std::vector<int> storage((sizeof(rand_pool_info) + entropy.size()) / sizeof(int) + 1);
  auto* info = reinterpret_cast<rand_pool_info*>(storage.data());
  info->entropy_count = static_cast<int>(entropy.size() * 8);
  info->buf_size = static_cast<int>(entropy.size());
  std::memcpy(info->buf, entropy.data(), entropy.size());
  if (::ioctl(random.get(), RNDADDENTROPY, info) != 0) return base::ErrnoStatus("RNDADDENTROPY");
  if (::ioctl(random.get(), RNDRESEEDCRNG) != 0) return base::ErrnoStatus("RNDRESEEDCRNG");
  return absl::OkStatus();
}

}  // namespace container::vminitd
