/** Maps, reductions, indexing and random numbers of strided tensors against loops over all elements in f64, on every instruction set. */
#include "muster/strided.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "dtype.h"
#include "kernels/formats.h"
#include "levels.h"

namespace {

using namespace muster::kernels;
using Values = std::vector<double>;

constexpr muster_dtype kDtypes[] = {MUSTER_F32, MUSTER_F16, MUSTER_BF16, MUSTER_I64, MUSTER_I32, MUSTER_U8};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool isFloat(muster_dtype dtype) { return dtype == MUSTER_F32 || dtype == MUSTER_F16 || dtype == MUSTER_BF16; }

/** A memory of one dtype, seen as f64. */
class Memory {
 public:
  Memory(muster_dtype dtype, std::size_t elements) : dtype_(dtype), elements_(elements), bytes_(elements * muster::elementBytes(dtype) + 64) {}

  double get(std::size_t index) const {
    switch (dtype_) {
      case MUSTER_F32: return at<float>(index);
      case MUSTER_F16: return reference::widen<F16>(at<std::uint16_t>(index));
      case MUSTER_BF16: return reference::widen<Bf16>(at<std::uint16_t>(index));
      case MUSTER_I64: return static_cast<double>(at<std::int64_t>(index));
      case MUSTER_I32: return at<std::int32_t>(index);
      default: return at<std::uint8_t>(index);
    }
  }

  void set(std::size_t index, double value) {
    switch (dtype_) {
      case MUSTER_F32: return put(index, static_cast<float>(value));
      case MUSTER_F16: return put(index, reference::narrow<F16>(static_cast<float>(value)));
      case MUSTER_BF16: return put(index, reference::narrow<Bf16>(static_cast<float>(value)));
      case MUSTER_I64: return put(index, static_cast<std::int64_t>(value));
      case MUSTER_I32: return put(index, static_cast<std::int32_t>(value));
      default: return put(index, static_cast<std::uint8_t>(value != 0));
    }
  }

  muster_strided strided(std::uint64_t offset, const std::vector<std::uint64_t>& strides) {
    muster_strided tensor{bytes_.data(), elements_, dtype_, offset, {}};
    std::copy(strides.begin(), strides.end(), tensor.strides);
    return tensor;
  }

  muster_dtype dtype() const { return dtype_; }
  std::size_t elements() const { return elements_; }

 private:
  template <class Element>
  Element at(std::size_t index) const {
    Element element;
    std::memcpy(&element, bytes_.data() + index * sizeof element, sizeof element);
    return element;
  }
  template <class Element>
  void put(std::size_t index, Element element) {
    std::memcpy(bytes_.data() + index * sizeof element, &element, sizeof element);
  }

  muster_dtype dtype_;
  std::size_t elements_;
  std::vector<unsigned char> bytes_;
};

/** A tensor of a random layout: some dimensions repeat, are exchanged or have gaps. */
struct Tensor {
  Memory memory;
  std::uint64_t offset;
  std::vector<std::uint64_t> strides;

  double at(const std::vector<std::uint64_t>& index) const { return memory.get(place(index)); }
  std::size_t place(const std::vector<std::uint64_t>& index) const {
    std::uint64_t place = offset;
    for (std::size_t dimension = 0; dimension < index.size(); dimension++) place += index[dimension] * strides[dimension];
    return place;
  }
  muster_strided view() { return memory.strided(offset, strides); }
};

std::mt19937 random(11);
std::uint64_t below(std::uint64_t limit) { return random() % limit; }

std::vector<std::uint64_t> randomShape() {
  std::vector<std::uint64_t> shape(below(5));
  for (std::uint64_t& extent : shape) extent = below(8) == 0 ? 1 : below(8) == 0 ? 40 + below(60) : 1 + below(9);
  return shape;
}

Tensor randomTensor(muster_dtype dtype, const std::vector<std::uint64_t>& shape, bool mayRepeat) {
  std::vector<std::uint64_t> order(shape.size()), strides(shape.size());
  for (std::size_t index = 0; index < order.size(); index++) order[index] = index;
  if (below(2) == 0) std::shuffle(order.begin(), order.end(), random);
  std::uint64_t stride = below(4) == 0 ? 2 : 1;
  for (std::size_t index = order.size(); index-- > 0;) {
    const bool repeats = mayRepeat && below(4) == 0;
    strides[order[index]] = repeats ? 0 : stride;
    if (!repeats) stride *= shape[order[index]] + (below(5) == 0 ? 1 : 0);
  }
  const std::uint64_t offset = below(3);
  Tensor tensor{Memory(dtype, offset + stride + 1), offset, strides};
  std::normal_distribution<double> numbers(0, 2);
  for (std::size_t index = 0; index < tensor.memory.elements(); index++) tensor.memory.set(index, isFloat(dtype) ? numbers(random) : std::floor(numbers(random) * 3));
  return tensor;
}

/** Calls `body` with every index of a shape, the last dimension fastest. */
template <class Body>
void forEachIndex(const std::vector<std::uint64_t>& shape, Body body) {
  std::vector<std::uint64_t> index(shape.size());
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : shape) elements *= extent;
  for (std::uint64_t position = 0; position < elements; position++) {
    std::uint64_t rest = position;
    for (std::size_t dimension = shape.size(); dimension-- > 0;) {
      index[dimension] = rest % shape[dimension];
      rest /= shape[dimension];
    }
    body(index);
  }
}

