/** Conversions: every pattern of every dtype, every boundary of rounding, and every instruction set the same bits. */
#include "muster/convert.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "levels.h"
#include "kernels/formats.h"

namespace {

using namespace muster::kernels;

template <class Format>
muster_tensor tensorOf(std::vector<typename Format::Element>& values) {
  return {values.data(), values.size(), Format::kDtype};
}

template <class Source, class Target>
std::vector<typename Target::Element> converted(std::vector<typename Source::Element> source) {
  std::vector<typename Target::Element> target(source.size(), 0x5a);
  const muster_tensor from = tensorOf<Source>(source);
  const muster_tensor to = tensorOf<Target>(target);
  CHECK(muster_convert(&from, &to, 2) == MUSTER_OK);
  return target;
}

template <class Format>
std::vector<typename Format::Element> allPatterns() {
  std::vector<typename Format::Element> patterns(std::size_t{1} << Format::kBits);
  for (std::size_t pattern = 0; pattern < patterns.size(); pattern++) patterns[pattern] = static_cast<typename Format::Element>(pattern);
  return patterns;
}

bool isNan(std::uint32_t bits) { return (bits & kF32Magnitude) > kF32Infinity; }

/** The value of a pattern, from the words of the standard. */
template <class Format>
double valueOf(std::uint32_t pattern) {
  const std::uint32_t magnitude = pattern & Format::kMagnitudeMask;
  const int exponent = static_cast<int>(magnitude >> Format::kMantissaBits);
  const double fraction = (magnitude & ((1u << Format::kMantissaBits) - 1)) / std::exp2(Format::kMantissaBits);
  const double value = exponent == 0 ? fraction * std::exp2(1 - Format::kBias) : (1 + fraction) * std::exp2(exponent - Format::kBias);
  const double sign = (pattern >> (Format::kBits - 1)) != 0 ? -1 : 1;
  if (magnitude > Format::kInfinity || (magnitude == Format::kInfinity && !Format::kHasInfinity)) return std::numeric_limits<double>::quiet_NaN();
  return sign * (magnitude == Format::kInfinity ? std::numeric_limits<double>::infinity() : value);
}

template <class Format>
void widensEveryPattern() {
  const auto patterns = allPatterns<Format>();
  const std::vector<float> widened = converted<Format, F32>(patterns);
  const auto back = converted<F32, Format>(widened);
  int wrong = 0;
  for (std::size_t index = 0; index < patterns.size(); index++) {
    const double expected = valueOf<Format>(patterns[index]);
    const auto bits = std::bit_cast<std::uint32_t>(widened[index]);
    if (std::isnan(expected)) {
      const std::uint32_t quiet = Format::kBits == 16 ? 1u << (Format::kMantissaBits - 1) : Format::kMagnitudeMask;
      wrong += !isNan(bits) || (bits & kF32Quiet) == 0 || bits >> 31 != index >> (Format::kBits - 1) || back[index] != (patterns[index] | quiet);
    } else {
      wrong += static_cast<double>(widened[index]) != expected || std::signbit(widened[index]) != std::signbit(expected) || back[index] != patterns[index];
    }
  }
  CHECK(wrong == 0);
}

/** Every number between two neighbours of the dtype rounds to the nearer one, and the one in the middle to the even one. */
template <class Format>
void roundsAtEveryBoundary() {
  std::vector<float> inputs;
  std::vector<std::uint32_t> expected;
  const auto expect = [&](float input, std::uint32_t pattern) {
    inputs.insert(inputs.end(), {input, -input});
    expected.insert(expected.end(), {pattern, pattern | 1u << (Format::kBits - 1)});
  };
  for (std::uint32_t pattern = 0; pattern <= Format::kLargest; pattern++) {
    const double low = valueOf<Format>(pattern);
    // What would follow the largest number, were there more exponents.
    const double high = pattern == Format::kLargest ? low + (low - valueOf<Format>(pattern - 1)) : valueOf<Format>(pattern + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    expect(static_cast<float>(low), pattern);
    const bool representable = static_cast<double>(middle) == (low + high) / 2;  // beside the smallest bf16 it is not
    if (representable) expect(middle, (pattern & 1) == 0 ? pattern : pattern + 1);
    expect(std::nextafterf(middle, 0), pattern);
    expect(std::nextafterf(middle, std::numeric_limits<float>::infinity()), std::min(pattern + 1, Format::kOverflow));
  }
  expect(std::numeric_limits<float>::max(), Format::kOverflow);
  expect(std::numeric_limits<float>::infinity(), Format::kOverflow);
  expect(std::numeric_limits<float>::denorm_min(), 0);
  const auto rounded = converted<F32, Format>(inputs);
  int wrong = 0;
  for (std::size_t index = 0; index < inputs.size(); index++) wrong += rounded[index] != expected[index];
  CHECK(wrong == 0);
}

/** The upper half of an f32 counts through all patterns; the lower one takes the boundaries of each dtype and chance. */
template <class Format>
void equalsTheReference() {
  std::mt19937 random(11);
  std::vector<float> inputs;
  for (std::uint32_t upper = 0; upper < 1u << 16; upper++) {
    for (const std::uint32_t lower : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu, 0x1000u, 0x0fffu, static_cast<std::uint32_t>(random() & 0xffffu)}) {
      inputs.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  const auto narrowed = converted<F32, Format>(inputs);
  int wrong = 0;
  for (std::size_t index = 0; index < inputs.size(); index++) wrong += narrowed[index] != reference::narrow<Format>(inputs[index]);
  CHECK(wrong == 0);
  const auto patterns = allPatterns<Format>();
  const auto widened = converted<Format, F32>(patterns);
  for (std::size_t index = 0; index < patterns.size(); index++) {
    wrong += std::bit_cast<std::uint32_t>(widened[index]) != std::bit_cast<std::uint32_t>(reference::widen<Format>(patterns[index]));
  }
  CHECK(wrong == 0);
}

template <template <class> class Test>
void forEveryDtype() {
  check::atEveryLevel([] {
    Test<F16>()();
    Test<Bf16>()();
    Test<E4m3>()();
    Test<E5m2>()();
  });
}

template <class Format>
struct Widens {
  void operator()() { widensEveryPattern<Format>(); }
};
template <class Format>
struct Rounds {
  void operator()() { roundsAtEveryBoundary<Format>(); }
};
template <class Format>
struct Equals {
  void operator()() { equalsTheReference<Format>(); }
};

/** Also those that are streamed past the caches, from and to unaligned addresses. */
void convertsEverySizeAndNotAnElementMore() {
  std::mt19937 random(3);
  std::vector<std::size_t> sizes{(std::size_t{4} << 20) + 77};
  for (std::size_t size = 0; size < 100; size++) sizes.push_back(size);
  for (const std::size_t size : sizes) {
    std::vector<float> source(size + 3);
    for (float& value : source) value = static_cast<float>(static_cast<std::int32_t>(random())) * 1e-9f;
    std::vector<std::uint16_t> target(size + 6, 0xeeee);
    const std::size_t from = random() % 3;
    const std::size_t to = random() % 3;
    const muster_tensor sourceTensor{source.data() + from, size, MUSTER_F32};
    const muster_tensor targetTensor{target.data() + to, size, MUSTER_BF16};
    CHECK(muster_convert(&sourceTensor, &targetTensor, 3) == MUSTER_OK);
    int wrong = 0;
    for (std::size_t index = 0; index < target.size(); index++) {
      const bool inside = index >= to && index < to + size;
      wrong += target[index] != (inside ? reference::narrow<Bf16>(source[index - to + from]) : 0xeeee);
    }
    CHECK(wrong == 0);
  }
}

void refusesWhatItCannotConvert() {
  std::vector<float> memory(16);
  const auto refuses = [](const muster_tensor& source, const muster_tensor& target, const char* why) {
    CHECK(muster_convert(&source, &target, 1) == MUSTER_OUT_OF_RANGE);
    CHECK(std::strstr(muster_last_failure()->message, why) != nullptr);
  };
  refuses({memory.data(), 4, MUSTER_F32}, {memory.data() + 8, 5, MUSTER_F16}, "5 elements, and 4 are wanted");
  refuses({memory.data(), 4, MUSTER_F32}, {memory.data() + 3, 4, MUSTER_F16}, "overlap");
  refuses({memory.data(), 4, MUSTER_F32}, {memory.data() + 8, 4, MUSTER_F32}, "one of the two must be f32");
  refuses({memory.data(), 4, MUSTER_F16}, {memory.data() + 8, 4, MUSTER_BF16}, "one of the two must be f32");
  refuses({reinterpret_cast<char*>(memory.data()) + 2, 4, MUSTER_F32}, {memory.data() + 8, 4, MUSTER_F16}, "multiple of 4 bytes");
  refuses({nullptr, 4, MUSTER_F32}, {memory.data() + 8, 4, MUSTER_F16}, "no memory");
  refuses({memory.data(), UINT64_MAX / 2, MUSTER_F32}, {memory.data() + 8, UINT64_MAX / 2, MUSTER_F16}, "no memory");
  refuses({memory.data(), 4, static_cast<muster_dtype>(9)}, {memory.data() + 8, 4, MUSTER_F16}, "an unknown dtype");
  const muster_tensor empty{nullptr, 0, MUSTER_F32};
  const muster_tensor emptyHalves{nullptr, 0, MUSTER_F16};
  CHECK(muster_convert(&empty, &emptyHalves, 0) == MUSTER_OK);
  CHECK(muster_convert(&empty, &emptyHalves, 257) == MUSTER_OUT_OF_RANGE);
}

}  // namespace

int main() {
  return check::runAll({
      {"every pattern of every dtype widens to its value, and comes back", forEveryDtype<Widens>},
      {"every boundary rounds to nearest, ties to even", forEveryDtype<Rounds>},
      {"every instruction set gives the reference's bits", forEveryDtype<Equals>},
      {"converts every size, and not an element more", [] { check::atEveryLevel(convertsEverySizeAndNotAnElementMore); }},
      {"refuses what it cannot convert, and says why", refusesWhatItCannotConvert},
  });
}
