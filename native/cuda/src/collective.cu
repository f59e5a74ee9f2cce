/**
 * The kernels of allReduce. Bytes for S of each of n ranks: shared (n + 1) S of one memory; one shot S (n - 1) over the links; two shots 2 S (n - 1) / n.
 * Memory order. What a rank put into its buffer before a kernel is visible to that kernel's GPU; its release of a flag at system scope, after a barrier of
 * its block, passes that on to whoever acquires the flag, and by a barrier to that one's block. A block meets only the blocks of its own number, so it
 * reads only what those have written: parts are divided among blocks alike on all GPUs.
 * CPU reference: src/collective/reduce-reference.cc. Source of the shots: vLLM, csrc/custom_all_reduce.cuh; the step counters never repeat, where its flags alternate.
 */
#include "collective.h"

#include "formats.cuh"
#include "launch.h"

namespace muster::cuda {
namespace {

__device__ __forceinline__ float combine(muster_reduction reduction, float a, float b) {
  if (reduction == MUSTER_MIN) return a < b || a != a ? a : b;
  if (reduction == MUSTER_MAX) return a > b || a != a ? a : b;
  return a + b;
}

/** `width` neighbours of the result, from all inputs in the order of ranks. */
template <class Format, int width>
__device__ __forceinline__ void reduceAt(const ReduceCall& call, std::uint64_t at, float (&result)[width]) {
  using Element = typename Format::Element;
  load<Format>(static_cast<const Element*>(call.inputs[0]) + at, result);
#pragma unroll
  for (unsigned rank = 1; rank < MUSTER_CUDA_RANKS_MAX; rank++) {
    if (rank < call.ranks) {
      float other[width];
      load<Format>(static_cast<const Element*>(call.inputs[rank]) + at, other);
#pragma unroll
      for (int index = 0; index < width; index++) result[index] = combine(call.reduction, result[index], other[index]);
    }
  }
  if (call.reduction == MUSTER_AVERAGE) {
#pragma unroll
    for (float& value : result) value /= static_cast<float>(call.ranks);
  }
}

/** Stores where only the inputs are known to be aligned. */
template <class Format, int width>
__device__ __forceinline__ void storeAt(typename Format::Element* to, bool isAligned, const float (&values)[width]) {
  if (isAligned) return store<Format>(to, values);
#pragma unroll
  for (int index = 0; index < width; index++) store<Format>(to + index, {values[index]});
}

/** @returns whether one is infinite or NaN once it is rounded. */
template <class Format, int width>
__device__ __forceinline__ bool hasInfinity(const float (&values)[width]) {
  bool found = false;
#pragma unroll
  for (const float value : values) {
    if constexpr (Format::kDtype == MUSTER_F32) {
      found = found || (bitsOf(value) & kMagnitude) >= kInfinity;
    } else {
      found = found || (narrow<Format>(value) & Format::kMagnitudeMask) >= Format::kInfinity;
    }
  }
  return found;
}

__device__ __forceinline__ std::uint64_t threadOfGrid() { return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ std::uint64_t threadsOfGrid() { return std::uint64_t{gridDim.x} * blockDim.x; }

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) reduceKernel(ReduceCall call, bool isAligned) {
  bool found = false;
  forEachVector<kVector<Format>>(call.elements, isAligned, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    reduceAt<Format>(call, at, values);
    store<Format>(static_cast<typename Format::Element*>(call.target) + at, values);
    found = found || hasInfinity<Format>(values);
  });
  if (found && call.foundInf != nullptr) *call.foundInf = 1;
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) finiteCheckKernel(const typename Format::Element* data, std::uint64_t elements, bool isAligned, float* foundInf) {
  bool found = false;
  forEachVector<kVector<Format>>(elements, isAligned, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(data + at, values);
    found = found || hasInfinity<Format>(values);
  });
  if (found) *foundInf = 1;
}

/**
 * This block and those of its number on the other GPUs wait for each other, at the start of a call and once more. @returns false, to the whole block, when one has not come in time or
 * makes another call; the fault says so.
 */
template <bool isFirst>
__device__ __forceinline__ bool meet(const PeerCall& call) {
  const std::uint32_t step = call.step + (isFirst ? 1 : 2);
  syncBlock();
  bool hasFailed = false;
  if (threadIdx.x < call.reduce.ranks) {
    const unsigned peer = threadIdx.x;
    Signal* const theirs = call.signals[peer];
    const Signal* const own = call.signals[call.rank];
    if constexpr (isFirst) theirs->fingerprints[blockIdx.x][call.rank] = call.fingerprint;
    storeReleaseSystem(&theirs->steps[blockIdx.x][call.rank], step);
    const std::uint64_t start = nanoseconds();
    while (static_cast<std::int32_t>(loadAcquireSystem(&own->steps[blockIdx.x][peer]) - step) < 0) {
      if (nanoseconds() - start > call.timeoutNs) {
        *call.fault = kPeerTimedOut | peer;
        hasFailed = true;
        break;
      }
      pause();
    }
    // Only before this block goes to the second meeting: from then on others may write what their next call is.
    if (isFirst && !hasFailed && loadAcquireSystem(&own->fingerprints[blockIdx.x][peer]) != call.fingerprint) {
      *call.fault = kPeerDiffers | peer;
      hasFailed = true;
    }
  }
  return !anyInBlock(hasFailed);
}

