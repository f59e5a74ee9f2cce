#include "collective/pipeline.h"

#include <algorithm>
#include <cstring>

#include "collective/describe.h"
#include "collective/waiting.h"
#include "dtype.h"
#include "shm/copy.h"

namespace muster {
namespace {

/** What is reduced before it is copied to the result slot: it is in the first-level cache then. */
constexpr std::size_t kTileBytes = std::size_t{8} << 10;

/**
 * From here on, stores to a target that is not the source go past the caches: else each line is read from memory before it is written.
 * Measured on two cores: an allReduce of 16 MiB in 1.2 ms instead of 2.0; of 4 MiB, which the caches hold, in 0.2 ms either way.
 */
constexpr std::size_t kStreamMinBytes = std::size_t{8} << 20;

std::size_t roundUp(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace

Pipeline::Pipeline(Communicator& communicator, const muster_call& call)
    : communicator_(communicator),
      call_(call),
      rank_(communicator.rank_),
      size_(communicator.size_),
      elementBytes_(elementBytes(call.dtype)),
      partBytes_(communicator.membership_->layout().partBytes()),
      firstBlock_(communicator.blocks_),
      isReducing_(reduces(call.kind)),
      streams_(call.target != call.source && call.count * elementBytes_ >= kStreamMinBytes) {}

std::byte* Pipeline::input(std::uint32_t rank, std::size_t block) const {
  return communicator_.membership_->at(communicator_.membership_->layout().input(rank, number(block)));
}

std::byte* Pipeline::result(std::uint32_t rank, std::size_t block) const {
  return communicator_.membership_->at(communicator_.membership_->layout().result(rank, number(block)));
}

std::size_t Pipeline::blockCount() const {
  const std::size_t bytes = call_.count * elementBytes_;
  switch (call_.kind) {
    case MUSTER_ALL_REDUCE:
    case MUSTER_REDUCE: return (bytes + partBytes_ * size_ - 1) / (partBytes_ * size_);
    case MUSTER_REDUCE_SCATTER:
    case MUSTER_ALL_TO_ALL: return (bytes + partBytes_ - 1) / partBytes_;
    default: return (bytes + kBlockBytes - 1) / kBlockBytes;
  }
}

Pipeline::Range Pipeline::part(std::size_t block, std::uint32_t rank) const {
  const std::size_t bytes = call_.count * elementBytes_;
  switch (call_.kind) {
    case MUSTER_ALL_REDUCE:
    case MUSTER_REDUCE: {
      // The last block is shared evenly, in whole lines.
      const std::size_t start = block * partBytes_ * size_;
      const std::size_t blockBytes = std::min(bytes - start, partBytes_ * size_);
      const std::size_t share = roundUp((blockBytes + size_ - 1) / size_, kLineBytes);
      const std::size_t from = std::min(rank * share, blockBytes);
      return {start + from, std::min(share, blockBytes - from)};
    }
    case MUSTER_REDUCE_SCATTER:
    case MUSTER_ALL_TO_ALL: return {rank * bytes + block * partBytes_, std::min(partBytes_, bytes - block * partBytes_)};
    case MUSTER_ALL_GATHER: return {rank * bytes + block * kBlockBytes, std::min(kBlockBytes, bytes - block * kBlockBytes)};
    default: return {block * kBlockBytes, std::min(kBlockBytes, bytes - block * kBlockBytes)};
  }
}

muster_code Pipeline::run() {
  const std::size_t blocks = blockCount();
  const std::size_t drainDelay = isReducing_ ? 2 : 1;
  for (std::size_t step = 0; step < blocks + drainDelay; step++) {
    muster_code code = MUSTER_OK;
    if (step < blocks) code = fill(step);
    if (code == MUSTER_OK && step == 0) code = communicator_.compareCalls(call_);
    if (code == MUSTER_OK && step == 0) copyOwnPart();
    if (code == MUSTER_OK && isReducing_ && step >= 1 && step - 1 < blocks) code = reduce(step - 1);
    if (code == MUSTER_OK && step >= drainDelay) code = drain(step - drainDelay);
    if (code != MUSTER_OK) return code;
  }
  communicator_.blocks_ += blocks;
  return MUSTER_OK;
}

muster_code Pipeline::fill(std::size_t block) {
  const std::uint64_t end = number(block) + 1;
  if (call_.kind != MUSTER_BROADCAST || call_.peer == rank_) {
    const auto isFree = [&](std::uint32_t rank) {
      const RankControl& other = communicator_.control(rank);
      return (isReducing_ ? other.reduced : other.drained).value.load() + 2 >= end;
    };
    if (const muster_code code = communicator_.wait(isFree); code != MUSTER_OK) return code;
    copyIn(block);
  }
  communicator_.publish(communicator_.control(rank_).filled.value, end);
  return MUSTER_OK;
}

void Pipeline::copyIn(std::size_t block) {
  const auto* source = static_cast<const std::byte*>(call_.source);
  std::byte* slot = input(rank_, block);
  if (call_.kind == MUSTER_BROADCAST || call_.kind == MUSTER_ALL_GATHER) {
    const Range range = part(block, 0);  // of this rank's own source, whichever its number
    std::memcpy(slot, source + range.start, range.bytes);
    return;
  }
  for (std::uint32_t step = 1; step < size_; step++) {
    const std::uint32_t rank = (rank_ + step) % size_;
    const Range range = part(block, rank);
    std::memcpy(slot + rank * partBytes_, source + range.start, range.bytes);
  }
}

muster_code Pipeline::reduce(std::size_t block) {
  const std::uint64_t end = number(block) + 1;
  RankControl& own = communicator_.control(rank_);
  const auto isFilled = [&](std::uint32_t rank) {
    const RankControl& other = communicator_.control(rank);
    return other.filled.value.load() >= end && other.drained.value.load() + 2 >= end;
  };
  if (const muster_code code = communicator_.wait(isFilled); code != MUSTER_OK) return code;

  const Range range = part(block, rank_);
  const bool keeps = call_.kind != MUSTER_REDUCE || rank_ == call_.peer;
  const bool gives = call_.kind == MUSTER_ALL_REDUCE || !keeps;
  const std::size_t targetStart = call_.kind == MUSTER_REDUCE_SCATTER ? block * partBytes_ : range.start;
  const ReduceKernel kernel = communicator_.reduceTable_.kernels[call_.dtype][call_.reduction];
  const void* sources[MUSTER_RANKS_MAX];
  for (std::size_t done = 0; done < range.bytes; done += kTileBytes) {
    const std::size_t bytes = std::min(kTileBytes, range.bytes - done);
    for (std::uint32_t rank = 0; rank < size_; rank++) {
      sources[rank] = rank == rank_ ? static_cast<const std::byte*>(call_.source) + range.start + done : input(rank, block) + rank_ * partBytes_ + done;
    }
    std::byte* given = result(rank_, block) + done;
    std::byte* kept = static_cast<std::byte*>(call_.target) + targetStart + done;
    kernel(sources, size_, streams_ || !keeps ? given : kept, bytes / elementBytes_);
    if (streams_ && keeps) {
      give(kept, given, bytes);
    } else if (keeps && gives) {
      std::memcpy(given, kept, bytes);
    }
  }
  if (call_.kind == MUSTER_REDUCE_SCATTER) own.drained.value.store(end);
  communicator_.publish(own.reduced.value, end);
  return MUSTER_OK;
}

muster_code Pipeline::drain(std::size_t block) {
  if (call_.kind == MUSTER_REDUCE_SCATTER) return MUSTER_OK;  // nothing to get from others
  const std::uint64_t end = number(block) + 1;
  RankControl& own = communicator_.control(rank_);
  const bool drains = (call_.kind != MUSTER_BROADCAST || rank_ != call_.peer) && (call_.kind != MUSTER_REDUCE || rank_ == call_.peer);
  if (drains) {
    const auto isThere = [&](std::uint32_t rank) {
      if (call_.kind == MUSTER_BROADCAST && rank != call_.peer) return true;
      const RankControl& other = communicator_.control(rank);
      return (isReducing_ ? other.reduced : other.filled).value.load() >= end;
    };
    if (const muster_code code = communicator_.wait(isThere); code != MUSTER_OK) return code;
    for (std::uint32_t step = 1; step < size_; step++) drainFrom((rank_ + step) % size_, block);
  }
  if (!isReducing_) own.reduced.value.store(end);
  communicator_.publish(own.drained.value, end);
  return MUSTER_OK;
}

void Pipeline::drainFrom(std::uint32_t rank, std::size_t block) {
  auto* target = static_cast<std::byte*>(call_.target);
  const Range range = part(block, rank);
  switch (call_.kind) {
    case MUSTER_ALL_REDUCE:
    case MUSTER_REDUCE: give(target + range.start, result(rank, block), range.bytes); return;
    case MUSTER_ALL_TO_ALL: give(target + range.start, input(rank, block) + rank_ * partBytes_, range.bytes); return;
    case MUSTER_BROADCAST:
      if (rank != call_.peer) return;
      [[fallthrough]];
    default: give(target + range.start, input(rank, block), range.bytes); return;
  }
}

void Pipeline::give(std::byte* target, const std::byte* source, std::size_t bytes) const {
  if (streams_) {
    streamCopy(target, source, bytes);
  } else {
    std::memcpy(target, source, bytes);
  }
}

/** What this rank gives to itself. */
void Pipeline::copyOwnPart() {
  const std::size_t bytes = call_.count * elementBytes_;
  const auto* source = static_cast<const std::byte*>(call_.source);
  auto* target = static_cast<std::byte*>(call_.target);
  if (call_.kind == MUSTER_ALL_GATHER) {
    if (target + rank_ * bytes != source) std::memcpy(target + rank_ * bytes, source, bytes);
  } else if (call_.kind == MUSTER_ALL_TO_ALL) {
    if (target != source) std::memcpy(target + rank_ * bytes, source + rank_ * bytes, bytes);
  } else if (call_.kind == MUSTER_BROADCAST && rank_ == call_.peer) {
    if (target != source) std::memcpy(target, source, bytes);
  }
}

}  // namespace muster
