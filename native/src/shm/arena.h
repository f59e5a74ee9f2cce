/** What an arena is made of, shared by the files that implement it. The layout is drawn in muster/arena.h. */
#pragma once

#include <cstdint>
#include <string>

#include "muster/arena.h"
#include "shm/mapping.h"

namespace muster {

inline constexpr std::uint64_t kSegmentBytes = MUSTER_SEGMENT_BYTES;
inline constexpr std::uint64_t kHeaderBytes = kSegmentBytes;

/** The first bytes of the file. Other processes read the bits while the daemon changes them. */
struct ArenaHeader {
  std::uint64_t magic;
  std::uint64_t sizeBytes;
  /** One bit a segment, lowest first. A set bit promises that touching the segment cannot fail. */
  std::uint64_t committed[];
};

inline constexpr std::uint64_t kMagic = 0x0001'6172'656e'6101;  // "arena" between the layout's version and byte order

}  // namespace muster

struct muster_arena {
  std::string path;
  muster::FileDescriptor file;
  muster::Mapping mapping;
  std::uint64_t sizeBytes;

  muster::ArenaHeader& header() const { return *reinterpret_cast<muster::ArenaHeader*>(mapping.data()); }
  std::byte* at(std::uint64_t offset) const { return mapping.data() + muster::kHeaderBytes + offset; }
};

namespace muster {

struct Range {
  std::uint64_t offset;
  std::uint64_t sizeBytes;
};

/** Whether the range lies in the arena and memory stands behind all of it. */
muster_code checkCommitted(const muster_arena& arena, Range range);

}  // namespace muster
