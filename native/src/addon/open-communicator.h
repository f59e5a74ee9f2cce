/** Meeting the other ranks in the background. */
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <napi.h>

#include "muster/collective.h"

namespace muster::addon {

/** Where the ranks of several nodes are. */
struct NetworkPlaces {
  /** The listener is used up by opening. */
  muster_listener* listener;
  std::vector<std::string> hosts;
  /** Without their hosts. */
  std::vector<muster_rank_place> ranks;
  muster_network network;
};

/**
 * Opens a communicator on a thread of its own: others may come late, and would hold a thread of libuv's pool. The promise
 * resolves with an object of `Communicator`. `places`: null when all ranks are on this node.
 */
Napi::Promise openCommunicator(Napi::Env env, const std::string& id, const muster_communicator_options& options, std::unique_ptr<NetworkPlaces> places);

}  // namespace muster::addon
