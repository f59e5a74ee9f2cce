/** Matrix products: random shapes, strides, dtypes and epilogues against f64, on every instruction set. */
#include "muster/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "levels.h"
#include "kernels/formats.h"

namespace {

using namespace muster::kernels;

/** A batch of matrices in memory of its own, between guards. */
class Matrices {
 public:
  struct Shape {
    std::uint64_t batches, rows, columns;
  };

  Matrices(muster_dtype dtype, Shape shape, std::uint64_t rowStride, std::uint64_t columnStride, std::uint64_t batchStride)
      : dtype_(dtype), shape_(shape), rowStride_(rowStride), columnStride_(columnStride), batchStride_(batchStride) {
    const bool any = shape.batches > 0 && shape.rows > 0 && shape.columns > 0;
    elements_ = any ? place(shape.batches - 1, shape.rows - 1, shape.columns - 1) + 1 : 0;
    values_.assign(elements_, kGuard);
  }

  float& at(std::uint64_t batch, std::uint64_t row, std::uint64_t column) { return values_[place(batch, row, column)]; }
  float at(std::uint64_t batch, std::uint64_t row, std::uint64_t column) const { return values_[place(batch, row, column)]; }

  void fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (float& value : values_) value = rounded(normal(random));
  }

  /** As the kernels see it. The memory is the object's. */
  muster_matrices view() {
    bytes_.resize(std::max<std::size_t>(1, elements_ * 4));
    withFormat(dtype_, [&](auto dtype) {
      using Format = decltype(dtype);
      auto* data = reinterpret_cast<typename Format::Element*>(bytes_.data());
      for (std::size_t index = 0; index < elements_; index++) reference::write<Format>(data, index, values_[index]);
    });
    return {{bytes_.data(), elements_, dtype_}, rowStride_, columnStride_, batchStride_};
  }

  /** What the memory holds now. */
  std::vector<float> readBack() const {
    std::vector<float> values(elements_);
    withFormat(dtype_, [&](auto dtype) {
      using Format = decltype(dtype);
      const auto* data = reinterpret_cast<const typename Format::Element*>(bytes_.data());
      for (std::size_t index = 0; index < elements_; index++) values[index] = reference::read<Format>(data, index);
    });
    return values;
  }

  float rounded(float value) const {
    return withFormat(dtype_, [&](auto dtype) {
      using Format = decltype(dtype);
      typename Format::Element element;
      reference::write<Format>(&element, 0, value);
      return reference::read<Format>(&element, 0);
    });
  }

  std::uint64_t place(std::uint64_t batch, std::uint64_t row, std::uint64_t column) const { return batch * batchStride_ + row * rowStride_ + column * columnStride_; }
  std::size_t elements() const { return elements_; }
  muster_dtype dtype() const { return dtype_; }

  static constexpr float kGuard = 77;

 private:
  muster_dtype dtype_;
  Shape shape_;
  std::uint64_t rowStride_, columnStride_, batchStride_;
  std::size_t elements_;
  std::vector<float> values_;
  std::vector<unsigned char> bytes_;
};

/** Row-major, column-major, with gaps, or repeated. */
Matrices input(std::mt19937& random, muster_dtype dtype, Matrices::Shape shape) {
  const std::uint64_t gap = random() % 3;
  const bool repeats = random() % 8 == 0;
  Matrices made = [&]() -> Matrices {
    switch (random() % 4) {
      case 0: return {dtype, shape, 1, shape.rows + gap, repeats ? 0 : shape.columns * (shape.rows + gap)};
      case 1: return {dtype, shape, 2 * shape.columns + gap, 2, repeats ? 0 : shape.rows * (2 * shape.columns + gap)};
      default: return {dtype, shape, shape.columns + gap, 1, repeats ? 0 : shape.rows * (shape.columns + gap) + gap};
    }
  }();
  made.fill(random);
  return made;
}

double activated(muster_activation activation, double x) {
  switch (activation) {
    case MUSTER_IDENTITY: break;
    case MUSTER_RELU: return std::max(x, 0.0);
    case MUSTER_GELU_ERF: return x / 2 * (1 + std::erf(x / std::sqrt(2)));
    case MUSTER_GELU_TANH: return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case MUSTER_SILU: return x / (1 + std::exp(-x));
  }
  return x;
}

