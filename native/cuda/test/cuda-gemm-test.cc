/** Matrix products on the GPU by every algorithm that the device has, against sums in f64; and which algorithm is chosen. */
#include "device.h"
#include "gemm.h"

namespace {

using namespace check;
using muster::cuda::chooseGemm;

struct Shape {
  std::size_t batches, rows, columns, depth;
};

/** How an input lies: contiguous in depth or in lines, with a gap that keeps vectors or not, or neither. */
enum class Layout { byDepth, byLines, byDepthUneven, byLinesUneven, apart };

struct Strides {
  std::uint64_t line, depth, batch;
  std::size_t elements;
};

Strides stridesOf(Layout layout, std::size_t batches, std::size_t lines, std::size_t depth) {
  const auto even = [](std::size_t value) { return (value + 7) / 8 * 8; };
  const bool isByDepth = layout == Layout::byDepth || layout == Layout::byDepthUneven;
  const std::size_t inner = isByDepth ? depth : lines;
  const std::size_t outer = isByDepth ? lines : depth;
  const bool isEven = layout == Layout::byDepth || layout == Layout::byLines;
  const std::uint64_t gap = layout == Layout::apart ? 3 : 1;
  const std::uint64_t stride = isEven ? even(inner) + 8 : inner * gap + 1;
  const std::uint64_t batch = isEven ? outer * stride : outer * stride + 5;
  return {isByDepth ? stride : gap, isByDepth ? gap : stride, batch, batches * batch};
}

/** A product whose inputs are drawn anew, and its sums in f64. */
class Case {
 public:
  Case(muster_dtype dtype, muster_dtype resultFormat, Shape shape, Layout leftLayout, Layout rightLayout, unsigned seed)
      : shape_(shape),
        leftStrides_(stridesOf(leftLayout, shape.batches, shape.rows, shape.depth)),
        rightStrides_(stridesOf(rightLayout, shape.batches, shape.columns, shape.depth)),
        rowStride_(shape.columns + (seed % 2 == 0 ? 0 : 3)),
        batchStride_(shape.rows * rowStride_ + seed % 3),
        left_(dtype, leftStrides_.elements),
        right_(dtype, rightStrides_.elements),
        result_(resultFormat, shape.batches * batchStride_),
        bias_(MUSTER_F32, shape.columns) {
    left_.fillNormal(seed), right_.fillNormal(seed + 1), result_.fillNormal(seed + 2), bias_.fillNormal(seed + 3);
  }

  muster_gemm_call call(bool onDevice, float alpha, float beta, bool hasBias, muster_activation activation) {
    const auto of = [&](Both& tensor) { return onDevice ? tensor.device() : tensor.host(); };
    return {.batches = shape_.batches,
            .rows = shape_.rows,
            .columns = shape_.columns,
            .depth = shape_.depth,
            .left = {of(left_), leftStrides_.line, leftStrides_.depth, leftStrides_.batch},
            .right = {of(right_), rightStrides_.depth, rightStrides_.line, rightStrides_.batch},
            .result = {of(result_), rowStride_, 1, batchStride_},
            .alpha = alpha,
            .beta = beta,
            .bias = hasBias ? of(bias_) : muster_tensor{nullptr, 0, MUSTER_F32},
            .activation = activation};
  }

  /** Whether the device gives what the CPU does, and leaves what lies between the rows. */
  bool agrees(muster_cuda_gemm_algorithm algorithm, float alpha, float beta, bool hasBias, muster_activation activation) {
    result_.toDevice();
    const muster_gemm_call host = call(false, alpha, beta, hasBias, activation), device = call(true, alpha, beta, hasBias, activation);
    must(muster_cuda_gemm(&device, algorithm, nullptr));
    must(muster_gemm(&host, 1));
    return result_.near(2e-6 * std::sqrt(static_cast<double>(shape_.depth) + 1));
  }

