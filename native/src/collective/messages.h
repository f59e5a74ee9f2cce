/** The sends and receives of one submission, all under way at the same time. */
#pragma once

#include <span>
#include <vector>

#include "collective/communicator.h"

namespace muster {

/** What both sides of a message say of it: who the other is lies in the channel. */
CallWords contentWords(const muster_call& call);

/**
 * Each ordered pair of ranks has a channel of two chunks. A send is done when its last chunk is in the channel, so a message of up to two
 * chunks waits for nobody. Messages of one channel follow one another; of different channels, whichever can moves on.
 */
class Messages {
 public:
  Messages(Communicator& communicator, std::span<const muster_call> calls);
  muster_code run();

  bool isDone() const { return left_ == 0; }
  /** Moves every message that can be moved by a chunk, and says whether there was one. */
  muster_code step(bool* moved);

 private:
  struct Message {
    const muster_call* call;
    std::size_t bytes;
    std::size_t done = 0;
    /** One that carries nothing is still a chunk. */
    bool isDone = false;
  };

  muster_code receiveChunk(Message& message);
  void sendChunk(Message& message);
  /** Whether a chunk can be put in or taken out. */
  bool canMove(const Message& message) const;
  /** Calls `visit` with the first unfinished message of each channel. */
  template <class Visit>
  void eachFirst(const Visit& visit);
  Channel& channel(const Message& message) const;
  std::byte* payload(const Message& message, std::uint64_t turn) const;
  std::size_t chunkBytes(const Message& message) const;
  void advance(Message& message, std::size_t bytes);

  Communicator& communicator_;
  std::vector<Message> messages_;
  std::size_t left_;
};

}  // namespace muster
