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
#include "collective/rank-end.h"
#include "collective/reduce.h"

namespace muster {

/** Looks after the rest of a larger communicator while a rank waits for others of its node. */
class Watcher {
 public:
  /** Called every few milliseconds with the rank that is waited for, by its number on the node. A failure ends the wait. */
  virtual muster_code look(std::uint32_t missing, Clock::duration waited) = 0;

 protected:
  ~Watcher() = default;
};

/** What a communicator is when it is the part of a larger one that lies on one node. */
struct Part {
  /** Of the whole, for messages. */
  std::string id;
  /** The number in the whole of the node's rank 0; the others follow. */
  std::uint32_t firstRank = 0;
  Watcher* watcher = nullptr;
};

class Communicator final : public RankEnd {
 public:
  /** Meets the others: blocks until all are there. `part`: null when these ranks are all. */
  static muster_code open(const muster_communicator_options& options, const Part* part, std::unique_ptr<Communicator>* communicator);
  ~Communicator() override;

  muster_code run(std::span<const muster_call> calls) override;
  bool isOneShot(const muster_call& call) const override;
  muster_code begin(const muster_call& call) override;
  bool haveBegun(std::chrono::nanoseconds limit) override;
  muster_code end(const muster_call& call) override;
  muster_code failAll(muster_code code, std::uint32_t rank, const std::string& message) override { return fail(code, static_cast<std::int32_t>(rank), message); }
  muster_code look() const override { return hasFailed() ? failure() : MUSTER_OK; }
  void abort(const std::string& reason) override;
  void blame(std::uint32_t rank, const std::string& reason) override;

  /** From now on this rank's calls are parts of that one of the whole, which is what ranks compare and messages name. */
  void speakFor(const muster_call& call, std::uint64_t sequence) { spokenFor_ = {packCall(call), sequence, call.site}; }
  /** By the number in the whole. @returns the communicator's failure, which may be another's word. From any thread. */
  muster_code fail(muster_code code, std::int32_t rank, const std::string& message);
  bool hasFailed() const { return sharedFailure().state.load(std::memory_order_relaxed) != SharedFailure::none; }
  /** The communicator's failure, as this thread's. */
  muster_code failure() const;

 private:
  friend class Pipeline;
  friend class Messages;

  Communicator(const muster_communicator_options& options, const Part* part, std::unique_ptr<Membership> membership);

  muster_code meet(const muster_communicator_options& options, Clock::time_point deadline);
  void giveWord(const muster_call& call, std::size_t payloadBytes);
  muster_code compareCalls(const muster_call& call);
  std::size_t oneShotBytes(const muster_call& call) const;
  bool givesOneShot(const muster_call& call) const;
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
  void sleepUntil(const Arrived& arrived, Clock::duration limit);
  /** Fails when a rank that is waited for is gone. */
  template <class Arrived>
  muster_code lookForDead(const Arrived& arrived);

  muster_code failGone(std::uint32_t rank);
  muster_code failTimedOut(std::uint32_t rank);

  /** A rank's number as messages name it: in the whole. */
  std::int32_t numberOf(std::uint32_t rank) const { return static_cast<std::int32_t>(firstRank_ + rank); }
  std::string nameOf(std::uint32_t rank) const { return "rank " + std::to_string(numberOf(rank)); }
  /** The call in the whole's numbers. */
  muster_call named(const muster_call& call) const;
  CallWords wordsOf(const muster_call& call) const { return spokenFor_.sequence > 0 ? spokenFor_.words : packCall(call); }
  std::uint64_t spokenSequence() const { return spokenFor_.sequence > 0 ? spokenFor_.sequence : sequence_; }
  const char* spokenSite(const muster_call& call) const { return spokenFor_.sequence > 0 ? spokenFor_.site : call.site; }

  struct SpokenFor {
    CallWords words;
    std::uint64_t sequence = 0;
    const char* site = nullptr;
  };

  const std::uint32_t timeoutMs_;
  const std::uint32_t firstRank_;
  Watcher* const watcher_;
  SpokenFor spokenFor_;
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
