/** Elementwise kernels, softmax, layer normalisation, cross-entropy, summaries and embeddings against f64, on every instruction set. */
#include "muster/layers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "levels.h"
#include "numbers.h"

namespace {

using namespace check;

double activated(muster_activation activation, double x) {
  switch (activation) {
    case MUSTER_IDENTITY: break;
    case MUSTER_RELU: return x < 0 ? 0 : x;
    case MUSTER_GELU_ERF: return x / 2 * (1 + std::erf(x / std::sqrt(2)));
    case MUSTER_GELU_TANH: return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case MUSTER_SILU: return x / (1 + std::exp(-x));
  }
  return x;
}

/** The slope by a difference quotient, which needs no second formula. */
double slopeOf(muster_activation activation, double x) {
  constexpr double step = 1e-5;
  if (activation == MUSTER_RELU) return x > 0 ? 1 : 0;
  return (activated(activation, x + step) - activated(activation, x - step)) / (2 * step);
}

void activatesAndCombines() {
  forEveryDtype([](muster_dtype dtype) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{1003}, std::size_t{70'000}}) {
      Numbers input = normal(dtype, size, 1, 4);
      Numbers other = normal(dtype, size, 2);
      const Values x = input.values();
      const Values y = other.values();
      Numbers result = zeros(dtype, size);
      const muster_tensor from = input.tensor(), second = other.tensor(), to = result.tensor();
      for (int which = 0; which < MUSTER_ACTIVATIONS; which++) {
        const auto activation = static_cast<muster_activation>(which);
        Values forward(size), backward(size);
        for (std::size_t index = 0; index < size; index++) {
          forward[index] = activated(activation, x[index]);
          backward[index] = y[index] * slopeOf(activation, x[index]);
        }
        CHECK(muster_activate(activation, &from, &to, 2) == MUSTER_OK && near(result, forward, 2e-6));
        CHECK(muster_activate_backward(activation, &from, &second, &to, 2) == MUSTER_OK && near(result, backward, 1e-5));
      }
      Values sums(size), products(size);
      for (std::size_t index = 0; index < size; index++) {
        sums[index] = x[index] + y[index];
        products[index] = x[index] * y[index];
      }
      CHECK(muster_combine(MUSTER_MULTIPLY, &from, &second, &to, 2) == MUSTER_OK && near(result, products, 1e-7));
      CHECK(muster_combine(MUSTER_ADD, &from, &second, &second, 2) == MUSTER_OK && near(other, sums, 1e-6));  // in place
    }
  });
}

void activatesWhatIsExtreme() {
  const double infinity = std::numeric_limits<double>::infinity();
  Numbers input(MUSTER_F32, {infinity, 3e38, 100, 20, -20, -100, -3e38, 0, std::nan("")});
  Numbers result = zeros(MUSTER_F32, 9);
  const muster_tensor from = input.tensor(), to = result.tensor();
  for (const muster_activation activation : {MUSTER_RELU, MUSTER_GELU_ERF, MUSTER_GELU_TANH, MUSTER_SILU}) {
    CHECK(muster_activate(activation, &from, &to, 1) == MUSTER_OK);
    CHECK(near(result, {infinity, 3e38, 100, 20, 0, 0, 0, 0, std::nan("")}, 1e-6 + 5e-8));
  }
  Numbers gradient(MUSTER_F32, Values(9, infinity));
  const muster_tensor upper = gradient.tensor();
  CHECK(muster_activate_backward(MUSTER_RELU, &from, &upper, &to, 1) == MUSTER_OK);
  CHECK(near(result, {infinity, infinity, infinity, infinity, 0, 0, 0, 0, infinity}, 0));  // not 0 * infinity
}

Values softmaxOf(const Values& x, std::size_t columns) {
  Values result(x.size());
  for (std::size_t row = 0; row < x.size(); row += columns) {
    const double largest = *std::max_element(x.begin() + static_cast<long>(row), x.begin() + static_cast<long>(row + columns));
    double sum = 0;
    for (std::size_t column = 0; column < columns; column++) sum += std::exp(x[row + column] - largest);
    for (std::size_t column = 0; column < columns; column++) result[row + column] = std::exp(x[row + column] - largest) / sum;
  }
  return result;
}

