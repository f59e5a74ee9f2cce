/** Gradients and optimizers: against a model in f64, and the same bits on every instruction set and number of threads. */
#include "muster/gradients.h"
#include "muster/optimizer.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "levels.h"
#include "kernels/formats.h"

namespace {

using namespace muster::kernels;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/** Numbers of a dtype, with f32 on both ways. */
class Numbers {
 public:
  Numbers(muster_dtype dtype, std::size_t count) : dtype_(dtype), count_(count), bytes_(count * (dtype == MUSTER_F32 ? 4 : 2)) {}

  float at(std::size_t index) const {
    return withFormat(dtype_, [&](auto dtype) { return reference::read<decltype(dtype)>(data<decltype(dtype)>(), index); });
  }
  void set(std::size_t index, float value) {
    withFormat(dtype_, [&](auto dtype) { reference::write<decltype(dtype)>(data<decltype(dtype)>(), index, value); });
  }
  void fillNormal(std::mt19937& random, float deviation) {
    std::normal_distribution<float> normal(0, deviation);
    for (std::size_t index = 0; index < count_; index++) set(index, normal(random));
  }
  muster_tensor tensor() const { return {const_cast<unsigned char*>(bytes_.data()), count_, dtype_}; }
  std::size_t count() const { return count_; }
  bool operator==(const Numbers& other) const { return bytes_ == other.bytes_; }

 private:
  template <class Format>
  typename Format::Element* data() const {
    return reinterpret_cast<typename Format::Element*>(const_cast<unsigned char*>(bytes_.data()));
  }

