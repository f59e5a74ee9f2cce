/** Convolutions and pooling of random shapes against f64, number by number, on every instruction set. */
#include "muster/convolution.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "check.h"
#include "levels.h"
#include "numbers.h"

namespace {

using namespace check;

std::int64_t positionsOf(const muster_window& window, std::uint64_t size) {
  std::int64_t count = 0;
  while (count * static_cast<std::int64_t>(window.stride) + static_cast<std::int64_t>(window.dilation * (window.kernel - 1)) < static_cast<std::int64_t>(size + 2 * window.padding + window.overhang)) count++;
  return count;
}

/** What a tap finds outside of the image. */
constexpr std::int64_t kPadding = -1, kOverhang = -2;

/** Goes through a window at one position, number by number: `body(index in the image or what else, tap)`. */
template <class Body>
void forEachTap(const muster_images& images, std::int64_t row, std::int64_t column, Body body) {
  const auto place = [](const muster_window& window, std::int64_t position, std::uint64_t tap) {
    return position * static_cast<std::int64_t>(window.stride) + static_cast<std::int64_t>(tap * window.dilation) - static_cast<std::int64_t>(window.padding);
  };
  for (std::uint64_t y = 0; y < images.vertical.kernel; y++) {
    for (std::uint64_t x = 0; x < images.horizontal.kernel; x++) {
      const std::int64_t atRow = place(images.vertical, row, y), atColumn = place(images.horizontal, column, x);
      const bool isInside = atRow >= 0 && atColumn >= 0 && atRow < static_cast<std::int64_t>(images.rows) && atColumn < static_cast<std::int64_t>(images.columns);
      const bool isBeyond = atRow >= static_cast<std::int64_t>(images.rows + images.vertical.padding) || atColumn >= static_cast<std::int64_t>(images.columns + images.horizontal.padding);
      body(isInside ? atRow * static_cast<std::int64_t>(images.columns) + atColumn : isBeyond ? kOverhang : kPadding, y * images.horizontal.kernel + x);
    }
  }
}

/** Calls `body(input, weight, result)` with the indices of every product of a convolution. */
template <class Body>
void forEachProduct(const muster_convolution& shape, Body body) {
  const muster_images& images = shape.images;
  const std::int64_t rows = positionsOf(images.vertical, images.rows), columns = positionsOf(images.horizontal, images.columns);
  const std::uint64_t groupChannels = images.channels / shape.groups, groupResults = shape.result_channels / shape.groups, window = images.vertical.kernel * images.horizontal.kernel;
  std::size_t result = 0;
  for (std::uint64_t image = 0; image < images.batches; image++) {
    for (std::uint64_t to = 0; to < shape.result_channels; to++) {
      for (std::int64_t row = 0; row < rows; row++) {
        for (std::int64_t column = 0; column < columns; column++, result++) {
          for (std::uint64_t from = 0; from < groupChannels; from++) {
            const std::uint64_t plane = image * images.channels + to / groupResults * groupChannels + from;
            forEachTap(images, row, column, [&](std::int64_t pixel, std::uint64_t tap) {
              if (pixel >= 0) body(plane * images.rows * images.columns + static_cast<std::uint64_t>(pixel), (to * groupChannels + from) * window + tap, result);
            });
          }
        }
      }
    }
  }
}

muster_window randomWindow(std::mt19937& random, std::uint64_t kernelMax) { return {1 + random() % kernelMax, 1 + random() % 3, random() % 3, 1 + random() % 2, random() % 3}; }

/** Images that every window fits. */
muster_images randomImages(std::mt19937& random, std::uint64_t sizeMax) {
  const muster_window vertical = randomWindow(random, 4), horizontal = randomWindow(random, 4);
  return {random() % 4, 1, 8 + random() % sizeMax, 8 + random() % sizeMax, vertical, horizontal};
}

void convolveAndCompare(muster_dtype dtype, const muster_convolution& shape, unsigned seed) {
  const muster_images& images = shape.images;
  const std::size_t inputs = images.batches * images.channels * images.rows * images.columns;
  const std::size_t weights = shape.result_channels * (images.channels / shape.groups) * images.vertical.kernel * images.horizontal.kernel;
  const std::size_t positions = muster_window_positions(&images.vertical, images.rows) * muster_window_positions(&images.horizontal, images.columns);
  const std::size_t results = images.batches * shape.result_channels * positions;
  Numbers input = normal(dtype, inputs, seed), weight = normal(dtype, weights, seed + 1), gradient = normal(dtype, results, seed + 2);
  Numbers bias = normal(MUSTER_F32, seed % 2 == 0 ? 0 : shape.result_channels, seed + 3);
  const Values x = input.values(), w = weight.values(), g = gradient.values(), b = bias.values();
  Values forward(results), inputGradient(inputs), weightGradient(weights, 1), biasGradient(b.size(), 2);
  for (std::size_t index = 0; index < results; index++) {
    const std::size_t channel = index / positions % shape.result_channels;
    forward[index] = b.empty() ? 0 : b[channel];
    if (!b.empty()) biasGradient[channel] += g[index];
  }
  forEachProduct(shape, [&](std::size_t from, std::size_t by, std::size_t to) {
    forward[to] += x[from] * w[by];
    inputGradient[from] += g[to] * w[by];
    weightGradient[by] += g[to] * x[from];
  });
  Numbers result = zeros(dtype, results), below = zeros(dtype, inputs), weightsBelow(MUSTER_F32, Values(weights, 1)), biasBelow(MUSTER_F32, Values(b.size(), 2));
  const muster_tensor from = input.tensor(), by = weight.tensor(), add = bias.tensor(), to = result.tensor(), above = gradient.tensor();
  const muster_tensor toInput = below.tensor(), toWeight = weightsBelow.tensor(), toBias = biasBelow.tensor();
  const std::uint32_t threads = 1 + seed % 3;
  constexpr double error = 2e-4;  // of some hundred products
  CHECK(muster_convolve(&shape, &from, &by, &add, &to, threads) == MUSTER_OK && near(result, forward, error));
  CHECK(muster_convolve_backward_input(&shape, &above, &by, &toInput, threads) == MUSTER_OK && near(below, inputGradient, error));
  CHECK(muster_convolve_backward_weight(&shape, &from, &above, &toWeight, &toBias, threads) == MUSTER_OK && near(weightsBelow, weightGradient, error) && near(biasBelow, biasGradient, error));
}

void convolvesRandomShapes() {
  std::mt19937 random(31);
  for (unsigned round = 0; round < 40; round++) {
    muster_convolution shape{randomImages(random, 12), 1, 1 + random() % 3};
    shape.images.channels = shape.groups * (1 + random() % 4);
    shape.result_channels = shape.groups * (1 + random() % 4);
    convolveAndCompare(kTraining[round % 3], shape, round);
  }
}

/** Windows that move by one and keep the width: their patches are copied a strip at a time. Some reach further than the image does. */
void convolvesWhatKeepsItsWidth() {
  std::mt19937 random(33);
  for (unsigned round = 0; round < 40; round++) {
    muster_window vertical = randomWindow(random, 5), horizontal = randomWindow(random, 7);
    const std::uint64_t reach = horizontal.dilation * (horizontal.kernel - 1);
    vertical.stride = horizontal.stride = 1;
    horizontal.padding = random() % (reach / 2 + 1);
    horizontal.overhang = reach - 2 * horizontal.padding;
    const muster_convolution shape{{1 + random() % 2, 1 + random() % 3, 9 + random() % 20, 4 + random() % 26, vertical, horizontal}, 1 + random() % 4, 1};
    CHECK(muster_window_positions(&horizontal, shape.images.columns) == shape.images.columns);
    convolveAndCompare(kTraining[round % 3], shape, round);
  }
}

/** Several strips of positions, several blocks of channels, images read in place, and parts of a batch. */
void convolvesWhatIsCutIntoPieces() {
  const muster_window three{3, 1, 1, 1, 0}, one{1, 1, 0, 1, 0};
  const muster_convolution shapes[] = {
      {{1, 2, 30, 25, three, three}, 5, 1}, {{2, 40, 9, 10, three, three}, 6, 1}, {{3, 7, 20, 15, one, one}, 9, 1}, {{9, 1, 12, 12, three, three}, 4, 1}, {{2, 300, 15, 16, one, one}, 3, 3}};
  unsigned seed = 100;
  for (const muster_convolution& shape : shapes) {
    for (const muster_dtype dtype : kTraining) convolveAndCompare(dtype, shape, seed++);
  }
}

void poolAndCompare(muster_dtype dtype, const muster_images& images, muster_pooling pooling, unsigned seed) {
  const std::size_t pixels = images.rows * images.columns, planeCount = images.batches * images.channels;
  const std::int64_t rows = positionsOf(images.vertical, images.rows), columns = positionsOf(images.horizontal, images.columns);
  const auto positions = static_cast<std::size_t>(rows * columns);
  Numbers input = normal(dtype, planeCount * pixels, seed), gradient = normal(dtype, planeCount * positions, seed + 1);
  const Values x = input.values(), g = gradient.values();
  Values forward, inputGradient(x.size());
  std::vector<std::int32_t> places, found(planeCount * positions);
  for (std::size_t plane = 0; plane < planeCount; plane++) {
    for (std::int64_t position = 0; position < rows * columns; position++) {
      const std::size_t image = plane * pixels;
      double sum = 0, inside = 0, taps = 0;
      std::int32_t place = -1;
      forEachTap(images, position / columns, position % columns, [&](std::int64_t pixel, std::uint64_t) {
        taps += pixel != kOverhang;
        if (pixel < 0) return;
        inside++;
        sum += x[image + static_cast<std::size_t>(pixel)];
        if (place < 0 || x[image + static_cast<std::size_t>(pixel)] > x[image + static_cast<std::size_t>(place)]) place = static_cast<std::int32_t>(pixel);
      });
      const double count = pooling == MUSTER_POOL_MEAN ? inside : taps;
      const double upper = g[forward.size()];
      forEachTap(images, position / columns, position % columns, [&](std::int64_t pixel, std::uint64_t) {
        if (pooling != MUSTER_POOL_LARGEST && pixel >= 0) inputGradient[image + static_cast<std::size_t>(pixel)] += upper / count;
      });
      if (pooling == MUSTER_POOL_LARGEST) inputGradient[image + static_cast<std::size_t>(place)] += upper;
      forward.push_back(pooling == MUSTER_POOL_LARGEST ? x[image + static_cast<std::size_t>(place)] : sum / count);
      places.push_back(place);
    }
  }
  Numbers result = zeros(dtype, forward.size()), below = zeros(dtype, x.size());
  const muster_tensor from = input.tensor(), to = result.tensor(), above = gradient.tensor(), toInput = below.tensor();
  std::int32_t* const into = pooling == MUSTER_POOL_LARGEST ? found.data() : nullptr;
  CHECK(muster_pool(&images, pooling, &from, &to, into, 2) == MUSTER_OK && near(result, forward, 1e-6));
  CHECK(into == nullptr || found == places);
  CHECK(muster_pool_backward(&images, pooling, &above, into, &toInput, 2) == MUSTER_OK && near(below, inputGradient, 2e-6));
}

void poolsRandomShapes() {
  std::mt19937 random(32);
  for (unsigned round = 0; round < 40; round++) {
    muster_images images = randomImages(random, 12);
    images.channels = 1 + random() % 3;
    for (const auto& [window, size] : {std::pair{&images.vertical, images.rows}, std::pair{&images.horizontal, images.columns}}) {
      window->padding = std::min(window->padding, window->dilation * (window->kernel - 1));
      if ((muster_window_positions(window, size) - 1) * window->stride >= size + window->padding) window->overhang = 0;
    }
    poolAndCompare(kTraining[round % 3], images, static_cast<muster_pooling>(round / 3 % MUSTER_POOLINGS), round);
  }
}

void keepsWhatIsNoNumber() {
  const double infinity = std::numeric_limits<double>::infinity();
  Numbers input(MUSTER_F32, {-infinity, -infinity, 1, std::nan("")});
  Numbers result = zeros(MUSTER_F32, 2);
  std::int32_t places[2];
  const muster_window pair{2, 2, 0, 1, 0}, one{1, 1, 0, 1, 0};
  const muster_images images{1, 1, 1, 4, one, pair};
  const muster_tensor from = input.tensor(), to = result.tensor();
  CHECK(muster_pool(&images, MUSTER_POOL_LARGEST, &from, &to, places, 1) == MUSTER_OK && near(result, {-infinity, std::nan("")}, 0) && places[0] == 0 && places[1] == 3);
}

/** A window a billion wide sees no more than its image has. */
void poolsWithVastWindows() {
  constexpr std::uint64_t kernel = 1u << 30;
  Numbers input(MUSTER_F32, {1, 4, 2, 3}), result = zeros(MUSTER_F32, 5);
  std::int32_t places[5];
  const muster_window vast{kernel, 1, kernel / 2, 1, 0}, one{1, 1, 0, 1, 0};
  const muster_images images{1, 1, 1, 4, one, vast};
  const muster_tensor from = input.tensor(), to = result.tensor();
  CHECK(muster_pool(&images, MUSTER_POOL_LARGEST, &from, &to, places, 1) == MUSTER_OK && near(result, {4, 4, 4, 4, 4}, 0) && std::count(places, places + 5, 1) == 5);
}

void refusesWhatDoesNotFit() {
  Numbers numbers = zeros(MUSTER_F32, 100), others = zeros(MUSTER_F32, 100);
  const auto part = [](Numbers& of, std::size_t count) { return muster_tensor{of.tensor().data, count, MUSTER_F32}; };
  const muster_window three{3, 1, 0, 1, 0};
  const muster_convolution right{{1, 2, 4, 4, three, three}, 2, 1};
  const muster_tensor none{nullptr, 0, MUSTER_F32};
  const auto refuses = [&](const char* why, const auto& spoil) {
    muster_convolution shape = right;
    muster_tensor input = part(numbers, 32), result = part(others, 8), weight{static_cast<float*>(numbers.tensor().data) + 50, 36, MUSTER_F32};
    spoil(shape, input, result);
    CHECK(muster_convolve(&shape, &input, &weight, &none, &result, 1) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, why) != nullptr);
  };
  refuses("does not fit images of 2 rows", [](auto& shape, auto&, auto&) { shape.images.rows = 2; });
  refuses("a stride of 0", [](auto& shape, auto&, auto&) { shape.images.horizontal.stride = 0; });
  refuses("in 3 groups", [](auto& shape, auto&, auto&) { shape.groups = 3; });
  refuses("2^31 or more", [](auto& shape, auto&, auto&) { shape.images.vertical.padding = UINT64_MAX; });
  refuses("too large", [](auto& shape, auto&, auto&) { shape.images.batches = UINT64_MAX; });
  refuses("input 0 has 32 elements, and 48 are wanted", [](auto& shape, auto&, auto&) { shape.images.rows = 6; });
  refuses("overlap", [](auto&, auto& input, auto& result) { result.data = input.data; });
  const muster_images images = right.images;
  const muster_tensor input = part(numbers, 32), result = part(others, 8);
  std::vector<std::int32_t> places(8, 16);
  CHECK(muster_pool(&images, MUSTER_POOL_MEAN, &input, &result, places.data(), 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_pool(&images, static_cast<muster_pooling>(3), &input, &result, nullptr, 1) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_pool_backward(&images, MUSTER_POOL_LARGEST, &result, places.data(), &input, 1) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, "place 0 is 16") != nullptr);
  CHECK(muster_pool_backward(&images, MUSTER_POOL_LARGEST, &result, static_cast<std::int32_t*>(input.data), &input, 1) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, "overlap") != nullptr);
  muster_images padded = images;
  padded.vertical.padding = 3;
  CHECK(muster_pool(&padded, MUSTER_POOL_MEAN, &input, &result, nullptr, 1) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, "padding of 3") != nullptr);
}

}  // namespace

int main() {
  return check::runAll({
      {"convolutions of random shapes, forward and backward", [] { check::atEveryLevel(convolvesRandomShapes); }},
      {"convolutions that keep the width, forward and backward", [] { check::atEveryLevel(convolvesWhatKeepsItsWidth); }},
      {"what is cut into strips, blocks and parts, or read in place", [] { check::atEveryLevel(convolvesWhatIsCutIntoPieces); }},
      {"largest numbers and means of windows, forward and backward", [] { check::atEveryLevel(poolsRandomShapes); }},
      {"pools keep infinities and NaNs", keepsWhatIsNoNumber},
      {"pools with vast windows", poolsWithVastWindows},
      {"refuses what does not fit", refusesWhatDoesNotFit},
  });
}