constexpr std::size_t kColumns[] = {1, 7, 16, 100, 1031};

void softmaxesRows() {
  forEveryDtype([](muster_dtype dtype) {
    for (const std::size_t columns : kColumns) {
      const std::size_t size = columns * 40;
      Numbers input = normal(dtype, size, 3, 5);
      Numbers gradient = normal(dtype, size, 4);
      const Values upper = gradient.values();
      const Values expected = softmaxOf(input.values(), columns);
      Numbers output = zeros(dtype, size);
      const muster_tensor from = input.tensor(), to = output.tensor(), above = gradient.tensor();
      CHECK(muster_softmax(&from, columns, &to, 2) == MUSTER_OK && near(output, expected, 1e-6));
      CHECK(muster_softmax(&from, columns, &from, 1) == MUSTER_OK && std::memcmp(from.data, to.data, size * (dtype == MUSTER_F32 ? 4 : 2)) == 0);
      const Values y = output.values();
      Values backward(size);
      for (std::size_t row = 0; row < size; row += columns) {
        double product = 0;
        for (std::size_t column = 0; column < columns; column++) product += y[row + column] * upper[row + column];
        for (std::size_t column = 0; column < columns; column++) backward[row + column] = y[row + column] * (upper[row + column] - product);
      }
      CHECK(muster_softmax_backward(&to, &above, columns, &above, 2) == MUSTER_OK && near(gradient, backward, 2e-6));
    }
  });
  const double infinity = std::numeric_limits<double>::infinity();
  Numbers masked(MUSTER_F32, {1, -infinity, 1, -infinity, -infinity, -infinity});
  const muster_tensor rows = masked.tensor();
  CHECK(muster_softmax(&rows, 3, &rows, 1) == MUSTER_OK && near(masked, {0.5, 0, 0.5, std::nan(""), std::nan(""), std::nan("")}, 0));
}

void crossesEntropy() {
  forEveryDtype([](muster_dtype dtype) {
    for (const std::size_t columns : kColumns) {
      constexpr std::size_t rows = 40;
      Numbers logits = normal(dtype, rows * columns, 5, 3);
      const Values shares = softmaxOf(logits.values(), columns);
      std::vector<std::int32_t> targets(rows);
      for (std::size_t row = 0; row < rows; row++) targets[row] = static_cast<std::int32_t>(row * 37 % columns);
      targets[3] = -1;
      Values losses(rows), gradient(rows * columns);
      for (std::size_t row = 0; row < rows; row++) {
        if (targets[row] < 0) continue;
        const auto target = static_cast<std::size_t>(targets[row]);
        losses[row] = -std::log(shares[row * columns + target]);
        for (std::size_t column = 0; column < columns; column++) gradient[row * columns + column] = (shares[row * columns + column] - (column == target ? 1 : 0)) * 0.25;
      }
      Numbers foundLosses = zeros(MUSTER_F32, rows);
      muster_cross_entropy_call call{columns, logits.tensor(), targets.data(), foundLosses.tensor(), {nullptr, 0, dtype}, 0.25f};
      CHECK(muster_cross_entropy(&call, 2) == MUSTER_OK && near(foundLosses, losses, 4e-6));
      call.gradient = call.logits;  // in place
      CHECK(muster_cross_entropy(&call, 2) == MUSTER_OK && near(foundLosses, losses, 4e-6) && near(logits, gradient, 1e-6));
      targets[5] = static_cast<std::int32_t>(columns);
      CHECK(muster_cross_entropy(&call, 2) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, "target 5") != nullptr);
    }
  });
}

