#include "collective/network/network-communicator.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "collective/describe.h"
#include "collective/network/exchange.h"
#include "collective/network/network-messages.h"
#include "status.h"

namespace muster {
namespace {

/** The memory of a node's ranks is named after the communicator and the node. */
constexpr std::size_t kIdMaxChars = 120;
/** Who waits inside a node waits a little longer than who waits for another node: the latter knows better whose fault it is. */
constexpr std::uint32_t kGraceParts = 4;
/** Measured when a communicator opens: a few round trips, and some megabytes at once. */
constexpr int kLatencyRounds = 10;
constexpr std::size_t kBandwidthBytes = std::size_t{512} << 10;
constexpr int kBandwidthRounds = 2;
/**
 * Of a network as near as that the kernel need not hold much on its way: 200 KiB every 60 us are 27 Gb/s on each line. Left to itself it lets megabytes
 * pile up, which have left the caches when the other side reads them: that takes twice as long.
 */
constexpr std::uint64_t kNearNs = 30'000;
constexpr int kNearSendBytes = 200 << 10;

muster_code checkNetwork(const muster_communicator_options& options, const muster_network& network) {
  if (options.id != nullptr && std::strlen(options.id) > kIdMaxChars) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the id of a communicator on several nodes has at most %zu characters", kIdMaxChars);
  }
  if (options.size < 1 || options.size > MUSTER_RANKS_MAX || options.rank >= options.size) return MUSTER_OK;  // left to the communicator of the node
  for (std::uint32_t rank = 0; rank < options.size; rank++) {
    const std::uint32_t expected = rank == 0 ? 0 : network.ranks[rank - 1].node;
    if (network.ranks[rank].node == expected || (rank > 0 && network.ranks[rank].node == expected + 1)) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "rank %u is on node %u: nodes are counted from 0, and the ranks of one follow each other", rank, network.ranks[rank].node);
  }
  return MUSTER_OK;
}

}  // namespace

NetworkCommunicator::NetworkCommunicator(const muster_communicator_options& options, std::vector<Node> nodes)
    : RankEnd(options.id, options.rank, options.size),
      timeoutMs_(options.timeout_ms),
      nodes_(std::move(nodes)),
      node_(nodeOf(options.rank)),
      localRank_(options.rank - nodes_[node_].first),
      columns_(std::min_element(nodes_.begin(), nodes_.end(), [](const Node& a, const Node& b) { return a.size < b.size; })->size),
      sent_(options.size),
      received_(options.size) {}

NetworkCommunicator::~NetworkCommunicator() = default;

muster_code NetworkCommunicator::open(const muster_communicator_options& options, const muster_network& network, FileDescriptor listener, std::unique_ptr<RankEnd>* opened) {
  if (const muster_code code = checkNetwork(options, network); code != MUSTER_OK) return code;
  std::vector<Node> nodes;
  MeshOptions mesh{options.id, options.rank, {}, {}, network.uses_tls, options.timeout_ms, Clock::now() + std::chrono::milliseconds(options.timeout_ms), options.is_cancelled, options.context};
  std::copy_n(network.key, mesh.key.size(), mesh.key.begin());
  for (std::uint32_t rank = 0; rank < options.size; rank++) {
    const muster_rank_place& place = network.ranks[rank];
    if (nodes.size() <= place.node) nodes.push_back({rank, 0});
    nodes.back().size++;
    mesh.places.push_back({{place.host, place.port}, place.node});
  }
  if (nodes.size() <= 1) {
    std::unique_ptr<Communicator> alone;
    const muster_code code = Communicator::open(options, nullptr, &alone);
    *opened = std::move(alone);
    return code;
  }
  std::unique_ptr<NetworkCommunicator> met(new NetworkCommunicator(options, std::move(nodes)));
  const muster_code code = met->meet(options, mesh, listener);
  if (code == MUSTER_OK) *opened = std::move(met);
  return code;
}

