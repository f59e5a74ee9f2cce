/** A proxy between two ranks that cuts all lines after a number of bytes, and may look at all that goes by, or change it. */
#pragma once

#include <algorithm>
#include <functional>
#include <list>
#include <span>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "check.h"
#include "collective/network/socket.h"

namespace check {

class Proxy {
 public:
  Proxy() { CHECK(muster::listenOn("127.0.0.1", &listener_, &port_) == MUSTER_OK); }

  std::uint16_t port() const { return port_; }
  /** Called with the bytes that are passed on next, and how many have gone by before. */
  std::function<void(std::span<char> bytes, std::size_t passed)> watch = [](std::span<char>, std::size_t) {};

  /** Passes bytes on to `target` until `limit` of them have gone by, then cuts; goes on with new lines when `heals`. Ends when the children have. */
  void run(std::uint16_t target, std::size_t limit, bool heals, const std::vector<pid_t>& children) {
    std::vector<pid_t> running = children;
    bool isCut = false;
    while (!running.empty()) {
      std::erase_if(running, [&](pid_t child) {
        siginfo_t info{};
        return ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
      });
      std::vector<pollfd> polled{{listener_.number(), POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        polled.push_back({pair.a.number(), POLLIN, 0});
        polled.push_back({pair.b.number(), POLLIN, 0});
      }
      ::poll(polled.data(), polled.size(), 10);
      accept(target, isCut && !heals);
      for (auto pair = pairs_.begin(); pair != pairs_.end();) {
        const bool isOpen = pass(pair->a.number(), pair->b.number()) && pass(pair->b.number(), pair->a.number());
        pair = isOpen ? std::next(pair) : pairs_.erase(pair);
      }
      if (!isCut && passed_ >= limit) {
        pairs_.clear();
        isCut = true;
      }
    }
  }

 private:
  struct Pair {
    muster::FileDescriptor a;
    muster::FileDescriptor b;
  };

  void accept(std::uint16_t target, bool refuses) {
    for (;;) {
      muster::FileDescriptor accepted(muster::acceptOne(listener_.number()));
      if (accepted.number() < 0) return;
      muster::FileDescriptor on;
      if (refuses || muster::beginConnect({"127.0.0.1", target}, &on) != MUSTER_OK) continue;
      pairs_.push_back({std::move(accepted), std::move(on)});
    }
  }

  bool pass(int from, int to) {
    char bytes[4096];
    const ssize_t count = ::recv(from, bytes, sizeof bytes, 0);
    if (count < 0) return errno == EAGAIN || errno == ENOTCONN;
    if (count == 0) return false;
    watch({bytes, static_cast<std::size_t>(count)}, passed_);
    for (ssize_t done = 0; done < count;) {
      pollfd polled{to, POLLOUT, 0};
      ::poll(&polled, 1, 1000);
      const ssize_t sent = ::send(to, bytes + done, static_cast<std::size_t>(count - done), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      done += std::max<ssize_t>(sent, 0);
    }
    passed_ += static_cast<std::size_t>(count);
    return true;
  }

  muster::FileDescriptor listener_;
  std::uint16_t port_ = 0;
  std::list<Pair> pairs_;
  std::size_t passed_ = 0;
};

}  // namespace check
