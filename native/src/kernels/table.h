/**
 * What one instruction set offers: a table of the kernels' inner loops, each on one piece of memory and one thread. The C ABI's files check
 * arguments, cut tensors into pieces and call through the table of this machine.
 */
#pragma once

#include <cstddef>

#include "dtype.h"
#include "kernels/formats.h"
#include "kernels/gemm.h"
#include "kernels/level.h"
#include "kernels/map.h"
#include "kernels/optimizer.h"
#include "kernels/pooling.h"
#include "kernels/rows.h"
#include "kernels/scores.h"
#include "muster/layers.h"

namespace muster::kernels {

/** The dtypes that training computes in: f32, f16, bf16, in the order of muster_dtype. */
inline constexpr std::size_t kTrainingDtypeCount = 3;

/** What elementwise.h and rows.h have, for one dtype of activations. */
struct LayerKernels {
  void (*combine)(muster_pairwise operation, const void* first, const void* second, void* result, std::size_t elements);
  void (*activate)(muster_activation activation, const void* input, void* result, std::size_t elements);
  void (*activateBackward)(muster_activation activation, const void* input, const void* gradient, void* result, std::size_t elements);
  double (*total)(const void* input, std::size_t elements);
  double (*largest)(const void* input, std::size_t elements);
  void (*addTo)(float* sums, const void* addend, std::size_t elements);
  void (*softmax)(const void* input, void* result, std::size_t columns);
  void (*softmaxBackward)(const void* output, const void* gradient, void* result, std::size_t columns);
  float (*crossEntropy)(const void* logits, std::size_t target, void* gradient, float gradientScale, std::size_t columns);
  RowStatistics (*layerNorm)(const void* input, const float* weight, const float* bias, void* result, float epsilon, std::size_t columns);
  void (*layerNormBackward)(const void* input, const float* weight, const void* gradient, void* result, RowStatistics row, std::size_t columns);
  void (*layerNormParameters)(const void* input, const void* gradient, RowStatistics row, float* weightGradient, float* biasGradient, std::size_t columns);
  float (*product)(const void* first, const void* second, std::size_t columns);
};

struct KernelTable {
  Level level;
  const char* name;

  /** From [dtype] to [dtype], one of which is f32; null otherwise. `past`: the target is larger than the caches. */
  void (*convert[kKernelDtypeCount][kKernelDtypeCount])(const void* source, void* target, std::size_t elements, bool past);
  bool (*unscale[kTrainingDtypeCount])(void* gradients, std::size_t elements, float inverse);
  double (*sumOfSquares[kTrainingDtypeCount])(const void* gradients, std::size_t elements);
  /** [dtype of the gradient][dtype of the copy; none at f32]. */
  void (*sgd[kTrainingDtypeCount][kTrainingDtypeCount])(const SgdPiece& piece, const SgdFactors& factors);
  void (*adam[kTrainingDtypeCount][kTrainingDtypeCount])(const AdamPiece& piece, const AdamFactors& factors);
  /** [dtype of the inputs] */
  const GemmKernel* gemm[kTrainingDtypeCount];
  LayerKernels layers[kTrainingDtypeCount];
  void (*powers)(const ScoreBlock& block, const QuerySums& sums);
  void (*slopes)(const ScoreBlock& block, const QueryShares& shares);
  void (*scaleRows)(float* rows, std::size_t stride, std::size_t columns, const float* factors, std::size_t count);
  void (*map)(muster_map_operation operation, const MapTile& tile);
  void (*poolLargest)(const WindowRow& row, const float* image, float* largest, std::int32_t* places);
};

/** The table in use: the best of this machine, unless a test chose another. */
const KernelTable& table();

/** For tests: has all later calls use this level. @returns false where the machine or the build has none. */
bool useLevel(Level level);

extern const KernelTable kScalarTable;
#if defined(__x86_64__)
extern const KernelTable kAvx2Table;
extern const KernelTable kAvx512Table;
extern const KernelTable kAvx512Bf16Table;
#elif defined(__aarch64__)
extern const KernelTable kNeonTable;
#endif

}  // namespace muster::kernels
