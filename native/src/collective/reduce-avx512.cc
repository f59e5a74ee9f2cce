/** Compiled for AVX-512 with its byte, doubleword and vector-length extensions. */
#include "collective/reduce-kernels.h"

namespace muster {
extern const ReduceTable kReduceAvx512;
const ReduceTable kReduceAvx512 = {"avx512", MUSTER_REDUCE_KERNELS};
}  // namespace muster
