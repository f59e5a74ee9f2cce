/** The instruction sets for which loops are compiled. */
#pragma once

namespace muster::kernels {

/** From the least to the most; a level includes those before it of its architecture. */
enum class Level { scalar, neon, avx2, avx512, avx512Bf16 };

/** Whether this machine runs what is compiled for the level. */
bool machineHas(Level level);

}  // namespace muster::kernels
