#include "addon/device-collective.h"

#include <algorithm>
#include <chrono>

#include "addon/cuda-library.h"
#include "status.h"

namespace muster::addon {
namespace {

/** Of a group's buffers, two a rank: a bucket of gradients of 25 MiB goes in one part. */
constexpr std::uint64_t kGroupBytes = std::uint64_t{32} << 20;
/** Of staging memory, which other programs lack, so much is kept for the next call. */
constexpr std::uint64_t kStagingKeptBytes = std::uint64_t{64} << 20;
/** What lies in staging memory begins on a cache line. */
constexpr std::uint64_t kLineBytes = 64;
/** How often a rank that waits for GPUs looks whether the communicator has ended meanwhile. */
constexpr std::uint32_t kLookMs = 20;
/** GPUs that wait for each other give up by themselves, and know for whom: the host gives them so much longer. */
constexpr std::chrono::milliseconds kGrace{1000};

#define MUSTER_TRY(call)                                                     \
  do {                                                                       \
    if (const muster_code code = (call); code != MUSTER_OK) return code;     \
  } while (false)

#define MUSTER_DEVICE_TRY(function, ...)                                                                          \
  do {                                                                                                            \
    if (const muster_code code = MUSTER_CUDA_FUNCTION(function)(__VA_ARGS__); code != MUSTER_OK) return failed(code); \
  } while (false)

bool isMessage(const muster_call& call) { return call.kind == MUSTER_SEND || call.kind == MUSTER_RECEIVE; }

std::uint64_t roundUp(std::uint64_t bytes) { return (bytes + kLineBytes - 1) / kLineBytes * kLineBytes; }

DeviceCollective::Way wayOf(muster_cuda_group_kind kind) {
  switch (kind) {
    case MUSTER_CUDA_GROUP_SHARED: return DeviceCollective::Way::shared;
    case MUSTER_CUDA_GROUP_PEER: return DeviceCollective::Way::peer;
    case MUSTER_CUDA_GROUP_NCCL: return DeviceCollective::Way::nccl;
  }
  return DeviceCollective::Way::staged;
}

}  // namespace

DeviceScope::DeviceScope(std::uint32_t device) : code_(MUSTER_CUDA_FUNCTION(muster_cuda_device_current)(&before_)) {
  if (code_ == MUSTER_OK) code_ = MUSTER_CUDA_FUNCTION(muster_cuda_device_use)(device);
}

DeviceScope::~DeviceScope() { MUSTER_CUDA_FUNCTION(muster_cuda_device_use)(before_); }

DeviceCollective::DeviceCollective(const muster_communicator* communicator, const Place& place) : communicator_(communicator), place_(place) {}

DeviceCollective::~DeviceCollective() {
  if (!hasBegun_) return;
  const DeviceScope scope(device_);
  MUSTER_CUDA_FUNCTION(muster_cuda_stream_wait)(stream_, place_.timeoutMs);
  if (group_ != nullptr) MUSTER_CUDA_FUNCTION(muster_cuda_group_close)(group_);
  MUSTER_CUDA_FUNCTION(muster_cuda_host_free)(staging_);
  if (ended_ != nullptr) MUSTER_CUDA_FUNCTION(muster_cuda_event_destroy)(ended_);
  if (stream_ != nullptr) MUSTER_CUDA_FUNCTION(muster_cuda_stream_destroy)(stream_);
}

muster_code DeviceCollective::failed(muster_code code) {
  const muster_failure failure = lastCudaFailure();
  if (failure.rank >= 0) return muster_turn_fail(turn_, code, static_cast<std::uint32_t>(failure.rank), failure.message);
  return recordFailure(code, failure.error_number, failure.file, failure.line, "%s", failure.message);
}

muster_code DeviceCollective::run(const DeviceSubmission& submission, muster_turn* turn) {
  turn_ = turn;
  const DeviceScope scope(submission.device);
  if (scope.code() != MUSTER_OK) return failed(scope.code());
  MUSTER_TRY(begin(submission.device));
  MUSTER_DEVICE_TRY(muster_cuda_stream_wait_event, stream_, submission.begun);
  std::vector<PlacedCall> messages;
  for (const PlacedCall& placed : submission.calls) {
    if (isMessage(placed.call)) {
      messages.push_back(placed);
    } else {
      MUSTER_TRY(placed.isOnDevice ? collective(placed.call) : muster_turn_run(turn_, &placed.call, 1));
    }
  }
  if (!messages.empty()) MUSTER_TRY(stage(messages));
  MUSTER_DEVICE_TRY(muster_cuda_event_record, ended_, stream_);
  MUSTER_DEVICE_TRY(muster_cuda_stream_wait_event, submission.stream, ended_);
  return MUSTER_OK;
}

/** At the first call. */
muster_code DeviceCollective::begin(std::uint32_t device) {
  if (hasBegun_ && device != device_) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "this rank's calls were of memory of device %u before, and now of device %u", device_, device);
  if (hasBegun_) return MUSTER_OK;
  device_ = device;
  hasBegun_ = true;
  MUSTER_DEVICE_TRY(muster_cuda_stream_create, &stream_);
  MUSTER_DEVICE_TRY(muster_cuda_event_create, &ended_);
  return MUSTER_OK;
}

