/** The sends and receives of one submission, to ranks of this node and of others, all under way at the same time. */
#pragma once

#include <span>
#include <vector>

#include "collective/messages.h"
#include "collective/network/network-communicator.h"

namespace muster {

/** Over the network a message is one frame: it is sent when the kernel has all of it, so that a small one waits for nobody. */
class NetworkMessages {
 public:
  NetworkMessages(NetworkCommunicator& communicator, std::span<const muster_call> calls);
  muster_code run();

 private:
  NetworkCommunicator& communicator_;
  /** Those within the node, in its numbers. */
  std::vector<muster_call> inside_;
  std::vector<muster_call> between_;
};

}  // namespace muster
