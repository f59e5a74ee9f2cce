#include "collective/layout.h"

#include <algorithm>
#include <cstring>

namespace muster {

CallWords packCall(const muster_call& call) {
  return {call.count, static_cast<std::uint64_t>(call.kind) | static_cast<std::uint64_t>(call.dtype) << 8 |
                          static_cast<std::uint64_t>(call.reduction) << 16 | std::uint64_t{call.peer} << 32};
}

muster_call unpackCall(CallWords words) {
  const auto kind = static_cast<std::uint32_t>(words.shape & 0xff);
  const auto dtype = static_cast<std::uint32_t>(words.shape >> 8 & 0xff);
  const auto reduction = static_cast<std::uint32_t>(words.shape >> 16 & 0xff);
  muster_call call{};
  // What no rank packs, but somebody may have sent, is no call.
  call.kind = static_cast<muster_call_kind>(kind <= MUSTER_DEVICE_ALL_REDUCE ? kind : 0);
  call.dtype = static_cast<muster_dtype>(std::min(dtype, MUSTER_DTYPE_COUNT));
  call.reduction = static_cast<muster_reduction>(std::min(reduction, MUSTER_REDUCTION_COUNT));
  call.peer = static_cast<std::uint32_t>(words.shape >> 32);
  call.count = words.count;
  return call;
}

void CallSite::store(const char* site) {
  const std::size_t length = site == nullptr ? 0 : std::strlen(site);
  const std::size_t kept = std::min(length, sizeof text);
  bytes = static_cast<std::uint32_t>(kept);
  if (kept > 0) std::memcpy(text, site + length - kept, kept);
}

Layout::Layout(std::uint32_t rankCount)
    : rankCount_(rankCount),
      channelBytes_(std::clamp(kChannelsBytes / (rankCount_ * rankCount_) / kLineBytes * kLineBytes, kChannelMinBytes, kChannelMaxBytes)),
      partBytes_(kBlockBytes / rankCount_ / kLineBytes * kLineBytes),
      controls_(sizeof(SharedHeader)),
      oneShots_(controls_ + rankCount_ * sizeof(RankControl)),
      inputs_(oneShots_ + rankCount_ * 2 * sizeof(OneShotSlot)),
      results_(inputs_ + rankCount_ * 2 * kBlockBytes),
      channels_(results_ + rankCount_ * 2 * partBytes_),
      sizeBytes_(channels_ + rankCount_ * rankCount_ * (sizeof(Channel) + 2 * channelBytes_)) {}

}  // namespace muster
