/** How a rank waits for others: awake for a moment, then asleep, looking now and then who of them still lives. */
#pragma once

#include <thread>

#include "collective/communicator.h"
#include "process/cores.h"

namespace muster {

/** A look at the clock costs as much as some of these. */
constexpr int kPollsPerLook = 64;
/** How often who waits looks for dead ranks: a few calls to the kernel each time. */
constexpr std::chrono::milliseconds kLookForDead{5};

template <class Arrived>
std::uint32_t Communicator::nextMissing(std::uint32_t from, const Arrived& arrived) const {
  std::uint32_t rank = from;
  while (rank < size_ && (rank == rank_ || arrived(rank))) rank++;
  return rank;
}

template <class Arrived>
bool Communicator::poll(std::uint32_t* missing, const Arrived& arrived) const {
  for (int polls = 0; polls < kPollsPerLook; polls++) {
    *missing = nextMissing(*missing, arrived);
    if (*missing == size_) return true;
    relax();
  }
  return false;
}

template <class Arrived>
muster_code Communicator::wait(const Arrived& arrived) {
  std::uint32_t missing = nextMissing(0, arrived);
  return missing == size_ ? MUSTER_OK : waitLong(missing, arrived);
}

template <class Arrived>
muster_code Communicator::waitLong(std::uint32_t missing, const Arrived& arrived) {
  const Clock::time_point start = Clock::now();
  const Clock::time_point deadline = start + std::chrono::milliseconds(timeoutMs_);
  Clock::time_point nextLook = start + kLookForDead;
  for (;;) {
    if (poll(&missing, arrived)) return MUSTER_OK;
    if (hasFailed()) return failure();
    const Clock::time_point now = Clock::now();
    if (now < start + spin_) continue;
    if (now >= nextLook) {
      if (const muster_code code = lookForDead(arrived); code != MUSTER_OK) return code;
      if (watcher_ != nullptr) {
        if (const muster_code code = watcher_->look(missing, now - start); code != MUSTER_OK) return code;
      }
      nextLook = now + kLookForDead;
    }
    if (now >= deadline) return failTimedOut(missing);
    sleepUntil(arrived, kLookForDead);
  }
}

template <class Arrived>
void Communicator::sleepUntil(const Arrived& arrived, Clock::duration limit) {
  Bell& bell = control(rank_).bell;
  bell.asleep.store(1);
  const std::uint32_t rings = bell.rings.load();
  if (nextMissing(0, arrived) != size_ && !hasFailed()) sleepWhile(bell.rings, rings, std::chrono::ceil<std::chrono::microseconds>(limit));
  bell.asleep.store(0);
}

template <class Arrived>
muster_code Communicator::lookForDead(const Arrived& arrived) {
  for (std::uint32_t rank = 0; rank < size_; rank++) {
    // A rank that is gone may have come before: whether it has is asked again, after its end is known.
    if (rank == rank_ || arrived(rank) || membership_->isAlive(rank) || arrived(rank)) continue;
    return failGone(rank);
  }
  return MUSTER_OK;
}

}  // namespace muster