void normalisesLayers() {
  forEveryDtype([](muster_dtype dtype) {
    for (const std::size_t columns : {std::size_t{7}, std::size_t{16}, std::size_t{100}, std::size_t{1031}}) {
      constexpr std::size_t rows = 40;
      constexpr double epsilon = 1e-5;
      const std::size_t size = rows * columns;
      Numbers input = normal(dtype, size, 6, 2), weight = normal(MUSTER_F32, columns, 7), bias = normal(MUSTER_F32, columns, 8), gradient = normal(dtype, size, 9);
      const Values x = input.values(), w = weight.values(), b = bias.values(), g = gradient.values();
      Values result(size), means(rows), scales(rows), inputGradient(size), weightGradient(columns, 1), biasGradient(columns, 2);
      for (std::size_t row = 0; row < rows; row++) {
        const auto at = [&](const Values& values, std::size_t column) { return values[row * columns + column]; };
        const auto count = static_cast<double>(columns);
        double variance = 0, weighted = 0, product = 0;
        for (std::size_t column = 0; column < columns; column++) means[row] += at(x, column) / count;
        for (std::size_t column = 0; column < columns; column++) variance += (at(x, column) - means[row]) * (at(x, column) - means[row]) / count;
        scales[row] = 1 / std::sqrt(variance + epsilon);
        const auto unit = [&](std::size_t column) { return (at(x, column) - means[row]) * scales[row]; };
        for (std::size_t column = 0; column < columns; column++) {
          weighted += at(g, column) * w[column] / count;
          product += at(g, column) * w[column] * unit(column) / count;
          weightGradient[column] += at(g, column) * unit(column);
          biasGradient[column] += at(g, column);
        }
        for (std::size_t column = 0; column < columns; column++) {
          result[row * columns + column] = unit(column) * w[column] + b[column];
          inputGradient[row * columns + column] = scales[row] * (at(g, column) * w[column] - weighted - unit(column) * product);
        }
      }
      Numbers output = zeros(dtype, size), mean = zeros(MUSTER_F32, rows), scale = zeros(MUSTER_F32, rows);
      const muster_layer_norm_call forward{columns, epsilon, input.tensor(), weight.tensor(), bias.tensor(), output.tensor(), mean.tensor(), scale.tensor()};
      CHECK(muster_layer_norm(&forward, 2) == MUSTER_OK);
      CHECK(near(output, result, 5e-6) && near(mean, means, 1e-6) && near(scale, scales, 1e-6));
      Numbers weights(MUSTER_F32, Values(columns, 1)), biases(MUSTER_F32, Values(columns, 2));
      const muster_layer_norm_backward_call backward{columns, input.tensor(), weight.tensor(), mean.tensor(), scale.tensor(), gradient.tensor(), gradient.tensor(), weights.tensor(), biases.tensor()};
      CHECK(muster_layer_norm_backward(&backward, 2) == MUSTER_OK);
      CHECK(near(gradient, inputGradient, 1e-5) && near(weights, weightGradient, 5e-5) && near(biases, biasGradient, 5e-5));
    }
  });
}

void summarizes() {
  forEveryDtype([](muster_dtype dtype) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{16}, std::size_t{70'001}}) {
      Numbers input = normal(dtype, size, 10);
      Values values = input.values();
      double total = 0, largest = -std::numeric_limits<double>::infinity(), found = 0;
      for (const double value : values) {
        total += value;
        largest = std::max(largest, value);
      }
      muster_tensor tensor = input.tensor();
      CHECK(muster_summarize(MUSTER_TOTAL, &tensor, 2, &found) == MUSTER_OK && std::fabs(found - total) < 1e-9);
      CHECK(muster_summarize(MUSTER_LARGEST, &tensor, 2, &found) == MUSTER_OK && found == largest);
      if (size == 0) continue;
      values[size / 2] = std::nan("");
      Numbers spoilt(dtype, values);
      tensor = spoilt.tensor();
      CHECK(muster_summarize(MUSTER_TOTAL, &tensor, 2, &found) == MUSTER_OK && std::isnan(found));
      CHECK(muster_summarize(MUSTER_LARGEST, &tensor, 2, &found) == MUSTER_OK && std::isnan(found));
    }
  });
}

