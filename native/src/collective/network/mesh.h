/** Connecting every rank with every rank on another node, in three lanes each. */
#pragma once

#include <array>
#include <string>
#include <vector>

#include "collective/network/handshake.h"
#include "collective/network/socket.h"
#include "muster/collective.h"

namespace muster {

/**
 * What goes over a connection of its own, since none may wait for another: a failure is heard while nobody reads the data before it, and
 * collective calls go past a message that is not received yet.
 */
enum class Lane : std::uint32_t { news, collective, message };
constexpr std::size_t kLanes = 3;

/** Where a rank is. */
struct RankPlace {
  SocketAddress address;
  std::uint32_t node;
};

/** The connections to one rank; none to those on this node. */
using Lines = std::array<Stream, kLanes>;

struct MeshOptions {
  std::string id;
  std::uint32_t rank;
  /** By rank. */
  std::vector<RankPlace> places;
  Digest key;
  bool usesTls;
  std::uint32_t timeoutMs;
  Clock::time_point deadline;
  bool (*isCancelled)(void* context);
  void* context;
};

/**
 * Each rank connects to those above it and listens for those below. Blocks until all are there. Whoever connects and proves nothing is
 * dropped: it holds one of a bounded number of places for a bounded time, and nobody waits for it.
 */
muster_code connectMesh(const MeshOptions& options, const FileDescriptor& listener, std::vector<Lines>* lines);

}  // namespace muster