muster_code DeviceCollective::collective(const muster_call& call) {
  if (place_.size == 1) return copyAlone(call);
  if (!isForGroup(call)) {
    const PlacedCall placed{call, true};
    return stage({&placed, 1});
  }
  muster_call word = call;
  word.kind = MUSTER_DEVICE_ALL_REDUCE;
  word.source = word.target = nullptr;
  MUSTER_TRY(muster_turn_run(turn_, &word, 1));
  if (way_ == Way::none) MUSTER_TRY(choose());
  if (way_ != Way::staged) return reduceInGroup(call);
  const PlacedCall placed{call, true};
  return stage({&placed, 1});
}

bool DeviceCollective::isForGroup(const muster_call& call) const {
  return way_ != Way::staged && call.kind == MUSTER_ALL_REDUCE && call.reduction != MUSTER_PRODUCT && (call.dtype == MUSTER_F32 || call.dtype == MUSTER_F16 || call.dtype == MUSTER_BF16);
}

/** What one rank reduces, gathers or gets is its own. */
muster_code DeviceCollective::copyAlone(const muster_call& call) {
  if (way_ == Way::none) take(Way::shared, "");
  std::uint64_t sourceBytes = 0;
  std::uint64_t targetBytes = 0;
  MUSTER_TRY(muster_communicator_extents(communicator_, &call, &sourceBytes, &targetBytes));
  if (call.source != call.target) MUSTER_DEVICE_TRY(muster_cuda_copy, call.target, call.source, targetBytes, stream_);
  return MUSTER_OK;
}

muster_code DeviceCollective::gather(const void* own, void* all, std::uint64_t sizeBytes) {
  const muster_call call{MUSTER_ALL_GATHER, MUSTER_U8, MUSTER_SUM, 0, own, all, sizeBytes, nullptr};
  return muster_turn_run(turn_, &call, 1);
}

muster_code DeviceCollective::choose() {
  if (!place_.isOnOneNode) return take(Way::staged, "its ranks are on several nodes"), MUSTER_OK;
  if (place_.size > MUSTER_CUDA_RANKS_MAX) {
    return take(Way::staged, "it has " + std::to_string(place_.size) + " ranks, and a group of GPUs has " + std::to_string(MUSTER_CUDA_RANKS_MAX) + " at most"), MUSTER_OK;
  }
  const auto meet = [](void* self, const void* own, void* all, std::uint64_t sizeBytes) { return static_cast<DeviceCollective*>(self)->gather(own, all, sizeBytes); };
  const muster_cuda_group_options options{place_.rank, place_.size, place_.timeoutMs, kGroupBytes, meet, this};
  const muster_code opened = MUSTER_CUDA_FUNCTION(muster_cuda_group_open)(&options, &group_);
  const std::string reason = opened == MUSTER_OK ? "" : lastCudaFailure().message;
  std::vector<muster_code> codes(place_.size);
  MUSTER_TRY(gather(&opened, codes.data(), sizeof opened));  // which fails where the ranks could not meet
  const auto refused = std::find_if(codes.begin(), codes.end(), [](muster_code code) { return code != MUSTER_OK; });
  if (refused == codes.end()) {
    muster_cuda_group_view view;
    MUSTER_DEVICE_TRY(muster_cuda_group_describe, group_, &view);
    return take(wayOf(view.kind), ""), MUSTER_OK;
  }
  if (group_ != nullptr) MUSTER_CUDA_FUNCTION(muster_cuda_group_close)(std::exchange(group_, nullptr));
  take(Way::staged, opened == MUSTER_OK ? "rank " + std::to_string(refused - codes.begin()) + " could not open a group of GPUs" : reason);
  return MUSTER_OK;
}

void DeviceCollective::take(Way way, std::string reason) {
  const std::lock_guard lock(mutex_);
  way_ = way;
  reason_ = std::move(reason);
}

std::pair<DeviceCollective::Way, std::string> DeviceCollective::way() const {
  const std::lock_guard lock(mutex_);
  return {way_, reason_};
}