muster_code NetworkCommunicator::meet(const muster_communicator_options& options, MeshOptions& mesh, const FileDescriptor& listener) {
  std::vector<Lines> lines;
  if (const muster_code code = connectMesh(mesh, listener, &lines); code != MUSTER_OK) return code;
  TransportOwner& owner = *this;
  transport_ = std::make_unique<Transport>(owner, rank_, timeoutMs_, std::move(lines));
  pieces_ = std::make_unique<Pieces>(*transport_);
  const std::string localId = id_ + "." + std::to_string(node_);
  muster_communicator_options local = options;
  local.id = localId.c_str();
  local.rank = localRank_;
  local.size = localSize();
  local.timeout_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(UINT32_MAX, std::uint64_t{timeoutMs_} + timeoutMs_ / kGraceParts));
  const Part part{id_, nodes_[node_].first, this};
  if (const muster_code code = Communicator::open(local, &part, &local_); code != MUSTER_OK) return code;
  const muster_code code = measure();
  return code == MUSTER_OK ? code : failed(code);
}

/** Everybody sends to the next and receives from the one before, all at once. */
muster_code NetworkCommunicator::shift(Circle& circle, std::size_t bytes, int rounds, std::uint64_t* elapsedNs) {
  std::byte* out = scratch(own_, bytes);
  std::byte* in = scratch(theirs_, bytes);
  const Clock::time_point start = Clock::now();
  for (int round = 0; round < rounds; round++) {
    circle.send(circle.ahead(1), out, bytes);
    if (const muster_code code = circle.wait(circle.receive(circle.behind(1), in, bytes)); code != MUSTER_OK) return code;
  }
  if (const muster_code code = transport_->flush(); code != MUSTER_OK) return code;
  *elapsedNs = static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count()) / static_cast<std::uint64_t>(rounds);
  return MUSTER_OK;
}

/** Latency and bandwidth, of the leaders and of all columns at once; the largest that anybody has measured counts for all. */
muster_code NetworkCommunicator::measure() {
  std::uint64_t latencyNs = 0;
  std::array<std::uint64_t, 2> totalNs{};
  Circle circle = circleOf(localRank_ < columns_ ? localRank_ : 0);
  muster_code code = MUSTER_OK;
  if (isLeader()) {
    code = shift(circle, 0, 2, &latencyNs);  // the first is slow: it begins when all are there
    if (code == MUSTER_OK) code = shift(circle, 0, kLatencyRounds, &latencyNs);
  }
  if (code == MUSTER_OK) code = largestOfAll(circle, {&latencyNs, 1});
  if (code == MUSTER_OK && latencyNs <= kNearNs) transport_->boundSending(kNearSendBytes);
  const auto measureBandwidth = [&](std::uint64_t* ns) {
    const muster_code opened = shift(circle, kBandwidthBytes, 1, ns);  // TCP begins slowly
    return opened == MUSTER_OK ? shift(circle, kBandwidthBytes, kBandwidthRounds, ns) : opened;
  };
  if (code == MUSTER_OK && isLeader()) code = measureBandwidth(&totalNs[0]);
  if (code == MUSTER_OK) code = inside(MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0);
  if (code == MUSTER_OK && columns_ > 1 && localRank_ < columns_) code = measureBandwidth(&totalNs[1]);
  if (code == MUSTER_OK) code = largestOfAll(circle, totalNs);
  const auto bytePs = [&](std::uint64_t ns) { return (ns - std::min(latencyNs, ns)) * 1000 / kBandwidthBytes + 1; };
  model_ = {latencyNs, bytePs(totalNs[0]), bytePs(totalNs[1])};
  return code;
}

