/** The kernels' own threads: they sleep between calls, and a call wakes as many as it wants. */
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace muster::kernels {

/** One for each core that the process may use, where the caller said 0; never more than MUSTER_THREADS_MAX. */
unsigned threadCount(std::uint32_t wanted);

using Work = void (*)(void* context, std::size_t item);

void runInParallel(unsigned threads, std::size_t items, Work work, void* context);

/**
 * Calls `body(item)` once for every item below `items`, on up to `threads` threads of which the caller is one, and returns when all have
 * ended. Items are begun in order. A call from within a body, or while another thread's call is under way, runs on its caller alone:
 * the cores are busy then. `body` must not throw.
 */
template <class Body>
void parallelFor(unsigned threads, std::size_t items, Body body) {
  runInParallel(threads, items, [](void* context, std::size_t item) { (*static_cast<Body*>(context))(item); }, &body);
}

/** The same of items that may fail, which `body` then says by false: after that no other is begun. @returns whether none failed */
template <class Body>
bool parallelUntilFailure(unsigned threads, std::size_t items, Body body) {
  std::atomic<bool> isFine = true;
  parallelFor(threads, items, [&](std::size_t item) {
    if (isFine.load(std::memory_order_relaxed) && !body(item)) isFine.store(false, std::memory_order_relaxed);
  });
  return isFine;
}

}  // namespace muster::kernels
