#include "collective/network/transport.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include <poll.h>
#include <sys/uio.h>

#include "status.h"

namespace muster {
namespace {

/** How long a rank looks awake for what it waits for: on one machine or a good network it is there by then. */
constexpr std::chrono::microseconds kSpin{30};
/** How often who sleeps looks whether a rank of its own node has failed the communicator. */
constexpr int kLookMs = 5;
/** What goes to the kernel in one call, at most. */
constexpr std::size_t kVectorsMax = 16;
/** A rank that tells why it leaves does so before its lines break, but lines are not in step: how long its word may be on its way. */
constexpr std::chrono::milliseconds kLastWord{200};
/** How long a rank is waited for before the others are told that it is. */
constexpr std::chrono::milliseconds kTellAfterMax{1000};

bool wouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

FrameLabel labelOf(std::uint64_t sequence, CallWords words, const muster_call& call) {
  FrameLabel label{sequence, words};
  label.site.store(call.site);
  return label;
}

Transport::Transport(TransportOwner& owner, std::uint32_t rank, std::uint32_t timeoutMs, std::vector<Lines> lines)
    : owner_(owner), rank_(rank), timeout_(timeoutMs), peers_(lines.size()) {
  for (std::uint32_t each = 0; each < lines.size(); each++) {
    if (!lines[each][0].isOpen()) continue;
    peers_[each] = std::make_unique<Peer>();
    for (std::size_t lane = 0; lane < kLanes; lane++) peers_[each]->lines[lane].stream = std::move(lines[each][lane]);
  }
}

Transport::~Transport() {
  News leaving{};
  leaving.kind = News::Kind::leaving;
  tell(leaving);
}

Transfer Transport::send(std::uint32_t to, Lane lane, const FrameLabel& label, const void* data, std::size_t bytes) {
  Line& on = line(to, lane);
  on.outgoing.push_back({{label, bytes}, static_cast<const std::byte*>(data)});
  activate(to, lane);
  return {to, lane, true, ++on.sendsQueued};
}

Transfer Transport::receive(std::uint32_t from, Lane lane, const FrameLabel& label, void* data, std::size_t bytes) {
  Line& on = line(from, lane);
  on.incoming.push_back({{label, bytes}, static_cast<std::byte*>(data)});
  activate(from, lane);
  return {from, lane, false, ++on.receivesQueued};
}

void Transport::activate(std::uint32_t rank, Lane lane) {
  Line& on = line(rank, lane);
  if (!on.isActive) active_.push_back({rank, lane});
  on.isActive = true;
}

bool Transport::isDone(const Transfer& transfer) const {
  if (transfer.number == 0) return true;
  const Line& on = line(transfer.rank, transfer.lane);
  return (transfer.isSend ? on.sendsDone : on.receivesDone) >= transfer.number;
}

muster_code Transport::wait(const Transfer& transfer) {
  if (isDone(transfer)) return MUSTER_OK;
  const Clock::time_point start = Clock::now();
  Clock::time_point lastMoved = start;
  bool hasTold = false;
  muster_code code = MUSTER_OK;
  for (;;) {
    const Clock::time_point now = Clock::now();
    bool moved = false;
    code = progress(&moved, now - lastMoved < kSpin ? 0 : kLookMs);
    if (code != MUSTER_OK || isDone(transfer)) break;
    if (line(transfer.rank, transfer.lane).isBroken) return judgeBroken(transfer.rank);
    if (moved) lastMoved = now;
    if (!hasTold && now - lastMoved > tellAfter()) {
      hasTold = true;
      tellWaiting(static_cast<std::int32_t>(transfer.rank));
    }
    if (now - lastMoved > timeout_) return owner_.failTimedOut(transfer.rank);
  }
  if (hasTold) tellWaiting(-1);
  return code;
}

muster_code Transport::flush() {
  for (std::size_t each = 0; each < active_.size();) {
    const auto [rank, lane] = active_[each];
    const std::uint64_t queued = line(rank, lane).sendsQueued;
    if (const muster_code code = wait({rank, lane, true, queued}); code != MUSTER_OK) return code;
    each = each < active_.size() && active_[each].rank == rank && active_[each].lane == lane ? each + 1 : 0;
  }
  return MUSTER_OK;
}

muster_code Transport::progress(bool* moved, int waitMs) {
  *moved = false;
  if (const muster_code code = moveActive(moved); code != MUSTER_OK || *moved || waitMs == 0) return code;
  if (owner_.hasFailed()) return owner_.failure();
  sleep(waitMs);
  if (const muster_code code = hearNews(); code != MUSTER_OK) return code;
  return moveActive(moved);
}

muster_code Transport::moveActive(bool* moved) {
  for (std::size_t each = 0; each < active_.size();) {
    const auto [rank, lane] = active_[each];
    Line& on = line(rank, lane);
    if (!on.outgoing.empty() && !on.isBroken) *moved = moveOut(on) || *moved;
    if (!on.incoming.empty() && !on.isBroken) {
      if (const muster_code code = moveIn(rank, lane, moved); code != MUSTER_OK) return code;
    }
    if (!on.outgoing.empty() || !on.incoming.empty()) {
      each++;
      continue;
    }
    on.isActive = false;
    active_[each] = active_.back();
    active_.pop_back();
  }
  return MUSTER_OK;
}

bool Transport::moveOut(Line& on) {
  bool moved = false;
  while (!on.outgoing.empty()) {
    iovec vectors[kVectorsMax];
    std::size_t count = 0;
    std::size_t total = 0;
    for (std::size_t each = 0; each < on.outgoing.size() && count + 2 <= kVectorsMax; each++) {
      Outgoing& frame = on.outgoing[each];
      const std::size_t headerLeft = frame.done < sizeof frame.header ? sizeof frame.header - frame.done : 0;
      if (headerLeft > 0) vectors[count++] = {reinterpret_cast<std::byte*>(&frame.header) + frame.done, headerLeft};
      const std::size_t dataDone = frame.done - (sizeof frame.header - headerLeft);
      const std::size_t dataLeft = frame.header.bytes - dataDone;
      if (dataLeft > 0) vectors[count++] = {const_cast<std::byte*>(frame.data) + dataDone, dataLeft};
      total += headerLeft + dataLeft;
    }
    const ssize_t sent = on.stream.send({vectors, count});
    if (sent < 0) {
      if (!wouldBlock()) on.isBroken = true;
      return moved;
    }
    moved = moved || sent > 0;
    std::size_t left = static_cast<std::size_t>(sent);
    while (!on.outgoing.empty()) {
      Outgoing& frame = on.outgoing.front();
      const std::size_t step = std::min(left, sizeof frame.header + frame.header.bytes - frame.done);
      frame.done += step;
      left -= step;
      if (frame.done < sizeof frame.header + frame.header.bytes) break;
      on.outgoing.pop_front();
      on.sendsDone++;
    }
    if (static_cast<std::size_t>(sent) < total) return moved;
  }
  return moved;
}

muster_code Transport::moveIn(std::uint32_t rank, Lane lane, bool* moved) {
  Line& on = line(rank, lane);
  while (!on.incoming.empty()) {
    Incoming& frame = on.incoming.front();
    const std::size_t headerLeft = frame.done < sizeof on.header ? sizeof on.header - frame.done : 0;
    const std::size_t dataDone = frame.done - (sizeof on.header - headerLeft);
    iovec vectors[2];
    std::size_t count = 0;
    if (headerLeft > 0) vectors[count++] = {reinterpret_cast<std::byte*>(&on.header) + frame.done, headerLeft};
    if (frame.expected.bytes > dataDone) vectors[count++] = {frame.data + dataDone, frame.expected.bytes - dataDone};
    const ssize_t got = on.stream.receive({vectors, count});
    if (got < 0 && wouldBlock()) return MUSTER_OK;
    if (got <= 0) {
      on.isBroken = true;
      return MUSTER_OK;
    }
    *moved = true;
    frame.done += static_cast<std::size_t>(got);
    if (headerLeft > 0 && frame.done >= sizeof on.header && (on.header.label != frame.expected.label || on.header.bytes != frame.expected.bytes)) {
      return owner_.failMismatch(rank, lane, on.header.label, frame.expected.label);
    }
    if (frame.done < sizeof on.header + frame.expected.bytes) continue;
    on.incoming.pop_front();
    on.receivesDone++;
  }
  return MUSTER_OK;
}

void Transport::sleep(int waitMs) {
  std::vector<pollfd> polled;
  for (const auto& peer : peers_) {
    if (peer == nullptr) continue;
    const Line& news = peer->lines[static_cast<std::size_t>(Lane::news)];
    if (!news.isBroken) polled.push_back({news.stream.socket(), POLLIN, 0});
  }
  for (const auto& [rank, lane] : active_) {
    const Line& on = line(rank, lane);
    if (on.isBroken) continue;
    const int events = (on.incoming.empty() ? 0 : POLLIN) | (on.outgoing.empty() ? 0 : POLLOUT);
    polled.push_back({on.stream.socket(), static_cast<short>(events), 0});
  }
  ::poll(polled.data(), polled.size(), waitMs);
}

muster_code Transport::hearNews() {
  for (std::uint32_t rank = 0; rank < peers_.size(); rank++) {
    if (peers_[rank] == nullptr) continue;
    if (const muster_code code = readNews(rank); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code Transport::readNews(std::uint32_t rank) {
  Peer& peer = *peers_[rank];
  Line& on = line(rank, Lane::news);
  while (!on.isBroken) {
    const ssize_t got = on.stream.receive(reinterpret_cast<std::byte*>(&peer.heard) + peer.heardBytes, sizeof peer.heard - peer.heardBytes);
    if (got < 0 && wouldBlock()) return MUSTER_OK;
    if (got <= 0) {
      on.isBroken = true;
      peer.isGone = true;
      return MUSTER_OK;
    }
    peer.heardBytes += static_cast<std::size_t>(got);
    if (peer.heardBytes < sizeof peer.heard) continue;
    peer.heardBytes = 0;
    if (const muster_code code = apply(rank, peer.heard); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code Transport::apply(std::uint32_t rank, const News& news) {
  Peer& peer = *peers_[rank];
  const bool namesRank = news.rank >= -1 && news.rank < static_cast<std::int32_t>(peers_.size());
  if (namesRank && news.kind == News::Kind::failure && news.code > MUSTER_OK && news.code <= MUSTER_DEVICE_FAILED) {
    return owner_.fail(static_cast<muster_code>(news.code), news.rank, std::string(news.message, ::strnlen(news.message, sizeof news.message)));
  }
  if (namesRank && news.kind == News::Kind::waiting) {
    peer.waiting = news;
    peer.isWaiting = news.rank >= 0;
    return MUSTER_OK;
  }
  if (news.kind == News::Kind::leaving) {
    peer.hasLeft = true;
    return MUSTER_OK;
  }
  return owner_.fail(MUSTER_MISMATCH, static_cast<std::int32_t>(rank), "rank " + std::to_string(rank) + " has told what no rank tells");
}

muster_code Transport::judgeActive() {
  for (const auto& [rank, lane] : active_) {
    if (line(rank, lane).isBroken) return judgeBroken(rank);
  }
  return MUSTER_OK;
}

muster_code Transport::judgeBroken(std::uint32_t rank) {
  const Clock::time_point deadline = Clock::now() + kLastWord;
  for (;;) {
    if (const muster_code code = hearNews(); code != MUSTER_OK) return code;
    if (owner_.hasFailed()) return owner_.failure();
    const Peer& peer = *peers_[rank];
    if (peer.isGone || Clock::now() > deadline) return owner_.failGone(rank, peer.hasLeft);
    pollfd polled{line(rank, Lane::news).stream.socket(), POLLIN, 0};
    ::poll(&polled, 1, kLookMs);
  }
}

void Transport::boundSending(int bytes) const {
  for (const auto& peer : peers_) {
    if (peer == nullptr) continue;
    for (const Line& each : peer->lines) setSendBuffer(each.stream.socket(), bytes);
  }
}

void Transport::tell(const News& news) {
  for (const auto& peer : peers_) {
    if (peer == nullptr) continue;
    // News are few and small: where there is no room for them, nobody has read for long.
    peer->lines[static_cast<std::size_t>(Lane::news)].stream.send(&news, sizeof news);
  }
}

void Transport::tellWaiting(std::int32_t rank) {
  News waiting{};
  waiting.kind = News::Kind::waiting;
  waiting.rank = rank;
  tell(waiting);
}

Clock::duration Transport::tellAfter() const { return std::min<Clock::duration>(timeout_ / 4, kTellAfterMax); }

const News* Transport::waitingOf(std::uint32_t rank) const {
  const Peer& peer = *peers_[rank];
  return peer.isWaiting ? &peer.waiting : nullptr;
}

}  // namespace muster
