/**
 * Calls with arguments drawn at random: wrong lengths and dtypes, addresses that are null or not aligned, ranges that overlap, sizes that no memory has,
 * numbers that are not finite. Whatever it is, a call does what it says, and writes nothing but its results, or refuses and writes nothing at all; and what
 * it accepts has the same results in plain scalar code, which is the reference.
 * All tensors of a round lie in one block from malloc, so that the address sanitizer (sanitize.sh) sees each byte read beyond it.
 */
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "dtype.h"
#include "kernels/table.h"
#include "muster/tensor.h"

namespace fuzz {

inline constexpr std::size_t kBlockBytes = 2000;
inline constexpr int kRounds = 4000;
/** Of every operation at least this part of the rounds must be accepted: else nothing is tested but refusals. */
inline constexpr int kAcceptedMin = kRounds / 50;

class Round {
 public:
  /** Of one seed all is drawn alike. Memory holds anything, or small whole numbers, whose results can be compared. */
  explicit Round(std::uint32_t seed) : random_(seed), hasNumbers_(seed % 2 == 1), block_(new std::byte[kBlockBytes]) {
    for (std::size_t at = 0; at < kBlockBytes; at++) block_[at] = static_cast<std::byte>(random_());
    std::memcpy(before_, block_.get(), kBlockBytes);
  }

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bool oneIn(std::uint64_t rounds) { return below(rounds) == 0; }

  /** Mostly one of f32, f16 and bf16; sometimes any number. */
  muster_dtype dtype() { return static_cast<muster_dtype>(oneIn(20) ? below(12) : below(3)); }
  std::uint64_t size() { return oneIn(30) ? ~std::uint64_t{0} - below(8) : below(12); }
  std::uint32_t threads() { return oneIn(50) ? 300 : static_cast<std::uint32_t>(below(3)); }
  double number() { return oneIn(20) ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(below(100)) / (oneIn(2) ? 100 : 1) - (oneIn(20) ? 200 : 0); }
  /** Sometimes a number that has no name: of those that an enumeration may hold, which are the ones below the next power of two. */
  template <class Enum>
  Enum oneOf(unsigned count) {
    return static_cast<Enum>(below(oneIn(30) ? std::bit_ceil(count) : count));
  }

  /** Mostly in a place of its own, and as it is wanted; but never said to be larger than the block is, unless larger than any memory. */
  muster_tensor tensor(muster_dtype dtype, std::uint64_t elements) {
    if (oneIn(40)) dtype = this->dtype();
    if (oneIn(40)) elements = size();
    const std::size_t bytes = muster::isDtype(dtype) ? muster::elementBytes(dtype) : 1;
    const bool isPossible = elements <= kBlockBytes / bytes;
    const std::size_t needed = isPossible ? elements * bytes : 0;
    if (oneIn(40)) return {nullptr, elements, dtype};
    std::size_t start = (next_ + 7) / 8 * 8;
    const bool isAnywhere = oneIn(40);
    if (isAnywhere) start = below(kBlockBytes);
    if (isPossible && start + needed > kBlockBytes) elements = start < kBlockBytes ? (kBlockBytes - start) / bytes : 0;
    next_ = std::min(start + needed, kBlockBytes);
    const muster_tensor tensor{block_.get() + std::min(start, kBlockBytes), elements, dtype};
    if (hasNumbers_ && isPossible && !isAnywhere) fill(tensor, [this] { return static_cast<double>(below(9)) - 4; });
    return tensor;
  }

  /** Puts numbers into a tensor that lies where it should. */
  template <class Draw>
  void fill(const muster_tensor& tensor, Draw draw) {
    if (!isSomewhere(tensor)) return;
    for (std::uint64_t index = 0; index < tensor.elements; index++) put(tensor, index, draw());
    std::memcpy(before_, block_.get(), kBlockBytes);
  }

  /** The results of the call that follows. */
  void writes(const muster_tensor& tensor) { written_.push_back(tensor); }

  /** @returns whether the call was accepted */
  bool check(muster_code code) {
    if (code != MUSTER_OK) {
      CHECK(code == MUSTER_OUT_OF_RANGE && muster_last_failure()->message[0] != '\0');
      CHECK(std::memcmp(before_, block_.get(), kBlockBytes) == 0);
      return false;
    }
    for (const muster_tensor& tensor : written_) {
      if (!isSomewhere(tensor)) continue;
      std::memcpy(before_ + (static_cast<std::byte*>(tensor.data) - block_.get()), tensor.data, tensor.elements * muster::elementBytes(tensor.dtype));
    }
    CHECK(std::memcmp(before_, block_.get(), kBlockBytes) == 0);
    return true;
  }

