#include "collective/communicator.h"

#include <cinttypes>
#include <cstring>
#include <thread>

#include "collective/describe.h"
#include "collective/messages.h"
#include "collective/pipeline.h"
#include "collective/waiting.h"
#include "status.h"

namespace muster {
namespace {

/** A rank that runs is seldom later than that, and to sleep and be woken costs tens of microseconds on a virtual machine. */
constexpr std::chrono::microseconds kSpin{200};
/** Where ranks outnumber cores: who waits awake for a rank that has no core keeps it from running. */
constexpr std::chrono::microseconds kSpinWithoutCore{2};
/** How long a rank that has claimed the failure may take to describe it. */
constexpr std::chrono::milliseconds kDescribeLimit{100};

muster_code checkOptions(const muster_communicator_options& options) {
  static constexpr const char* kIdLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  const std::size_t length = options.id == nullptr ? 0 : std::strlen(options.id);
  if (length == 0 || length > 128 || std::strspn(options.id, kIdLetters) != length) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a communicator's id must be 1 to 128 letters, digits, dots, hyphens and underscores");
  }
  if (options.size < 1 || options.size > MUSTER_RANKS_MAX) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a communicator has 1 to %u ranks, not %u", MUSTER_RANKS_MAX, options.size);
  }
  if (options.rank >= options.size) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "rank %u is not below the size %u", options.rank, options.size);
  if (options.timeout_ms == 0) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the timeout must be 1 ms or more");
  return MUSTER_OK;
}

}  // namespace

Communicator::Communicator(const muster_communicator_options& options, const Part* part, std::unique_ptr<Membership> membership)
    : RankEnd(part == nullptr ? options.id : part->id, options.rank, options.size),
      timeoutMs_(options.timeout_ms),
      firstRank_(part == nullptr ? 0 : part->firstRank),
      watcher_(part == nullptr ? nullptr : part->watcher),
      membership_(std::move(membership)),
      reduceTable_(reduceTable()) {}

Communicator::~Communicator() {
  control(rank_).presence.store(Presence::left);
  for (std::uint32_t rank = 0; rank < size_; rank++) ring(rank);
}

muster_code Communicator::open(const muster_communicator_options& options, const Part* part, std::unique_ptr<Communicator>* communicator) {
  if (const muster_code code = checkOptions(options); code != MUSTER_OK) return code;
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(options.timeout_ms);
  std::unique_ptr<Membership> membership;
  if (const muster_code code = Membership::join(options, deadline, &membership); code != MUSTER_OK) return code;
  std::unique_ptr<Communicator> met(new Communicator(options, part, std::move(membership)));
  const muster_code code = met->meet(options, deadline);
  if (code != MUSTER_OK) {
    met->membership_->unlink();
    return code;
  }
  *communicator = std::move(met);
  return MUSTER_OK;
}

/** Waits until all are there and the name is gone, which is rank 0's to remove. */
muster_code Communicator::meet(const muster_communicator_options& options, Clock::time_point deadline) {
  SharedHeader& header = membership_->header();
  for (std::uint32_t rank = 0; rank < size_; rank++) ring(rank);
  while (header.ready.load() == 0) {
    if (hasFailed()) return failure();
    if (rank_ == 0 && header.joined.load() == size_) {
      membership_->unlink();
      header.ready.store(1);
      for (std::uint32_t rank = 0; rank < size_; rank++) ring(rank);
      break;
    }
    if (options.is_cancelled != nullptr && options.is_cancelled(options.context)) {
      abort("it gave up waiting for the others");
      return failure();
    }
    // Rank 0 made the memory and holds its lock in it from the first: if it is not there, it has died.
    const auto joined = [&](std::uint32_t rank) { return rank == 0 || control(rank).presence.load() != Presence::absent; };
    const auto isReady = [&](std::uint32_t rank) { return header.ready.load() != 0 || !joined(rank); };
    if (const muster_code code = lookForDead(isReady); code != MUSTER_OK) return code;
    if (Clock::now() > deadline) {
      const std::uint32_t missing = nextMissing(0, joined);
      if (missing == size_) return fail(MUSTER_TIMED_OUT, numberOf(0), nameOf(0) + " has not opened the communicator '" + id_ + "' within " + std::to_string(timeoutMs_) + " ms");
      return fail(MUSTER_TIMED_OUT, numberOf(missing),
                  nameOf(missing) + " has not joined the communicator '" + id_ + "' within " + std::to_string(timeoutMs_) + " ms");
    }
    sleepUntil([&](std::uint32_t) { return header.ready.load() != 0 || (rank_ == 0 && header.joined.load() == size_); }, kLookForDead);
  }
  std::bitset<kCoreBits> cores;
  for (std::uint32_t rank = 0; rank < size_; rank++) cores |= control(rank).cores;
  spin_ = cores.count() >= size_ ? kSpin : kSpinWithoutCore;
  return MUSTER_OK;
}

