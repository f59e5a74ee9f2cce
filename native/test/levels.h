/** Runs a test on every instruction set that this machine has. */
#pragma once

#include <cstdio>
#include <functional>

#include "kernels/table.h"

namespace check {

inline void atEveryLevel(const std::function<void()>& body) {
  using muster::kernels::Level;
  const Level best = muster::kernels::table().level;
  for (const Level level : {Level::scalar, Level::neon, Level::avx2, Level::avx512, Level::avx512Bf16}) {
    if (!muster::kernels::useLevel(level)) continue;
    const int before = failures;
    body();
    if (failures != before) std::fprintf(stderr, "  (at the level %s)\n", muster_kernel_level());
  }
  muster::kernels::useLevel(best);
}

}  // namespace check
