/**
 * What one rank does in its calls. For one thread at a time, but for abort(); who queues calls is submissions.h.
 *
 * Every collective call has a number, the same at all ranks, and each rank publishes its word on call n in its one-shot slot of n's parity.
 * No rank ends call n before it has read every rank's word on it, so who publishes n + 2 overwrites nothing that is still
 * read: it has seen everyone's word on n + 1, and whoever gave that had ended n.
 *
 *   one shot   the payload rides with the word; each rank computes its result from all slots
 *   pipeline   see pipeline.cc
 *   messages   see messages.cc
 */
#pragma once

#include <memory>
#include <span>
#include <string>

#include "collective/membership.h"
#include "collective/reduce.h"

namespace muster {

/** Bytes of a call's memory at one rank. */
struct Extents {
  std::uint64_t source;
  std::uint64_t target;
};

class Communicator {
 public:
  /** Meets the others: blocks until all are there. */
  static muster_code open(const muster_communicator_options& options, std::unique_ptr<Communicator>* communicator);
  ~Communicator();
  Communicator(const Communicator&) = delete;

  /** Whether the call's arguments can be accepted: see check-call.cc. Does nothing else. */
  muster_code check(const muster_call& call) const;

  /** What the call reads and writes here. */
  Extents extents(const muster_call& call) const;

  /** Makes checked calls: collective ones in order, then all messages at once. */
  muster_code run(std::span<const muster_call> calls);

  /** Whether the call can be begun and ended by the three below. */
  bool isOneShot(const muster_call& call) const;
  /** Publishes this rank's part of a one-shot call. */
  muster_code beginOneShot(const muster_call& call);
  /** Waits for the others' parts for a moment. */
  bool pollOneShot(std::chrono::nanoseconds limit);
  /** Waits for what is still missing, and computes the result. */
  muster_code endOneShot(const muster_call& call);

  /** From any thread. */
  void abort(const std::string& reason);

 private:
  friend class Pipeline;
  friend class Messages;

  Communicator(const muster_communicator_options& options, std::unique_ptr<Membership> membership);

  muster_code meet(const muster_communicator_options& options, Clock::time_point deadline);
  muster_code runCollective(const muster_call& call);
  void beginCall(const muster_call& call, std::size_t payloadBytes);
  muster_code compareCalls(const muster_call& call);
  std::size_t oneShotBytes(const muster_call& call) const;
  void oneShotResult(const muster_call& call);

  RankControl& control(std::uint32_t rank) const { return membership_->control(rank); }
  OneShotSlot& slot(std::uint32_t rank) const { return slot(rank, sequence_); }
  OneShotSlot& slot(std::uint32_t rank, std::uint64_t sequence) const {
    return *reinterpret_cast<OneShotSlot*>(membership_->at(membership_->layout().oneShot(rank, sequence)));
  }
  SharedFailure& sharedFailure() const { return membership_->header().failure; }

  /** Makes a counter's new value known to everyone, and wakes who sleeps. What was written before is seen by whoever sees it. */
  void publish(std::atomic<std::uint64_t>& counter, std::uint64_t value);
  void publishTo(std::uint32_t rank, std::atomic<std::uint64_t>& counter, std::uint64_t value);
  void ring(std::uint32_t rank);

  /** Waits until `arrived(rank)` holds for every other rank; once it does, it must stay so. */
  template <class Arrived>
  muster_code wait(const Arrived& arrived);
  template <class Arrived>
  std::uint32_t nextMissing(std::uint32_t from, const Arrived& arrived) const;
  template <class Arrived>
  bool poll(std::uint32_t* missing, const Arrived& arrived) const;
  template <class Arrived>
  muster_code waitLong(std::uint32_t missing, const Arrived& arrived);
  template <class Arrived>
  void sleepUntil(const Arrived& arrived);
  /** Fails when a rank that is waited for is gone. */
  template <class Arrived>
  muster_code lookForDead(const Arrived& arrived);

  bool hasFailed() const { return sharedFailure().state.load(std::memory_order_relaxed) != SharedFailure::none; }
  /** The communicator's failure, as this thread's. */
  muster_code failure() const;
  /** Fails the communicator for everyone, unless it has failed before. @returns its failure */
  muster_code fail(muster_code code, std::int32_t rank, const std::string& message);
  muster_code failGone(std::uint32_t rank);
  muster_code failTimedOut(std::uint32_t rank);

  const std::string id_;
  const std::uint32_t rank_;
  const std::uint32_t size_;
  const std::uint32_t timeoutMs_;
  const std::unique_ptr<Membership> membership_;
  const ReduceTable& reduceTable_;
  /** How long to wait awake. */
  std::chrono::nanoseconds spin_{0};
  /** Collective calls so far. */
  std::uint64_t sequence_ = 0;
  /** Blocks of the pipeline so far. */
  std::uint64_t blocks_ = 0;
};

}  // namespace muster