muster_call Communicator::named(const muster_call& call) const {
  muster_call whole = call;
  if (hasPeer(call.kind)) whole.peer = static_cast<std::uint32_t>(numberOf(call.peer));
  return whole;
}

muster_code Communicator::run(std::span<const muster_call> calls) {
  for (const muster_call& call : calls) {
    if (isPointToPoint(call.kind)) continue;
    if (const muster_code code = begin(call); code != MUSTER_OK) return code;
    if (const muster_code code = end(call); code != MUSTER_OK) return code;
  }
  return Messages(*this, calls).run();
}

muster_code Communicator::begin(const muster_call& call) {
  if (hasFailed()) return failure();
  giveWord(call, isOneShot(call) && givesOneShot(call) ? oneShotBytes(call) : 0);
  return MUSTER_OK;
}

/** Awake for a moment, then asleep: who comes rings. */
bool Communicator::haveBegun(std::chrono::nanoseconds limit) {
  const auto hasCome = [&](std::uint32_t rank) { return slot(rank).sequence.load() == sequence_; };
  const Clock::time_point start = Clock::now();
  std::uint32_t missing = 0;
  for (;;) {
    if (poll(&missing, hasCome)) return true;
    const Clock::duration waited = Clock::now() - start;
    if (waited >= limit || hasFailed()) return false;
    if (waited >= spin_) sleepUntil(hasCome, limit - waited);
  }
}

muster_code Communicator::end(const muster_call& call) {
  muster_code code;
  if (isOneShot(call)) {
    code = compareCalls(call);
    if (code == MUSTER_OK && call.count > 0) oneShotResult(call);
  } else {
    code = Pipeline(*this, call).run();
  }
  control(rank_).current.store({});
  return code;
}

/** Gives this rank's word on the call, and its payload with it. */
void Communicator::giveWord(const muster_call& call, std::size_t payloadBytes) {
  sequence_++;
  control(rank_).current.store(wordsOf(call));
  control(rank_).sequence.store(spokenSequence(), std::memory_order_relaxed);
  OneShotSlot& own = slot(rank_);
  own.call = wordsOf(call);
  own.site.store(spokenSite(call));
  if (payloadBytes > 0) std::memcpy(own.payload, call.source, payloadBytes);
  publish(own.sequence, sequence_);
}

/** Waits for every rank's word on this call. */
muster_code Communicator::compareCalls(const muster_call& call) {
  const auto hasCome = [&](std::uint32_t rank) { return slot(rank).sequence.load() == sequence_; };
  if (const muster_code code = wait(hasCome); code != MUSTER_OK) return code;
  const CallWords own = wordsOf(call);
  for (std::uint32_t rank = 0; rank < size_; rank++) {
    const OneShotSlot& other = slot(rank);
    if (rank == rank_ || other.call == own) continue;
    return fail(MUSTER_MISMATCH, numberOf(rank),
                "ranks of the communicator '" + id_ + "' made different calls as their collective call " + std::to_string(spokenSequence()) + ": " + nameOf(rank) + " " +
                    describeCall(unpackCall(other.call), other.site.load()) + ", " + nameOf(rank_) + " " + describeCall(unpackCall(own), slot(rank_).site.load()));
  }
  return MUSTER_OK;
}