/** Every rank gets the largest of all. */
muster_code NetworkCommunicator::largestOfAll(Circle& circle, std::span<std::uint64_t> values) {
  muster_code code = inside(MUSTER_REDUCE, MUSTER_I64, MUSTER_MAX, 0, values.data(), values.data(), values.size());
  if (code == MUSTER_OK && isLeader()) {
    const Accumulation largest(MUSTER_I64, MUSTER_I64, MUSTER_MAX, size_);
    auto* own = reinterpret_cast<std::byte*>(values.data());
    code = Exchange(circle, largest, own, scratch(theirs_, values.size_bytes()), values.size()).doubling();
  }
  return code == MUSTER_OK ? inside(MUSTER_BROADCAST, MUSTER_I64, MUSTER_SUM, 0, values.data(), values.data(), values.size()) : code;
}

std::uint32_t NetworkCommunicator::nodeOf(std::uint32_t rank) const {
  std::uint32_t node = 0;
  while (rank >= nodes_[node].first + nodes_[node].size) node++;
  return node;
}

Circle NetworkCommunicator::circleOf(std::uint32_t localRank) const {
  std::vector<std::uint32_t> ranks;
  for (const Node& node : nodes_) ranks.push_back(node.first + localRank);
  return {*transport_, doing_, std::move(ranks), node_};
}

Circle NetworkCommunicator::circleTo(std::uint32_t root) const {
  std::vector<std::uint32_t> ranks;
  for (const Node& node : nodes_) ranks.push_back(root >= node.first && root < node.first + node.size ? root : node.first);
  return {*transport_, doing_, std::move(ranks), node_};
}

std::vector<std::size_t> NetworkCommunicator::startsOf(std::size_t count) const {
  std::vector<std::size_t> starts;
  for (const Node& node : nodes_) starts.push_back(node.first * count);
  starts.push_back(size_ * count);
  return starts;
}

std::byte* NetworkCommunicator::scratch(std::vector<std::byte>& memory, std::size_t bytes) {
  if (memory.size() < bytes) memory.resize(bytes);
  return memory.data();
}

muster_code NetworkCommunicator::run(std::span<const muster_call> calls) {
  if (hasFailed()) return failed(failure());
  for (const muster_call& call : calls) {
    if (isPointToPoint(call.kind)) continue;
    if (const muster_code code = runCollective(call); code != MUSTER_OK) return failed(code);
  }
  const muster_code code = NetworkMessages(*this, calls).run();
  return code == MUSTER_OK ? code : failed(code);
}

muster_code NetworkCommunicator::runCollective(const muster_call& call) {
  doing_ = labelOf(++sequence_, packCall(call), call);
  local_->speakFor(call, sequence_);
  Transfer heard;
  if (isLeader()) {  // see the file's head
    Circle leaders = circleOf(0);
    leaders.send(leaders.ahead(1), nullptr, 0);
    heard = leaders.receive(leaders.behind(1), nullptr, 0);
  }
  const auto make = [&] {
    if (call.count == 0) return barrier();
    switch (call.kind) {
      case MUSTER_ALL_REDUCE: return allReduce(call);
      case MUSTER_REDUCE: return reduce(call);
      case MUSTER_BROADCAST: return broadcast(call);
      case MUSTER_REDUCE_SCATTER: return reduceScatter(call);
      case MUSTER_ALL_GATHER: return allGather(call);
      case MUSTER_ALL_TO_ALL: return allToAll(call);
      default: return barrier();
    }
  };
  muster_code code = make();
  if (code == MUSTER_OK) code = transport_->wait(heard);
  if (code == MUSTER_OK) code = transport_->flush();
  if (code == MUSTER_OK && hasToldOfWait_) transport_->tellWaiting(-1);
  hasToldOfWait_ = false;
  return code;
}

void NetworkCommunicator::abort(const std::string& reason) {
  local_->abort(reason);
  failed(failure());
}

void NetworkCommunicator::blame(std::uint32_t rank, const std::string& reason) {
  local_->blame(rank, reason);
  failed(failure());
}

