/**
 * muster_cuda_reduce. Bytes: the input once. What is reduced for a result is cut into chunks, whose number depends on the sizes alone, and the chunks' sums are joined in order: the
 * same bits every time. A chunk belongs to a block; where neighbours in memory belong to neighbouring results (the gradient of a bias), or few numbers make a result, to a thread, so
 * that a warp reads neighbours.
 * CPU reference: src/kernels/reduce.cc. Sums are made in f64.
 */
#include "launch.h"
#include "muster/cuda-kernels.h"
#include "reduce.cuh"
#include "strided.cuh"

namespace muster::cuda {
namespace {

/** Numbers of a chunk, at least: what a block takes a few microseconds for. */
constexpr std::uint64_t kChunkMin = 16384;
constexpr std::uint64_t kThreadChunkMin = 256;
/** Chunks of a result, at most: as many as fill any device. */
constexpr std::uint64_t kChunksMax = 1024;
/** Results of fewer numbers are a thread's. */
constexpr std::uint64_t kBlockMin = 64;

/** What some of the numbers amount to. */
struct Partial {
  double value;
  std::int64_t integer;
  std::uint64_t index;
};

struct Reduction : kernels::Reduction {
  bool areFloats;
  std::uint64_t chunk;
  unsigned chunks;
};

/** The index of a number that stands for none. */
__device__ constexpr std::uint64_t kNone = ~std::uint64_t{0};

/** Whether the first goes before the second: larger, or NaN, and of equals the one that comes first. */
template <class Number>
__device__ __forceinline__ bool goesBefore(Number value, std::uint64_t index, Number other, std::uint64_t otherIndex) {
  const bool isNan = value != value, isOtherNan = other != other;
  if (isNan != isOtherNan) return isNan;
  return value > other || ((value == other || isNan) && index < otherIndex);
}

struct Join {
  muster_reduce_operation operation;
  bool areFloats;

