/**
 * allReduce among ranks with GPUs of one machine: threads or processes, which meet through whatever their caller has for that.
 *
 * How depends on where the ranks are:
 *   shared: all on one GPU. One kernel reads every rank's buffer and writes one result that all read: (n + 1) S bytes for S of each of n ranks, the least that there is.
 *           Streams wait for each other by events between processes; ranks meet on the host twice a call, and nothing spins on the device, where ranks take turns.
 *   peer:   a GPU each, which reach each other's memory. Up to the limits of vLLM's custom allReduce in one shot, each GPU reading all buffers; above in two, each reducing its part, then
 *           reading the others': S (n - 1) and 2 S (n - 1) / n bytes over the links. GPUs meet by flags in memory; no more than the timeout.
 *   nccl:   a GPU each, by libnccl.so.2, where that is there and peers do not reach each other.
 *
 * Numbers are f32, f16 or bf16; sums are made in f32 in the order of ranks and rounded once, so that shared and peer give all ranks the bits that collective.h gives. NCCL has an order
 * of its own.
 * A call that fails leaves the group of no more use, at all ranks that were in it: they fail within the timeout, and close it.
 */
#ifndef MUSTER_CUDA_COLLECTIVE_H
#define MUSTER_CUDA_COLLECTIVE_H

#include "muster/collective.h"
#include "muster/cuda.h"
#include "muster/tensor.h"

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/** What one machine has of GPUs. */
#define MUSTER_CUDA_RANKS_MAX 8u

typedef struct muster_cuda_group muster_cuda_group;

typedef enum muster_cuda_group_kind {
  MUSTER_CUDA_GROUP_SHARED = 1,
  MUSTER_CUDA_GROUP_PEER = 2,
  MUSTER_CUDA_GROUP_NCCL = 3
} muster_cuda_group_kind;

/**
 * Puts `size_bytes` of every rank behind each other into `all`, in the order of ranks. Called by all ranks alike, from their calls of this header. Must end within a time: with a
 * code other than MUSTER_OK when a rank does not come, which is then the call's. muster_communicator_run with MUSTER_ALL_GATHER of MUSTER_U8 is one.
 */
typedef muster_code (*muster_cuda_meeting)(void* context, const void* own, void* all, uint64_t size_bytes);

typedef struct muster_cuda_group_options {
  uint32_t rank;
  /** 1 to MUSTER_CUDA_RANKS_MAX. */
  uint32_t size;
  /** How long a GPU waits for another in a call, at most. */
  uint32_t timeout_ms;
  /** Of the buffers: device memory of this rank, once for its numbers and once for results. Longer calls go in parts. A positive multiple of 16. */
  uint64_t capacity_bytes;
  muster_cuda_meeting meet;
  void* context;
} muster_cuda_group_options;

/** On this thread's device, which every call of the group must be made with. Fails with MUSTER_UNAVAILABLE where the ranks' GPUs have no way to each other, MUSTER_MISMATCH where options differ. */
muster_code muster_cuda_group_open(const muster_cuda_group_options* options, muster_cuda_group** group);

typedef struct muster_cuda_group_view {
  muster_cuda_group_kind kind;
  /** This rank's buffer: numbers that are put here are not copied. */
  void* buffer;
  /** Of a shared group: where results are. One's numbers are there until the next call. Null for others. */
  const void* result;
} muster_cuda_group_view;

muster_code muster_cuda_group_describe(const muster_cuda_group* group, muster_cuda_group_view* view);

typedef struct muster_cuda_all_reduce_call {
  /** MUSTER_PRODUCT is not among what it can be. */
  muster_reduction reduction;
  /** Device memory; the group's buffer or other. */
  muster_tensor source;
  /** Of the source's format and size: the source itself, or apart from it. Without elements, of a shared group, up to its capacity: the result is left in the view's `result`. */
  muster_tensor target;
  /** Device memory of an f32, set to 1 if a number of the result is not finite; or null. */
  float* found_inf;
} muster_cuda_all_reduce_call;

/**
 * Puts the call into the stream. Of a shared group it meets the other ranks on the host, and fails with MUSTER_MISMATCH where their calls differ. Of a peer group this and
 * a rank that does not come are known when the kernel has run: to the next call, and to muster_cuda_group_wait.
 */
muster_code muster_cuda_all_reduce(muster_cuda_group* group, const muster_cuda_all_reduce_call* call, muster_cuda_stream stream);

/** Waits on the host until the group's calls in the stream are done, and says whether all went well. Fails as the calls, and with MUSTER_TIMED_OUT; then NCCL is told to give up. */
muster_code muster_cuda_group_wait(muster_cuda_group* group, muster_cuda_stream stream, uint32_t timeout_ms);

/** Waits for the device. Others must have ended their calls too: close after a meeting. Null is fine. */
muster_code muster_cuda_group_close(muster_cuda_group* group);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
