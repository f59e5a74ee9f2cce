/** The plain reference as a level of its own: for machines without a vector unit that is known, and for tests. */
#include "kernels/convert.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"
#include "kernels/map.h"
#include "kernels/optimizer.h"
#include "kernels/pooling.h"
#include "kernels/rows.h"
#include "kernels/scores.h"

namespace muster::kernels {
namespace own = reference;
}

#include "kernels/table-fill.h"

namespace muster::kernels {
constinit const KernelTable kScalarTable = makeTable(Level::scalar, "scalar");
}
