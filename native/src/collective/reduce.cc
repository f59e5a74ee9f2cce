#include "collective/reduce.h"

#include "kernels/level.h"

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
  if (kernels::machineHas(kernels::Level::avx2)) tables[count++] = &kReduceAvx2;
  if (kernels::machineHas(kernels::Level::avx512)) tables[count++] = &kReduceAvx512;
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

}  // namespace muster
