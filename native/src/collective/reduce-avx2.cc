/** Compiled for AVX2 and F16C. */
#include "collective/reduce-kernels.h"

namespace muster {
extern const ReduceTable kReduceAvx2;
const ReduceTable kReduceAvx2 = {"avx2", MUSTER_REDUCE_KERNELS};
}  // namespace muster
