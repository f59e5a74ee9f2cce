#include "process/cores.h"

#include <algorithm>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace muster {

#ifdef __linux__

std::bitset<kCoreBits> ownCores() {
  std::bitset<kCoreBits> cores;
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (std::size_t core = 0; core < CPU_SETSIZE; core++) cores.set(core % kCoreBits, CPU_ISSET(core, &allowed) || cores.test(core % kCoreBits));
  } else {  // there are more than the set can hold
    cores.set();
  }
  return cores;
}

unsigned ownCoreCount() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) return static_cast<unsigned>(CPU_COUNT(&allowed));
  return std::max(1u, std::thread::hardware_concurrency());
}

#else

std::bitset<kCoreBits> ownCores() {
  std::bitset<kCoreBits> cores;
  for (unsigned core = 0; core < ownCoreCount(); core++) cores.set(core % kCoreBits);
  return cores;
}

unsigned ownCoreCount() { return std::max(1u, std::thread::hardware_concurrency()); }

#endif

}  // namespace muster
