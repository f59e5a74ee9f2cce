/**
 * Bytes between this rank and those on other nodes, over the lines of mesh.h. Knows frames and lanes, and nothing of what they are for.
 *
 * Sends and receives are queued by rank and lane, and take place whenever this rank waits for any of them; memory belongs to them until
 * then. Each frame says what it is part of; one that is not what the receiver expects ends the communicator before a byte of it is used. A line is
 * read only when something is expected on it: who is ahead waits in the kernel's buffers.
 *
 * For one thread at a time, but for tell.
 */
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "collective/layout.h"
#include "collective/network/mesh.h"

namespace muster {

/** What a frame is part of: the how manieth call or message, and which. Two are the same wherever they are made. */
struct FrameLabel {
  std::uint64_t sequence = 0;
  CallWords words;
  CallSite site{};
  bool operator==(const FrameLabel& other) const { return sequence == other.sequence && words == other.words; }
};

FrameLabel labelOf(std::uint64_t sequence, CallWords words, const muster_call& call);

/** One send or receive. */
struct Transfer {
  std::uint32_t rank = 0;
  Lane lane = Lane::collective;
  bool isSend = false;
  /** Of its kind on its line, from 1; 0 is no transfer, which has ended. */
  std::uint64_t number = 0;
};

/** What is told on the lane for news: at once, and whatever else is under way. */
struct News {
  enum class Kind : std::uint32_t { failure, waiting, leaving };
  Kind kind;
  std::int32_t code;
  /** The rank to blame, or who is waited for; -1: nobody. */
  std::int32_t rank;
  std::uint32_t reserved;
  char message[MUSTER_MESSAGE_BYTES];
};

/** What the transport asks of the communicator, and tells it. */
class TransportOwner {
 public:
  /** Whether the communicator has failed by somebody's word. */
  virtual bool hasFailed() const = 0;
  virtual muster_code failure() const = 0;
  /** Fails it. @returns its failure */
  virtual muster_code fail(muster_code code, std::int32_t rank, const std::string& message) = 0;
  /** Of two labels that should have been the same; bytes differ where the labels do not. */
  virtual muster_code failMismatch(std::uint32_t rank, Lane lane, const FrameLabel& theirs, const FrameLabel& own) = 0;
  virtual muster_code failGone(std::uint32_t rank, bool hasLeft) = 0;
  virtual muster_code failTimedOut(std::uint32_t rank) = 0;

 protected:
  ~TransportOwner() = default;
};

class Transport {
 public:
  Transport(TransportOwner& owner, std::uint32_t rank, std::uint32_t timeoutMs, std::vector<Lines> lines);
  ~Transport();
  Transport(const Transport&) = delete;

  Transfer send(std::uint32_t to, Lane lane, const FrameLabel& label, const void* data, std::size_t bytes);
  Transfer receive(std::uint32_t from, Lane lane, const FrameLabel& label, void* data, std::size_t bytes);
  bool isDone(const Transfer& transfer) const;

  /** Until it is done. Fails when its rank is gone, or moves nothing for the communicator's time. */
  muster_code wait(const Transfer& transfer);
  /** Until all that is queued has been handed to the kernel. */
  muster_code flush();
  /** Moves what can be moved now, and waits for up to `waitMs` if that is nothing. */
  muster_code progress(bool* moved, int waitMs);
  /** Fails when a line on which something is under way is broken. */
  muster_code judgeActive();
  /** Hears the news alone. */
  muster_code hearNews();

  /** Has the kernel hold so many bytes on each line that are on their way, and no more. */
  void boundSending(int bytes) const;

  /** Tells every rank on other nodes, as far as it can be told at once. From any thread. */
  void tell(const News& news);
  /** Tells for whom this rank waits, or that it does so no more: -1. */
  void tellWaiting(std::int32_t rank);
  /** How long a rank is waited for before others are told. */
  Clock::duration tellAfter() const;
  /** What a rank has said of its waiting; null: nothing that still holds. */
  const News* waitingOf(std::uint32_t rank) const;

  bool isRemote(std::uint32_t rank) const { return peers_[rank] != nullptr; }

 private:
  struct FrameHeader {
    FrameLabel label;
    std::uint64_t bytes;
  };
  struct Outgoing {
    FrameHeader header;
    const std::byte* data;
    std::size_t done = 0;
  };
  struct Incoming {
    FrameHeader expected;
    std::byte* data;
    std::size_t done = 0;
  };
  struct Line {
    Stream stream;
    std::deque<Outgoing> outgoing;
    std::deque<Incoming> incoming;
    FrameHeader header;
    std::uint64_t sendsQueued = 0;
    std::uint64_t sendsDone = 0;
    std::uint64_t receivesQueued = 0;
    std::uint64_t receivesDone = 0;
    bool isActive = false;
    /** Nothing comes or goes on it any more. */
    bool isBroken = false;
  };
  struct Peer {
    std::array<Line, kLanes> lines;
    News heard{};
    std::size_t heardBytes = 0;
    News waiting{};
    bool isWaiting = false;
    bool hasLeft = false;
    bool isGone = false;
  };

  Line& line(std::uint32_t rank, Lane lane) const { return peers_[rank]->lines[static_cast<std::size_t>(lane)]; }
  void activate(std::uint32_t rank, Lane lane);
  muster_code moveActive(bool* moved);
  bool moveOut(Line& line);
  muster_code moveIn(std::uint32_t rank, Lane lane, bool* moved);
  muster_code readNews(std::uint32_t rank);
  muster_code apply(std::uint32_t rank, const News& news);
  /** A line that is waited for is broken: why, by what its rank has said last. */
  muster_code judgeBroken(std::uint32_t rank);
  void sleep(int waitMs);

  TransportOwner& owner_;
  const std::uint32_t rank_;
  const std::chrono::milliseconds timeout_;
  /** By rank; null for those on this node. */
  std::vector<std::unique_ptr<Peer>> peers_;
  struct Active {
    std::uint32_t rank;
    Lane lane;
  };
  /** Lines with something under way. */
  std::vector<Active> active_;
};

}  // namespace muster
