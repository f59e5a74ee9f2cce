/** Large collective calls, block by block through memory that stays in the caches. */
#pragma once

#include "collective/communicator.h"

namespace muster {

/**
 * One large call. A block has a part for each rank, and goes through three stages, each one block behind the one before:
 *
 *   fill     copy the block's parts for the others into this rank's input slot      when all have reduced the block before last
 *   reduce   this rank's part of all inputs -> target, and its result slot          when all have filled this block
 *   drain    copy the others' parts of the result into target                       when all have reduced this block
 *
 * Calls that reduce nothing have no second stage, and drain inputs. Blocks are counted over all calls, and so the slots' turns: a call
 * begins while others still drain the last block of the one before.
 */
class Pipeline {
 public:
  Pipeline(Communicator& communicator, const muster_call& call);
  muster_code run();

 private:
  /** Bytes of source or target. */
  struct Range {
    std::size_t start;
    std::size_t bytes;
  };

  std::size_t blockCount() const;
  /** What of block `block` concerns `rank`: the part it reduces, gives or gets. */
  Range part(std::size_t block, std::uint32_t rank) const;
  muster_code fill(std::size_t block);
  void copyIn(std::size_t block);
  muster_code reduce(std::size_t block);
  muster_code drain(std::size_t block);
  /** Copies to the target. */
  void give(std::byte* target, const std::byte* source, std::size_t bytes) const;
  void drainFrom(std::uint32_t rank, std::size_t block);
  void copyOwnPart();

  /** The block's number over all calls; counters say how many are done, so its end is one more. */
  std::uint64_t number(std::size_t block) const { return firstBlock_ + block; }
  std::byte* input(std::uint32_t rank, std::size_t block) const;
  std::byte* result(std::uint32_t rank, std::size_t block) const;

  Communicator& communicator_;
  const muster_call& call_;
  const std::uint32_t rank_;
  const std::uint32_t size_;
  const std::size_t elementBytes_;
  const std::size_t partBytes_;
  const std::uint64_t firstBlock_;
  const bool isReducing_;
  /** Whether the target is written past the caches. */
  const bool streams_;
};

}  // namespace muster
