#include "kernels/caches.h"

#include <algorithm>

#include <unistd.h>

namespace muster::kernels {
namespace {

constexpr std::size_t kFirstMinBytes = std::size_t{32} << 10;
constexpr std::size_t kSecondMinBytes = std::size_t{256} << 10;

/** @returns at least `least`: what is not known is 0, and virtual machines may say anything. */
[[maybe_unused]] std::size_t ask(int name, std::size_t least) {
  const long bytes = ::sysconf(name);
  return bytes > 0 ? std::max(least, static_cast<std::size_t>(bytes)) : least;
}

}  // namespace

const Caches& caches() {
#ifdef _SC_LEVEL1_DCACHE_SIZE
  static const Caches known{ask(_SC_LEVEL1_DCACHE_SIZE, kFirstMinBytes), ask(_SC_LEVEL2_CACHE_SIZE, kSecondMinBytes)};
#else
  static const Caches known{kFirstMinBytes, kSecondMinBytes};
#endif
  return known;
}

}  // namespace muster::kernels