/** Half a unit of the last place, relative. */
double roundingOf(muster_dtype dtype) {
  constexpr double halfUnits[] = {0x1p-24, 0x1p-11, 0x1p-8};
  return halfUnits[dtype];
}

struct Shape {
  std::uint64_t batches, rows, columns, depth;
};

/** One product with everything about it random, against f64. */
void multiplyAndCompare(std::mt19937& random, Shape shape) {
  const auto dtype = static_cast<muster_dtype>(random() % 3);
  const muster_dtype resultDtype = random() % 2 == 0 ? MUSTER_F32 : dtype;
  Matrices left = input(random, dtype, {shape.batches, shape.rows, shape.depth});
  Matrices right = input(random, dtype, {shape.batches, shape.depth, shape.columns});
  const std::uint64_t rowStride = shape.columns + random() % 3;
  Matrices result(resultDtype, {shape.batches, shape.rows, shape.columns}, rowStride, 1, shape.rows * rowStride + random() % 3);
  const float betas[] = {0, 0, 1, -0.5f};
  const float beta = betas[random() % 4];
  const float alpha = random() % 2 == 0 ? 1 : 0.75f;
  for (std::uint64_t batch = 0; batch < shape.batches; batch++) {
    for (std::uint64_t row = 0; row < shape.rows; row++) {
      for (std::uint64_t column = 0; column < shape.columns; column++) result.at(batch, row, column) = beta == 0 ? std::nanf("") : result.rounded(static_cast<float>(random() % 7));
    }
  }
  std::vector<float> bias(random() % 2 == 0 ? shape.columns : 0);
  for (float& value : bias) value = static_cast<float>(random() % 5) - 2;
  const auto activation = static_cast<muster_activation>(random() % MUSTER_ACTIVATIONS);
  const muster_gemm_call call{shape.batches, shape.rows, shape.columns, shape.depth, left.view(), right.view(), result.view(), alpha, beta, {bias.data(), bias.size(), MUSTER_F32}, activation};
  CHECK(muster_gemm(&call, 1 + random() % 3) == MUSTER_OK);

  const std::vector<float> got = result.readBack();
  std::vector<char> inside(got.size());
  int wrong = 0;
  for (std::uint64_t batch = 0; batch < shape.batches; batch++) {
    for (std::uint64_t row = 0; row < shape.rows; row++) {
      for (std::uint64_t column = 0; column < shape.columns; column++) {
        double sum = 0;
        double magnitude = 0;
        for (std::uint64_t depth = 0; depth < shape.depth; depth++) {
          const double product = static_cast<double>(left.at(batch, row, depth)) * static_cast<double>(right.at(batch, depth, column));
          sum += product;
          magnitude += std::fabs(product);
        }
        const double before = beta == 0 ? 0 : beta * result.at(batch, row, column);
        const double exact = activated(activation, alpha * sum + before + (bias.empty() ? 0 : bias[column]));
        const double tolerance = static_cast<double>(shape.depth + 4) * 0x1p-23 * (magnitude + std::fabs(before) + 2) + roundingOf(resultDtype) * std::fabs(exact) + 0x1p-24;
        const std::uint64_t place = result.place(batch, row, column);
        inside[place] = 1;
        wrong += !(std::fabs(static_cast<double>(got[place]) - exact) <= tolerance);
      }
    }
  }
  for (std::size_t place = 0; place < got.size(); place++) wrong += inside[place] == 0 && got[place] != Matrices::kGuard;
  if (wrong > 0) {
    std::fprintf(stderr, "%d wrong of %zu x %zu x %zu x %zu, dtype %d into %d, beta %g, activation %d\n", wrong, shape.batches, shape.rows, shape.columns, shape.depth,
                 static_cast<int>(dtype), static_cast<int>(resultDtype), static_cast<double>(beta), static_cast<int>(activation));
  }
  CHECK(wrong == 0);
}

void multipliesRandomShapes() {
  std::mt19937 random(21);
  for (int round = 0; round < 150; round++) {
    multiplyAndCompare(random, {random() % 4, random() % 40, random() % 70, random() % 50});
  }
}

