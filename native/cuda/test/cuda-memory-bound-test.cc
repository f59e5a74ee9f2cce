/** Conversions, gradients, the loss scale and optimizers on the GPU, against the CPU's kernels: the same bits. */
#include "device.h"

namespace {

using namespace check;

/** Sizes that fill no vector, some, and several chunks; the last is not a multiple of a vector. */
constexpr std::size_t kSizes[] = {1, 7, 16, 33, 1000, 40'003};

constexpr muster_dtype kSmall[] = {MUSTER_F16, MUSTER_BF16, MUSTER_F8_E4M3, MUSTER_F8_E5M2};

bool convertsAsTheCpu(Both& source, Both& target) {
  const muster_tensor from = source.host(), to = target.host(), fromDevice = source.device(), toDevice = target.device();
  must(muster_convert(&from, &to, 1));
  must(muster_cuda_convert(&fromDevice, &toDevice, nullptr));
  return target.same();
}

void convertsEveryNumber() {
  for (const muster_dtype dtype : kSmall) {
    const std::size_t codes = bytesOf(dtype) == 2 ? 65536 : 256;
    Both source(dtype, codes), target(MUSTER_F32, codes);
    for (std::size_t code = 0; code < codes; code++) {
      if (bytesOf(dtype) == 2) {
        static_cast<std::uint16_t*>(source.host().data)[code] = static_cast<std::uint16_t>(code);
      } else {
        static_cast<std::uint8_t*>(source.host().data)[code] = static_cast<std::uint8_t>(code);
      }
    }
    source.toDevice();
    CHECK(convertsAsTheCpu(source, target));
  }
}

void roundsAsTheCpu() {
  // Every exponent with mantissas that are exact, ties and their neighbours, both signs, infinities and NaNs of several payloads.
  std::vector<std::uint32_t> patterns;
  for (std::uint32_t exponent = 0; exponent < 512; exponent++) {
    for (int bit = 0; bit <= 23; bit++) {
      for (const int shift : {-1, 0, 1}) patterns.push_back((exponent << 23) + (((1u << bit) - 1 + static_cast<std::uint32_t>(shift)) & 0x7fffff));
    }
    for (const std::uint32_t mantissa : {0x455555u, 0x2aaaaau, 0x600000u, 0x700000u, 0x7c0000u, 0x7fefffu, 0x7ff000u, 0x00e000u, 0x018000u}) patterns.push_back(exponent << 23 | mantissa);
  }
  for (const muster_dtype dtype : kSmall) {
    for (const std::size_t shift : {0, 1}) {
      Both source(MUSTER_F32, patterns.size(), shift), target(dtype, patterns.size(), shift);
      std::memcpy(source.host().data, patterns.data(), patterns.size() * 4);
      source.toDevice();
      CHECK(convertsAsTheCpu(source, target));
    }
  }
}

/** A list of tensors of all sizes and some alignments. */
class List {
 public:
  List(muster_dtype dtype, unsigned seed, float deviation) {
    for (std::size_t copy = 0; copy < 10; copy++) {  // more than a launch takes
      for (const std::size_t size : kSizes) {
        if (size > 2000 && copy > 1) continue;
        tensors_.push_back(std::make_unique<Both>(dtype, size, copy % 3 == 2 ? 1 : 0));
        tensors_.back()->fillNormal(seed + static_cast<unsigned>(tensors_.size()), deviation);
      }
    }
  }
  Both& at(std::size_t index) { return *tensors_[index]; }
  std::size_t size() const { return tensors_.size(); }
  std::vector<muster_tensor> host() {
    std::vector<muster_tensor> list;
    for (auto& one : tensors_) list.push_back(one->host());
    return list;
  }
  std::vector<muster_tensor> device() {
    std::vector<muster_tensor> list;
    for (auto& one : tensors_) list.push_back(one->device());
    return list;
  }
  bool same() {
    return std::all_of(tensors_.begin(), tensors_.end(), [](auto& one) { return one->same(); });
  }

 private:
  std::vector<std::unique_ptr<Both>> tensors_;
};

void unscalesAndFindsInfinities() {
  for (const muster_dtype dtype : kTraining) {
    List gradients(dtype, 1, 100);
    DeviceNumber<muster_cuda_loss_scale> state({.scale = 3, .found_inf = 0, .growth_tracker = 0, .reserved = 0, .steps = 0});
    float found = 0;
    for (int round = 0; round < 2; round++) {
      const auto host = gradients.host(), device = gradients.device();
      must(muster_unscale(host.data(), host.size(), 3, &found, 1));
      must(muster_cuda_unscale(device.data(), device.size(), state.address(), nullptr));
      CHECK(gradients.same());
      CHECK(state.get().found_inf == static_cast<float>(round) && found == static_cast<float>(round));
      gradients.at(5).set(39'000, INFINITY);
      gradients.at(5).toDevice();
    }
  }
}

void normsAndClips() {
  for (const muster_dtype dtype : kTraining) {
    List gradients(dtype, 2, 5);
    const auto host = gradients.host(), device = gradients.device();
    double norm = 0;
    DeviceNumber<double> found(-1);
    must(muster_gradient_norm(host.data(), host.size(), 1, &norm));
    must(muster_cuda_gradient_norm(device.data(), device.size(), found.address(), nullptr));
    CHECK(std::fabs(found.get() / norm - 1) < 1e-13);
    must(muster_cuda_clip_gradients(device.data(), device.size(), 2 * norm, found.address(), nullptr));
    CHECK(gradients.same());  // a norm that is small enough leaves every bit
    const double before = found.get();
    must(muster_clip_gradients(host.data(), host.size(), 1.5, 1, &norm));
    must(muster_cuda_clip_gradients(device.data(), device.size(), 1.5, found.address(), nullptr));
    CHECK(found.get() == before && gradients.same());
  }
  DeviceNumber<double> none(-1);
  must(muster_cuda_gradient_norm(nullptr, 0, none.address(), nullptr));
  CHECK(none.get() == 0);
}

void scalesTheLossAsPyTorch() {
  DeviceNumber<muster_cuda_loss_scale> state({.scale = 65536, .found_inf = 0, .growth_tracker = 0, .reserved = 0, .steps = 0});
  const muster_cuda_loss_scale_options options{2, 0.5f, 3};
  const auto update = [&](float found) {
    muster_cuda_loss_scale now = state.get();
    now.found_inf = found;
    state.set(now);
    must(muster_cuda_loss_scale_update(state.address(), &options, nullptr));
    return state.get();
  };
  CHECK(update(0).scale == 65536 && update(0).growth_tracker == 2);
  muster_cuda_loss_scale now = update(0);
  CHECK(now.scale == 131072 && now.growth_tracker == 0 && now.steps == 3);
  update(0);
  now = update(1);
  CHECK(now.scale == 65536 && now.growth_tracker == 0 && now.found_inf == 0 && now.steps == 4);
  state.set({.scale = 3e38f, .found_inf = 0, .growth_tracker = 2, .reserved = 0, .steps = 9});
  CHECK(update(0).scale == 3e38f);  // what is not finite it does not grow to
  const muster_cuda_loss_scale_options wrong{1, 0.5f, 3};
  CHECK(muster_cuda_loss_scale_update(state.address(), &wrong, nullptr) == MUSTER_OUT_OF_RANGE);
}

constexpr muster_adam_options kAdam{.learning_rate = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .gradient_factor = 0.5, .step = 1, .decoupled = 1};
constexpr muster_sgd_options kSgd{.learning_rate = 0.01, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.1, .gradient_factor = 0.5, .nesterov = 0, .first_step = 1};

/** Parameters in all of which both devices start alike. */
struct Model {
  List weights{MUSTER_F32, 3, 1};
  List gradients;
  List first{MUSTER_F32, 5, 0.1f};
  List second{MUSTER_F32, 6, 0};
  List copies;
  bool hasCopies;

  Model(muster_dtype gradient, muster_dtype copy) : gradients(gradient, 4, 2), copies(copy == MUSTER_F32 ? MUSTER_F16 : copy, 7, 1), hasCopies(copy != MUSTER_F32) {}

  template <class Take>
  auto adam(Take take) {
    std::vector<muster_adam_parameter> list;
    for (std::size_t index = 0; index < weights.size(); index++) {
      list.push_back({take(weights.at(index)), take(gradients.at(index)), take(first.at(index)), take(second.at(index)), hasCopies ? take(copies.at(index)) : muster_tensor{}});
    }
    return list;
  }
  template <class Take>
  auto sgd(Take take) {
    std::vector<muster_sgd_parameter> list;
    for (std::size_t index = 0; index < weights.size(); index++) {
      list.push_back({take(weights.at(index)), take(gradients.at(index)), take(first.at(index)), hasCopies ? take(copies.at(index)) : muster_tensor{}});
    }
    return list;
  }
  bool same() { return weights.same() && gradients.same() && first.same() && second.same() && copies.same(); }
};

muster_tensor onHost(Both& tensor) { return tensor.host(); }
muster_tensor onDevice(Both& tensor) { return tensor.device(); }

void adamGivesTheCpusBits() {
  for (const muster_dtype gradient : kTraining) {
    for (const muster_dtype copy : kTraining) {
      Model model(gradient, copy);
      muster_adam_options options = kAdam;
      options.decoupled = copy != MUSTER_F16;
      const auto host = model.adam(onHost), device = model.adam(onDevice);
      for (options.step = 1; options.step < 4; options.step++) {
        must(muster_adam(host.data(), host.size(), &options, 1));
        must(muster_cuda_adam(device.data(), device.size(), &options, nullptr, nullptr));
      }
      CHECK(model.same());
    }
  }
}

void sgdGivesTheCpusBits() {
  for (const muster_dtype gradient : kTraining) {
    for (const muster_dtype copy : {MUSTER_F32, MUSTER_BF16}) {
      for (const int variant : {0, 1, 2}) {
        Model model(gradient, copy);
        muster_sgd_options options = kSgd;
        if (variant == 1) options.nesterov = 1, options.dampening = 0;
        if (variant == 2) options.momentum = 0;
        const auto host = model.sgd(onHost), device = model.sgd(onDevice);
        for (options.first_step = 1; options.first_step >= 0; options.first_step--) {
          must(muster_sgd(host.data(), host.size(), &options, 1));
          must(muster_cuda_sgd(device.data(), device.size(), &options, nullptr, nullptr));
        }
        CHECK(model.same());
      }
    }
  }
}

void skipsStepsAfterAnInfinity() {
  Model model(MUSTER_BF16, MUSTER_BF16);
  DeviceNumber<muster_cuda_loss_scale> state({.scale = 2, .found_inf = 1, .growth_tracker = 0, .reserved = 0, .steps = 4});
  const auto host = model.adam(onHost), device = model.adam(onDevice);
  muster_adam_options options = kAdam;
  must(muster_cuda_adam(device.data(), device.size(), &options, state.address(), nullptr));
  CHECK(model.same());
  state.set({.scale = 2, .found_inf = 0, .growth_tracker = 0, .reserved = 0, .steps = 4});
  must(muster_cuda_adam(device.data(), device.size(), &options, state.address(), nullptr));
  options.step = 5;
  must(muster_adam(host.data(), host.size(), &options, 1));
  bool isNear = true;  // the device's own powers of beta: not always the host's last bit
  for (std::size_t index = 0; index < model.weights.size(); index++) isNear = isNear && model.weights.at(index).near(1e-6);
  CHECK(isNear && model.first.same());
}

void refusesWhatDoesNotFit() {
  Both gradient(MUSTER_F32, 8), weights(MUSTER_F32, 9);
  const muster_tensor one = gradient.device(), other = weights.device();
  CHECK(muster_cuda_convert(&one, &other, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_cuda_gradient_norm(&one, 1, nullptr, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_cuda_unscale(&one, 1, nullptr, nullptr) == MUSTER_OUT_OF_RANGE);
  const muster_adam_parameter parameter{other, one, other, other, {}};
  CHECK(muster_cuda_adam(&parameter, 1, &kAdam, nullptr, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(std::strstr(muster_cuda_last_failure()->message, "gradient 0 has 8 elements") != nullptr);
}

}  // namespace

int main() {
  return check::runOnDevice({
      {"widens every number of the small formats", convertsEveryNumber},
      {"rounds ties, denormals, overflows and NaN as the CPU", roundsAsTheCpu},
      {"unscales lists, and finds what is not finite", unscalesAndFindsInfinities},
      {"norms and clips lists", normsAndClips},
      {"scales the loss by PyTorch's rules", scalesTheLossAsPyTorch},
      {"Adam gives the CPU's bits", adamGivesTheCpusBits},
      {"SGD gives the CPU's bits", sgdGivesTheCpusBits},
      {"skips steps after an infinity, and counts those it makes", skipsStepsAfterAnInfinity},
      {"refuses what does not fit", refusesWhatDoesNotFit},
  });
}
