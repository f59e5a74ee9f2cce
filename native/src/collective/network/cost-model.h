/**
 * Which way a call goes, by what each would cost. Times are Hockney's, latency plus bytes over bandwidth (Parallel Computing 20, 1994), with the
 * counts of rounds and bytes of Thakur, Rabenseifner and Gropp, IJHPCA 2005. With n places, S bytes, latency a, time per byte b to send and
 * g to add, and p the largest power of two up to n (where p < n, two more messages of S bytes):
 *
 *   doubling     log2 p (a + S (b + g))
 *   halving      2 log2 p a + 2 S (p-1)/p b + S (p-1)/p g
 *   ring         2 (n-1) a + 2 S (n-1)/n b, and one piece added at the end; the others are while the next is on its way
 *   binomial     log2 n (a + S b)
 *   chain        (n-2) pieces, then S b
 *
 * What is measured is the same at all ranks, since they agree on the largest, and all is integers, so that every rank chooses alike.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "collective/network/tree.h"

namespace muster {

enum class AllReduceWay { doubling, halving, ring };

/** Up to there calls may be computed in memory of their own. */
constexpr std::size_t kScratchBytes = std::size_t{4} << 20;

/** What the network of a communicator can do, and the choices that follow. */
struct CostModel {
  std::uint64_t latencyNs = 0;
  /** Picoseconds a byte, of one rank of each node, and of each of several at once. */
  std::uint64_t bytePs = 0;
  std::uint64_t byteManyPs = 0;

  AllReduceWay allReduce(std::uint32_t places, std::size_t bytes) const;
  TreeShape broadcast(std::uint32_t places, std::size_t bytes) const;
  /** Whether a reduction to one place goes up a tree, or round the ring. */
  bool isReduceByTree(std::uint32_t places, std::size_t bytes) const;
  /** How many ranks of each node, one or `many`, share an allReduce. */
  std::uint32_t lanes(std::uint32_t places, std::uint32_t many, std::size_t bytes) const;
  /** How long it takes. */
  std::uint64_t allReduceNs(AllReduceWay way, std::uint32_t places, std::size_t bytes) const;
};

}  // namespace muster
