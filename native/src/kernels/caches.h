/** The sizes of this machine's caches. */
#pragma once

#include <cstddef>

namespace muster::kernels {

/** Of the caches that a core has to itself. Where the system does not say, those of a small core. */
struct Caches {
  std::size_t firstBytes;
  std::size_t secondBytes;
};

/** Asked for once. */
const Caches& caches();

}  // namespace muster::kernels
