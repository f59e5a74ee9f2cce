/** The cores that a thread may run on, and what it tells its core when it waits. */
#pragma once

#include <bitset>
#include <cstddef>

namespace muster {

/** As many cores as are told apart: far more than the ranks or the threads that want one each. */
constexpr std::size_t kCoreBits = 1024;

/** The cores that the system lets this thread run on: a bit for each, where there are more of their numbers modulo kCoreBits. */
std::bitset<kCoreBits> ownCores();

/** How many they are: one at least. */
unsigned ownCoreCount();

/** Tells the core that this is a loop that waits. */
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace muster
