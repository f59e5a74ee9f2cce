/** Numbers in the formats of training, as tests compute with them: in f64. */
#pragma once

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/formats.h"

namespace check {

using Values = std::vector<double>;

inline constexpr muster_dtype kTraining[] = {MUSTER_F32, MUSTER_F16, MUSTER_BF16};
/** Half a unit of the last place, relative. */
inline constexpr double kRounding[] = {0x1p-24, 0x1p-11, 0x1p-8};

/** Numbers in a format's memory, seen as f64. */
class Numbers {
 public:
  Numbers(muster_dtype dtype, const Values& values) : dtype_(dtype), count_(values.size()), words_(values.size() + 1) {
    muster::kernels::withFormat(dtype, [&](auto kind) {
      using Format = decltype(kind);
      auto* data = reinterpret_cast<typename Format::Element*>(words_.data());
      for (std::size_t index = 0; index < count_; index++) muster::kernels::reference::write<Format>(data, index, static_cast<float>(values[index]));
    });
  }
  Values values() const {
    Values values(count_);
    muster::kernels::withFormat(dtype_, [&](auto kind) {
      using Format = decltype(kind);
      const auto* data = reinterpret_cast<const typename Format::Element*>(words_.data());
      for (std::size_t index = 0; index < count_; index++) values[index] = muster::kernels::reference::read<Format>(data, index);
    });
    return values;
  }
  muster_tensor tensor() { return {words_.data(), count_, dtype_}; }
  muster_dtype dtype() const { return dtype_; }

 private:
  muster_dtype dtype_;
  std::size_t count_;
  std::vector<float> words_;
};

inline Numbers normal(muster_dtype dtype, std::size_t count, unsigned seed, double deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> distribution(0, deviation);
  Values values(count);
  for (double& value : values) value = distribution(random);
  return Numbers(dtype, values);
}

inline Numbers zeros(muster_dtype dtype, std::size_t count) { return Numbers(dtype, Values(count)); }

/** Within the rounding of the format and `error`, which is what f32 arithmetic may lose. */
inline bool near(const Numbers& found, const Values& expected, double error) {
  const Values values = found.values();
  for (std::size_t index = 0; index < expected.size(); index++) {
    const double tolerance = error + (kRounding[found.dtype()] + 4e-7) * std::fabs(expected[index]);
    if (std::isnan(expected[index]) ? !std::isnan(values[index]) : !(values[index] == expected[index] || std::fabs(values[index] - expected[index]) <= tolerance)) {
      std::fprintf(stderr, "  at %zu: %.9g instead of %.9g\n", index, values[index], expected[index]);
      return false;
    }
  }
  return true;
}

template <class Body>
void forEveryDtype(Body body) {
  for (const muster_dtype dtype : kTraining) body(dtype);
}

}  // namespace check
