#include "collective/network/cost-model.h"

#include <algorithm>
#include <bit>

namespace muster {
namespace {

/** To add a byte of what lies in the caches: 20 GB/s. */
constexpr std::uint64_t kAddPs = 50;
/** What each further share of a node's ranks costs inside the node: two calls. */
constexpr std::uint64_t kShareNs = 5'000;
/** Above that every way takes long, and times would no longer fit. */
constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 40;

std::uint64_t nanoseconds(std::uint64_t bytes, std::uint64_t ps) { return std::min(bytes, kBytesMax) * std::min<std::uint64_t>(ps, 1'000'000) / 1000; }

std::uint64_t log2Up(std::uint32_t places) { return static_cast<std::uint64_t>(std::bit_width(places - 1)); }

}  // namespace

std::uint64_t CostModel::allReduceNs(AllReduceWay way, std::uint32_t places, std::size_t bytes) const {
  const std::uint64_t power = std::bit_floor(places);
  const std::uint64_t rounds = log2Up(static_cast<std::uint32_t>(power));
  const std::uint64_t foldNs = power == places ? 0 : 2 * (latencyNs + nanoseconds(bytes, bytePs)) + nanoseconds(bytes, kAddPs);
  switch (way) {
    case AllReduceWay::doubling: return foldNs + rounds * (latencyNs + nanoseconds(bytes, bytePs + kAddPs));
    case AllReduceWay::halving: return foldNs + 2 * rounds * latencyNs + nanoseconds(bytes - bytes / power, 2 * bytePs + kAddPs);
    case AllReduceWay::ring:
      return 2 * (places - 1) * latencyNs + 2 * nanoseconds(bytes - bytes / places, bytePs) + nanoseconds(std::min(bytes / places, kPieceBytes), kAddPs);
  }
  return 0;
}

AllReduceWay CostModel::allReduce(std::uint32_t places, std::size_t bytes) const {
  AllReduceWay best = AllReduceWay::ring;
  if (bytes > kScratchBytes) return best;
  for (const AllReduceWay way : {AllReduceWay::halving, AllReduceWay::doubling}) {
    if (allReduceNs(way, places, bytes) <= allReduceNs(best, places, bytes)) best = way;
  }
  return best;
}

TreeShape CostModel::broadcast(std::uint32_t places, std::size_t bytes) const {
  const std::uint64_t binomialNs = log2Up(places) * (latencyNs + nanoseconds(bytes, bytePs));
  const std::uint64_t pieceNs = latencyNs + nanoseconds(std::min(bytes, kPieceBytes), bytePs);
  const std::uint64_t chainNs = (places - 2) * pieceNs + latencyNs + nanoseconds(bytes, bytePs);
  return binomialNs <= chainNs ? TreeShape::binomial : TreeShape::chain;
}

bool CostModel::isReduceByTree(std::uint32_t places, std::size_t bytes) const {
  if (bytes > kScratchBytes) return false;
  return log2Up(places) * (latencyNs + nanoseconds(bytes, bytePs + kAddPs)) <= allReduceNs(AllReduceWay::ring, places, bytes);
}

std::uint32_t CostModel::lanes(std::uint32_t places, std::uint32_t many, std::size_t bytes) const {
  if (many == 1) return 1;
  const auto fastestNs = [&](const CostModel& model, std::size_t each) { return model.allReduceNs(model.allReduce(places, each), places, each); };
  CostModel several = *this;
  several.bytePs = byteManyPs;
  return fastestNs(several, bytes / many) + (many - 1) * kShareNs < fastestNs(*this, bytes) ? many : 1;
}

}  // namespace muster
