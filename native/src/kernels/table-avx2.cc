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
constinit const KernelTable kAvx2Table = makeTable(Level::avx2, "avx2");
}
