/** Matrix products against OpenBLAS and oneDNN, which are used where they are installed: all take turns with the same matrices. */
#include "muster/gemm.h"

#include <cmath>
#include <memory>
#include <random>

#include <dlfcn.h>

#include "measure.h"

namespace {

constexpr unsigned kThreads = 2;

using SetThreads = void (*)(int);

/** C interfaces as their manuals give them; matrices row by row. */
using CblasSgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
using DnnlSgemm = int (*)(char, char, std::int64_t, std::int64_t, std::int64_t, float, const float*, std::int64_t, const float*, std::int64_t, float, float*, std::int64_t);

template <class Function>
Function find(void* library, const char* name) {
  return reinterpret_cast<Function>(::dlsym(library, name));
}

struct Shape {
  std::string name;
  int batches;
  int rows;
  int columns;
  int depth;
  /** Whether they lie column by column: the other's transpose. */
  bool leftTransposed = false;
  bool rightTransposed = false;
};

Shape square(int size) { return {std::to_string(size), 1, size, size, size}; }

/** One of a batch. */
struct Product {
  const Shape& shape;
  const float* left;
  const float* right;
  float* result;

  int leftStride() const { return shape.leftTransposed ? shape.rows : shape.depth; }
  int rightStride() const { return shape.rightTransposed ? shape.depth : shape.columns; }
};

struct Peer {
  std::string name;
  std::function<void(const Product&)> multiply;
};

std::vector<Peer> peers() {
  std::vector<Peer> found;
  if (void* library = ::dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL)) {
    find<SetThreads>(library, "openblas_set_num_threads")(kThreads);
    constexpr int rowMajor = 101;
    constexpr int asItIs = 111;
    constexpr int transposed = 112;
    found.push_back({"OpenBLAS", [multiply = find<CblasSgemm>(library, "cblas_sgemm")](const Product& product) {
                       const Shape& shape = product.shape;
                       multiply(rowMajor, shape.leftTransposed ? transposed : asItIs, shape.rightTransposed ? transposed : asItIs, shape.rows, shape.columns, shape.depth, 1, product.left,
                                product.leftStride(), product.right, product.rightStride(), 0, product.result, shape.columns);
                     }});
  } else {
    bench::skip("OpenBLAS", "libopenblas.so.0 is not there: install libopenblas0");
  }
  void* library = nullptr;
  for (const char* name : {"libdnnl.so.3", "libdnnl.so.2"}) library = library != nullptr ? library : ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) {
    if (const auto setThreads = find<SetThreads>(library, "omp_set_num_threads")) setThreads(kThreads);
    found.push_back({"oneDNN", [multiply = find<DnnlSgemm>(library, "dnnl_sgemm")](const Product& product) {
                       const Shape& shape = product.shape;
                       multiply(shape.leftTransposed ? 'T' : 'N', shape.rightTransposed ? 'T' : 'N', shape.rows, shape.columns, shape.depth, 1, product.left, product.leftStride(), product.right,
                                product.rightStride(), 0, product.result, shape.columns);
                     }});
  } else {
    bench::skip("oneDNN", "libdnnl is not there: install libdnnl2");
  }
  return found;
}

muster_matrices matricesOf(const void* data, muster_dtype dtype, int batches, int rows, int columns, bool isTransposed) {
  const auto each = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(columns);
  const auto rowStride = static_cast<std::uint64_t>(isTransposed ? 1 : columns);
  const auto columnStride = static_cast<std::uint64_t>(isTransposed ? rows : 1);
  return {{const_cast<void*>(data), static_cast<std::uint64_t>(batches) * each, dtype}, rowStride, columnStride, each};
}

