/**
 * What lies where in the memory that the ranks of a communicator share. One writer for each line: what a rank
 * publishes, the others only read; exceptions say so.
 *
 *   header | controls, one a rank | one-shot slots, 2 a rank | inputs, 2 a rank | results, 2 a rank | channels, one a pair
 *
 * Slots come in twos: a rank fills one while others still read the other.
 */
#pragma once

#include <algorithm>
#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>

#include "muster/collective.h"
#include "process/cores.h"

namespace muster {

constexpr std::size_t kLineBytes = 64;
constexpr std::uint64_t kCommunicatorMagic = 0x3263656c6c6f636d;  // "mcollec2": another layout gets another number

/** The most that rides in a one-shot slot. Measured on two cores: above it, sharing the reduction gains more than its second flag costs. */
constexpr std::size_t kOneShotBytes = std::size_t{32} << 10;

/** One rank's part of a block. Two blocks of two ranks and their results stay in a second-level cache of a megabyte. */
constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

/** A message's chunk, where there are few ranks; less where there are many, so that all channels together take a few megabytes. */
constexpr std::size_t kChannelMaxBytes = std::size_t{64} << 10;
constexpr std::size_t kChannelMinBytes = std::size_t{1} << 10;
constexpr std::size_t kChannelsBytes = std::size_t{4} << 20;

/** A call in two words, which ranks compare. */
struct CallWords {
  std::uint64_t count = 0;
  std::uint64_t shape = 0;
  bool operator==(const CallWords&) const = default;
};

CallWords packCall(const muster_call& call);
muster_call unpackCall(CallWords words);

/** Where a call is made, in a text of which only the end is kept when it is long. */
struct CallSite {
  std::uint32_t bytes;
  char text[MUSTER_SITE_MAX_BYTES];

  /** Null is no text, which is all that is written then. */
  void store(const char* site);
  std::string load() const { return {text, std::min<std::size_t>(bytes, sizeof text)}; }
};

/** A call that others read at any time, for their messages only: its two words may be of two calls. */
struct PublishedCall {
  std::atomic<std::uint64_t> count;
  std::atomic<std::uint64_t> shape;

  void store(CallWords words) {
    count.store(words.count, std::memory_order_relaxed);
    shape.store(words.shape, std::memory_order_relaxed);
  }
  CallWords load() const { return {count.load(std::memory_order_relaxed), shape.load(std::memory_order_relaxed)}; }
};

/** Counts up and never back, over all calls of a communicator. */
struct alignas(kLineBytes) Counter {
  std::atomic<std::uint64_t> value;
};

/** How a rank is woken. Others add to `rings`. */
struct alignas(kLineBytes) Bell {
  std::atomic<std::uint32_t> rings;
  std::atomic<std::uint32_t> asleep;
};

enum class Presence : std::uint32_t { absent = 0, present = 1, left = 2 };

struct alignas(kLineBytes) RankControl {
  std::atomic<Presence> presence;
  std::int32_t processId;
  /** Those that the rank may run on. */
  std::bitset<kCoreBits> cores;
  /** What this rank is in now, and as its how manieth collective call; a shape of 0 is between calls. */
  PublishedCall current;
  std::atomic<std::uint64_t> sequence;
  Bell bell;
  /** Blocks whose inputs this rank has copied in. */
  Counter filled;
  /** Blocks of which this rank has reduced its part. */
  Counter reduced;
  /** Blocks whose results this rank has copied out. */
  Counter drained;
};

/** The communicator's first failure: whoever moves `state` from none to writing describes it. */
struct alignas(kLineBytes) SharedFailure {
  enum State : std::uint32_t { none = 0, writing = 1, written = 2 };
  std::atomic<std::uint32_t> state;
  std::int32_t code;
  std::int32_t rank;
  char message[MUSTER_MESSAGE_BYTES];
};

/** What a file must begin with to be taken for a communicator's. */
struct Preamble {
  std::uint64_t magic;
  std::uint64_t sizeBytes;
  std::uint32_t rankCount;
};

struct alignas(kLineBytes) SharedHeader {
  Preamble preamble;
  /** Counted by each rank when it has mapped the memory. */
  std::atomic<std::uint32_t> joined;
  /** Set by rank 0 when all have joined and the name is gone. */
  std::atomic<std::uint32_t> ready;
  SharedFailure failure;
};

/** A rank's word on its n-th collective call, and behind it what it gives to a small one. */
struct alignas(kLineBytes) OneShotSlot {
  std::atomic<std::uint64_t> sequence;
  CallWords call;
  CallSite site;
  alignas(kLineBytes) std::byte payload[kOneShotBytes];
};

/** From one rank to another: chunks of messages, in order. */
struct alignas(kLineBytes) Channel {
  struct alignas(kLineBytes) Chunk {
    CallWords call;
    CallSite site;
  };
  /** Chunks that the sender has put in. */
  Counter sent;
  /** Chunks that the receiver has taken out. */
  Counter received;
  Chunk chunks[2];
};

/** Where everything is, for a number of ranks. */
class Layout {
 public:
  explicit Layout(std::uint32_t rankCount);

  std::size_t sizeBytes() const { return sizeBytes_; }
  std::size_t channelBytes() const { return channelBytes_; }
  /** What of a block one rank reduces: whole lines. */
  std::size_t partBytes() const { return partBytes_; }

  std::size_t control(std::uint32_t rank) const { return controls_ + rank * sizeof(RankControl); }
  std::size_t oneShot(std::uint32_t rank, std::uint64_t turn) const { return oneShots_ + (rank * 2 + turn % 2) * sizeof(OneShotSlot); }
  std::size_t input(std::uint32_t rank, std::uint64_t turn) const { return inputs_ + (rank * 2 + turn % 2) * kBlockBytes; }
  std::size_t result(std::uint32_t rank, std::uint64_t turn) const { return results_ + (rank * 2 + turn % 2) * partBytes_; }
  std::size_t channel(std::uint32_t from, std::uint32_t to) const {
    return channels_ + (from * rankCount_ + to) * (sizeof(Channel) + 2 * channelBytes_);
  }

 private:
  std::size_t rankCount_;
  std::size_t channelBytes_;
  std::size_t partBytes_;
  std::size_t controls_;
  std::size_t oneShots_;
  std::size_t inputs_;
  std::size_t results_;
  std::size_t channels_;
  std::size_t sizeBytes_;
};

}  // namespace muster
