/** The kernels compiled for this file's instruction set (CMakeLists.txt has the flags). */
#include "kernels/convert-lanes.h"
#include "kernels/elementwise-lanes.h"
#include "kernels/gemm-lanes.h"
#include "kernels/gradients-lanes.h"
#include "kernels/map-lanes.h"
#include "kernels/optimizer-lanes.h"
#include "kernels/pooling-lanes.h"
#include "kernels/rows-lanes.h"
#include "kernels/scores-lanes.h"

namespace muster::kernels {
namespace own = lanes;
}

#include "kernels/table-fill.h"

namespace muster::kernels {
extern const GemmKernel kBf16PairsKernel;

constinit const KernelTable kAvx512Table = makeTable(Level::avx512, "avx512");

constinit const KernelTable kAvx512Bf16Table = [] {
  KernelTable table = makeTable(Level::avx512Bf16, "avx512-bf16");
  table.gemm[MUSTER_BF16] = &kBf16PairsKernel;
  return table;
}();
}
