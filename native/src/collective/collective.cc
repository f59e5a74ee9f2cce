/** The C ABI of the collectives. */
#include "muster/collective.h"

#include <new>

#include "collective/communicator.h"
#include "collective/network/network-communicator.h"
#include "collective/submissions.h"
#include "status.h"

struct muster_communicator {
  explicit muster_communicator(std::unique_ptr<muster::RankEnd> communicator) : submissions(std::move(communicator)) {}
  muster::Submissions submissions;
};

muster_code muster_communicator_open(const muster_communicator_options* options, muster_communicator** communicator) {
  std::unique_ptr<muster::Communicator> opened;
  const muster_code code = muster::Communicator::open(*options, nullptr, &opened);
  if (code == MUSTER_OK) *communicator = new muster_communicator(std::move(opened));
  return code;
}

struct muster_listener {
  muster::FileDescriptor socket;
};

muster_code muster_listener_open(const char* host, muster_listener** listener, uint16_t* port) {
  muster::FileDescriptor socket;
  const muster_code code = muster::listenOn(host, &socket, port);
  if (code == MUSTER_OK) *listener = new muster_listener{std::move(socket)};
  return code;
}

void muster_listener_close(muster_listener* listener) { delete listener; }

muster_code muster_communicator_connect(const muster_communicator_options* options, const muster_network* network, muster_listener* listener,
                                        muster_communicator** communicator) {
  const std::unique_ptr<muster_listener> closing(listener);
  std::unique_ptr<muster::RankEnd> opened;
  const muster_code code = muster::NetworkCommunicator::open(*options, *network, std::move(listener->socket), &opened);
  if (code == MUSTER_OK) *communicator = new muster_communicator(std::move(opened));
  return code;
}

muster_code muster_communicator_extents(const muster_communicator* communicator, const muster_call* call, uint64_t* source_bytes,
                                        uint64_t* target_bytes) {
  const muster::RankEnd& opened = communicator->submissions.communicator();
  if (const muster_code code = opened.check(*call); code != MUSTER_OK) return code;
  const muster::Extents extents = opened.extents(*call);
  *source_bytes = extents.source;
  *target_bytes = extents.target;
  return MUSTER_OK;
}

muster_code muster_communicator_run(muster_communicator* communicator, const muster_call* calls, uint32_t call_count) {
  return communicator->submissions.run({calls, call_count});
}

muster_code muster_communicator_start(muster_communicator* communicator, const muster_call* calls, uint32_t call_count, const muster_hold* hold,
                                      muster_done done, void* context, bool* finished) {
  return communicator->submissions.start({calls, call_count}, {std::chrono::nanoseconds(hold->small_ns), std::chrono::nanoseconds(hold->any_ns)}, {done, context}, finished);
}

muster_code muster_turn_run(muster_turn* turn, const muster_call* calls, uint32_t call_count) { return turn->submissions.runInTurn({calls, call_count}); }

muster_code muster_turn_look(muster_turn* turn) { return turn->submissions.communicator().look(); }

muster_code muster_turn_fail(muster_turn* turn, muster_code code, uint32_t rank, const char* message) { return turn->submissions.communicator().failAll(code, rank, message); }

muster_code muster_communicator_run_work(muster_communicator* communicator, muster_work work, void* context) { return communicator->submissions.run(work, context); }

muster_code muster_communicator_start_work(muster_communicator* communicator, muster_work work, muster_done done, void* context) {
  return communicator->submissions.start(work, {done, context});
}

void muster_communicator_abort(muster_communicator* communicator, const char* reason) { communicator->submissions.communicator().abort(reason); }

muster_code muster_communicator_blame(muster_communicator* communicator, uint32_t rank, const char* reason) {
  muster::RankEnd& opened = communicator->submissions.communicator();
  if (!opened.has(rank)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the communicator has no rank %u", rank);
  opened.blame(rank, reason);
  return MUSTER_OK;
}

void muster_communicator_close(muster_communicator* communicator) { delete communicator; }