muster_code DeviceCollective::reduceInGroup(const muster_call& call) {
  const muster_cuda_all_reduce_call reduce{call.reduction, {const_cast<void*>(call.source), call.count, call.dtype}, {call.target, call.count, call.dtype}, nullptr};
  MUSTER_DEVICE_TRY(muster_cuda_all_reduce, group_, &reduce, stream_);
  return way_ == Way::shared ? MUSTER_OK : finish();
}

/** Waits until the GPUs have met: only then it is known that all did. */
muster_code DeviceCollective::finish() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(place_.timeoutMs) + kGrace;
  while (MUSTER_CUDA_FUNCTION(muster_cuda_stream_wait)(stream_, kLookMs) == MUSTER_TIMED_OUT) {
    if (muster_turn_look(turn_) != MUSTER_OK || Clock::now() > deadline) break;
  }
  MUSTER_DEVICE_TRY(muster_cuda_group_wait, group_, stream_, 0);  // which ends what is still under way
  return MUSTER_OK;
}

muster_code DeviceCollective::layOut(std::span<const PlacedCall> calls, std::vector<Staged>& staged) {
  std::uint64_t end = 0;
  for (const auto& [call, isOnDevice] : calls) {
    Staged one{call, isOnDevice, 0, 0, 0, 0};
    if (isOnDevice) {
      MUSTER_TRY(muster_communicator_extents(communicator_, &call, &one.sourceBytes, &one.targetBytes));
      const auto* source = static_cast<const unsigned char*>(call.source);
      const auto* target = static_cast<const unsigned char*>(call.target);
      const bool isInPlace = source != nullptr && target != nullptr && source < target + one.targetBytes && target < source + one.sourceBytes;
      if (isInPlace) {
        const unsigned char* const first = std::min(source, target);
        one.sourceAt = end + static_cast<std::uint64_t>(source - first);
        one.targetAt = end + static_cast<std::uint64_t>(target - first);
      } else {
        one.sourceAt = end;
        one.targetAt = end + roundUp(one.sourceBytes);
      }
      end = roundUp(std::max(one.sourceAt + one.sourceBytes, one.targetAt + one.targetBytes));
    }
    staged.push_back(one);
  }
  MUSTER_TRY(reserve(end));
  for (Staged& one : staged) {
    if (!one.isOnDevice) continue;
    if (one.call.source != nullptr) one.call.source = staging_ + one.sourceAt;
    if (one.call.target != nullptr) one.call.target = staging_ + one.targetAt;
  }
  return MUSTER_OK;
}

muster_code DeviceCollective::reserve(std::uint64_t sizeBytes) {
  const bool isRight = sizeBytes <= stagingBytes_ && (stagingBytes_ <= kStagingKeptBytes || sizeBytes > kStagingKeptBytes);
  if (isRight) return MUSTER_OK;
  MUSTER_DEVICE_TRY(muster_cuda_stream_wait, stream_, place_.timeoutMs);  // for the results before
  MUSTER_DEVICE_TRY(muster_cuda_host_free, std::exchange(staging_, nullptr));
  stagingBytes_ = 0;
  void* memory = nullptr;
  MUSTER_DEVICE_TRY(muster_cuda_host_allocate, sizeBytes, &memory);
  staging_ = static_cast<unsigned char*>(memory);
  stagingBytes_ = sizeBytes;
  return MUSTER_OK;
}

/** Collective calls one after another, or messages at the same time. */
muster_code DeviceCollective::stage(std::span<const PlacedCall> calls) {
  std::vector<Staged> staged;
  MUSTER_TRY(layOut(calls, staged));
  for (std::size_t index = 0; index < calls.size(); index++) {
    if (staged[index].sourceBytes > 0) MUSTER_DEVICE_TRY(muster_cuda_copy, staging_ + staged[index].sourceAt, calls[index].call.source, staged[index].sourceBytes, stream_);
  }
  MUSTER_DEVICE_TRY(muster_cuda_stream_wait, stream_, place_.timeoutMs);
  std::vector<muster_call> onHost;
  for (const Staged& one : staged) onHost.push_back(one.call);
  MUSTER_TRY(muster_turn_run(turn_, onHost.data(), static_cast<std::uint32_t>(onHost.size())));
  for (std::size_t index = 0; index < calls.size(); index++) {
    if (staged[index].targetBytes > 0) MUSTER_DEVICE_TRY(muster_cuda_copy, calls[index].call.target, staging_ + staged[index].targetAt, staged[index].targetBytes, stream_);
  }
  return MUSTER_OK;
}

muster_code DeviceCollective::leave(muster_turn* turn) {
  turn_ = turn;
  const DeviceScope scope(device_);
  MUSTER_DEVICE_TRY(muster_cuda_stream_wait, stream_, place_.timeoutMs);
  const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0, nullptr};
  return muster_turn_run(turn_, &barrier, 1);
}

}  // namespace muster::addon