 private:
  Shape shape_;
  Strides leftStrides_, rightStrides_;
  std::uint64_t rowStride_, batchStride_;
  Both left_, right_, result_, bias_;
};

constexpr Layout kLayouts[] = {Layout::byDepth, Layout::byLines, Layout::byDepthUneven, Layout::byLinesUneven, Layout::apart};

/** Tiles that are whole and cut, one and several, and depths that fill the ring and do not. */
constexpr Shape kShapes[] = {{1, 5, 3, 70}, {2, 130, 72, 33}, {1, 128, 128, 128}, {1, 64, 257, 200}, {1, 3, 9, 0}};

void multiplies(muster_cuda_gemm_algorithm algorithm, const std::vector<muster_dtype>& formats, std::size_t shapes = std::size(kShapes)) {
  unsigned seed = 1;
  for (const muster_dtype dtype : formats) {
    for (const Shape& shape : std::vector<Shape>(kShapes, kShapes + shapes)) {
      for (const Layout left : kLayouts) {
        for (const Layout right : kLayouts) {
          seed++;
          if (shape.rows * shape.columns > 2000 && (static_cast<int>(left) + 2 * static_cast<int>(right) + static_cast<int>(seed)) % 8 != 0) continue;  // large ones: some of the 25
          const muster_dtype resultFormat = seed % 2 == 0 ? dtype : MUSTER_F32;
          Case one(dtype, resultFormat, shape, left, right, seed);
          const auto activation = static_cast<muster_activation>(seed % MUSTER_ACTIVATIONS);
          CHECK(one.agrees(algorithm, seed % 3 == 0 ? 0.5f : 1, seed % 4 == 0 ? 0.25f : 0, seed % 5 != 0, activation));
        }
      }
    }
  }
}

void multipliesBySimt() { multiplies(MUSTER_CUDA_GEMM_SIMT, {MUSTER_F32, MUSTER_BF16}); }
void multipliesByMma() { multiplies(MUSTER_CUDA_GEMM_MMA, {MUSTER_F16, MUSTER_BF16}); }
void multipliesByTheBest() { multiplies(MUSTER_CUDA_GEMM_BEST, {MUSTER_F32, MUSTER_F16, MUSTER_BF16}, 1); }

void multipliesByWgmma() {
  unsigned seed = 100;
  for (const muster_dtype dtype : {MUSTER_F16, MUSTER_BF16}) {
    for (const Shape& shape : {Shape{1, 5, 3, 70}, Shape{3, 130, 300, 40}, Shape{1, 128, 256, 64}, Shape{1, 400, 520, 1000}, Shape{2, 64, 264, 328}}) {
      for (const muster_dtype resultFormat : {dtype, MUSTER_F32}) {
        Case one(dtype, resultFormat, shape, Layout::byDepth, Layout::byDepth, seed++);
        const muster_gemm_call call = one.call(true, 1, 0, false, MUSTER_IDENTITY);
        if (muster_cuda_gemm(&call, MUSTER_CUDA_GEMM_WGMMA, nullptr) == MUSTER_UNAVAILABLE) return std::printf("wgmma: not run: %s\n", muster_cuda_last_failure()->message), void();
        CHECK(one.agrees(MUSTER_CUDA_GEMM_WGMMA, 0.5f, 0.25f, true, MUSTER_GELU_TANH));
      }
    }
  }
}

void multipliesByCublasLt() {
  unsigned seed = 200;
  for (const muster_dtype dtype : {MUSTER_F32, MUSTER_F16, MUSTER_BF16}) {
    for (const Layout left : {Layout::byDepth, Layout::byLines}) {
      for (const Layout right : {Layout::byDepth, Layout::byLines}) {
        Case one(dtype, MUSTER_F32, {2, 136, 72, 64}, left, right, seed++);
        const muster_gemm_call call = one.call(true, 1, 0, true, MUSTER_RELU);
        if (muster_cuda_gemm(&call, MUSTER_CUDA_GEMM_CUBLASLT, nullptr) == MUSTER_UNAVAILABLE) return std::printf("cublasLt: not run: %s\n", muster_cuda_last_failure()->message), void();
        CHECK(one.agrees(MUSTER_CUDA_GEMM_CUBLASLT, 0.5f, 0.25f, true, MUSTER_RELU));
        CHECK(one.agrees(MUSTER_CUDA_GEMM_CUBLASLT, 1, 0, false, MUSTER_IDENTITY));
      }
    }
  }
}

void choosesAlgorithms() {
  Case one(MUSTER_BF16, MUSTER_BF16, {2, 64, 64, 64}, Layout::byDepth, Layout::byDepth, 8);
  const auto choice = [&](int capability, bool hasCublasLt, auto change) {
    muster_gemm_call call = one.call(true, 1, 0, true, MUSTER_GELU_TANH);
    change(call);
    return chooseGemm(call, capability, hasCublasLt);
  };
  const auto nothing = [](auto&) {};
  CHECK(choice(90, true, nothing) == MUSTER_CUDA_GEMM_WGMMA);  // the bias is f32 and the result is not
  CHECK(choice(90, true, [](auto& call) { call.bias.elements = 0; }) == MUSTER_CUDA_GEMM_CUBLASLT);
  CHECK(choice(90, true, [](auto& call) { call.bias.elements = 0, call.activation = MUSTER_SILU; }) == MUSTER_CUDA_GEMM_WGMMA);
  CHECK(choice(80, false, nothing) == MUSTER_CUDA_GEMM_MMA && choice(100, false, nothing) == MUSTER_CUDA_GEMM_MMA);
  CHECK(choice(90, false, [](auto& call) { call.left.row_stride++; }) == MUSTER_CUDA_GEMM_MMA);
  CHECK(choice(90, false, [](auto& call) { std::swap(call.right.row_stride, call.right.column_stride); }) == MUSTER_CUDA_GEMM_MMA);
  CHECK(choice(90, false, [](auto& call) { call.right.batch_stride = 0; }) == MUSTER_CUDA_GEMM_MMA);
  CHECK(choice(90, false, [](auto& call) { call.left.tensor.data = static_cast<char*>(call.left.tensor.data) + 2; }) == MUSTER_CUDA_GEMM_MMA);
  CHECK(choice(90, false, [](auto& call) { call.left.tensor.dtype = call.right.tensor.dtype = MUSTER_F32; }) == MUSTER_CUDA_GEMM_SIMT);
  CHECK(choice(90, true, [](auto& call) { call.depth = 0, call.bias.elements = 0; }) == MUSTER_CUDA_GEMM_MMA);
}

void refusesWhatItCannot() {
  Case one(MUSTER_F32, MUSTER_F32, {1, 8, 8, 8}, Layout::byDepth, Layout::byDepth, 9);
  muster_gemm_call call = one.call(true, 1, 0, false, MUSTER_IDENTITY);
  CHECK(muster_cuda_gemm(&call, MUSTER_CUDA_GEMM_MMA, nullptr) == MUSTER_UNAVAILABLE);
  CHECK(muster_cuda_gemm(&call, static_cast<muster_cuda_gemm_algorithm>(9), nullptr) == MUSTER_OUT_OF_RANGE);
  call.left.row_stride = 1000;
  CHECK(muster_cuda_gemm(&call, MUSTER_CUDA_GEMM_BEST, nullptr) == MUSTER_OUT_OF_RANGE);
}

void placesEveryTileOnce() {
  for (const muster::cuda::TileGrid grid : {muster::cuda::TileGrid{1, 1}, {8, 3}, {19, 5}, {3, 40}, {16, 16}}) {
    std::vector<int> seen(grid.rowTiles * grid.columnTiles);
    for (std::uint64_t index = 0; index < seen.size(); index++) {
      std::uint32_t row = 0, column = 0;
      placeTile(grid, index, row, column);
      CHECK(row < grid.rowTiles && column < grid.columnTiles);
      seen[row * grid.columnTiles + column]++;
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
  }
}

}  // namespace

int main() {
  return check::runOnDevice({
      {"multiplies by f32 multiply-adds", multipliesBySimt},
      {"multiplies by mma", multipliesByMma},
      {"multiplies by wgmma", multipliesByWgmma},
      {"multiplies by cublasLt", multipliesByCublasLt},
      {"multiplies by the best algorithm", multipliesByTheBest},
      {"chooses by capability, formats, strides and epilogue", choosesAlgorithms},
      {"places every tile once", placesEveryTileOnce},
      {"refuses what an algorithm cannot", refusesWhatItCannot},
  });
}
