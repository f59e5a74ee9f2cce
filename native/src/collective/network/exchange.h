/**
 * AllReduces in which places meet in pairs, each twice as far from the one before: few messages, for what is not large.
 *
 * doubling   both send all that they have: log2 n rounds of S bytes
 * halving    both send the half that the other goes on with, and then back: 2 log2 n rounds, 2 S (n-1)/n bytes
 *
 * Where the number of places is no power of two, some give theirs to a neighbour first and get the result from it at the end. Of two operands
 * the one of the lower place comes first, so that all compute the same bits. Source: Thakur, Rabenseifner and Gropp, Optimization of
 * collective communication operations in MPICH, IJHPCA 2005.
 */
#pragma once

#include "collective/network/accumulation.h"
#include "collective/network/circle.h"

namespace muster {

class Exchange {
 public:
  /** `accumulators` have this place's part and get the reduction, `theirs` is memory of the same size; `count` elements in each. */
  Exchange(Circle& circle, const Accumulation& accumulation, std::byte* accumulators, std::byte* theirs, std::size_t count);

  muster_code doubling();
  muster_code halving();

 private:
  struct Range {
    std::size_t start;
    std::size_t end;
  };

  muster_code fold();
  muster_code unfold();
  /** Whether this place goes on after the fold. */
  bool isActive() const { return place_ >= 2 * extra_ || place_ % 2 == 1; }
  std::uint32_t activeNumber() const { return place_ < 2 * extra_ ? place_ / 2 : place_ - extra_; }
  std::uint32_t placeOf(std::uint32_t active) const { return active < extra_ ? 2 * active + 1 : active + extra_; }
  /** Sends one range of the accumulators and receives another, into `to`. */
  muster_code swap(std::uint32_t active, Range mine, Range yours, std::byte* to);
  /** Puts their range, in `theirs`, together with this place's. */
  void combine(Range range, bool areTheirsFirst);

  Circle& circle_;
  const Accumulation& accumulation_;
  std::byte* const accumulators_;
  std::byte* const theirs_;
  const std::size_t count_;
  const std::uint32_t place_;
  /** The largest power of two places, and how many are beyond. */
  std::uint32_t power_;
  std::uint32_t extra_;
};

}  // namespace muster
