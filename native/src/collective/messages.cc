#include "collective/messages.h"

#include <algorithm>
#include <bitset>
#include <cstring>

#include "collective/describe.h"
#include "collective/waiting.h"
#include "dtype.h"

namespace muster {

CallWords contentWords(const muster_call& call) {
  muster_call content{};
  content.dtype = call.dtype;
  content.count = call.count;
  return packCall(content);
}

Messages::Messages(Communicator& communicator, std::span<const muster_call> calls) : communicator_(communicator) {
  for (const muster_call& call : calls) {
    if (isPointToPoint(call.kind)) messages_.push_back({&call, call.count * elementBytes(call.dtype)});
  }
  left_ = messages_.size();
}

muster_code Messages::run() {
  RankControl& own = communicator_.control(communicator_.rank_);
  while (left_ > 0) {
    if (communicator_.hasFailed()) return communicator_.failure();
    bool moved = false;
    if (const muster_code code = step(&moved); code != MUSTER_OK) return code;
    if (moved) continue;
    bool isWaitedFor[MUSTER_RANKS_MAX] = {};
    eachFirst([&](Message& message) {
      isWaitedFor[message.call->peer] = true;
      own.current.store(packCall(communicator_.named(*message.call)));
    });
    const auto hasCome = [&](std::uint32_t rank) {
      if (!isWaitedFor[rank]) return true;
      bool canAny = false;
      eachFirst([&](const Message& message) { canAny = canAny || canMove(message); });
      return canAny;
    };
    if (const muster_code code = communicator_.wait(hasCome); code != MUSTER_OK) return code;
  }
  own.current.store({});
  return MUSTER_OK;
}

template <class Visit>
void Messages::eachFirst(const Visit& visit) {
  std::bitset<MUSTER_RANKS_MAX> sending;
  std::bitset<MUSTER_RANKS_MAX> receiving;
  for (Message& message : messages_) {
    if (message.isDone) continue;
    auto& seen = message.call->kind == MUSTER_SEND ? sending : receiving;
    if (seen.test(message.call->peer)) continue;
    seen.set(message.call->peer);
    visit(message);
  }
}

muster_code Messages::step(bool* moved) {
  muster_code code = MUSTER_OK;
  eachFirst([&](Message& message) {
    if (code != MUSTER_OK || !canMove(message)) return;
    *moved = true;
    if (message.call->kind == MUSTER_SEND) {
      sendChunk(message);
    } else {
      code = receiveChunk(message);
    }
  });
  return code;
}

Channel& Messages::channel(const Message& message) const {
  const Layout& layout = communicator_.membership_->layout();
  const bool isSend = message.call->kind == MUSTER_SEND;
  const std::uint32_t own = communicator_.rank_;
  const std::uint32_t peer = message.call->peer;
  return *reinterpret_cast<Channel*>(communicator_.membership_->at(isSend ? layout.channel(own, peer) : layout.channel(peer, own)));
}

std::byte* Messages::payload(const Message& message, std::uint64_t turn) const {
  return reinterpret_cast<std::byte*>(&channel(message) + 1) + turn % 2 * communicator_.membership_->layout().channelBytes();
}

bool Messages::canMove(const Message& message) const {
  const Channel& between = channel(message);
  const std::uint64_t waiting = between.sent.value.load() - between.received.value.load();
  return message.call->kind == MUSTER_SEND ? waiting < 2 : waiting > 0;
}

std::size_t Messages::chunkBytes(const Message& message) const {
  return std::min(communicator_.membership_->layout().channelBytes(), message.bytes - message.done);
}

void Messages::advance(Message& message, std::size_t bytes) {
  message.done += bytes;
  message.isDone = message.done == message.bytes;
  if (message.isDone) left_--;
}

void Messages::sendChunk(Message& message) {
  Channel& between = channel(message);
  const std::uint64_t turn = between.sent.value.load(std::memory_order_relaxed);
  const std::size_t bytes = chunkBytes(message);
  between.chunks[turn % 2].call = contentWords(*message.call);
  between.chunks[turn % 2].site.store(message.call->site);
  if (bytes > 0) std::memcpy(payload(message, turn), static_cast<const std::byte*>(message.call->source) + message.done, bytes);
  communicator_.publishTo(message.call->peer, between.sent.value, turn + 1);
  advance(message, bytes);
}

muster_code Messages::receiveChunk(Message& message) {
  Channel& between = channel(message);
  const std::uint64_t turn = between.received.value.load(std::memory_order_relaxed);
  const Channel::Chunk& chunk = between.chunks[turn % 2];
  if (chunk.call != contentWords(*message.call)) {
    muster_call other = unpackCall(chunk.call);
    other.kind = MUSTER_SEND;
    other.peer = static_cast<std::uint32_t>(communicator_.numberOf(communicator_.rank_));
    return communicator_.fail(MUSTER_MISMATCH, communicator_.numberOf(message.call->peer),
                              "in the communicator '" + communicator_.id_ + "' " + communicator_.nameOf(message.call->peer) + " made " + describeCall(other, chunk.site.load()) +
                                  ", and " + communicator_.nameOf(communicator_.rank_) + " made " +
                                  describeCall(communicator_.named(*message.call), siteOf(*message.call)));
  }
  const std::size_t bytes = chunkBytes(message);
  if (bytes > 0) std::memcpy(static_cast<std::byte*>(message.call->target) + message.done, payload(message, turn), bytes);
  communicator_.publishTo(message.call->peer, between.received.value, turn + 1);
  advance(message, bytes);
  return MUSTER_OK;
}

}  // namespace muster
