/** What every processor of the architecture runs: SSE2 or NEON. */
#include "collective/reduce-kernels.h"

namespace muster {
extern const ReduceTable kReduceBaseline;
const ReduceTable kReduceBaseline = {"baseline", MUSTER_REDUCE_KERNELS};
}  // namespace muster