muster_gemm_call callOf(const Shape& shape, muster_dtype dtype, const void* left, const void* right, float* result) {
  return {static_cast<std::uint64_t>(shape.batches), static_cast<std::uint64_t>(shape.rows), static_cast<std::uint64_t>(shape.columns), static_cast<std::uint64_t>(shape.depth),
          matricesOf(left, dtype, shape.batches, shape.rows, shape.depth, shape.leftTransposed), matricesOf(right, dtype, shape.batches, shape.depth, shape.columns, shape.rightTransposed),
          matricesOf(result, MUSTER_F32, shape.batches, shape.rows, shape.columns, false), 1, 0, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
}

void benchShape(const Shape& shape, const std::vector<Peer>& others) {
  const auto count = [&](int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); };
  const std::size_t leftCount = count(shape.rows, shape.depth), rightCount = count(shape.depth, shape.columns), resultCount = count(shape.rows, shape.columns);
  const auto batches = static_cast<std::size_t>(shape.batches);
  std::vector<float> left(batches * leftCount), right(batches * rightCount), result(batches * resultCount);
  const std::vector<std::uint16_t> leftHalves(left.size(), 0x3f80), rightHalves(right.size(), 0x3f80);
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (float& value : left) value = uniform(random);
  for (float& value : right) value = uniform(random);
  const double once = 2.0 * shape.batches * shape.rows * shape.columns * shape.depth;
  const int repeats = std::max(1, static_cast<int>(6e8 / once));  // about as much work in each turn
  const muster_gemm_call call = callOf(shape, MUSTER_F32, left.data(), right.data(), result.data());
  const muster_gemm_call bf16 = callOf(shape, MUSTER_BF16, leftHalves.data(), rightHalves.data(), result.data());
  std::vector<std::function<void()>> work{[&] { for (int repeat = 0; repeat < repeats; repeat++) muster_gemm(&call, kThreads); },
                                          [&] { for (int repeat = 0; repeat < repeats; repeat++) muster_gemm(&bf16, kThreads); }};
  for (const Peer& peer : others) {
    work.push_back([&, multiply = peer.multiply] {
      for (int repeat = 0; repeat < repeats; repeat++) {
        for (std::size_t batch = 0; batch < batches; batch++) multiply({shape, left.data() + batch * leftCount, right.data() + batch * rightCount, result.data() + batch * resultCount});
      }
    });
  }
  const auto seconds = bench::measure(work, 21);
  const double flops = once * repeats;
  const std::string suffix = shape.name + ", 2 threads";
  bench::print("gemm f32 " + suffix, flops / bench::median(seconds[0]) / 1e9, "GFLOP/s", "higher");
  bench::print("gemm bf16 " + suffix, flops / bench::median(seconds[1]) / 1e9, "GFLOP/s", "higher");
  for (std::size_t index = 0; index < others.size(); index++) {
    bench::print(others[index].name + " f32 " + suffix, flops / bench::median(seconds[index + 2]) / 1e9, "GFLOP/s", "higher");
    bench::print("gemm f32 to " + others[index].name + " " + suffix, bench::ratio(seconds[index + 2], seconds[0]), "ratio", "higher");
  }
}

}  // namespace

int main(int count, char** arguments) {
  bench::asJson = count > 1 && std::strcmp(arguments[1], "--json") == 0;
  const std::vector<Peer> others = peers();
  for (const int size : {64, 128, 256, 512, 1024, 2048}) benchShape(square(size), others);
  // What training asks for: a layer of a batch of 128, forward and to its weights; one of 16 x 128 tokens; the scores of 64 heads.
  for (const Shape& shape : {Shape{"128 x 784 x 256", 1, 128, 256, 784}, Shape{"784 x 128 x 256 of a transpose", 1, 784, 256, 128, true}, Shape{"2048 x 128 x 512", 1, 2048, 512, 128},
                             Shape{"128 x 2048 x 512 of a transpose", 1, 128, 512, 2048, true}, Shape{"64 times 128 x 32 x 128 by a transpose", 64, 128, 128, 32, false, true}}) {
    benchShape(shape, others);
  }
}