  muster_dtype dtype_;
  std::size_t count_;
  std::vector<unsigned char> bytes_;
};

/** Sizes that fill no vector, some, and several pieces. */
const std::vector<std::size_t> kSizes{0, 1, 7, 16, 33, 1000, 70'001};

std::vector<Numbers> someNumbers(muster_dtype dtype, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Numbers> list;
  for (const std::size_t size : kSizes) {
    list.emplace_back(dtype, size);
    list.back().fillNormal(random, deviation);
  }
  return list;
}

std::vector<muster_tensor> tensorsOf(const std::vector<Numbers>& list) {
  std::vector<muster_tensor> tensors;
  for (const Numbers& numbers : list) tensors.push_back(numbers.tensor());
  return tensors;
}

const std::vector<muster_dtype> kTraining{MUSTER_F32, MUSTER_F16, MUSTER_BF16};

void unscalesAndFindsInfinities() {
  for (const muster_dtype dtype : kTraining) {
    const std::vector<Numbers> before = someNumbers(dtype, 100, 1);
    std::vector<Numbers> gradients = before;
    float found = 0;
    const auto unscale = [&](float scale) { return muster_unscale(tensorsOf(gradients).data(), gradients.size(), scale, &found, 2); };
    CHECK(unscale(3) == MUSTER_OK && found == 0);
    int wrong = 0;
    for (std::size_t list = 0; list < gradients.size(); list++) {
      Numbers expected = before[list];
      for (std::size_t index = 0; index < expected.count(); index++) expected.set(index, before[list].at(index) * static_cast<float>(1.0 / 3.0));
      wrong += !(gradients[list] == expected);
    }
    CHECK(wrong == 0);
    for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
      for (const std::size_t place : {std::size_t{0}, std::size_t{50'000}, std::size_t{70'000}}) {
        gradients = before;
        gradients.back().set(place, bad);
        found = 0;
        CHECK(unscale(2) == MUSTER_OK && found == 1);
      }
    }
    found = 1;
    gradients = before;
    CHECK(unscale(2) == MUSTER_OK && found == 1);  // it gathers
  }
}

void normsAndClips() {
  for (const muster_dtype dtype : kTraining) {
    const std::vector<Numbers> before = someNumbers(dtype, 5, 2);
    std::vector<Numbers> gradients = before;
    double squares = 0;
    for (const Numbers& numbers : gradients) {
      for (std::size_t index = 0; index < numbers.count(); index++) squares += static_cast<double>(numbers.at(index)) * static_cast<double>(numbers.at(index));
    }
    const auto tensors = tensorsOf(gradients);
    double norm = 0;
    CHECK(muster_gradient_norm(tensors.data(), tensors.size(), 2, &norm) == MUSTER_OK);
    CHECK(std::fabs(norm - std::sqrt(squares)) < 1e-12 * norm);
    double clippedNorm = 0;
    CHECK(muster_clip_gradients(tensors.data(), tensors.size(), 2 * norm, 2, &clippedNorm) == MUSTER_OK);
    CHECK(clippedNorm == norm && gradients == before);  // a norm that is small enough leaves every bit
    CHECK(muster_clip_gradients(tensors.data(), tensors.size(), 1.5, 2, &clippedNorm) == MUSTER_OK && clippedNorm == norm);
    const auto factor = static_cast<float>(1.5 / (norm + 1e-6));
    Numbers expected = before.back();
    for (std::size_t index = 0; index < expected.count(); index++) expected.set(index, expected.at(index) * factor);
    CHECK(gradients.back() == expected);
  }
}

void normsWhatIsLargeAndWhatIsNotFinite() {
  std::vector<Numbers> gradients = someNumbers(MUSTER_F32, 1, 3);
  const auto tensors = tensorsOf(gradients);
  double norm = 0;
  gradients.back().set(69'999, 3e38f);  // its square is beyond f32
  CHECK(muster_gradient_norm(tensors.data(), tensors.size(), 1, &norm) == MUSTER_OK && std::fabs(norm / 3e38 - 1) < 1e-6);
  gradients.back().set(0, kInfinity);
  CHECK(muster_clip_gradients(tensors.data(), tensors.size(), 1, 1, &norm) == MUSTER_OK && std::isinf(norm));
  CHECK(gradients.back().at(1) == 0 && std::isnan(gradients.back().at(0)));  // as PyTorch
  CHECK(muster_gradient_norm(nullptr, 0, 1, &norm) == MUSTER_OK && norm == 0);
  CHECK(muster_clip_gradients(tensors.data(), tensors.size(), -1, 1, &norm) == MUSTER_OUT_OF_RANGE);
  float found = 0;
  CHECK(muster_unscale(tensors.data(), tensors.size(), 0, &found, 1) == MUSTER_OUT_OF_RANGE);
}

/** A model's parameters and everything beside them. */
struct Model {
  std::vector<Numbers> weights = someNumbers(MUSTER_F32, 1, 4);
  std::vector<Numbers> gradients;
  std::vector<Numbers> first;
  std::vector<Numbers> second;
  std::vector<Numbers> copies;

  explicit Model(muster_dtype gradientDtype, muster_dtype copyDtype) : gradients(someNumbers(gradientDtype, 2, 5)) {
    for (const std::size_t size : kSizes) {
      first.emplace_back(MUSTER_F32, size);
      second.emplace_back(MUSTER_F32, size);
      copies.emplace_back(copyDtype, copyDtype == MUSTER_F32 ? 0 : size);
    }
  }

  std::vector<muster_adam_parameter> adam() const {
    std::vector<muster_adam_parameter> list;
    for (std::size_t index = 0; index < weights.size(); index++) {
      list.push_back({weights[index].tensor(), gradients[index].tensor(), first[index].tensor(), second[index].tensor(), copies[index].tensor()});
    }
    return list;
  }
  std::vector<muster_sgd_parameter> sgd() const {
    std::vector<muster_sgd_parameter> list;
    for (std::size_t index = 0; index < weights.size(); index++) {
      list.push_back({weights[index].tensor(), gradients[index].tensor(), first[index].tensor(), copies[index].tensor()});
    }
    return list;
  }
  bool operator==(const Model& other) const {
    return weights == other.weights && gradients == other.gradients && first == other.first && second == other.second && copies == other.copies;
  }
};

constexpr muster_adam_options kAdam{.learning_rate = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.1, .gradient_factor = 0.5, .step = 1, .decoupled = 1};
constexpr muster_sgd_options kSgd{.learning_rate = 0.01, .momentum = 0.9, .dampening = 0.1, .weight_decay = 0.1, .gradient_factor = 0.5, .nesterov = 0, .first_step = 1};

/** The published algorithm in f64, on one weight. @returns the weight after `steps` steps with one gradient. */
double adamModel(double weight, double gradient, const muster_adam_options& options, int steps) {
  double first = 0;
  double second = 0;
  for (int step = 1; step <= steps; step++) {
    double effective = gradient * options.gradient_factor;
    if (options.decoupled != 0) {
      weight -= options.learning_rate * options.weight_decay * weight;
    } else {
      effective += options.weight_decay * weight;
    }
    first = options.beta1 * first + (1 - options.beta1) * effective;
    second = options.beta2 * second + (1 - options.beta2) * effective * effective;
    const double meanFirst = first / (1 - std::pow(options.beta1, step));
    const double meanSecond = second / (1 - std::pow(options.beta2, step));
    weight -= options.learning_rate * meanFirst / (std::sqrt(meanSecond) + options.epsilon);
  }
  return weight;
}

double sgdModel(double weight, double gradient, const muster_sgd_options& options, int steps) {
  double momentum = 0;
  for (int step = 1; step <= steps; step++) {
    double effective = gradient * options.gradient_factor + options.weight_decay * weight;
    momentum = step == 1 ? effective : options.momentum * momentum + (1 - options.dampening) * effective;
    if (options.momentum != 0) effective = options.nesterov != 0 ? effective + options.momentum * momentum : momentum;
    weight -= options.learning_rate * effective;
  }
  return weight;
}

constexpr int kSteps = 5;
/** Weights are about 1, and each step rounds them and their change to f32 a few times. */
constexpr double kTolerance = 2e-6;

/** Checks all weights after kSteps against `expected(weight, gradient)`, and the copies against the weights. */
template <class Expected>
void compare(const Model& before, const Model& after, Expected expected) {
  int wrong = 0;
  for (std::size_t list = 0; list < after.weights.size(); list++) {
    for (std::size_t index = 0; index < after.weights[list].count(); index++) {
      const double value = expected(before.weights[list].at(index), before.gradients[list].at(index));
      wrong += !(std::fabs(after.weights[list].at(index) - value) <= kTolerance * std::max(1.0, std::fabs(value)));
    }
    Numbers copy = after.copies[list];
    for (std::size_t index = 0; index < copy.count(); index++) copy.set(index, after.weights[list].at(index));
    wrong += !(copy == after.copies[list]);
  }
  CHECK(wrong == 0);
}

void adamFollowsTheAlgorithm() {
  for (const muster_dtype gradientDtype : kTraining) {
    for (const muster_dtype copyDtype : kTraining) {
      for (const int decoupled : {0, 1}) {
        const Model before(gradientDtype, copyDtype);
        Model after = before;
        muster_adam_options options = kAdam;
        options.decoupled = decoupled;
        const auto parameters = after.adam();
        for (int step = 1; step <= kSteps; step++) {
          options.step = static_cast<std::uint64_t>(step);
          CHECK(muster_adam(parameters.data(), parameters.size(), &options, 2) == MUSTER_OK);
        }
        compare(before, after, [&](double weight, double gradient) { return adamModel(weight, gradient, options, kSteps); });
      }
    }
  }
}

void sgdFollowsTheAlgorithm() {
  for (const muster_dtype dtype : kTraining) {
    for (muster_sgd_options options : {kSgd, [] { auto nesterov = kSgd; nesterov.nesterov = 1; nesterov.dampening = 0; return nesterov; }(),
                                       [] { auto plain = kSgd; plain.momentum = 0; return plain; }()}) {
      const Model before(dtype, MUSTER_BF16);
      Model after = before;
      const auto parameters = after.sgd();
      for (int step = 1; step <= kSteps; step++) {
        options.first_step = step == 1;
        CHECK(muster_sgd(parameters.data(), parameters.size(), &options, 2) == MUSTER_OK);
      }
      compare(before, after, [&](double weight, double gradient) { return sgdModel(weight, gradient, options, kSteps); });
    }
  }
}

/** All of it on one model. */
Model trained(std::uint32_t threads) {
  Model model(MUSTER_BF16, MUSTER_F16);
  const auto gradients = tensorsOf(model.gradients);
  double norm = 0;
  CHECK(muster_clip_gradients(gradients.data(), gradients.size(), 3, threads, &norm) == MUSTER_OK);
  muster_adam_options adam = kAdam;
  adam.weight_decay = norm / 1e4;  // the norm's own bits count
  for (adam.step = 1; adam.step < 4; adam.step++) CHECK(muster_adam(model.adam().data(), kSizes.size(), &adam, threads) == MUSTER_OK);
  for (const int first : {1, 0}) {
    muster_sgd_options sgd = kSgd;
    sgd.first_step = first;
    CHECK(muster_sgd(model.sgd().data(), kSizes.size(), &sgd, threads) == MUSTER_OK);
  }
  return model;
}

void givesTheSameBitsEverywhere() {
  useLevel(Level::scalar);
  const Model expected = trained(1);
  check::atEveryLevel([&] {
    for (const std::uint32_t threads : {1u, 2u, 5u}) CHECK(trained(threads) == expected);
  });
}

void refusesWrongParameters() {
  Model model(MUSTER_F16, MUSTER_F16);
  auto parameters = model.adam();
  const auto refuses = [&](const char* why, const auto& spoil) {
    auto list = parameters;
    muster_adam_options options = kAdam;
    spoil(list[3], options);
    const Model before = model;
    CHECK(muster_adam(list.data(), list.size(), &options, 1) == MUSTER_OUT_OF_RANGE);
    CHECK(std::strstr(muster_last_failure()->message, why) != nullptr);
    CHECK(model == before);
  };
  refuses("gradient 3 has 15 elements, and 16 are wanted", [](auto& one, auto&) { one.gradient.elements = 15; });
  refuses("weights 3 has the dtype f16", [](auto& one, auto&) { one.weights.dtype = MUSTER_F16; });
  refuses("copy 3 has the dtype f8e5m2", [](auto& one, auto&) { one.copy.dtype = MUSTER_F8_E5M2; });
  refuses("overlap", [](auto& one, auto&) { one.second_moment = one.first_moment; });
  refuses("overlap", [&](auto& one, auto&) { one.copy.data = parameters[6].gradient.data; });
  refuses("there is no step 0", [](auto&, auto& options) { options.step = 0; });
  refuses("beta1 is 1", [](auto&, auto& options) { options.beta1 = 1; });
  refuses("learning rate is nan", [](auto&, auto& options) { options.learning_rate = std::nan(""); });
  muster_sgd_options options = kSgd;
  options.nesterov = 1;
  CHECK(muster_sgd(model.sgd().data(), kSizes.size(), &options, 1) == MUSTER_OUT_OF_RANGE);
}

}  // namespace

int main() {
  return check::runAll({
      {"unscales in place, and finds what is not finite", [] { check::atEveryLevel(unscalesAndFindsInfinities); }},
      {"norms and clips as PyTorch does", [] { check::atEveryLevel(normsAndClips); }},
      {"norms what is large, and what is not finite", [] { check::atEveryLevel(normsWhatIsLargeAndWhatIsNotFinite); }},
      {"Adam and AdamW follow the algorithm", [] { check::atEveryLevel(adamFollowsTheAlgorithm); }},
      {"SGD follows the algorithm", [] { check::atEveryLevel(sgdFollowsTheAlgorithm); }},
      {"gives the same bits on every instruction set and number of threads", givesTheSameBitsEverywhere},
      {"refuses wrong parameters before it changes any", refusesWrongParameters},
  });
}