  /** Of two in any order: they carry their places. */
  __device__ __forceinline__ Partial operator()(const Partial& one, const Partial& two) const {
    if (operation == MUSTER_REDUCE_SUM || operation == MUSTER_REDUCE_SQUARES) {
      return {one.value + two.value, static_cast<std::int64_t>(static_cast<std::uint64_t>(one.integer) + static_cast<std::uint64_t>(two.integer)), 0};
    }
    if (one.index == kNone || two.index == kNone) return one.index == kNone ? two : one;
    const bool isSmallest = operation == MUSTER_REDUCE_SMALLEST;
    const bool isOne = areFloats ? goesBefore(isSmallest ? -one.value : one.value, one.index, isSmallest ? -two.value : two.value, two.index)
                                 : goesBefore(isSmallest ? ~one.integer : one.integer, one.index, isSmallest ? ~two.integer : two.integer, two.index);
    return isOne ? one : two;
  }
};

__device__ __forceinline__ Partial partialOf(const Reduction& reduction, std::uint64_t start, std::uint64_t position) {
  const std::uint64_t at = start + offsetOf(reduction.reduced, reduction.along.strides, position);
  if (!reduction.areFloats) return {0, loadInteger(reduction.input.dtype, reduction.input.data, at), position};
  const double value = loadNumber(reduction.input.dtype, reduction.input.data, at);
  return {reduction.operation == MUSTER_REDUCE_SQUARES ? value * value : value, 0, position};
}

/** Every step-th number of a chunk. */
__device__ __forceinline__ Partial reduceChunk(const Reduction& reduction, std::uint64_t result, std::uint64_t chunk, unsigned first, unsigned step) {
  const Join join{reduction.operation, reduction.areFloats};
  const std::uint64_t start = offsetOf(reduction.kept, reduction.input.strides, result);
  const std::uint64_t end = (chunk + 1) * reduction.chunk < reduction.reduced.elements ? (chunk + 1) * reduction.chunk : reduction.reduced.elements;
  Partial sum{0, 0, kNone};
  for (std::uint64_t position = chunk * reduction.chunk + first; position < end; position += step) sum = join(sum, partialOf(reduction, start, position));
  return sum;
}

__device__ __forceinline__ void storeResult(const Reduction& reduction, std::uint64_t result, const Partial& sum) {
  const std::uint64_t at = offsetOf(reduction.kept, reduction.result.strides, result);
  if (reduction.operation == MUSTER_REDUCE_ARG_LARGEST) return storeInteger(reduction.result.dtype, reduction.result.data, at, static_cast<std::int64_t>(sum.index));
  if (!reduction.areFloats) return storeInteger(reduction.result.dtype, reduction.result.data, at, sum.integer);
  const bool isSum = reduction.operation == MUSTER_REDUCE_SUM || reduction.operation == MUSTER_REDUCE_SQUARES;
  storeNumber(reduction.result.dtype, reduction.result.data, at, static_cast<float>(isSum ? sum.value * reduction.factor : sum.value));
}

/** The partials of a block's threads, joined in the order of a tree. By all threads of the block. */
__device__ __forceinline__ Partial joinBlock(Partial own, const Join& join) {
  __shared__ Partial parts[kBlockThreads];
  parts[threadIdx.x] = own;
  for (unsigned half = kBlockThreads / 2; half > 0; half /= 2) {
    syncBlock();
    if (threadIdx.x < half) parts[threadIdx.x] = join(parts[threadIdx.x], parts[threadIdx.x + half]);
  }
  syncBlock();
  return parts[0];
}

/** A block for each chunk of each result. @param partials null where there is one chunk */
__global__ void __launch_bounds__(kBlockThreads) blockReduceKernel(Reduction reduction, Partial* partials) {
  const std::uint64_t units = reduction.kept.elements * reduction.chunks;
  for (std::uint64_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const std::uint64_t result = unit / reduction.chunks;
    const Partial sum = joinBlock(reduceChunk(reduction, result, unit % reduction.chunks, threadIdx.x, kBlockThreads), {reduction.operation, reduction.areFloats});
    if (threadIdx.x == 0) {
      if (partials == nullptr) {
        storeResult(reduction, result, sum);
      } else {
        partials[unit] = sum;
      }
    }
    syncBlock();  // before the parts are written again
  }
}

/** A thread for each chunk of each result; neighbouring threads have neighbouring results. */
__global__ void __launch_bounds__(kBlockThreads) threadReduceKernel(Reduction reduction, Partial* partials) {
  const std::uint64_t results = reduction.kept.elements;
  for (std::uint64_t unit = threadOfGrid(); unit < results * reduction.chunks; unit += threadsOfGrid()) {
    const std::uint64_t result = unit % results;
    const Partial sum = reduceChunk(reduction, result, unit / results, 0, 1);
    if (partials == nullptr) {
      storeResult(reduction, result, sum);
    } else {
      partials[result * reduction.chunks + unit / results] = sum;
    }
  }
}

/** A thread for each result. */
__global__ void __launch_bounds__(kBlockThreads) joinKernel(Reduction reduction, const Partial* partials) {
  const Join join{reduction.operation, reduction.areFloats};
  for (std::uint64_t result = threadOfGrid(); result < reduction.kept.elements; result += threadsOfGrid()) {
    Partial sum = partials[result * reduction.chunks];
    for (unsigned chunk = 1; chunk < reduction.chunks; chunk++) sum = join(sum, partials[result * reduction.chunks + chunk]);
    storeResult(reduction, result, sum);
  }
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_reduce(const muster_reduce_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkReduce(*call); code != MUSTER_OK) return code;
  Reduction reduction{muster::kernels::reductionOf(*call), muster::kernels::isFloating(call->input.dtype), 0, 0};
  const std::uint64_t results = reduction.kept.elements;
  const std::uint64_t numbers = reduction.reduced.elements;
  if (results == 0) return MUSTER_OK;
  const bool areThreads = numbers < kBlockMin || muster::kernels::reducesRows(reduction, kWarp);
  const std::uint64_t least = areThreads ? kThreadChunkMin : kChunkMin;
  reduction.chunk = numbers / kChunksMax + 1 > least ? numbers / kChunksMax + 1 : least;
  reduction.chunks = numbers == 0 ? 1 : static_cast<unsigned>((numbers + reduction.chunk - 1) / reduction.chunk);
  StreamMemory memory(stream);
  if (reduction.chunks > 1) {
    if (const muster_code code = memory.reserve(results * reduction.chunks * sizeof(Partial)); code != MUSTER_OK) return code;
  }
  auto* const partials = static_cast<Partial*>(memory.data());
  const unsigned blocks = blocksFor(results * reduction.chunks, areThreads ? kBlockThreads : 1);
  const muster_code code = areThreads ? launch(threadReduceKernel, blocks, kBlockThreads, 0, stream, reduction, partials) : launch(blockReduceKernel, blocks, kBlockThreads, 0, stream, reduction, partials);
  if (code != MUSTER_OK || partials == nullptr) return code;
  return launch(joinKernel, blocksFor(results, kBlockThreads), kBlockThreads, 0, stream, reduction, static_cast<const Partial*>(partials));
}
