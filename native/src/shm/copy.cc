#include "shm/copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace muster {
namespace {

constexpr std::size_t kStreamMinBytes = std::size_t{1} << 20;  // about a core's own cache: less may still be in it when it is read

#ifdef __SSE2__
constexpr std::size_t kLineBytes = 64;

/** `target` is a multiple of a cache line. @returns how much was copied: whole lines. */
std::size_t streamLines(std::byte* target, const std::byte* source, std::size_t sizeBytes) {
  std::size_t done = 0;
  for (; done + kLineBytes <= sizeBytes; done += kLineBytes) {
    const auto* from = reinterpret_cast<const __m128i*>(source + done);
    auto* to = reinterpret_cast<__m128i*>(target + done);
    const __m128i a = _mm_loadu_si128(from);
    const __m128i b = _mm_loadu_si128(from + 1);
    const __m128i c = _mm_loadu_si128(from + 2);
    const __m128i d = _mm_loadu_si128(from + 3);
    _mm_stream_si128(to, a);
    _mm_stream_si128(to + 1, b);
    _mm_stream_si128(to + 2, c);
    _mm_stream_si128(to + 3, d);
  }
  _mm_sfence();  // streamed stores are not ordered with the message that tells the reader of them
  return done;
}
#endif

}  // namespace

void streamCopy(void* target, const void* source, std::size_t sizeBytes) {
#ifdef __SSE2__
  auto* to = static_cast<std::byte*>(target);
  const auto* from = static_cast<const std::byte*>(source);
  const std::size_t head = std::min(sizeBytes, (kLineBytes - reinterpret_cast<std::uintptr_t>(to) % kLineBytes) % kLineBytes);
  std::memcpy(to, from, head);
  const std::size_t done = head + streamLines(to + head, from + head, sizeBytes - head);
  std::memcpy(to + done, from + done, sizeBytes - done);
#else
  std::memcpy(target, source, sizeBytes);
#endif
}

void copyPastCaches(void* target, const void* source, std::size_t sizeBytes) {
  if (sizeBytes >= kStreamMinBytes) {
    streamCopy(target, source, sizeBytes);
  } else {
    std::memcpy(target, source, sizeBytes);
  }
}

}  // namespace muster