void Communicator::publish(std::atomic<std::uint64_t>& counter, std::uint64_t value) {
  counter.exchange(value);  // ordered before the looks at who sleeps, as a plain store would not be
  for (std::uint32_t rank = 0; rank < size_; rank++) {
    if (rank != rank_) ring(rank);
  }
}

void Communicator::publishTo(std::uint32_t rank, std::atomic<std::uint64_t>& counter, std::uint64_t value) {
  counter.exchange(value);
  ring(rank);
}

void Communicator::ring(std::uint32_t rank) {
  Bell& bell = control(rank).bell;
  if (bell.asleep.load() == 0) return;
  bell.rings.fetch_add(1);
  wakeSleepers(bell.rings);
}

void Communicator::abort(const std::string& reason) {
  fail(MUSTER_ABORTED, numberOf(rank_), nameOf(rank_) + " aborted the communicator '" + id_ + "': " + reason);
}

void Communicator::blame(std::uint32_t rank, const std::string& reason) {
  fail(MUSTER_RANK_GONE, static_cast<std::int32_t>(rank), "rank " + std::to_string(rank) + " is lost to the communicator '" + id_ + "': " + reason);
}

muster_code Communicator::failure() const {
  const SharedFailure& failure = sharedFailure();
  const Clock::time_point deadline = Clock::now() + kDescribeLimit;
  while (failure.state.load(std::memory_order_acquire) != SharedFailure::written) {
    if (Clock::now() > deadline) return MUSTER_FAIL(MUSTER_RANK_GONE, 0, "a rank of the communicator '%s' ended while it reported a failure", id_.c_str());
    std::this_thread::yield();
  }
  const muster_code code = MUSTER_FAIL(static_cast<muster_code>(failure.code), 0, "%.*s", MUSTER_MESSAGE_BYTES - 1, failure.message);
  blameRank(failure.rank);
  return code;
}

muster_code Communicator::fail(muster_code code, std::int32_t rank, const std::string& message) {
  SharedFailure& failure = sharedFailure();
  std::uint32_t none = SharedFailure::none;
  if (failure.state.compare_exchange_strong(none, SharedFailure::writing)) {
    failure.code = code;
    failure.rank = rank;
    std::strncpy(failure.message, message.c_str(), sizeof failure.message - 1);
    failure.state.store(SharedFailure::written);
    for (std::uint32_t each = 0; each < size_; each++) ring(each);
  }
  return this->failure();
}

muster_code Communicator::failGone(std::uint32_t rank) {
  const RankControl& gone = control(rank);
  const bool hasLeft = gone.presence.load() == Presence::left;
  return fail(MUSTER_RANK_GONE, numberOf(rank),
              nameOf(rank) + " (process " + std::to_string(gone.processId) + (hasLeft ? ") has closed" : ") ended without closing") +
                  " the communicator '" + id_ + "', and " + nameOf(rank_) + " waits for it in " + describeCall(unpackCall(control(rank_).current.load())));
}

muster_code Communicator::failTimedOut(std::uint32_t rank) {
  const RankControl& late = control(rank);
  const muster_call doing = unpackCall(late.current.load());
  return fail(MUSTER_TIMED_OUT, numberOf(rank),
              nameOf(rank) + " of the communicator '" + id_ + "' has kept " + nameOf(rank_) + " waiting in " +
                  describeCall(unpackCall(control(rank_).current.load())) + ", after " + std::to_string(spokenSequence()) + " collective calls, for " +
                  std::to_string(timeoutMs_) + " ms; it is in " + describeCall(doing) + ", after " +
                  std::to_string(late.sequence.load(std::memory_order_relaxed)));
}

}  // namespace muster
