/**
 * Softmax, cross-entropy and layer normalisation, on one row. What they do: muster/layers.h.
 *
 * A row stays in the caches while it is gone through two or three times, so memory sees b bytes an element for each input and result: softmax 2b,
 * its backward pass 3b, cross-entropy 2b with a gradient, layer normalisation 2b, its backward pass 3b and 2b again for the parameters. Exponentials are
 * computed twice and never stored: 16-bit results are rounded once.
 * Source: the order of llm.c's CPU reference.
 */
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/formats.h"

namespace muster::kernels {

/** A row's share in layer normalisation. */
struct RowStatistics {
  float mean;
  /** 1 / sqrt(variance + epsilon) */
  float scale;
};

/** The largest number of a row and the sum of exp(x - largest). */
struct SoftmaxParts {
  float largest;
  float sum;
};

namespace reference {

template <class Format>
SoftmaxParts softmaxParts(const typename Format::Element* row, std::size_t columns) {
  float largest = -HUGE_VALF;
  for (std::size_t column = 0; column < columns; column++) largest = std::max(largest, read<Format>(row, column));
  double sum = 0;
  for (std::size_t column = 0; column < columns; column++) sum += std::exp(read<Format>(row, column) - largest);
  return {largest, static_cast<float>(sum)};
}

template <class Format>
void softmax(const void* input, void* result, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(input);
  const SoftmaxParts parts = softmaxParts<Format>(row, columns);
  for (std::size_t column = 0; column < columns; column++) {
    write<Format>(static_cast<typename Format::Element*>(result), column, std::exp(read<Format>(row, column) - parts.largest) / parts.sum);
  }
}

/** The sum of the products of two rows. */
template <class Format>
float product(const void* first, const void* second, std::size_t columns) {
  const auto* one = static_cast<const typename Format::Element*>(first);
  const auto* other = static_cast<const typename Format::Element*>(second);
  double sum = 0;
  for (std::size_t column = 0; column < columns; column++) sum += static_cast<double>(read<Format>(one, column)) * read<Format>(other, column);
  return static_cast<float>(sum);
}

template <class Format>
void softmaxBackward(const void* output, const void* gradient, void* result, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(output);
  const auto* upper = static_cast<const typename Format::Element*>(gradient);
  const float share = product<Format>(output, gradient, columns);
  for (std::size_t column = 0; column < columns; column++) {
    write<Format>(static_cast<typename Format::Element*>(result), column, read<Format>(row, column) * (read<Format>(upper, column) - share));
  }
}

/** The loss of a row; its gradient, unless that is null, lacks only the target's share. */
template <class Format>
float crossEntropy(const void* logits, std::size_t target, void* gradient, float gradientScale, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(logits);
  const SoftmaxParts parts = softmaxParts<Format>(row, columns);
  const float logit = read<Format>(row, target);
  if (gradient != nullptr) {
    auto* to = static_cast<typename Format::Element*>(gradient);
    const float share = std::exp(logit - parts.largest) / parts.sum;
    for (std::size_t column = 0; column < columns; column++) write<Format>(to, column, std::exp(read<Format>(row, column) - parts.largest) / parts.sum * gradientScale);
    write<Format>(to, target, (share - 1) * gradientScale);
  }
  return parts.largest + std::log(parts.sum) - logit;
}

template <class Format>
RowStatistics layerNorm(const void* input, const float* weight, const float* bias, void* result, float epsilon, std::size_t columns) {
  const auto* row = static_cast<const typename Format::Element*>(input);
  double sum = 0;
  for (std::size_t column = 0; column < columns; column++) sum += read<Format>(row, column);
  const auto mean = static_cast<float>(sum / static_cast<double>(columns));
  double squares = 0;
  for (std::size_t column = 0; column < columns; column++) squares += (read<Format>(row, column) - mean) * (read<Format>(row, column) - mean);
  const float scale = 1 / std::sqrt(static_cast<float>(squares / static_cast<double>(columns)) + epsilon);
  for (std::size_t column = 0; column < columns; column++) {
    write<Format>(static_cast<typename Format::Element*>(result), column, (read<Format>(row, column) - mean) * scale * weight[column] + bias[column]);
  }
  return {mean, scale};
}

/** With n = (input - mean) * scale and g = gradient * weight: scale * (g - mean of g - n * mean of n * g). */
template <class Format>
void layerNormBackward(const void* input, const float* weight, const void* gradient, void* result, RowStatistics row, std::size_t columns) {
  const auto* from = static_cast<const typename Format::Element*>(input);
  const auto* upper = static_cast<const typename Format::Element*>(gradient);
  double sum = 0;
  double product = 0;
  for (std::size_t column = 0; column < columns; column++) {
    const float weighted = read<Format>(upper, column) * weight[column];
    sum += weighted;
    product += weighted * (read<Format>(from, column) - row.mean) * row.scale;
  }
  const auto meanGradient = static_cast<float>(sum / static_cast<double>(columns));
  const auto meanProduct = static_cast<float>(product / static_cast<double>(columns));
  for (std::size_t column = 0; column < columns; column++) {
    const float normal = (read<Format>(from, column) - row.mean) * row.scale;
    const float weighted = read<Format>(upper, column) * weight[column];
    write<Format>(static_cast<typename Format::Element*>(result), column, row.scale * (weighted - meanGradient - normal * meanProduct));
  }
}

/** Adds one row's share to the gradients of some columns' parameters. */
template <class Format>
void layerNormParameters(const void* input, const void* gradient, RowStatistics row, float* weightGradient, float* biasGradient, std::size_t columns) {
  for (std::size_t column = 0; column < columns; column++) {
    const float upper = read<Format>(static_cast<const typename Format::Element*>(gradient), column);
    weightGradient[column] += upper * ((read<Format>(static_cast<const typename Format::Element*>(input), column) - row.mean) * row.scale);
    biasGradient[column] += upper;
  }
}

}  // namespace reference
}  // namespace muster::kernels