  /** Whether the results are those of another round of the same seed, but for rounding. */
  bool agreesWith(const Round& other) const {
    for (std::size_t index = 0; hasNumbers_ && index < written_.size(); index++) {
      if (!agree(written_[index], other.written_[index])) return false;
    }
    return true;
  }

 private:
  static constexpr double kTolerances[] = {1e-4, 1e-2, 6e-2};

  /** Whether it has elements of a dtype in memory: a call on nothing takes any tensor. */
  static bool isSomewhere(const muster_tensor& tensor) {
    if (!muster::isDtype(tensor.dtype) || tensor.elements == 0 || tensor.elements > kBlockBytes || tensor.data == nullptr) return false;
    return reinterpret_cast<std::uintptr_t>(tensor.data) % muster::elementBytes(tensor.dtype) == 0;
  }

  static double get(const muster_tensor& tensor, std::uint64_t index) {
    using namespace muster::kernels;
    switch (tensor.dtype) {
      case MUSTER_F32: return static_cast<const float*>(tensor.data)[index];
      case MUSTER_F16: return reference::widen<F16>(static_cast<const std::uint16_t*>(tensor.data)[index]);
      case MUSTER_BF16: return reference::widen<Bf16>(static_cast<const std::uint16_t*>(tensor.data)[index]);
      case MUSTER_I64: return static_cast<double>(static_cast<const std::int64_t*>(tensor.data)[index]);
      case MUSTER_I32: return static_cast<const std::int32_t*>(tensor.data)[index];
      default: return static_cast<const std::uint8_t*>(tensor.data)[index];
    }
  }

  static void put(const muster_tensor& tensor, std::uint64_t index, double value) {
    using namespace muster::kernels;
    switch (tensor.dtype) {
      case MUSTER_F32: static_cast<float*>(tensor.data)[index] = static_cast<float>(value); break;
      case MUSTER_F16: static_cast<std::uint16_t*>(tensor.data)[index] = reference::narrow<F16>(static_cast<float>(value)); break;
      case MUSTER_BF16: static_cast<std::uint16_t*>(tensor.data)[index] = reference::narrow<Bf16>(static_cast<float>(value)); break;
      case MUSTER_I64: static_cast<std::int64_t*>(tensor.data)[index] = static_cast<std::int64_t>(value); break;
      case MUSTER_I32: static_cast<std::int32_t*>(tensor.data)[index] = static_cast<std::int32_t>(value); break;
      case MUSTER_U8: static_cast<std::uint8_t*>(tensor.data)[index] = value > 0; break;
      default: break;  // FP8 and f64 stay as they are
    }
  }

  /** By how much sums of numbers as large as the largest may differ in another order. */
  static bool agree(const muster_tensor& tensor, const muster_tensor& other) {
    if (!isSomewhere(tensor)) return true;
    double largest = 1;
    for (std::uint64_t index = 0; index < tensor.elements; index++) {
      if (std::isfinite(get(tensor, index))) largest = std::max(largest, std::fabs(get(tensor, index)));
    }
    const double tolerance = tensor.dtype <= MUSTER_BF16 ? kTolerances[tensor.dtype] * largest : 0;
    for (std::uint64_t index = 0; index < tensor.elements; index++) {
      const double one = get(tensor, index), two = get(other, index);
      if (one == two || (std::isnan(one) && std::isnan(two)) || std::fabs(one - two) <= tolerance) continue;
      std::fprintf(stderr, "  %s %llu is %g, and %g in scalar code\n", muster::dtypeName(tensor.dtype), static_cast<unsigned long long>(index), one, two);
      return false;
    }
    return true;
  }

  std::mt19937 random_;
  bool hasNumbers_;
  std::unique_ptr<std::byte[]> block_;
  std::byte before_[kBlockBytes];
  std::size_t next_ = 0;
  std::vector<muster_tensor> written_;
};

/** Makes a call whose arguments it draws. */
using Make = muster_code (*)(Round& round);

/** @param hasReference whether scalar code and vectors make the same of the same */
inline void run(const char* name, Make make, bool hasReference = true) {
  using muster::kernels::Level;
  const Level best = muster::kernels::table().level;
  int accepted = 0;
  for (std::uint32_t seed = 0; seed < kRounds; seed++) {
    const int before = check::failures;
    Round round(seed);
    if (round.check(make(round))) {
      accepted++;
      if (hasReference) {
        muster::kernels::useLevel(Level::scalar);
        Round again(seed);
        CHECK(again.check(make(again)) && round.agreesWith(again));
        muster::kernels::useLevel(best);
      }
    }
    if (check::failures > before) std::fprintf(stderr, "  (%s, seed %u)\n", name, seed);
  }
  CHECK(accepted >= kAcceptedMin);
  if (accepted < kAcceptedMin) std::fprintf(stderr, "  (%s: %d of %d rounds accepted)\n", name, accepted, kRounds);
}

}  // namespace fuzz
