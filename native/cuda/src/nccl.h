/** allReduce by NCCL, found at run time: the small part of its interface that is needed is declared in nccl.cc. */
#pragma once

#include <cstdint>
#include <memory>

#include <cuda_runtime.h>

#include "muster/cuda-collective.h"

namespace muster::cuda {

/** What rank 0 makes and all open their communicator with. */
struct NcclId {
  char bytes[128];
};

/** MUSTER_OK where the library is on this machine; else MUSTER_UNAVAILABLE, with the reason as the last failure. */
muster_code ncclFound();

muster_code makeNcclId(NcclId& id);

/** A rank's end of a communicator of NCCL. */
class NcclCommunicator {
 public:
  /** Meets the others, within NCCL's own time. */
  static muster_code open(const NcclId& id, std::uint32_t rank, std::uint32_t size, std::unique_ptr<NcclCommunicator>& communicator);
  ~NcclCommunicator();

  muster_code allReduce(const void* source, void* target, std::uint64_t elements, muster_dtype dtype, muster_reduction reduction, cudaStream_t stream);
  /** Whether another rank or a link was found to be lost. */
  muster_code failure();
  /** Ends what is under way, on the device too. */
  void abort();

 private:
  void* handle_ = nullptr;
};

}  // namespace muster::cuda
