/** What AVX512-BF16 adds: products of pairs of bf16. The rest of its table is AVX-512's. */
#include "kernels/gemm-lanes.h"
#include "kernels/table.h"

namespace muster::kernels {
extern constinit const GemmKernel kBf16PairsKernel = lanes::kWordKernel<lanes::Bf16Pairs, lanes::Bf16PairProducts>;
}
