/** What the emulated device has not: Hopper's instructions, and NVIDIA's libraries. */
#include "gemm.h"
#include "status.h"

namespace muster::cuda {

muster_code wgmmaGemm(const GemmCall&, cudaStream_t) { return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "the emulator has no wgmma"); }
muster_code cublasLtFound() { return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "the emulator has no cublasLt"); }
muster_code cublasLtGemm(const GemmCall&, cudaStream_t) { return cublasLtFound(); }

}  // namespace muster::cuda
