/** Waiting for other processes asleep, in the kernel. */
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace muster {

using Clock = std::chrono::steady_clock;

/** Sleeps while `word` is `expected`, and `limit` at most. May return earlier for no reason. */
void sleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t expected, std::chrono::microseconds limit);

/** Wakes all who sleep on the word, in every process. */
void wakeSleepers(const std::atomic<std::uint32_t>& word);

}  // namespace muster