template <class Format>
__global__ void __launch_bounds__(kPeerThreads) oneShotKernel(PeerCall call, bool isTargetAligned) {
  if (!meet<true>(call)) return;
  bool found = false;
  forEachVector<kVector<Format>>(call.reduce.elements, true, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    reduceAt<Format>(call.reduce, at, values);
    storeAt<Format>(static_cast<typename Format::Element*>(call.reduce.target) + at, isTargetAligned, values);
    found = found || hasInfinity<Format>(values);
  });
  if (found && call.reduce.foundInf != nullptr) *call.reduce.foundInf = 1;
  meet<false>(call);  // nobody changes its buffer before all have read it
}

template <class Format>
__global__ void __launch_bounds__(kPeerThreads) twoShotKernel(PeerCall call, std::uint64_t part, bool isTargetAligned) {
  using Element = typename Format::Element;
  const auto lengthOf = [&](unsigned rank) -> std::uint64_t {
    const std::uint64_t start = rank * part;
    return start >= call.reduce.elements ? 0 : call.reduce.elements - start < part ? call.reduce.elements - start : part;
  };
  if (!meet<true>(call)) return;
  forEachVector<kVector<Format>>(lengthOf(call.rank), true, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    reduceAt<Format>(call.reduce, call.rank * part + at, values);
    store<Format>(static_cast<Element*>(call.parts[call.rank]) + at, values);
  });
  if (!meet<false>(call)) return;
  // After this nobody reads buffers, and no one writes its part before all have begun the next call: no third meeting.
  bool found = false;
  for (unsigned turn = 0; turn < call.reduce.ranks; turn++) {
    const unsigned rank = (call.rank + turn) % call.reduce.ranks;  // not all from one GPU at a time
    forEachVector<kVector<Format>>(lengthOf(rank), true, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
      float values[decltype(count)::value];
      load<Format>(static_cast<const Element*>(call.parts[rank]) + at, values);
      storeAt<Format>(static_cast<Element*>(call.reduce.target) + rank * part + at, isTargetAligned, values);
      found = found || hasInfinity<Format>(values);
    });
  }
  if (found && call.reduce.foundInf != nullptr) *call.reduce.foundInf = 1;
}

unsigned peerBlocks(std::uint64_t elements) {
  const std::uint64_t blocks = (elements + kPeerThreads * 8 - 1) / (kPeerThreads * 8);
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks < kPeerBlocksMax ? blocks : kPeerBlocksMax);
}

}  // namespace

bool isOneShot(unsigned ranks, std::uint64_t sizeBytes) {
  constexpr std::uint64_t upTo4Bytes = std::uint64_t{512} << 10;
  constexpr std::uint64_t upTo8Bytes = std::uint64_t{256} << 10;
  return ranks <= 2 || sizeBytes < (ranks <= 4 ? upTo4Bytes : upTo8Bytes);
}

std::uint64_t partElements(unsigned ranks, std::uint64_t elements) {
  constexpr std::uint64_t vector = 8;
  return ((elements + ranks - 1) / ranks + vector - 1) / vector * vector;
}

muster_code startReduce(const ReduceCall& call, cudaStream_t stream) {
  bool isAligned = areAligned(call.target);
  for (unsigned rank = 0; rank < call.ranks; rank++) isAligned = isAligned && areAligned(call.inputs[rank]);
  return withTrainingFormat(call.dtype, [&](auto kind) { return launch(reduceKernel<decltype(kind)>, blocksFor(call.elements, kBlockThreads * 8), kBlockThreads, 0, stream, call, isAligned); });
}

muster_code startFiniteCheck(const ReduceCall& call, cudaStream_t stream) {
  return withTrainingFormat(call.dtype, [&](auto kind) {
    return launch(finiteCheckKernel<decltype(kind)>, blocksFor(call.elements, kBlockThreads * 8), kBlockThreads, 0, stream, static_cast<const typename decltype(kind)::Element*>(call.target), call.elements,
                  areAligned(call.target), call.foundInf);
  });
}

muster_code startPeerReduce(const PeerCall& call, cudaStream_t stream) {
  const std::uint64_t elementBytes = call.reduce.dtype == MUSTER_F32 ? 4 : 2;
  const bool isTargetAligned = areAligned(call.reduce.target);
  return withTrainingFormat(call.reduce.dtype, [&](auto kind) {
    using Format = decltype(kind);
    if (isOneShot(call.reduce.ranks, call.reduce.elements * elementBytes)) {
      return launch(oneShotKernel<Format>, peerBlocks(call.reduce.elements), kPeerThreads, 0, stream, call, isTargetAligned);
    }
    const std::uint64_t part = partElements(call.reduce.ranks, call.reduce.elements);
    return launch(twoShotKernel<Format>, peerBlocks(part), kPeerThreads, 0, stream, call, part, isTargetAligned);
  });
}

}  // namespace muster::cuda
