/**
 * What one instruction set offers: a table of the kernels' inner loops, each on one piece of memory and one thread. The C ABI's files check
 * arguments, cut tensors into pieces and call through the table of this machine.
 */
#pragma once

#include <cstddef>

#include "kernels/formats.h"
#include "kernels/gemm.h"
#include "kernels/optimizer.h"

namespace muster::kernels {

/** From the least to the most; a level includes those before it of its architecture. */
enum class Level { scalar, neon, avx2, avx512, avx512Bf16 };

/** The formats that training computes in: f32, f16, bf16, in the order of muster_format. */
inline constexpr std::size_t kTrainingFormatCount = 3;

struct KernelTable {
  Level level;
  const char* name;

  /** From [format] to [format], one of which is f32; null otherwise. `past`: the target is larger than the caches. */
  void (*convert[MUSTER_FORMAT_COUNT][MUSTER_FORMAT_COUNT])(const void* source, void* target, std::size_t elements, bool past);
  bool (*unscale[kTrainingFormatCount])(void* gradients, std::size_t elements, float inverse);
  double (*sumOfSquares[kTrainingFormatCount])(const void* gradients, std::size_t elements);
  /** [format of the gradient][format of the copy; none at f32]. */
  void (*sgd[kTrainingFormatCount][kTrainingFormatCount])(const SgdPiece& piece, const SgdFactors& factors);
  void (*adam[kTrainingFormatCount][kTrainingFormatCount])(const AdamPiece& piece, const AdamFactors& factors);
  /** [format of the inputs] */
  const GemmKernel* gemm[kTrainingFormatCount];
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
