/** Ranks of several nodes, which are all this machine: which node a rank is on is what it is told. */
#pragma once

#include <cstring>
#include <utility>

#include "ranks.h"

namespace check {

/** A rank's node, by rank. */
using Topology = std::vector<std::uint32_t>;

/** Listeners of all ranks, made before their processes are forked, so that everybody knows everybody's port. */
class Nodes {
 public:
  explicit Nodes(Topology topology, bool usesTls = false)
      : id(communicatorId("nodes")), topology_(std::move(topology)), usesTls_(usesTls), listeners_(topology_.size()) {
    for (std::size_t rank = 0; rank < topology_.size(); rank++) {
      std::uint16_t port = 0;
      CHECK(muster_listener_open("127.0.0.1", &listeners_[rank], &port) == MUSTER_OK);
      places_.push_back({"127.0.0.1", port, topology_[rank]});
    }
  }
  Nodes(const Nodes&) = delete;
  ~Nodes() { closeListeners(); }

  std::uint32_t size() const { return static_cast<std::uint32_t>(topology_.size()); }
  std::uint16_t port(std::uint32_t rank) const { return places_[rank].port; }
  /** For the rank whose process this is. */
  void useTls(bool usesTls) { usesTls_ = usesTls; }
  /** Has others connect to this port for a rank. */
  void redirect(std::uint32_t rank, std::uint16_t port) { places_[rank].port = port; }

  /** In the rank's own process. @returns null after a failure, which `code` has */
  muster_communicator* open(std::uint32_t rank, std::uint32_t timeoutMs = kTimeoutMs, const char* key = "the key", muster_code* code = nullptr) {
    muster_network network{places_.data(), {}, usesTls_};
    std::strncpy(reinterpret_cast<char*>(network.key), key, sizeof network.key);
    const muster_communicator_options options{id.c_str(), rank, size(), timeoutMs, nullptr, nullptr};
    muster_communicator* communicator = nullptr;
    muster_listener* own = std::exchange(listeners_[rank], nullptr);
    closeListeners();
    const muster_code found = muster_communicator_connect(&options, &network, own, &communicator);
    if (code != nullptr) *code = found;
    return communicator;
  }

  void closeListeners() {
    for (muster_listener*& listener : listeners_) muster_listener_close(std::exchange(listener, nullptr));
  }

  /** Starts all ranks, each of which gets its open communicator and closes it. @returns their process ids */
  std::vector<pid_t> start(const std::function<void(std::uint32_t rank, muster_communicator* communicator)>& body, std::uint32_t timeoutMs = kTimeoutMs) {
    const std::vector<pid_t> children = startRanks(size(), [&](std::uint32_t rank) {
      muster_communicator* communicator = open(rank, timeoutMs);
      CHECK(communicator != nullptr);
      if (communicator == nullptr) return;
      body(rank, communicator);
      muster_communicator_close(communicator);
    });
    closeListeners();
    return children;
  }

  void run(const std::function<void(std::uint32_t rank, muster_communicator* communicator)>& body, std::uint32_t timeoutMs = kTimeoutMs) {
    for (const int status : endRanks(start(body, timeoutMs))) CHECK(status == 0);
  }

  const std::string id;

 private:
  const Topology topology_;
  bool usesTls_;
  std::vector<muster_listener*> listeners_;
  std::vector<muster_rank_place> places_;
};

}  // namespace check
