/** One rank of a communicator, wherever the others are: what may be asked of it, whoever carries it out. */
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "muster/collective.h"

namespace muster {

/** Bytes of a call's memory at one rank. */
struct Extents {
  std::uint64_t source;
  std::uint64_t target;
};

/** For one thread at a time, but for abort() and blame(). */
class RankEnd {
 public:
  virtual ~RankEnd() = default;
  RankEnd(const RankEnd&) = delete;

  bool has(std::uint32_t rank) const { return rank < size_; }

  /** Whether the call's arguments can be accepted: see check-call.cc. Does nothing else. */
  muster_code check(const muster_call& call) const;

  /** What the call reads and writes here. */
  Extents extents(const muster_call& call) const;

  /** Makes checked calls: collective ones in order, then all messages at once. */
  virtual muster_code run(std::span<const muster_call> calls) = 0;

  /** Whether the call is over as soon as every rank has begun it. */
  virtual bool isOneShot(const muster_call& call) const = 0;
  /** One collective call in three steps, which may be on two threads. This one gives this rank's word on it. */
  virtual muster_code begin(const muster_call& call) = 0;
  /** Waits until every rank has begun it, for so long at most. */
  virtual bool haveBegun(std::chrono::nanoseconds limit) = 0;
  /** Waits for who has not begun yet, and carries it out. */
  virtual muster_code end(const muster_call& call) = 0;

  /** Ends the calls of all ranks with this failure, unless there is one already. @returns the communicator's, as this thread's */
  virtual muster_code failAll(muster_code code, std::uint32_t rank, const std::string& message) = 0;
  /** The communicator's failure, as this thread's, or MUSTER_OK. */
  virtual muster_code look() const = 0;
  std::uint32_t rank() const { return rank_; }

  /** From any thread. */
  virtual void abort(const std::string& reason) = 0;
  /** Ends the calls of all ranks, because of another that is gone. From any thread. */
  virtual void blame(std::uint32_t rank, const std::string& reason) = 0;

 protected:
  RankEnd(std::string id, std::uint32_t rank, std::uint32_t size) : id_(std::move(id)), rank_(rank), size_(size) {}

  const std::string id_;
  const std::uint32_t rank_;
  const std::uint32_t size_;
};

}  // namespace muster