void embeds() {
  forEveryDtype([](muster_dtype dtype) {
    constexpr std::size_t columns = 300;
    const std::vector<std::int32_t> tokens{4, 0, 4, 2};
    Numbers table = normal(dtype, 5 * columns, 11), gradient = normal(dtype, 4 * columns, 12), result = zeros(dtype, 4 * columns);
    const Values weights = table.values(), g = gradient.values();
    Values rows, sums(5 * columns, 1);
    for (std::size_t row = 0; row < tokens.size(); row++) {
      const auto token = static_cast<std::size_t>(tokens[row]);
      for (std::size_t column = 0; column < columns; column++) {
        rows.push_back(weights[token * columns + column]);
        sums[token * columns + column] += g[row * columns + column];
      }
    }
    const muster_tensor from = table.tensor(), to = result.tensor(), above = gradient.tensor();
    CHECK(muster_embedding(&from, columns, tokens.data(), &to, 2) == MUSTER_OK && near(result, rows, 0));
    Numbers tableGradient(MUSTER_F32, Values(5 * columns, 1));
    const muster_tensor below = tableGradient.tensor();
    CHECK(muster_embedding_backward(&above, columns, tokens.data(), &below, 2) == MUSTER_OK && near(tableGradient, sums, 1e-6));
    for (const std::int32_t wrong : {5, -1}) {
      const std::vector<std::int32_t> bad{0, 1, wrong, 2};
      CHECK(muster_embedding(&from, columns, bad.data(), &to, 2) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, "token 2") != nullptr);
      CHECK(muster_embedding_backward(&above, columns, bad.data(), &below, 2) == MUSTER_OUT_OF_RANGE);
    }
  });
}

void refusesWhatDoesNotFit() {
  Numbers numbers = zeros(MUSTER_F32, 64);
  float* const data = static_cast<float*>(numbers.tensor().data);
  const auto part = [&](std::size_t from, std::size_t count, muster_dtype dtype = MUSTER_F32) { return muster_tensor{data + from, count, dtype}; };
  const muster_tensor ten = part(0, 10), shifted = part(1, 10), eleven = part(20, 11), half = part(20, 10, MUSTER_F16), octets = part(20, 10, MUSTER_F8_E5M2);
  CHECK(muster_activate(MUSTER_RELU, &ten, &shifted, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_activate(MUSTER_RELU, &ten, &eleven, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_activate(MUSTER_RELU, &ten, &half, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_activate(MUSTER_RELU, &octets, &octets, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_activate(static_cast<muster_activation>(5), &ten, &ten, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_combine(MUSTER_ADD, &ten, &eleven, &ten, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_softmax(&ten, 3, &ten, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_softmax(&ten, 0, &ten, 1) == MUSTER_OUT_OF_RANGE);
  const muster_layer_norm_call call{5, 1e-5, part(0, 10), part(10, 5), part(15, 5), part(20, 10), part(30, 2), part(31, 2)};
  CHECK(muster_layer_norm(&call, 1) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, "mean 0 and scale 0 overlap") != nullptr);
}

}  // namespace

int main() {
  return check::runAll({
      {"activations, their slopes, sums and products", [] { check::atEveryLevel(activatesAndCombines); }},
      {"activations of what is extreme", [] { check::atEveryLevel(activatesWhatIsExtreme); }},
      {"softmax, forward and backward", [] { check::atEveryLevel(softmaxesRows); }},
      {"cross-entropy with its gradient", [] { check::atEveryLevel(crossesEntropy); }},
      {"layer normalisation, forward and backward", [] { check::atEveryLevel(normalisesLayers); }},
      {"totals and largest numbers", [] { check::atEveryLevel(summarizes); }},
      {"embeddings, forward and backward", [] { check::atEveryLevel(embeds); }},
      {"refuses what does not fit", refusesWhatDoesNotFit},
  });
}