double expectedMap(muster_map_operation operation, double f, double s, double t) {
  switch (operation) {
    case MUSTER_MAP_COPY: return f;
    case MUSTER_MAP_NEGATE: return -f;
    case MUSTER_MAP_ABSOLUTE: return std::fabs(f);
    case MUSTER_MAP_EXPONENTIAL: return std::exp(f);
    case MUSTER_MAP_LOGARITHM: return std::log(f);
    case MUSTER_MAP_SQUARE_ROOT: return std::sqrt(f);
    case MUSTER_MAP_TANH: return std::tanh(f);
    case MUSTER_MAP_SIGMOID: return 1 / (1 + std::exp(-f));
    case MUSTER_MAP_ADD: return f + s;
    case MUSTER_MAP_SUBTRACT: return f - s;
    case MUSTER_MAP_MULTIPLY: return f * s;
    case MUSTER_MAP_DIVIDE: return f / s;
    case MUSTER_MAP_POWER: return std::pow(f, s);
    case MUSTER_MAP_MAXIMUM: return std::isnan(f) || std::isnan(s) ? kNan : std::max(f, s);
    case MUSTER_MAP_MINIMUM: return std::isnan(f) || std::isnan(s) ? kNan : std::min(f, s);
    case MUSTER_MAP_EQUAL: return f == s;
    case MUSTER_MAP_NOT_EQUAL: return f != s;
    case MUSTER_MAP_LESS: return f < s;
    case MUSTER_MAP_LESS_EQUAL: return f <= s;
    case MUSTER_MAP_TANH_BACKWARD: return s * (1 - f * f);
    case MUSTER_MAP_SIGMOID_BACKWARD: return s * f * (1 - f);
    case MUSTER_MAP_WHERE: return f != 0 ? s : t;
    case MUSTER_MAP_MULTIPLY_ADD: return f * s + t;
  }
  return kNan;
}

bool takesIntegers(muster_map_operation operation) {
  switch (operation) {
    case MUSTER_MAP_EXPONENTIAL:
    case MUSTER_MAP_LOGARITHM:
    case MUSTER_MAP_SQUARE_ROOT:
    case MUSTER_MAP_TANH:
    case MUSTER_MAP_SIGMOID:
    case MUSTER_MAP_DIVIDE:
    case MUSTER_MAP_POWER:
    case MUSTER_MAP_TANH_BACKWARD:
    case MUSTER_MAP_SIGMOID_BACKWARD: return false;
    default: return true;
  }
}

/** Within a rounding of the dtype and what f32 arithmetic may lose; integers as they were stored. */
bool isNear(muster_dtype dtype, double found, double exact, double magnitude) {
  if (std::isnan(exact)) return std::isnan(found);
  if (!isFloat(dtype)) {
    Memory memory(dtype, 1);
    memory.set(0, std::trunc(exact));
    return dtype == MUSTER_U8 ? found == (exact != 0) : found == memory.get(0);
  }
  const double rounding = dtype == MUSTER_F32 ? 0x1p-24 : dtype == MUSTER_F16 ? 0x1p-11 : 0x1p-8;
  if (dtype == MUSTER_F16 && std::fabs(exact) > 65504) return std::fabs(found) > 65000;
  return found == exact || std::fabs(found - exact) <= 1.1 * rounding * std::fabs(exact) + 2e-6 * (magnitude + std::fabs(exact)) + 1e-7;
}

