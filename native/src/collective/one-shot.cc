/**
 * Small calls: each rank's part rides with its word on the call, and each computes its result from all of them. Bytes: S written and
 * (n - 1) S read by each rank; one flag, and no call to the kernel as long as nobody sleeps.
 */
#include <cstring>

#include "collective/communicator.h"
#include "collective/describe.h"
#include "collective/waiting.h"
#include "dtype.h"

namespace muster {

/** What the call's largest contributor puts into its slot. */
std::size_t Communicator::oneShotBytes(const muster_call& call) const {
  const std::size_t partBytes = call.count * elementBytes(call.dtype);
  switch (call.kind) {
    case MUSTER_BARRIER:
    case MUSTER_DEVICE_ALL_REDUCE: return 0;
    case MUSTER_REDUCE_SCATTER:
    case MUSTER_ALL_TO_ALL: return partBytes * size_;
    default: return partBytes;
  }
}

bool Communicator::isOneShot(const muster_call& call) const {
  // With many ranks everyone reads a lot: a slot's bytes are what is read in all.
  return !isPointToPoint(call.kind) && oneShotBytes(call) * (size_ > 2 ? size_ - 1 : 1) <= kOneShotBytes;
}

/** Whether others read this rank's payload. */
bool Communicator::givesOneShot(const muster_call& call) const {
  return call.kind == MUSTER_BROADCAST ? rank_ == call.peer : !(call.kind == MUSTER_REDUCE && rank_ == call.peer);
}

void Communicator::oneShotResult(const muster_call& call) {
  const std::size_t partBytes = call.count * elementBytes(call.dtype);
  const auto* source = static_cast<const std::byte*>(call.source);
  auto* target = static_cast<std::byte*>(call.target);
  const auto given = [&](std::uint32_t rank) { return rank == rank_ ? source : slot(rank).payload; };
  switch (call.kind) {
    case MUSTER_ALL_REDUCE:
    case MUSTER_REDUCE:
    case MUSTER_REDUCE_SCATTER: {
      if (call.kind == MUSTER_REDUCE && rank_ != call.peer) return;
      const std::size_t start = call.kind == MUSTER_REDUCE_SCATTER ? rank_ * partBytes : 0;
      const void* sources[MUSTER_RANKS_MAX];
      for (std::uint32_t rank = 0; rank < size_; rank++) sources[rank] = given(rank) + start;
      reduceTable_.kernels[call.dtype][call.reduction](sources, size_, target, call.count);
      return;
    }
    case MUSTER_ALL_GATHER:
      for (std::uint32_t rank = 0; rank < size_; rank++) std::memmove(target + rank * partBytes, given(rank), partBytes);
      return;
    case MUSTER_ALL_TO_ALL:
      for (std::uint32_t rank = 0; rank < size_; rank++) std::memmove(target + rank * partBytes, given(rank) + rank_ * partBytes, partBytes);
      return;
    case MUSTER_BROADCAST:
      if (target != given(call.peer)) std::memcpy(target, given(call.peer), partBytes);
      return;
    default: return;
  }
}

}  // namespace muster
