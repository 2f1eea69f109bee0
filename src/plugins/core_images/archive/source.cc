#include "plugins/core_images/archive/source.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/status.h"

namespace container::archive {

absl::StatusOr<size_t> ReadFully(Source& source, std::span<char> buffer) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    ASSIGN_OR_RETURN(const size_t got, source.Read(buffer.subspan(filled)));
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

absl::StatusOr<size_t> FdSource::Read(std::span<char> buffer) {
  return base::ReadSome(fd_, buffer);
}

absl::StatusOr<size_t> MemorySource::Read(std::span<char> buffer) {
  const size_t count = std::min(buffer.size(), data_.size());
  if (count > 0) std::memcpy(buffer.data(), data_.data(), count);
  data_ = data_.subspan(count);
  return count;
}

// A ring of buffers: the thread fills at `filled`, the reader empties at `taken`, both count up.
struct ReadAhead::State {
  struct Slot {
    std::vector<char> bytes = std::vector<char>(kBufferBytes);
    size_t size = 0;
  };

  explicit State(Source& source) : input(source) {}

  void Pump() {
    for (;;) {
      Slot* slot = nullptr;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return stopping || filled - taken < kBuffers; });
        if (stopping) return;
        slot = &slots[filled % kBuffers];
      }
      absl::StatusOr<size_t> got = ReadFully(input, slot->bytes);
      std::lock_guard lock(mutex);
      if (!got.ok()) {
        result = got.status();
        done = true;
      } else {
        slot->size = *got;
        if (*got > 0) ++filled;
        done = *got < kBufferBytes;
      }
      changed.notify_all();
      if (done) return;
    }
  }

  Source& input;
  std::mutex mutex;
  std::condition_variable changed;
  std::array<Slot, kBuffers> slots;
  uint64_t filled = 0;
  uint64_t taken = 0;
  bool done = false;
  bool stopping = false;
  absl::Status result;
  size_t offset = 0;  // the reader's place in the slot `taken`
  std::thread thread;
};

ReadAhead::ReadAhead(Source& input) : state_(std::make_unique<State>(input)) {
  state_->thread = std::thread([state = state_.get()] { state->Pump(); });
}

ReadAhead::~ReadAhead() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  state_->thread.join();
}

absl::StatusOr<size_t> ReadAhead::Read(std::span<char> buffer) {
  State& state = *state_;
  State::Slot* slot = nullptr;
  {
    std::unique_lock lock(state.mutex);
    state.changed.wait(lock, [&] { return state.done || state.filled > state.taken; });
    if (state.filled == state.taken) {
      if (!state.result.ok()) return state.result;
      return 0;
    }
    slot = &state.slots[state.taken % kBuffers];
  }
  const size_t count = std::min(buffer.size(), slot->size - state.offset);
  std::memcpy(buffer.data(), slot->bytes.data() + state.offset, count);
  state.offset += count;
  if (state.offset == slot->size) {
    std::lock_guard lock(state.mutex);
    state.offset = 0;
    ++state.taken;
    state.changed.notify_all();
  }
  return count;
}

}  // namespace container::archive