/** Depths of several blocks, more rows than a group, and more columns than a unit of work. */
void multipliesWhatNeedsSeveralBlocks() {
  std::mt19937 random(22);
  for (int round = 0; round < 6; round++) {
    multiplyAndCompare(random, {1, 1 + random() % 60, 1 + random() % 60, 300 + random() % 1000});
  }
  for (const Shape shape : {Shape{1, 500, 3, 2}, Shape{1, 3, 300, 2}, Shape{1, 2100, 1, 3}, Shape{1, 2, 2100, 3}, Shape{7, 30, 30, 30}}) multiplyAndCompare(random, shape);
}

/** Sums are made in one order, however the work is shared out. */
void givesTheSameBitsWithAnyThreads() {
  std::mt19937 random(23);
  const Matrices::Shape shape{1, 200, 700};
  Matrices left(MUSTER_F32, {1, shape.rows, 400}, 400, 1, 0);
  Matrices right(MUSTER_F32, {1, 400, shape.columns}, shape.columns, 1, 0);
  left.fill(random);
  right.fill(random);
  std::vector<float> expected;
  for (const std::uint32_t threads : {1u, 2u, 3u, 0u}) {
    Matrices result(MUSTER_F32, shape, shape.columns, 1, 0);
    const muster_gemm_call call{1, shape.rows, shape.columns, 400, left.view(), right.view(), result.view(), 1, 0, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
    CHECK(muster_gemm(&call, threads) == MUSTER_OK);
    if (expected.empty()) expected = result.readBack();
    CHECK(std::memcmp(expected.data(), result.readBack().data(), expected.size() * sizeof(float)) == 0);
  }
}

void refusesWhatIsNoProduct() {
  std::vector<float> memory(100);
  const auto matrices = [&](std::size_t offset, std::uint64_t rowStride) { return muster_matrices{{memory.data() + offset, 20, MUSTER_F32}, rowStride, 1, 0}; };
  const muster_gemm_call right{1, 4, 5, 3, matrices(0, 3), matrices(20, 5), matrices(40, 5), 1, 0, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
  CHECK(muster_gemm(&right, 1) == MUSTER_OK);
  const auto refuses = [&](const char* why, const auto& spoil) {
    muster_gemm_call call = right;
    spoil(call);
    CHECK(muster_gemm(&call, 1) == MUSTER_OUT_OF_RANGE);
    CHECK(std::strstr(muster_last_failure()->message, why) != nullptr);
  };
  refuses("left has 20 elements, too few", [](auto& call) { call.left.row_stride = 6; });
  refuses("right has 20 elements, too few", [](auto& call) { call.right.column_stride = UINT64_MAX; });
  refuses("the result has 20 elements, too few", [](auto& call) { call.rows = 5; call.left.row_stride = 0; });
  refuses("overlap itself", [](auto& call) { call.result.row_stride = 4; });
  refuses("overlap itself", [](auto& call) { call.batches = 2; });
  refuses("must lie in one piece", [](auto& call) { call.result.column_stride = 2; call.result.row_stride = 1; });
  refuses("overlap", [](auto& call) { call.result.tensor.data = call.left.tensor.data; });
  refuses("both inputs must have one dtype", [](auto& call) { call.left.tensor.dtype = MUSTER_BF16; });
  refuses("bias 0 has 4 elements, and 5 are wanted", [&](auto& call) { call.bias = {memory.data() + 80, 4, MUSTER_F32}; });
  refuses("no activation 7", [](auto& call) { call.activation = static_cast<muster_activation>(7); });
}

}  // namespace

int main() {
  return check::runAll({
      {"random shapes, strides, dtypes and epilogues agree with f64", [] { check::atEveryLevel(multipliesRandomShapes); }},
      {"what needs several blocks does, too", [] { check::atEveryLevel(multipliesWhatNeedsSeveralBlocks); }},
      {"any number of threads gives the same bits", [] { check::atEveryLevel(givesTheSameBitsWithAnyThreads); }},
      {"refuses what is no product, and says why", refusesWhatIsNoProduct},
  });
}
