/** Meeting the other ranks in the background. */
#pragma once

#include <napi.h>

#include "muster/collective.h"

namespace muster::addon {

/**
 * Opens a communicator on a thread of its own: others may come late, and would hold a thread of libuv's pool. The promise
 * resolves with an object of `Communicator`.
 */
Napi::Promise openCommunicator(Napi::Env env, const std::string& id, const muster_communicator_options& options);

}  // namespace muster::addon
