#include "kernels/level.h"

#include <atomic>

#include "kernels/table.h"

namespace muster::kernels {
namespace {

const KernelTable* tableOf(Level level) {
  if (!machineHas(level)) return nullptr;
  switch (level) {
#if defined(__x86_64__)
    case Level::avx2: return &kAvx2Table;
    case Level::avx512: return &kAvx512Table;
    case Level::avx512Bf16: return &kAvx512Bf16Table;
#elif defined(__aarch64__)
    case Level::neon: return &kNeonTable;
#endif
    default: return &kScalarTable;
  }
}

const KernelTable* bestTable() {
  for (const Level level : {Level::avx512Bf16, Level::avx512, Level::avx2, Level::neon}) {
    if (const KernelTable* found = tableOf(level)) return found;
  }
  return &kScalarTable;
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> chosen = bestTable();
  return chosen;
}

}  // namespace

bool machineHas(Level level) {
  switch (level) {
    case Level::scalar: return true;
#if defined(__x86_64__)
    case Level::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case Level::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             machineHas(Level::avx2);
    case Level::avx512Bf16: return __builtin_cpu_supports("avx512bf16") && machineHas(Level::avx512);
#elif defined(__aarch64__)
    case Level::neon: return true;
#endif
    default: return false;
  }
}

const KernelTable& table() { return *current().load(std::memory_order_relaxed); }

bool useLevel(Level level) {
  const KernelTable* found = tableOf(level);
  if (found != nullptr) current().store(found, std::memory_order_relaxed);
  return found != nullptr;
}

}  // namespace muster::kernels

const char* muster_kernel_level(void) { return muster::kernels::table().name; }
