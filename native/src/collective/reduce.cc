#include "collective/reduce.h"

namespace muster {

extern const ReduceTable kReduceBaseline;
#if defined(__x86_64__)
extern const ReduceTable kReduceAvx2;
extern const ReduceTable kReduceAvx512;
#endif

std::size_t reduceTables(const ReduceTable* (&tables)[kReduceTablesMax]) {
  std::size_t count = 0;
  tables[count++] = &kReduceBaseline;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) tables[count++] = &kReduceAvx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    tables[count++] = &kReduceAvx512;
  }
#endif
  return count;
}

const ReduceTable& reduceTable() {
  static const ReduceTable& fastest = [] () -> const ReduceTable& {
    const ReduceTable* tables[kReduceTablesMax];
    return *tables[reduceTables(tables) - 1];
  }();
  return fastest;
}

std::size_t elementBytes(muster_dtype dtype) {
  static constexpr std::size_t kBytes[MUSTER_DTYPE_COUNT] = {8, 4, 2, 2, 8, 4, 1};
  return kBytes[dtype];
}

}  // namespace muster