muster_code NetworkCommunicator::failed(muster_code code) {
  if (!local_->hasFailed() || hasToldFailure_.exchange(true)) return code;
  const muster_failure* last = muster_last_failure();
  News news{};
  news.kind = News::Kind::failure;
  news.code = code;
  news.rank = last->rank;
  std::memcpy(news.message, last->message, sizeof news.message);
  transport_->tell(news);
  return code;
}

muster_code NetworkCommunicator::failMismatch(std::uint32_t rank, Lane lane, const FrameLabel& theirs, const FrameLabel& own) {
  const auto blamed = static_cast<std::int32_t>(rank);
  if (theirs.words == own.words) {
    return fail(MUSTER_MISMATCH, blamed, nameOf(rank) + " of the communicator '" + id_ + "' sent what is no part of " + describeCall(unpackCall(own.words)) + " as " + nameOf(rank_) + " makes it");
  }
  if (lane == Lane::message) {
    muster_call sent = unpackCall(theirs.words);
    sent.kind = MUSTER_SEND;
    sent.peer = rank_;
    muster_call expected = unpackCall(own.words);
    expected.kind = MUSTER_RECEIVE;
    expected.peer = rank;
    return fail(MUSTER_MISMATCH, blamed, "in the communicator '" + id_ + "' " + nameOf(rank) + " made " + describeCall(sent, theirs.site.load()) + ", and " + nameOf(rank_) + " made " +
                                          describeCall(expected, own.site.load()));
  }
  return fail(MUSTER_MISMATCH, blamed,
              "ranks of the communicator '" + id_ + "' made different calls as their collective call " + std::to_string(own.sequence) + ": " + nameOf(rank) + " " +
                  describeCall(unpackCall(theirs.words), theirs.site.load()) + ", " + nameOf(rank_) + " " + describeCall(unpackCall(own.words), own.site.load()));
}

muster_code NetworkCommunicator::failGone(std::uint32_t rank, bool hasLeft) {
  return fail(MUSTER_RANK_GONE, static_cast<std::int32_t>(rank),
              nameOf(rank) + (hasLeft ? " has closed the communicator '" : " ended, or lost its connection, without closing the communicator '") + id_ + "', and " + nameOf(rank_) +
                  " waits for it in " + describeCall(unpackCall(doing_.words)));
}

/** Follows who waits for whom, as far as it was told, to the one that waits for nobody. */
muster_code NetworkCommunicator::failTimedOut(std::uint32_t rank) {
  std::uint32_t late = rank;
  for (std::uint32_t hops = 0; hops < size_ && transport_->isRemote(late); hops++) {
    const News* waiting = transport_->waitingOf(late);
    if (waiting == nullptr || waiting->rank < 0 || static_cast<std::uint32_t>(waiting->rank) == rank_) break;
    late = static_cast<std::uint32_t>(waiting->rank);
  }
  return fail(MUSTER_TIMED_OUT, static_cast<std::int32_t>(late),
              nameOf(late) + " of the communicator '" + id_ + "' has kept " + nameOf(rank_) + " waiting in " + describeCall(unpackCall(doing_.words)) + ", after " +
                  std::to_string(sequence_) + " collective calls, for " + std::to_string(timeoutMs_) + " ms");
}

muster_code NetworkCommunicator::look(std::uint32_t missing, Clock::duration waited) {
  bool moved = false;
  if (const muster_code code = transport_->hearNews(); code != MUSTER_OK) return code;
  if (const muster_code code = transport_->progress(&moved, 0); code != MUSTER_OK) return code;
  if (const muster_code code = transport_->judgeActive(); code != MUSTER_OK) return code;
  if (!hasToldOfWait_ && waited > transport_->tellAfter()) {
    hasToldOfWait_ = true;
    transport_->tellWaiting(static_cast<std::int32_t>(nodes_[node_].first + missing));
  }
  return MUSTER_OK;
}

}  // namespace muster
