/** The kernels of allReduce, as the group starts them. */
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "muster/cuda-collective.h"

namespace muster::cuda {

/** Blocks of a peer kernel, at most: enough to fill the links, few enough to run at once beside others. As vLLM. */
inline constexpr unsigned kPeerBlocksMax = 36;
inline constexpr unsigned kPeerThreads = 512;

/** Where the ranks' GPUs write to each other that they have come. Counted upwards, and compared by their difference, so that none has to be cleared. */
struct Signal {
  /** The step that rank `second index` has come to with the block of the first one. */
  std::uint32_t steps[kPeerBlocksMax][MUSTER_CUDA_RANKS_MAX];
  /** What call it makes. */
  std::uint32_t fingerprints[kPeerBlocksMax][MUSTER_CUDA_RANKS_MAX];
};

/** What a peer kernel found wrong, in memory that the host sees: 0, or one of these and the rank. */
enum PeerFault : std::uint32_t { kPeerTimedOut = 0x100, kPeerDiffers = 0x200 };

struct ReduceCall {
  muster_dtype dtype;
  muster_reduction reduction;
  unsigned ranks;
  std::uint64_t elements;
  const void* inputs[MUSTER_CUDA_RANKS_MAX];
  void* target;
  float* foundInf;
};

struct PeerCall {
  ReduceCall reduce;
  unsigned rank;
  Signal* signals[MUSTER_CUDA_RANKS_MAX];
  /** Of the second shot: where each rank's part of the result is. */
  void* parts[MUSTER_CUDA_RANKS_MAX];
  /** The step before this call's first one. */
  std::uint32_t step;
  std::uint32_t fingerprint;
  std::uint64_t timeoutNs;
  std::uint32_t* fault;
};

/** Steps that a peer call takes. */
inline constexpr std::uint32_t kPeerSteps = 2;

/** Whether a call goes in one shot. Source: vLLM's custom allReduce, whose limits were measured on A100 and H100 with NVLink. */
bool isOneShot(unsigned ranks, std::uint64_t sizeBytes);

/** Elements of a rank's part in two shots: whole vectors. */
std::uint64_t partElements(unsigned ranks, std::uint64_t elements);

/** Inputs and target in the calling device's memory, or mapped there. */
muster_code startReduce(const ReduceCall& call, cudaStream_t stream);
muster_code startPeerReduce(const PeerCall& call, cudaStream_t stream);
/** Sets *foundInf if a number is not finite. */
muster_code startFiniteCheck(const ReduceCall& call, cudaStream_t stream);

}  // namespace muster::cuda
