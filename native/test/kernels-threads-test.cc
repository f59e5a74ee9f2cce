/** The kernels' threads: every item is done once, whoever calls, from wherever, and all of it is seen when the call returns. Under the thread sanitizer (sanitize.sh) the hand-off is what is tested. */
#include "kernels/threads.h"

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"
#include "muster/tensor.h"

namespace {

using muster::kernels::parallelFor;

/** Plain memory: a hand-off without order would be a race on it. */
bool eachItemIsDoneOnce(unsigned threads, std::size_t items) {
  std::vector<int> counts(items);
  parallelFor(threads, items, [&](std::size_t item) { counts[item]++; });
  for (const int count : counts) {
    if (count != 1) return false;
  }
  return true;
}

void shortCallsFollowEachOther() {
  bool same = true;
  for (unsigned round = 0; round < 4000; round++) same = same && eachItemIsDoneOnce(1 + round % 5, round % 7);
  CHECK(same);
}

void callersShareThePool() {
  std::atomic<bool> same = true;
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 4; caller++) {
    callers.emplace_back([&] {
      for (unsigned round = 0; round < 500; round++) {
        if (!eachItemIsDoneOnce(3, 9)) same = false;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(same);
}

void callsWithinCallsRunWhereTheyAre() {
  std::vector<std::size_t> sums(6);
  parallelFor(3, sums.size(), [&](std::size_t item) { parallelFor(3, 10, [&](std::size_t inner) { sums[item] += inner; }); });
  for (const std::size_t sum : sums) CHECK(sum == 45);
}

void aChildHasThreadsOfItsOwn() {
#ifndef __SANITIZE_THREAD__  // whose children may not begin threads
  CHECK(eachItemIsDoneOnce(3, 20));
  CHECK(check::inChild([] { CHECK(eachItemIsDoneOnce(3, 20)); }) == 0);
  CHECK(eachItemIsDoneOnce(3, 20));
#endif
}

void noMoreThanTheMost() { CHECK(muster::kernels::threadCount(100'000) == MUSTER_THREADS_MAX && muster::kernels::threadCount(0) >= 1); }

}  // namespace

int main() {
  return check::runAll({
      {"short calls follow each other", shortCallsFollowEachOther},
      {"callers share the pool", callersShareThePool},
      {"calls within calls run where they are", callsWithinCallsRunWhereTheyAre},
      {"a child has threads of its own", aChildHasThreadsOfItsOwn},
      {"there are no more threads than the most", noMoreThanTheMost},
  });
}
