/**
 * One rank of a communicator on several nodes. The ranks of each node are a communicator of their own, in the memory that they share; over the
 * network go only what nodes tell each other:
 *
 *   allReduce       reduced inside each node, between the nodes, and passed on inside; several ranks of a node may share what goes between
 *   reduce          reduced inside, then from one rank of each node to the root
 *   broadcast       from the root to one rank of each node, which passes it on
 *   reduceScatter   reduced inside, then each node gets the parts of its ranks
 *   allGather       gathered inside, then node by node round a ring
 *   allToAll        inside in shared memory, and between every two ranks of different nodes
 *   barrier         inside, between, inside
 *   send, recv      in shared memory or over the line between the two
 *
 * One rank of a node, its leader, also tells the next node's what call it makes: where two ranks make different ones, there are two neighbours
 * that do, on a node or in the circle of the leaders, and no call ends before both have compared.
 *
 * Whatever fails is written into the memory of the node, as on one node, and told to every rank on other nodes.
 */
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "collective/communicator.h"
#include "collective/network/circle.h"
#include "collective/network/cost-model.h"
#include "collective/network/mesh.h"
#include "collective/network/transport.h"

namespace muster {

class NetworkCommunicator final : public RankEnd, private TransportOwner, private Watcher {
 public:
  /** Meets the others: blocks until all are there. Uses up the listener. */
  static muster_code open(const muster_communicator_options& options, const muster_network& network, FileDescriptor listener, std::unique_ptr<RankEnd>* opened);
  ~NetworkCommunicator() override;

  muster_code run(std::span<const muster_call> calls) override;
  bool isOneShot(const muster_call&) const override { return false; }
  muster_code begin(const muster_call&) override { return MUSTER_OK; }
  bool haveBegun(std::chrono::nanoseconds) override { return false; }
  muster_code end(const muster_call& call) override { return run({&call, 1}); }
  muster_code failAll(muster_code code, std::uint32_t rank, const std::string& message) override { return failed(local_->fail(code, static_cast<std::int32_t>(rank), message)); }
  muster_code look() const override { return local_->look(); }
  void abort(const std::string& reason) override;
  void blame(std::uint32_t rank, const std::string& reason) override;

  /** What was measured when it opened. */
  const CostModel& model() const { return model_; }

 private:
  friend class NetworkMessages;

  /** The ranks of one node, which follow each other. */
  struct Node {
    std::uint32_t first;
    std::uint32_t size;
  };

  NetworkCommunicator(const muster_communicator_options& options, std::vector<Node> nodes);
  muster_code meet(const muster_communicator_options& options, MeshOptions& mesh, const FileDescriptor& listener);
  muster_code measure();
  muster_code largestOfAll(Circle& circle, std::span<std::uint64_t> values);
  muster_code shift(Circle& circle, std::size_t bytes, int rounds, std::uint64_t* elapsedNs);

  muster_code runCollective(const muster_call& call);
  muster_code allReduce(const muster_call& call);
  muster_code reduce(const muster_call& call);
  muster_code broadcast(const muster_call& call);
  muster_code reduceScatter(const muster_call& call);
  muster_code allGather(const muster_call& call);
  muster_code allToAll(const muster_call& call);
  muster_code barrier();

  /** Between the ranks of one circle: every place gets the result, or the root alone. */
  muster_code allReduceBetween(Circle& circle, const Accumulation& accumulation, const void* source, void* target, std::size_t count);
  muster_code reduceBetween(Circle& circle, const Accumulation& accumulation, const void* source, void* target, std::size_t count, std::uint32_t root);
  /** Inside the node, if there are others. Roots are numbers on the node. */
  muster_code inside(muster_call_kind kind, muster_dtype dtype, muster_reduction reduction, std::uint32_t root, const void* source, void* target, std::size_t count);

  const std::byte* ownPart(const Accumulation& accumulation, const void* source, std::size_t count);

  /** Whether every node has one rank. */
  bool isFlat() const { return nodes_.size() == size_; }
  bool isLeader() const { return localRank_ == 0; }
  std::uint32_t localSize() const { return nodes_[node_].size; }
  std::uint32_t nodeOf(std::uint32_t rank) const;
  /** Of the ranks with this number on each node; on the root's node, of the root. */
  Circle circleOf(std::uint32_t localRank) const;
  Circle circleTo(std::uint32_t root) const;
  /** Where each node's part of so many elements for each rank begins. */
  std::vector<std::size_t> startsOf(std::size_t count) const;
  std::byte* scratch(std::vector<std::byte>& memory, std::size_t bytes);

  bool hasFailed() const override { return local_->hasFailed(); }
  muster_code failure() const override { return local_->failure(); }
  muster_code fail(muster_code code, std::int32_t rank, const std::string& message) override { return local_->fail(code, rank, message); }
  muster_code failMismatch(std::uint32_t rank, Lane lane, const FrameLabel& theirs, const FrameLabel& own) override;
  muster_code failGone(std::uint32_t rank, bool hasLeft) override;
  muster_code failTimedOut(std::uint32_t rank) override;
  muster_code look(std::uint32_t missing, Clock::duration waited) override;
  /** Passes the communicator's failure on to the other nodes, once. */
  muster_code failed(muster_code code);
  std::string nameOf(std::uint32_t rank) const { return "rank " + std::to_string(rank); }

  const std::uint32_t timeoutMs_;
  const std::vector<Node> nodes_;
  const std::uint32_t node_;
  const std::uint32_t localRank_;
  /** As many ranks as every node has: so many may share an allReduce. */
  const std::uint32_t columns_;
  std::unique_ptr<Communicator> local_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Pieces> pieces_;
  CostModel model_;
  /** The call that this rank is in, for the labels of its frames and for messages. */
  FrameLabel doing_;
  std::uint64_t sequence_ = 0;
  /** Messages to and from each rank so far. */
  std::vector<std::uint64_t> sent_;
  std::vector<std::uint64_t> received_;
  /** Memory for what is computed on the way; each grows to a few megabytes. */
  std::vector<std::byte> accumulators_;
  std::vector<std::byte> theirs_;
  std::vector<std::byte> own_;
  std::vector<std::byte> sums_;
  bool hasToldOfWait_ = false;
  std::atomic<bool> hasToldFailure_{false};
};

}  // namespace muster
