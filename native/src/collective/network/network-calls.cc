/** What each collective call does inside the nodes and between them: see network-communicator.h. */
#include <algorithm>
#include <cstring>

#include "collective/describe.h"
#include "collective/network/network-communicator.h"
#include "collective/network/exchange.h"
#include "collective/network/ring.h"
#include "dtype.h"

namespace muster {
namespace {

/**
 * What goes through a node's memory at once, in accumulators: it stays in the caches on its way from the ranks to the network and back,
 * and while nodes pass one block on, the kernel has the next.
 */
constexpr std::size_t kNodeBlockBytes = kScratchBytes;

struct Share {
  std::size_t start;
  std::size_t count;
};

/** One of so many shares of `count` elements. */
Share shareOf(std::size_t count, std::uint32_t shares, std::uint32_t share) {
  const std::size_t each = (count + shares - 1) / shares;
  const std::size_t start = std::min(share * each, count);
  return {start, std::min(each, count - start)};
}

const std::byte* at(const void* memory, std::size_t bytes) { return static_cast<const std::byte*>(memory) + bytes; }
std::byte* at(void* memory, std::size_t bytes) { return static_cast<std::byte*>(memory) + bytes; }

}  // namespace

muster_code NetworkCommunicator::inside(muster_call_kind kind, muster_dtype dtype, muster_reduction reduction, std::uint32_t root, const void* source, void* target,
                                        std::size_t count) {
  if (localSize() == 1) return MUSTER_OK;
  const muster_call call{kind, dtype, reduction, root, source, target, count};
  return local_->run({&call, 1});
}

muster_code NetworkCommunicator::barrier() {
  if (const muster_code code = inside(MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0); code != MUSTER_OK) return code;
  if (isLeader()) {
    Circle leaders = circleOf(0);
    if (const muster_code code = disseminate(leaders); code != MUSTER_OK) return code;
  }
  return inside(MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0);
}

muster_code NetworkCommunicator::allReduceBetween(Circle& circle, const Accumulation& accumulation, const void* source, void* target, std::size_t count) {
  const std::size_t bytes = count * accumulation.bytes();
  const AllReduceWay way = model_.allReduce(circle.size(), bytes);
  if (way == AllReduceWay::ring) return Ring(circle, *pieces_).allReduce(accumulation, source, target, count);
  std::byte* accumulators = scratch(accumulators_, bytes);
  accumulation.load(accumulators, source, count);
  Exchange exchange(circle, accumulation, accumulators, scratch(theirs_, bytes), count);
  const muster_code code = way == AllReduceWay::doubling ? exchange.doubling() : exchange.halving();
  if (code == MUSTER_OK) accumulation.finish(target, accumulators, count);
  return code;
}

muster_code NetworkCommunicator::reduceBetween(Circle& circle, const Accumulation& accumulation, const void* source, void* target, std::size_t count, std::uint32_t root) {
  const std::size_t bytes = count * accumulation.bytes();
  if (!model_.isReduceByTree(circle.size(), bytes)) return Ring(circle, *pieces_).reduce(accumulation, source, target, count, root);
  std::byte* accumulators = scratch(accumulators_, bytes);
  accumulation.load(accumulators, source, count);
  const muster_code code = reduceTree(circle, root, accumulation, accumulators, scratch(theirs_, bytes), count);
  if (code == MUSTER_OK && circle.place() == root) accumulation.finish(target, accumulators, count);
  return code;
}

/** What this rank gives to its node, in accumulators. */
const std::byte* NetworkCommunicator::ownPart(const Accumulation& accumulation, const void* source, std::size_t count) {
  if (accumulation.isSourceAccumulator()) return static_cast<const std::byte*>(source);
  std::byte* widened = scratch(own_, count * accumulation.bytes());
  accumulation.load(widened, source, count);
  return widened;
}

muster_code NetworkCommunicator::allReduce(const muster_call& call) {
  const Accumulation direct(call.dtype, call.dtype, call.reduction, size_);
  if (isFlat()) {
    Circle circle = circleOf(0);
    return allReduceBetween(circle, direct, call.source, call.target, call.count);
  }
  const Accumulation between(direct.accumulator(), call.dtype, call.reduction, size_);
  const std::size_t blockElements = kNodeBlockBytes / direct.bytes();
  const std::uint32_t lanes = model_.lanes(static_cast<std::uint32_t>(nodes_.size()), columns_, std::min<std::size_t>(call.count, blockElements) * direct.bytes());
  for (std::size_t start = 0; start < call.count; start += blockElements) {
    const std::size_t count = std::min<std::size_t>(blockElements, call.count - start);
    const std::byte* part = ownPart(direct, at(call.source, start * direct.resultBytes()), count);
    std::byte* sums = scratch(sums_, count * direct.bytes());
    std::byte* target = at(call.target, start * direct.resultBytes());
    muster_code code = MUSTER_OK;
    const auto eachShare = [&](const auto& visit) {
      for (std::uint32_t lane = 0; lane < lanes && code == MUSTER_OK; lane++) {
        const Share share = shareOf(count, lanes, lane);
        if (share.count > 0) code = visit(lane, share);
      }
    };
    eachShare([&](std::uint32_t lane, const Share& share) {
      const std::size_t offset = share.start * direct.bytes();
      return inside(MUSTER_REDUCE, direct.accumulator(), direct.partial(), lane, part + offset, sums + offset, share.count);
    });
    eachShare([&](std::uint32_t lane, const Share& share) {
      if (lane != localRank_) return MUSTER_OK;
      Circle circle = circleOf(lane);
      const std::byte* nodePart = (localSize() == 1 ? part : sums) + share.start * direct.bytes();
      return allReduceBetween(circle, between, nodePart, target + share.start * direct.resultBytes(), share.count);
    });
    eachShare([&](std::uint32_t lane, const Share& share) {
      std::byte* result = target + share.start * direct.resultBytes();
      return inside(MUSTER_BROADCAST, call.dtype, MUSTER_SUM, lane, result, result, share.count);
    });
    if (code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code NetworkCommunicator::reduce(const muster_call& call) {
  const Accumulation direct(call.dtype, call.dtype, call.reduction, size_);
  const Accumulation between(direct.accumulator(), call.dtype, call.reduction, size_);
  Circle circle = circleTo(call.peer);
  const std::uint32_t rootPlace = nodeOf(call.peer);
  const std::uint32_t nodeRoot = rootPlace == node_ ? call.peer - nodes_[node_].first : 0;
  const std::size_t blockElements = isFlat() ? call.count : kNodeBlockBytes / direct.bytes();
  for (std::size_t start = 0; start < call.count; start += blockElements) {
    const std::size_t count = std::min<std::size_t>(blockElements, call.count - start);
    const std::byte* source = at(call.source, start * direct.resultBytes());
    std::byte* target = rank_ == call.peer ? at(call.target, start * direct.resultBytes()) : nullptr;
    if (isFlat()) return reduceBetween(circle, direct, source, target, count, rootPlace);
    const std::byte* part = ownPart(direct, source, count);
    std::byte* sums = scratch(sums_, count * direct.bytes());
    muster_code code = inside(MUSTER_REDUCE, direct.accumulator(), direct.partial(), nodeRoot, part, sums, count);
    if (code == MUSTER_OK && localRank_ == nodeRoot) code = reduceBetween(circle, between, localSize() == 1 ? part : sums, target, count, rootPlace);
    if (code == MUSTER_OK) code = transport_->flush();  // the next block takes the memory
    if (code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code NetworkCommunicator::broadcast(const muster_call& call) {
  Circle circle = circleTo(call.peer);
  const std::uint32_t rootPlace = nodeOf(call.peer);
  const std::uint32_t nodeRoot = rootPlace == node_ ? call.peer - nodes_[node_].first : 0;
  const std::size_t element = elementBytes(call.dtype);
  const std::size_t blockElements = isFlat() ? call.count : kNodeBlockBytes / element;
  const TreeShape shape = model_.broadcast(circle.size(), call.count * element);
  for (std::size_t start = 0; start < call.count; start += blockElements) {
    const std::size_t count = std::min<std::size_t>(blockElements, call.count - start);
    std::byte* target = at(call.target, start * element);
    std::byte* data = rank_ == call.peer ? at(const_cast<void*>(call.source), start * element) : target;
    muster_code code = MUSTER_OK;
    if (localRank_ == nodeRoot) code = broadcastTree(circle, rootPlace, shape, data, count * element);
    if (code == MUSTER_OK) code = inside(MUSTER_BROADCAST, call.dtype, MUSTER_SUM, nodeRoot, data, target, count);
    if (code != MUSTER_OK) return code;
    if (localSize() == 1 && data != target) std::memcpy(target, data, count * element);
  }
  return MUSTER_OK;
}

muster_code NetworkCommunicator::reduceScatter(const muster_call& call) {
  const Accumulation direct(call.dtype, call.dtype, call.reduction, size_);
  Circle circle = circleOf(0);
  if (isFlat()) return Ring(circle, *pieces_).reduceScatter(direct, call.source, call.target, startsOf(call.count));
  const Accumulation between(direct.accumulator(), call.dtype, call.reduction, size_);
  const std::size_t blockElements = std::max<std::size_t>(1, kNodeBlockBytes / direct.bytes() / size_);
  for (std::size_t start = 0; start < call.count; start += blockElements) {
    const std::size_t count = std::min<std::size_t>(blockElements, call.count - start);
    // Every rank's part of the block, one behind the other.
    std::byte* parts = scratch(own_, size_ * count * direct.bytes());
    for (std::uint32_t rank = 0; rank < size_; rank++) {
      direct.load(parts + rank * count * direct.bytes(), at(call.source, (rank * call.count + start) * direct.resultBytes()), count);
    }
    std::byte* sums = scratch(sums_, size_ * count * direct.bytes());
    std::byte* results = scratch(accumulators_, localSize() * count * direct.resultBytes());
    muster_code code = inside(MUSTER_REDUCE, direct.accumulator(), direct.partial(), 0, parts, sums, size_ * count);
    if (code == MUSTER_OK && isLeader()) code = Ring(circle, *pieces_).reduceScatter(between, localSize() == 1 ? parts : sums, results, startsOf(count));
    if (code == MUSTER_OK) code = transport_->flush();  // the next block takes the memory
    if (code == MUSTER_OK) code = inside(MUSTER_BROADCAST, call.dtype, MUSTER_SUM, 0, results, results, localSize() * count);
    if (code != MUSTER_OK) return code;
    const std::size_t resultBytes = count * direct.resultBytes();
    std::memcpy(at(call.target, start * direct.resultBytes()), results + localRank_ * resultBytes, resultBytes);
  }
  return MUSTER_OK;
}

muster_code NetworkCommunicator::allGather(const muster_call& call) {
  const std::size_t element = elementBytes(call.dtype);
  const Node& node = nodes_[node_];
  auto* target = static_cast<std::byte*>(call.target);
  std::byte* ofNode = target + node.first * call.count * element;
  if (localSize() == 1 && ofNode != call.source) std::memcpy(ofNode, call.source, call.count * element);
  muster_code code = inside(MUSTER_ALL_GATHER, call.dtype, MUSTER_SUM, 0, call.source, ofNode, call.count);
  if (code == MUSTER_OK && isLeader()) {
    Circle circle = circleOf(0);
    code = Ring(circle, *pieces_).allGather(target, startsOf(call.count), element);
  }
  const std::size_t end = node.first + node.size;
  std::byte* after = target + end * call.count * element;
  if (code == MUSTER_OK && node.first > 0) code = inside(MUSTER_BROADCAST, call.dtype, MUSTER_SUM, 0, target, target, node.first * call.count);
  if (code == MUSTER_OK && end < size_) code = inside(MUSTER_BROADCAST, call.dtype, MUSTER_SUM, 0, after, after, (size_ - end) * call.count);
  return code;
}

muster_code NetworkCommunicator::allToAll(const muster_call& call) {
  const std::size_t element = elementBytes(call.dtype);
  const std::size_t ofNode = nodes_[node_].first * call.count * element;
  const bool isInPlace = call.source == call.target;
  if (localSize() == 1 && !isInPlace) std::memcpy(at(call.target, ofNode), at(call.source, ofNode), call.count * element);
  muster_code code = inside(MUSTER_ALL_TO_ALL, call.dtype, MUSTER_SUM, 0, at(call.source, ofNode), at(call.target, ofNode), call.count);
  const std::size_t blockElements = std::max<std::size_t>(1, kNodeBlockBytes / element / size_);
  for (std::size_t start = 0; start < call.count && code == MUSTER_OK; start += blockElements) {
    const std::size_t bytes = std::min<std::size_t>(blockElements, call.count - start) * element;
    std::byte* kept = isInPlace ? scratch(own_, size_ * bytes) : nullptr;  // what is sent, where others' parts take its place
    std::vector<Transfer> received;
    for (std::uint32_t step = 1; step < size_; step++) {
      const std::uint32_t to = (rank_ + step) % size_;
      if (!transport_->isRemote(to)) continue;
      const std::byte* source = at(call.source, (to * call.count + start) * element);
      if (isInPlace) source = static_cast<const std::byte*>(std::memcpy(kept + to * bytes, source, bytes));
      transport_->send(to, Lane::collective, doing_, source, bytes);
    }
    for (std::uint32_t step = 1; step < size_; step++) {
      const std::uint32_t from = (rank_ + size_ - step) % size_;
      if (transport_->isRemote(from)) received.push_back(transport_->receive(from, Lane::collective, doing_, at(call.target, (from * call.count + start) * element), bytes));
    }
    for (const Transfer& each : received) {
      if (code == MUSTER_OK) code = transport_->wait(each);
    }
    if (code == MUSTER_OK) code = transport_->flush();
  }
  return code;
}

}  // namespace muster
