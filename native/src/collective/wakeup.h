/** Waiting for other processes: a hint to the processor, and sleep in the kernel. */
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace muster {

using Clock = std::chrono::steady_clock;

/** Tells the processor that this is a loop that waits. */
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/** Sleeps while `word` is `expected`, and `limit` at most. May return earlier for no reason. */
void sleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t expected, std::chrono::microseconds limit);

/** Wakes all who sleep on the word, in every process. */
void wakeSleepers(const std::atomic<std::uint32_t>& word);

}  // namespace muster
