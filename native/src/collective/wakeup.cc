#include "collective/wakeup.h"

#ifdef __linux__
#include <climits>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <algorithm>
#include <thread>
#endif

namespace muster {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);

#ifdef __linux__

void sleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t expected, std::chrono::microseconds limit) {
  const timespec timeout{limit.count() / 1'000'000, limit.count() % 1'000'000 * 1000};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void wakeSleepers(const std::atomic<std::uint32_t>& word) { ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

#else

/** Without a futex that works between processes: how long a sleeper may miss its ring. */
constexpr std::chrono::microseconds kNap{50};

void sleepWhile(const std::atomic<std::uint32_t>& word, std::uint32_t expected, std::chrono::microseconds limit) {
  if (word.load() == expected) std::this_thread::sleep_for(std::min(limit, kNap));
}

void wakeSleepers(const std::atomic<std::uint32_t>&) {}

#endif

}  // namespace muster
