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

struct Product {
  int size;
  const float* left;
  const float* right;
  float* result;
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
    found.push_back({"OpenBLAS", [multiply = find<CblasSgemm>(library, "cblas_sgemm")](const Product& product) {
                       const int n = product.size;
                       multiply(rowMajor, asItIs, asItIs, n, n, n, 1, product.left, n, product.right, n, 0, product.result, n);
                     }});
  } else {
    bench::skip("OpenBLAS", "libopenblas.so.0 is not there: install libopenblas0");
  }
  void* library = nullptr;
  for (const char* name : {"libdnnl.so.3", "libdnnl.so.2"}) library = library != nullptr ? library : ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) {
    if (const auto setThreads = find<SetThreads>(library, "omp_set_num_threads")) setThreads(kThreads);
    found.push_back({"oneDNN", [multiply = find<DnnlSgemm>(library, "dnnl_sgemm")](const Product& product) {
                       const int n = product.size;
                       multiply('N', 'N', n, n, n, 1, product.left, n, product.right, n, 0, product.result, n);
                     }});
  } else {
    bench::skip("oneDNN", "libdnnl is not there: install libdnnl2");
  }
  return found;
}

muster_gemm_call callOf(const Product& product, muster_dtype dtype, const void* left, const void* right) {
  const auto n = static_cast<std::uint64_t>(product.size);
  const auto matrices = [&](const void* data, muster_dtype of) { return muster_matrices{{const_cast<void*>(data), n * n, of}, n, 1, 0}; };
  return {1, n, n, n, matrices(left, dtype), matrices(right, dtype), matrices(product.result, MUSTER_F32), 1, 0, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
}

void benchSize(int size, const std::vector<Peer>& others) {
  const auto count = static_cast<std::size_t>(size) * static_cast<std::size_t>(size);
  std::vector<float> left(count), right(count), result(count);
  std::vector<std::uint16_t> halves(count, 0x3f80);
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (float& value : left) value = uniform(random);
  for (float& value : right) value = uniform(random);
  const Product product{size, left.data(), right.data(), result.data()};
  const int repeats = std::max(1, static_cast<int>(3e8 / std::pow(size, 3)));  // about as much work in each turn
  const muster_gemm_call call = callOf(product, MUSTER_F32, left.data(), right.data());
  const muster_gemm_call bf16 = callOf(product, MUSTER_BF16, halves.data(), halves.data());
  std::vector<std::function<void()>> work{[&] { for (int repeat = 0; repeat < repeats; repeat++) muster_gemm(&call, kThreads); },
                                          [&] { for (int repeat = 0; repeat < repeats; repeat++) muster_gemm(&bf16, kThreads); }};
  for (const Peer& peer : others) work.push_back([&, multiply = peer.multiply] { for (int repeat = 0; repeat < repeats; repeat++) multiply(product); });
  const auto seconds = bench::measure(work, 21);
  const double flops = 2 * std::pow(size, 3) * repeats;
  const std::string suffix = std::to_string(size) + ", 2 threads";
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
  for (const int size : {64, 128, 256, 512, 1024, 2048}) benchSize(size, others);
}