void mapsAnyLayoutAndDtype() {
  for (int round = 0; round < 1200; round++) {
    const auto operation = static_cast<muster_map_operation>(below(MUSTER_MAP_OPERATIONS));
    const std::vector<std::uint64_t> shape = randomShape();
    std::vector<Tensor> inputs;
    for (int input = 0; input < 3; input++) inputs.push_back(randomTensor(kDtypes[below(6)], shape, true));
    const unsigned count = operation >= MUSTER_MAP_WHERE ? 3 : operation >= MUSTER_MAP_ADD ? 2 : 1;
    bool floats = false;
    for (unsigned input = 0; input < count; input++) floats = floats || isFloat(inputs[input].memory.dtype());
    const muster_dtype dtype = floats ? kDtypes[below(3)] : kDtypes[3 + below(3)];
    Tensor result = randomTensor(dtype, shape, false);
    muster_map_call call{operation, static_cast<std::uint32_t>(shape.size()), {}, {inputs[0].view(), inputs[1].view(), inputs[2].view()}, result.view()};
    std::copy(shape.begin(), shape.end(), call.shape);
    const muster_code code = muster_map(&call, 2);
    if (!floats && !takesIntegers(operation)) {
      CHECK(code == MUSTER_OUT_OF_RANGE);
      continue;
    }
    bool same = code == MUSTER_OK;
    forEachIndex(shape, [&](const std::vector<std::uint64_t>& index) {
      const double f = inputs[0].at(index), s = inputs[1].at(index), t = inputs[2].at(index);
      same = same && isNear(dtype, result.at(index), expectedMap(operation, f, s, t), operation == MUSTER_MAP_MULTIPLY_ADD ? std::fabs(f * s) + std::fabs(t) : 0);
    });
    if (!same) std::fprintf(stderr, "  operation %d, dtype %s\n", operation, muster::dtypeName(dtype));
    CHECK(same);
  }
}

void convertsToIntegersWithoutSurprise() {
  Memory from(MUSTER_F32, 6), to(MUSTER_I32, 6);
  const double values[] = {1.9, -1.9, 3e9, -3e9, kNan, -2147483648.0};
  const double wanted[] = {1, -1, 2147483647, -2147483648.0, 0, -2147483648.0};
  for (int index = 0; index < 6; index++) from.set(index, values[index]);
  const muster_map_call call{MUSTER_MAP_COPY, 1, {6}, {from.strided(0, {1})}, to.strided(0, {1})};
  CHECK(muster_map(&call, 1) == MUSTER_OK);
  for (int index = 0; index < 6; index++) CHECK(to.get(index) == wanted[index]);
}

double expectedReduction(muster_reduce_operation operation, const Values& values, double factor) {
  double total = 0, squares = 0, largest = -HUGE_VAL, smallest = HUGE_VAL;
  std::size_t where = 0;
  for (std::size_t index = 0; index < values.size(); index++) {
    total += values[index];
    squares += values[index] * values[index];
    if (values[index] > largest) {
      largest = values[index];
      where = index;
    }
    smallest = std::min(smallest, values[index]);
  }
  switch (operation) {
    case MUSTER_REDUCE_SUM: return total * factor;
    case MUSTER_REDUCE_SQUARES: return squares * factor;
    case MUSTER_REDUCE_LARGEST: return largest;
    case MUSTER_REDUCE_SMALLEST: return smallest;
    default: return static_cast<double>(where);
  }
}

void reduceOne(const std::vector<std::uint64_t>& shape, std::size_t kept, muster_dtype dtype, muster_reduce_operation operation) {
  Tensor input = randomTensor(dtype, shape, true);
  const std::vector<std::uint64_t> keptShape(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(kept));
  const std::vector<std::uint64_t> reducedShape(shape.begin() + static_cast<std::ptrdiff_t>(kept), shape.end());
  const muster_dtype resultDtype = operation == MUSTER_REDUCE_ARG_LARGEST || !isFloat(dtype) ? MUSTER_I64 : kDtypes[below(3)];
  Tensor result = randomTensor(resultDtype, keptShape, false);
  const double factor = isFloat(dtype) ? 0.25 : 1;
  muster_reduce_call call{operation, static_cast<std::uint32_t>(shape.size()), static_cast<std::uint32_t>(kept), {}, input.view(), result.view(), factor};
  std::copy(shape.begin(), shape.end(), call.shape);
  CHECK(muster_reduce(&call, 2) == MUSTER_OK);
  bool same = true;
  forEachIndex(keptShape, [&](const std::vector<std::uint64_t>& outer) {
    Values values;
    double magnitude = 0;
    forEachIndex(reducedShape, [&](const std::vector<std::uint64_t>& inner) {
      std::vector<std::uint64_t> index = outer;
      index.insert(index.end(), inner.begin(), inner.end());
      values.push_back(input.at(index));
      magnitude += std::fabs(values.back());
    });
    same = same && isNear(resultDtype, result.at(outer), expectedReduction(operation, values, factor), magnitude);
  });
  CHECK(same);
}

