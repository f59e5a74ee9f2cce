#include "collective/network/network-messages.h"

#include "collective/describe.h"
#include "dtype.h"

namespace muster {
namespace {

/** How long the network is waited for while messages of the node wait, too: there is no waiting for both at once. */
constexpr int kBothMs = 1;
/** When nothing has moved for so long, the node's messages are waited for as they are elsewhere: with a look at the network, and at who has died. */
constexpr std::chrono::milliseconds kPatience{50};

}  // namespace

NetworkMessages::NetworkMessages(NetworkCommunicator& communicator, std::span<const muster_call> calls) : communicator_(communicator) {
  for (muster_call call : calls) {
    if (!isPointToPoint(call.kind)) continue;
    if (communicator.transport_->isRemote(call.peer)) {
      between_.push_back(call);
    } else {
      call.peer -= communicator.nodes_[communicator.node_].first;
      inside_.push_back(call);
    }
  }
}

muster_code NetworkMessages::run() {
  Transport& transport = *communicator_.transport_;
  std::vector<Transfer> transfers;
  for (const muster_call& call : between_) {
    const bool isSend = call.kind == MUSTER_SEND;
    const FrameLabel label = labelOf(isSend ? ++communicator_.sent_[call.peer] : ++communicator_.received_[call.peer], contentWords(call), call);
    const std::size_t bytes = call.count * elementBytes(call.dtype);
    transfers.push_back(isSend ? transport.send(call.peer, Lane::message, label, call.source, bytes) : transport.receive(call.peer, Lane::message, label, call.target, bytes));
  }
  Messages messages(*communicator_.local_, inside_);
  const auto isBetweenDone = [&] {
    for (const Transfer& each : transfers) {
      if (!transport.isDone(each)) return false;
    }
    return true;
  };
  Clock::time_point lastMoved = Clock::now();
  while (!messages.isDone() && !isBetweenDone() && Clock::now() - lastMoved < kPatience) {
    bool movedInside = false;
    bool movedBetween = false;
    if (const muster_code code = messages.step(&movedInside); code != MUSTER_OK) return code;
    if (const muster_code code = transport.progress(&movedBetween, movedInside ? 0 : kBothMs); code != MUSTER_OK) return code;
    if (movedInside || movedBetween) lastMoved = Clock::now();
  }
  if (const muster_code code = messages.run(); code != MUSTER_OK) return code;
  for (std::size_t each = 0; each < transfers.size(); each++) {
    communicator_.doing_ = labelOf(communicator_.sequence_, packCall(between_[each]), between_[each]);
    if (const muster_code code = transport.wait(transfers[each]); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

}  // namespace muster
