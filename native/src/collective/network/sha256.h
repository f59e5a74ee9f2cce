/**
 * SHA-256 (FIPS 180-4), HMAC over it (RFC 2104) and keys derived with that (RFC 5869). Own ones, because connections without TLS are proved with them also
 * where there is no OpenSSL, and a process should prove itself in one way wherever it runs. For a handful of blocks, not for data.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace muster {

using Digest = std::array<std::uint8_t, 32>;
using ByteSpan = std::span<const std::uint8_t>;

class Sha256 {
 public:
  void add(ByteSpan bytes);
  /** Ends the message: nothing can be added any more. */
  Digest finish();

 private:
  void addBlock(const std::uint8_t* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> block_{};
  std::size_t inBlock_ = 0;
  std::uint64_t totalBytes_ = 0;
};

Digest hmacSha256(ByteSpan key, ByteSpan message);

/** A key for one purpose, from one that may have several. `salt` need not be secret. */
Digest hkdfSha256(ByteSpan key, ByteSpan salt, std::string_view purpose);

/** In a time that does not tell where they differ. */
bool isSameDigest(const Digest& a, const Digest& b);

}  // namespace muster