void reducesAnyDimensions() {
  for (int round = 0; round < 500; round++) {
    const std::vector<std::uint64_t> shape = randomShape();
    const muster_dtype dtype = kDtypes[below(6)];
    auto operation = static_cast<muster_reduce_operation>(below(MUSTER_REDUCE_OPERATIONS));
    if (operation == MUSTER_REDUCE_SQUARES && !isFloat(dtype)) operation = MUSTER_REDUCE_SUM;
    reduceOne(shape, below(shape.size() + 1), dtype, operation);
  }
  for (const muster_dtype dtype : {MUSTER_F32, MUSTER_BF16}) {
    reduceOne({3, 70'000}, 1, dtype, MUSTER_REDUCE_SUM);   // several chunks of one result
    reduceOne({70'000}, 0, dtype, MUSTER_REDUCE_LARGEST);
    reduceOne({70'000}, 0, dtype, MUSTER_REDUCE_ARG_LARGEST);
    reduceOne({1500, 1100}, 1, dtype, MUSTER_REDUCE_SQUARES);
  }
}

/** Columns of a matrix: the way of the gradient of a bias, in several chunks of rows and tiles of columns. */
void reducesRowByRow() {
  constexpr std::uint64_t rows = 1300, columns = 1500;
  Memory input(MUSTER_F32, rows * columns), result(MUSTER_F32, columns), again(MUSTER_F32, columns);
  for (std::size_t index = 0; index < rows * columns; index++) input.set(index, static_cast<double>(index % 17) - 8 + 1e-3 * static_cast<double>(index % 7));
  const auto run = [&](Memory& to, std::uint32_t threads) {
    const muster_reduce_call call{MUSTER_REDUCE_SUM, 2, 1, {columns, rows}, input.strided(0, {1, columns}), to.strided(0, {1}), 1};
    CHECK(muster_reduce(&call, threads) == MUSTER_OK);
  };
  run(result, 1);
  run(again, 3);
  bool same = true;
  for (std::uint64_t column = 0; column < columns; column++) {
    double total = 0;
    for (std::uint64_t row = 0; row < rows; row++) total += input.get(row * columns + column);
    same = same && std::fabs(result.get(column) - total) < 1e-2 && result.get(column) == again.get(column);
  }
  CHECK(same);
}

void nanIsTheLargest() {
  Memory input(MUSTER_F32, 5), result(MUSTER_F32, 1), where(MUSTER_I64, 1);
  for (int index = 0; index < 5; index++) input.set(index, index == 2 ? kNan : index);
  const auto run = [&](muster_reduce_operation operation, Memory& to) {
    const muster_reduce_call call{operation, 1, 0, {5}, input.strided(0, {1}), to.strided(0, {}), 1};
    CHECK(muster_reduce(&call, 1) == MUSTER_OK);
    return to.get(0);
  };
  CHECK(std::isnan(run(MUSTER_REDUCE_LARGEST, result)));
  CHECK(std::isnan(run(MUSTER_REDUCE_SMALLEST, result)));
  CHECK(run(MUSTER_REDUCE_ARG_LARGEST, where) == 2);
}

void picksAndAddsByIndex() {
  Memory table(MUSTER_F32, 2 * 5 * 3), index(MUSTER_I32, 2 * 4 * 3), picked(MUSTER_F32, 2 * 4 * 3), sums(MUSTER_F32, 2 * 5 * 3);
  for (std::size_t at = 0; at < table.elements(); at++) table.set(at, static_cast<double>(at));
  for (std::size_t at = 0; at < index.elements(); at++) index.set(at, static_cast<double>(below(5)));
  const muster_index_call gather{{2, 4, 3}, 5, table.strided(0, {15, 3, 1}), index.strided(0, {12, 3, 1}), picked.strided(0, {12, 3, 1})};
  CHECK(muster_gather(&gather, 2) == MUSTER_OK);
  Values expected(sums.elements());
  bool same = true;
  for (std::size_t at = 0; at < picked.elements(); at++) {
    const std::size_t place = at / 12 * 15 + static_cast<std::size_t>(index.get(at)) * 3 + at % 3;
    same = same && picked.get(at) == table.get(place);
    expected[place] += picked.get(at);
  }
  const muster_index_call scatter{{2, 4, 3}, 5, sums.strided(0, {15, 3, 1}), index.strided(0, {12, 3, 1}), picked.strided(0, {12, 3, 1})};
  CHECK(muster_scatter_add(&scatter, 2) == MUSTER_OK);
  for (std::size_t at = 0; at < expected.size(); at++) same = same && sums.get(at) == expected[at];
  CHECK(same);
  index.set(7, 5);
  CHECK(muster_gather(&gather, 2) == MUSTER_OUT_OF_RANGE);
  index.set(7, -1);
  CHECK(muster_scatter_add(&scatter, 2) == MUSTER_OUT_OF_RANGE);
}

void philoxHasItsKnownAnswers() {
  Memory words(MUSTER_I32, 4);
  const auto first = [&](std::uint64_t seed, std::uint64_t counter) {
    const muster_random_call call{MUSTER_RANDOM_BITS, seed, counter, 0, 0, words.strided(0, {}), 4};
    CHECK(muster_random(&call, 1) == MUSTER_OK);
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(words.get(0)));
  };
  CHECK(first(0, 0) == 0x6627e8d5u);  // Random123's kat_vectors
  CHECK(first(0, 1) != first(0, 0) && first(1, 0) != first(0, 0));
}

void whatDoesNotFitIsRefused() {
  Memory memory(MUSTER_F32, 10), other(MUSTER_F32, 10);
  const auto map = [&](muster_strided from, muster_strided to, std::uint64_t extent) {
    const muster_map_call call{MUSTER_MAP_COPY, 1, {extent}, {from}, to};
    return muster_map(&call, 1);
  };
  CHECK(map(memory.strided(0, {1}), other.strided(0, {1}), 10) == MUSTER_OK);
  CHECK(map(memory.strided(1, {1}), other.strided(0, {1}), 10) == MUSTER_OUT_OF_RANGE);
  CHECK(map(memory.strided(0, {2}), other.strided(0, {1}), 10) == MUSTER_OUT_OF_RANGE);
  CHECK(map(memory.strided(0, {1}), other.strided(0, {0}), 10) == MUSTER_OUT_OF_RANGE);
  CHECK(map(memory.strided(0, {std::uint64_t{1} << 62}), other.strided(0, {1}), 10) == MUSTER_OUT_OF_RANGE);
  CHECK(map(memory.strided(99, {1}), other.strided(0, {1}), 0) == MUSTER_OK);  // nothing is nowhere
  const muster_map_call ranks{MUSTER_MAP_COPY, MUSTER_RANK_MAX + 1, {}, {memory.strided(0, {1})}, other.strided(0, {1})};
  CHECK(muster_map(&ranks, 1) == MUSTER_OUT_OF_RANGE);
  const muster_reduce_call empty{MUSTER_REDUCE_LARGEST, 1, 0, {0}, memory.strided(0, {1}), other.strided(0, {}), 1};
  CHECK(muster_reduce(&empty, 1) == MUSTER_OUT_OF_RANGE);
}

void atEveryLevel(void (*body)()) { check::atEveryLevel(body); }

}  // namespace

int main() {
  return check::runAll({
      {"maps tensors of any layout and dtype", [] { atEveryLevel(mapsAnyLayoutAndDtype); }},
      {"converts to integers without surprise", convertsToIntegersWithoutSurprise},
      {"reduces along any dimensions", [] { atEveryLevel(reducesAnyDimensions); }},
      {"reduces row by row, with any number of threads to the same bits", [] { atEveryLevel(reducesRowByRow); }},
      {"NaN is the largest and the smallest", [] { atEveryLevel(nanIsTheLargest); }},
      {"picks and adds by index", picksAndAddsByIndex},
      {"Philox has its known answers", philoxHasItsKnownAnswers},
      {"what does not fit is refused", whatDoesNotFitIsRefused},
  });
}
