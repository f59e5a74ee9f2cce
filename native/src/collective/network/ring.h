/**
 * Rings: what is large goes round the circle in segments, one for each place, and every line carries all the time.
 *
 * reduce    segment s starts at the place after s, each place adds its own part to what arrives, and place s has the result
 * gather    segment s starts at place s and is passed on until all have it
 *
 * An allReduce is one after the other: S (n-1)/n bytes in each, out and in. A call is made in blocks, so that only what is on its way needs
 * memory of its own, and each segment of a block in pieces: one is added while the next arrives and the one before leaves. A block's first
 * pieces leave before the last of the block before have come. Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for
 * clusters of workstations, JPDC 2009; pieces as in NCCL.
 */
#pragma once

#include "collective/network/accumulation.h"
#include "collective/network/circle.h"

namespace muster {

/** Which elements of source and target the segments of a call are. */
class Segments {
 public:
  struct Range {
    std::size_t source;
    std::size_t target;
    std::size_t count;
  };

  /** `count` elements, shared evenly block by block. */
  static Segments shared(std::size_t count, std::uint32_t places);
  /** Place s has the elements from starts[s] to starts[s + 1]; a target of its own has its part alone, or all when `gathers`. */
  static Segments owned(std::vector<std::size_t> starts, bool gathers);

  std::size_t blocks() const { return blocks_; }
  Range at(std::size_t block, std::uint32_t segment) const;

 private:
  std::uint32_t places_ = 0;
  std::size_t blocks_ = 0;
  std::size_t count_ = 0;
  std::vector<std::size_t> starts_;
  bool gathers_ = false;
};

class Ring {
 public:
  Ring(Circle& circle, Pieces& pieces) : circle_(circle), pieces_(pieces) {}

  /** Every place gets the result in `target`, which may be the source. */
  muster_code allReduce(const Accumulation& accumulation, const void* source, void* target, std::size_t count);
  /** Place `root` gets the result; others' targets are not looked at. */
  muster_code reduce(const Accumulation& accumulation, const void* source, void* target, std::size_t count, std::uint32_t root);
  /** Place s gets the result of elements starts[s] to starts[s + 1]. */
  muster_code reduceScatter(const Accumulation& accumulation, const void* source, void* target, const std::vector<std::size_t>& starts);
  /** `target` has this place's elements already, from starts[place] to starts[place + 1], and gets all. */
  muster_code allGather(void* target, const std::vector<std::size_t>& starts, std::size_t elementBytes);

 private:
  enum class Then { nothing, gather, collect };

  struct Work {
    const Accumulation& accumulation;
    const Segments& segments;
    const std::byte* source;
    std::byte* target;
    Then then;
    std::uint32_t root;
  };

  struct Gathering {
    const Segments& segments;
    std::byte* target;
    std::size_t elementBytes;
    /** What pieces are cut by: those of results as those of accumulators, so that who passes on sends as many as it got. */
    std::size_t cutBytes;
  };

  muster_code run(const Work& work);
  void beginReduce(const Work& work, std::size_t block);
  muster_code reduceBlock(const Work& work, std::size_t block);
  void keepPiece(const Work& work, std::byte* piece, std::size_t target, std::size_t count);
  void expectSegment(const Work& work, std::size_t block, std::uint32_t place, std::vector<Transfer>& expected);
  muster_code gatherBlock(const Gathering& gathering, std::size_t block, const Work* next);

  Circle& circle_;
  Pieces& pieces_;
};

}  // namespace muster
