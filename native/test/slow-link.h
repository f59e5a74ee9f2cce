/** A link between two ranks that is as slow as it is told to be: bytes come out some time after they went in, and so many a second each way. */
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <list>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

#include "check.h"
#include "collective/network/socket.h"

namespace check {

class SlowLink {
 public:
  using Clock = std::chrono::steady_clock;

  SlowLink(std::chrono::milliseconds delay, std::size_t bytesPerSecond)
      : delay_(delay), bytesPerSecond_(bytesPerSecond), queuedMax_(2 * bytesPerSecond * static_cast<std::size_t>(delay.count()) / 1000) {
    CHECK(muster::listenOn("127.0.0.1", &listener_, &port_) == MUSTER_OK);
  }

  std::uint16_t port() const { return port_; }

  /** Passes on what comes to its port, until `isOver`. */
  template <class IsOver>
  void run(std::uint16_t target, const IsOver& isOver) {
    while (!isOver()) {
      accept(target);
      waitForBytes();
      for (Connection& each : connections_) {
        for (std::size_t way : {0, 1}) move(each, way);
      }
    }
  }

 private:
  struct Batch {
    Clock::time_point due;
    std::vector<char> bytes;
  };
  /** What is on its way in each direction, and the ends that it came from. */
  struct Connection {
    std::array<muster::FileDescriptor, 2> ends;
    std::array<std::deque<Batch>, 2> batches;
    std::array<std::size_t, 2> queued{};
  };

  void accept(std::uint16_t target) {
    for (;;) {
      muster::FileDescriptor accepted(muster::acceptOne(listener_.number()));
      if (accepted.number() < 0) return;
      Connection made;
      CHECK(muster::beginConnect({"127.0.0.1", target}, &made.ends[1]) == MUSTER_OK);
      made.ends[0] = std::move(accepted);
      connections_.push_back(std::move(made));
    }
  }

  /** A millisecond at most: something may be due. */
  void waitForBytes() {
    std::vector<pollfd> polled{{listener_.number(), POLLIN, 0}};
    for (const Connection& each : connections_) {
      for (std::size_t way : {0, 1}) {
        if (each.queued[way] < queuedMax_) polled.push_back({each.ends[way].number(), POLLIN, 0});
      }
    }
    ::poll(polled.data(), polled.size(), 1);
  }

  void move(Connection& connection, std::size_t way) {
    std::vector<char> bytes(8192);
    const ssize_t got = connection.queued[way] < queuedMax_ ? ::recv(connection.ends[way].number(), bytes.data(), bytes.size(), 0) : -1;
    if (got > 0) {
      bytes.resize(static_cast<std::size_t>(got));
      freeAt_[way] = std::max(freeAt_[way], Clock::now()) + std::chrono::nanoseconds(bytes.size() * 1'000'000'000 / bytesPerSecond_);
      connection.queued[way] += bytes.size();
      connection.batches[way].push_back({freeAt_[way] + delay_, std::move(bytes)});
    }
    std::deque<Batch>& batches = connection.batches[way];
    while (!batches.empty() && batches.front().due <= Clock::now()) {
      std::vector<char>& due = batches.front().bytes;
      const ssize_t sent = ::send(connection.ends[1 - way].number(), due.data(), due.size(), MSG_NOSIGNAL);
      if (sent < 0) return;
      connection.queued[way] -= static_cast<std::size_t>(sent);
      due.erase(due.begin(), due.begin() + sent);
      if (due.empty()) batches.pop_front();
    }
  }

  const std::chrono::milliseconds delay_;
  const std::size_t bytesPerSecond_;
  /** On each connection, in each direction: what a link of that speed holds, twice. */
  const std::size_t queuedMax_;
  muster::FileDescriptor listener_;
  std::uint16_t port_ = 0;
  std::list<Connection> connections_;
  /** When the link has sent what it was given, each way. */
  std::array<Clock::time_point, 2> freeAt_{};
};

}  // namespace check
