/** The vector versions of rows.h. */
#pragma once

#include "kernels/math-lanes.h"
#include "kernels/rows.h"

namespace muster::kernels::lanes {
namespace {

/** All lanes as one, by way of halves. */
template <class Combine>
[[gnu::always_inline]] inline float fold(Floats value, Combine combine) {
#pragma GCC unroll 4
  for (std::size_t distance = kLanes / 2; distance > 0; distance /= 2) {
    value = combine(value, __builtin_shuffle(value, laneNumbers() ^ static_cast<std::int32_t>(distance)));
  }
  return value[0];
}

[[gnu::always_inline]] inline float sumOf(Floats value) {
  return fold(value, [](Floats a, Floats b) __attribute__((always_inline)) { return a + b; });
}

[[gnu::always_inline]] inline float largestOf(Floats value) { return fold(value, larger); }

/** The first `count` numbers of a vector, and zeros. */
[[gnu::always_inline]] inline Floats firstOf(Floats value, std::size_t count) { return withRest(value, count, 0); }

template <class Format>
SoftmaxParts softmaxParts(const typename Format::Element* row, std::size_t columns) {
  Floats most = splat(reference::read<Format>(row, 0));
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    const Floats value = load<Format>(row + at, count);
    if (count == kLanes) {
      most = larger(most, value);
    } else {
      for (std::size_t lane = 0; lane < count; lane++) most[lane] = std::max(most[lane], value[lane]);
    }
  });
  const float largest = largestOf(most);
  Floats sum{};
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    const Floats power = exponential(load<Format>(row + at, count) - largest);
    sum += count == kLanes ? power : firstOf(power, count);
  });
  return {largest, sumOf(sum)};
}

/** exp(x - largest) * factor of a whole row. */
template <class Format>
void storePowers(const typename Format::Element* row, void* result, float largest, float factor, std::size_t columns) {
  auto* to = static_cast<typename Format::Element*>(result);
  forEachVector(columns, [&](std::size_t at, std::size_t count) { store<Format>(to + at, exponential(load<Format>(row + at, count) - largest) * factor, count); });
}

template <class Format>
void softmax(const void* input, void* result, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(input);
  const SoftmaxParts parts = softmaxParts<Format>(row, columns);
  storePowers<Format>(row, result, parts.largest, 1 / parts.sum, columns);
}

template <class Format>
float product(const void* first, const void* second, std::size_t columns) {
  const auto* one = static_cast<const typename Format::Element*>(first);
  const auto* other = static_cast<const typename Format::Element*>(second);
  Floats products{};
  forEachVector(columns, [&](std::size_t at, std::size_t count) { products += load<Format>(one + at, count) * load<Format>(other + at, count); });
  return sumOf(products);
}

template <class Format>
void softmaxBackward(const void* output, const void* gradient, void* result, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(output);
  const auto* upper = static_cast<const typename Format::Element*>(gradient);
  auto* to = static_cast<typename Format::Element*>(result);
  const float share = product<Format>(output, gradient, columns);
  forEachVector(columns, [&](std::size_t at, std::size_t count) { store<Format>(to + at, load<Format>(row + at, count) * (load<Format>(upper + at, count) - share), count); });
}

template <class Format>
float crossEntropy(const void* logits, std::size_t target, void* gradient, float gradientScale, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(logits);
  const SoftmaxParts parts = softmaxParts<Format>(row, columns);
  const float logit = reference::read<Format>(row, target);
  if (gradient != nullptr) {
    const float share = std::exp(logit - parts.largest) / parts.sum;
    storePowers<Format>(row, gradient, parts.largest, gradientScale / parts.sum, columns);
    reference::write<Format>(static_cast<typename Format::Element*>(gradient), target, (share - 1) * gradientScale);
  }
  return parts.largest + std::log(parts.sum) - logit;
}

template <class Format>
RowStatistics layerNorm(const void* input, const float* weight, const float* bias, void* result, float epsilon, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(input);
  auto* to = static_cast<typename Format::Element*>(result);
  Floats sums{};
  forEachVector(columns, [&](std::size_t at, std::size_t count) { sums += load<Format>(row + at, count); });
  const auto length = static_cast<float>(columns);
  const float mean = sumOf(sums) / length;
  Floats squares{};
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    const Floats deviation = load<Format>(row + at, count) - mean;
    const Floats present = count == kLanes ? deviation : firstOf(deviation, count);
    squares = multiplyAdd(present, present, squares);
  });
  const float scale = 1 / std::sqrt(sumOf(squares) / length + epsilon);
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    store<Format>(to + at, multiplyAdd((load<Format>(row + at, count) - mean) * scale, load<F32>(weight + at, count), load<F32>(bias + at, count)), count);
  });
  return {mean, scale};
}

template <class Format>
void layerNormBackward(const void* input, const float* weight, const void* gradient, void* result, RowStatistics row, std::size_t columns) {
  const auto* from = static_cast<const typename Format::Element*>(input);
  const auto* upper = static_cast<const typename Format::Element*>(gradient);
  auto* to = static_cast<typename Format::Element*>(result);
  Floats sums{};
  Floats products{};
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    const Floats weighted = load<Format>(upper + at, count) * load<F32>(weight + at, count);
    sums += weighted;
    products = multiplyAdd(weighted, (load<Format>(from + at, count) - row.mean) * row.scale, products);
  });
  const float sum = sumOf(sums) / static_cast<float>(columns);
  const float product = sumOf(products) / static_cast<float>(columns);
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    const Floats normal = (load<Format>(from + at, count) - row.mean) * row.scale;
    const Floats weighted = load<Format>(upper + at, count) * load<F32>(weight + at, count);
    store<Format>(to + at, row.scale * (weighted - sum - normal * product), count);
  });
}

template <class Format>
void layerNormParameters(const void* input, const void* gradient, RowStatistics row, float* weightGradient, float* biasGradient, std::size_t columns) {
  const auto* from = static_cast<const typename Format::Element*>(input);
  const auto* upper = static_cast<const typename Format::Element*>(gradient);
  forEachVector(columns, [&](std::size_t at, std::size_t count) {
    const Floats above = load<Format>(upper + at, count);
    const Floats normal = (load<Format>(from + at, count) - row.mean) * row.scale;
    store<F32>(weightGradient + at, multiplyAdd(above, normal, load<F32>(weightGradient + at, count)), count);
    store<F32>(biasGradient + at, load<F32>(biasGradient + at, count) + above, count);
  });
}

}  // namespace
}  // namespace muster::kernels::lanes
