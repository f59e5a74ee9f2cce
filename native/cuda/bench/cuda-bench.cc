/**
 * What the GPU's kernels reach: bandwidths for the bytes that they must move against a device copy in the same run, products against cublasLt, and attention. Every contender runs in every
 * round, medians of events count, and inputs are random and larger than the caches. Prints tab-separated lines: name, value, unit, part of the yardstick.
 */
#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "collective.h"
#include "device.h"

namespace {

using namespace check;

constexpr int kRounds = 21;
/** 256 MiB of f32: five times the largest second cache. */
constexpr std::size_t kElements = std::size_t{64} << 20;

class Timer {
 public:
  Timer() { must(muster_cuda_event_create(&start_)), must(muster_cuda_event_create(&end_)); }
  /** Milliseconds of `work`. */
  double time(const std::function<void()>& work) {
    must(muster_cuda_event_record(start_, nullptr));
    work();
    must(muster_cuda_event_record(end_, nullptr));
    must(muster_cuda_event_wait(end_, 60'000));
    float elapsed = 0;
    must(muster_cuda_event_elapsed(start_, end_, &elapsed));
    return elapsed;
  }

 private:
  muster_cuda_event start_ = nullptr, end_ = nullptr;
};

struct Contender {
  std::string name;
  /** Bytes or FLOPs. */
  double amount;
  std::function<void()> work;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/** Amounts a second, in units of 10^`digits`; the first contender is the yardstick. */
void race(const std::vector<Contender>& contenders, const char* unit, double scale) {
  Timer timer;
  std::vector<std::vector<double>> times(contenders.size());
  for (int round = -3; round < kRounds; round++) {  // the first ones load code and warm up
    for (std::size_t index = 0; index < contenders.size(); index++) {
      const double elapsed = timer.time(contenders[index].work);
      if (round >= 0) times[index].push_back(elapsed);
    }
  }
  const auto rate = [&](std::size_t index) { return contenders[index].amount / (median(times[index]) / 1e3) / scale; };
  for (std::size_t index = 0; index < contenders.size(); index++) std::printf("%s\t%.1f\t%s\t%.2f\n", contenders[index].name.c_str(), rate(index), unit, rate(index) / rate(0));
  std::fflush(stdout);
}

/** Device memory with random bits that are numbers of about 1 in every format. */
class Memory {
 public:
  explicit Memory(std::size_t elements, muster_dtype dtype) : elements_(elements), format_(dtype) {
    must(muster_cuda_allocate(elements * bytesOf(dtype), &data_));
    constexpr std::size_t block = 1 << 20;
    std::vector<unsigned char> bytes(block * bytesOf(dtype));
    std::mt19937 random(static_cast<unsigned>(elements) + static_cast<unsigned>(dtype));
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (std::size_t index = 0; index < block; index++) writeAs(dtype, bytes.data(), index, uniform(random));
    for (std::size_t at = 0; at < elements; at += block) {
      must(muster_cuda_copy(static_cast<unsigned char*>(data_) + at * bytesOf(dtype), bytes.data(), std::min(block, elements - at) * bytesOf(dtype), nullptr));
    }
    finish();
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { must(muster_cuda_free(data_)); }
  muster_tensor tensor() const { return {data_, elements_, format_}; }
  void* data() const { return data_; }

 private:
  std::size_t elements_;
  muster_dtype format_;
  void* data_ = nullptr;
};

void raceMemory() {
  const Memory first(kElements, MUSTER_F32), second(kElements, MUSTER_F32), third(kElements, MUSTER_F32), small(kElements, MUSTER_BF16), copy(kElements, MUSTER_BF16),
      byte(kElements, MUSTER_F8_E4M3);
  must(muster_cuda_fill(third.data(), 0, kElements * 4, nullptr));
  const muster_tensor f32 = first.tensor(), wide = second.tensor(), bf16 = small.tensor(), half = copy.tensor(), f8 = byte.tensor();
  DeviceNumber<muster_cuda_loss_scale> state({.scale = 1, .found_inf = 0, .growth_tracker = 0, .reserved = 0, .steps = 0});
  DeviceNumber<double> number(0);
  constexpr muster_adam_options adam{.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01, .gradient_factor = 1, .step = 1, .decoupled = 1};
  constexpr muster_sgd_options sgd{.learning_rate = 1e-3, .momentum = 0.9, .dampening = 0, .weight_decay = 0, .gradient_factor = 1, .nesterov = 0, .first_step = 0};
  const muster_adam_parameter adamParameter{f32, bf16, wide, third.tensor(), half};
  const muster_sgd_parameter sgdParameter{f32, bf16, wide, half};
  constexpr std::uint64_t columns = 4096;
  const double count = kElements;
  race({{"device copy", 8 * count, [&] { must(muster_cuda_copy(second.data(), first.data(), kElements * 4, nullptr)); }},
        {"convert f32 to bf16", 6 * count, [&] { must(muster_cuda_convert(&f32, &half, nullptr)); }},
        {"convert bf16 to f32", 6 * count, [&] { must(muster_cuda_convert(&bf16, &wide, nullptr)); }},
        {"convert f32 to f8e4m3", 5 * count, [&] { must(muster_cuda_convert(&f32, &f8, nullptr)); }},
        {"unscale bf16", 4 * count, [&] { must(muster_cuda_unscale(&half, 1, state.address(), nullptr)); }},
        {"gradient norm bf16", 2 * count, [&] { must(muster_cuda_gradient_norm(&bf16, 1, number.address(), nullptr)); }},
        {"sgd with momentum, bf16", 20 * count, [&] { must(muster_cuda_sgd(&sgdParameter, 1, &sgd, nullptr, nullptr)); }},
        {"AdamW, bf16", 28 * count, [&] { must(muster_cuda_adam(&adamParameter, 1, &adam, nullptr, nullptr)); }},
        {"GELU bf16", 4 * count, [&] { must(muster_cuda_activate(MUSTER_GELU_TANH, &bf16, &half, nullptr)); }},
        {"softmax bf16, 4096 columns", 4 * count, [&] { must(muster_cuda_softmax(&bf16, columns, &half, nullptr)); }}},
       "GB/s", 1e9);
}

/** The kernel of ranks that share a GPU: it reads n inputs and writes one result. */
void raceReductions() {
  constexpr std::size_t elements = kElements / 2;
  constexpr unsigned ranks = 4;
  const Memory inputs(ranks * elements, MUSTER_F32), target(elements, MUSTER_F32);
  DeviceNumber<float> found(0);
  std::vector<Contender> contenders{{"device copy", 8.0 * elements, [&] { must(muster_cuda_copy(target.data(), inputs.data(), elements * 4, nullptr)); }}};
  for (const muster_dtype dtype : {MUSTER_F32, MUSTER_BF16}) {
    for (const unsigned size : {2u, ranks}) {
      muster::cuda::ReduceCall call{dtype, MUSTER_SUM, size, elements, {}, target.data(), found.address()};
      for (unsigned rank = 0; rank < size; rank++) call.inputs[rank] = static_cast<float*>(inputs.data()) + rank * elements;
      const std::string name = "shared allReduce, " + std::to_string(size) + " ranks, " + (dtype == MUSTER_F32 ? "f32" : "bf16");
      contenders.push_back({name, static_cast<double>((size + 1) * elements * bytesOf(dtype)), [=] { must(muster::cuda::startReduce(call, nullptr)); }});
    }
  }
  race(contenders, "GB/s", 1e9);
}

void raceProducts(std::uint64_t side) {
  const Memory left(side * side, MUSTER_BF16), right(side * side, MUSTER_BF16), result(side * side, MUSTER_BF16);
  const muster_gemm_call call{.batches = 1, .rows = side, .columns = side, .depth = side, .left = {left.tensor(), side, 1, 0}, .right = {right.tensor(), 1, side, 0}, .result = {result.tensor(), side, 1, 0},
                              .alpha = 1, .beta = 0, .bias = {}, .activation = MUSTER_IDENTITY};
  std::vector<Contender> contenders;
  for (const auto& [algorithm, name] : {std::pair{MUSTER_CUDA_GEMM_CUBLASLT, "cublasLt"}, {MUSTER_CUDA_GEMM_WGMMA, "own wgmma"}, {MUSTER_CUDA_GEMM_MMA, "own mma"}}) {
    if (muster_cuda_gemm(&call, algorithm, nullptr) != MUSTER_OK) {
      std::fprintf(stderr, "%s: skipped, %s\n", name, muster_cuda_last_failure()->message);
      continue;
    }
    const double flops = 2.0 * static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(side);
    contenders.push_back({std::string("product bf16 ") + std::to_string(side) + ", " + name, flops, [=] { must(muster_cuda_gemm(&call, algorithm, nullptr)); }});
  }
  finish();
  if (!contenders.empty()) race(contenders, "TFLOP/s", 1e12);
}

/** GPT-2's: 12 heads of 64 numbers, causal. Backward counts 5 products, as others do; ours computes 7. */
void raceAttention() {
  constexpr std::uint64_t batches = 4, heads = 12, places = 1024, width = 64;
  constexpr std::uint64_t size = batches * places * heads * width;
  const Memory inputs(3 * size, MUSTER_BF16), result(size, MUSTER_BF16), sums(batches * heads * places, MUSTER_F32), upper(size, MUSTER_BF16), gradients(3 * size, MUSTER_BF16);
  const auto part = [&](const Memory& joint, std::uint64_t index) {
    return muster_heads{{static_cast<std::uint16_t*>(joint.data()) + index * heads * width, 3 * size - index * heads * width, MUSTER_BF16}, places * 3 * heads * width, width, 3 * heads * width};
  };
  const auto whole = [&](const Memory& own) { return muster_heads{own.tensor(), places * heads * width, width, heads * width}; };
  const muster_attention_shape shape{batches, heads, places, places, width, 0.125f, 1};
  const muster_attention_call call{shape, part(inputs, 0), part(inputs, 1), part(inputs, 2), whole(result), sums.tensor()};
  const muster_attention_backward_call back{shape, call.query, call.key, call.value, call.result, call.log_sums, whole(upper), part(gradients, 0), part(gradients, 1), part(gradients, 2)};
  const double product = 2.0 * batches * heads * places * places * width / 2;
  race({{"attention bf16, forward", 2 * product, [&] { must(muster_cuda_attention(&call, nullptr)); }},
        {"attention bf16, backward", 5 * product, [&] { must(muster_cuda_attention_backward(&back, nullptr)); }}},
       "TFLOP/s", 1e12);
}

}  // namespace

int main() {
  std::uint32_t devices = 0;
  if (muster_cuda_device_count(&devices) != MUSTER_OK || devices == 0) return std::printf("no GPU: nothing was timed\n"), EXIT_SUCCESS;
  muster_cuda_device device;
  must(muster_cuda_device_describe(0, &device));
  std::printf("# %s, compute capability %u.%u, %u multiprocessors\n", device.name, device.major, device.minor, device.multiprocessors);
  raceMemory();
  raceReductions();
  for (const std::uint64_t side : {4096, 8192}) raceProducts(side);
  raceAttention();
  return EXIT_SUCCESS;
}
