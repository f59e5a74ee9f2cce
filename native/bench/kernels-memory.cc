/** What memory decides: conversions, gradients and optimizers, as parts of memcpy's bandwidth for the bytes that they must move. */
#include "muster/convert.h"
#include "muster/gradients.h"
#include "muster/optimizer.h"

#include <cstdlib>
#include <memory>

#include "measure.h"
#include "kernels/threads.h"

namespace {

/** Far more than the caches hold. */
constexpr std::size_t kElements = std::size_t{32} << 20;
constexpr int kRounds = 15;

struct Contender {
  std::string name;
  double bytes;
  std::function<void()> work;
};

class Memory {
 public:
  explicit Memory(std::size_t elements) : data_(static_cast<float*>(std::aligned_alloc(4096, elements * sizeof(float))), std::free) {
    std::fill(data_.get(), data_.get() + elements, 0.001f);
  }
  muster_tensor tensor(muster_dtype dtype) const { return {data_.get(), kElements, dtype}; }
  void* data() const { return data_.get(); }

 private:
  std::unique_ptr<float, decltype(&std::free)> data_;
};

void benchAll(unsigned threads) {
  const Memory first(kElements), second(kElements), third(kElements), fourth(kElements), small(kElements / 2), copy(kElements / 2);
  const muster_tensor f32 = first.tensor(MUSTER_F32);
  const std::string suffix = threads == 1 ? ", 1 thread" : ", 2 threads";
  const auto millions = static_cast<double>(kElements);
  std::vector<Contender> contenders;
  constexpr std::size_t part = std::size_t{1} << 20;
  contenders.push_back({"memcpy", 8 * millions, [&] {
    muster::kernels::parallelFor(threads, kElements * 4 / part, [&](std::size_t item) {
      std::memcpy(static_cast<char*>(second.data()) + item * part, static_cast<const char*>(first.data()) + item * part, part);
    });
  }});
  contenders.push_back({"memcpy in one call", 8 * millions, [&] { std::memcpy(second.data(), first.data(), kElements * 4); }});
  constexpr struct {
    muster_dtype dtype;
    const char* name;
    double bytes;
  } formats[] = {{MUSTER_F16, "f16", 6}, {MUSTER_BF16, "bf16", 6}, {MUSTER_F8_E4M3, "f8e4m3", 5}, {MUSTER_F8_E5M2, "f8e5m2", 5}};
  for (const auto& format : formats) {
    const muster_tensor target = small.tensor(format.dtype);
    contenders.push_back({std::string("convert f32 to ") + format.name, format.bytes * millions, [=] { muster_convert(&f32, &target, threads); }});
    contenders.push_back({std::string("convert ") + format.name + " to f32", format.bytes * millions, [=, wide = second.tensor(MUSTER_F32)] { muster_convert(&target, &wide, threads); }});
  }
  float found = 0;
  double norm = 0;
  contenders.push_back({"unscale and check f32", 8 * millions, [&] { muster_unscale(&f32, 1, 1, &found, threads); }});
  const muster_tensor halves = small.tensor(MUSTER_BF16);
  contenders.push_back({"unscale and check bf16", 4 * millions, [&] { muster_unscale(&halves, 1, 1, &found, threads); }});
  contenders.push_back({"gradient norm f32", 4 * millions, [&] { muster_gradient_norm(&f32, 1, threads, &norm); }});
  const muster_adam_options adam{.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01, .gradient_factor = 1, .step = 10, .decoupled = 1};
  const muster_adam_parameter mixed{f32, halves, second.tensor(MUSTER_F32), third.tensor(MUSTER_F32), copy.tensor(MUSTER_BF16)};
  contenders.push_back({"AdamW bf16 gradients and copies", 28 * millions, [&, mixed] { muster_adam(&mixed, 1, &adam, threads); }});
  const muster_adam_parameter plain{f32, fourth.tensor(MUSTER_F32), second.tensor(MUSTER_F32), third.tensor(MUSTER_F32), {nullptr, 0, MUSTER_F32}};
  contenders.push_back({"AdamW f32", 28 * millions, [&, plain] { muster_adam(&plain, 1, &adam, threads); }});
  const muster_sgd_options sgd{.learning_rate = 1e-3, .momentum = 0.9, .dampening = 0, .weight_decay = 0.01, .gradient_factor = 1, .nesterov = 0, .first_step = 0};
  const muster_sgd_parameter momentum{f32, halves, second.tensor(MUSTER_F32), copy.tensor(MUSTER_BF16)};
  contenders.push_back({"SGD with momentum, bf16 gradients and copies", 20 * millions, [&, momentum] { muster_sgd(&momentum, 1, &sgd, threads); }});

  std::vector<std::function<void()>> work;
  for (const Contender& contender : contenders) work.push_back(contender.work);
  const auto seconds = bench::measure(work, kRounds);
  for (std::size_t index = 0; index < contenders.size(); index++) {
    const Contender& one = contenders[index];
    bench::print(one.name + suffix, one.bytes / bench::median(seconds[index]) / 1e9, "GB/s", "higher");
    if (index > 0) bench::print(one.name + " to memcpy" + suffix, bench::ratio(seconds[0], seconds[index]) * one.bytes / contenders[0].bytes, "ratio", "higher");
  }
}

}  // namespace

int main(int count, char** arguments) {
  bench::asJson = count > 1 && std::strcmp(arguments[1], "--json") == 0;
  for (const unsigned threads : {1u, 2u}) benchAll(threads);
}
