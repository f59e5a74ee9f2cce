/** What the tests of the GPU's kernels share: tensors that lie on the host and on the device, and how results are compared with the CPU's. */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "kernels/formats.h"
#include "muster/cuda-kernels.h"

namespace check {

constexpr muster_dtype kTraining[] = {MUSTER_F32, MUSTER_F16, MUSTER_BF16};

inline void must(muster_code code) {
  if (code == MUSTER_OK) return;
  std::fprintf(stderr, "%s:%d: %s\n", muster_cuda_last_failure()->file, muster_cuda_last_failure()->line, muster_cuda_last_failure()->message);
  std::exit(EXIT_FAILURE);
}

/** Waits for all that was put into the default stream. */
inline void finish() { must(muster_cuda_stream_wait(nullptr, 20'000)); }

/** Bytes on the host and on the device, `shift` bytes behind a multiple of 256 there. */
class Bytes {
 public:
  explicit Bytes(std::size_t size, std::size_t shift = 0) : host_(size), shift_(shift) {
    must(muster_cuda_allocate(size + shift + 1, &device_));
    must(muster_cuda_fill(device_, 0xff, size + shift + 1, nullptr));
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  ~Bytes() { must(muster_cuda_free(device_)); }

  void* host() { return host_.data(); }
  void* device() { return static_cast<unsigned char*>(device_) + shift_; }
  std::size_t size() const { return host_.size(); }
  void toDevice() { must(muster_cuda_copy(device(), host(), size(), nullptr)); }
  std::vector<unsigned char> fromDevice() {
    std::vector<unsigned char> bytes(size());
    must(muster_cuda_copy(bytes.data(), device(), size(), nullptr));
    finish();
    return bytes;
  }

 private:
  std::vector<unsigned char> host_;
  std::size_t shift_;
  void* device_ = nullptr;
};

inline std::size_t bytesOf(muster_dtype dtype) { return dtype == MUSTER_F32 ? 4 : dtype == MUSTER_F16 || dtype == MUSTER_BF16 ? 2 : 1; }

inline float readAs(muster_dtype dtype, const void* data, std::size_t index) {
  return muster::kernels::withFormat(dtype, [&](auto kind) {
    using Format = decltype(kind);
    return muster::kernels::reference::read<Format>(static_cast<const typename Format::Element*>(data), index);
  });
}

inline void writeAs(muster_dtype dtype, void* data, std::size_t index, float value) {
  muster::kernels::withFormat(dtype, [&](auto kind) {
    using Format = decltype(kind);
    muster::kernels::reference::write<Format>(static_cast<typename Format::Element*>(data), index, value);
  });
}

/** A tensor that the CPU's kernels and the GPU's get with the same numbers. */
class Both {
 public:
  Both(muster_dtype dtype, std::size_t elements, std::size_t shift = 0) : format_(dtype), elements_(elements), bytes_(elements * bytesOf(dtype), shift * bytesOf(dtype)) { bytes_.toDevice(); }

  void set(std::size_t index, float value) { writeAs(format_, bytes_.host(), index, value); }
  Both& fillNormal(unsigned seed, float deviation = 1, float mean = 0) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(mean, deviation);
    for (std::size_t index = 0; index < elements_; index++) set(index, normal(random));
    bytes_.toDevice();
    return *this;
  }
  void toDevice() { bytes_.toDevice(); }

  muster_tensor host() { return {bytes_.host(), elements_, format_}; }
  muster_tensor device() { return {bytes_.device(), elements_, format_}; }

  /** Whether the device has the bits that the host has. */
  bool same() { return std::memcmp(bytes_.fromDevice().data(), bytes_.host(), bytes_.size()) == 0; }

  /** Whether the device's numbers are the host's but for the rounding of the format, and `error`, absolute for numbers below 1. */
  bool near(double error) {
    const std::vector<unsigned char> found = bytes_.fromDevice();
    const double rounding = format_ == MUSTER_F32 ? 0x1p-23 : format_ == MUSTER_F16 ? 0x1p-10 : 0x1p-7;
    for (std::size_t index = 0; index < elements_; index++) {
      const double is = readAs(format_, found.data(), index);
      const double wanted = readAs(format_, bytes_.host(), index);
      const double tolerance = rounding * std::fabs(wanted) + error * std::max(1.0, std::fabs(wanted));
      if (is == wanted || (std::isnan(is) && std::isnan(wanted)) || std::fabs(is - wanted) <= tolerance) continue;
      std::fprintf(stderr, "  at %zu of %zu: %.9g on the device, %.9g on the host\n", index, elements_, is, wanted);
      return false;
    }
    return true;
  }

 private:
  muster_dtype format_;
  std::size_t elements_;
  Bytes bytes_;
};

/** A number of device memory. */
template <class Number>
class DeviceNumber {
 public:
  explicit DeviceNumber(Number value) : bytes_(sizeof value) { set(value); }
  void set(Number value) {
    std::memcpy(bytes_.host(), &value, sizeof value);
    bytes_.toDevice();
  }
  Number* address() { return static_cast<Number*>(bytes_.device()); }
  Number get() {
    Number value;
    std::memcpy(&value, bytes_.fromDevice().data(), sizeof value);
    return value;
  }

 private:
  Bytes bytes_;
};

/** Runs the tests on the GPU, or says how many could not be run. */
inline int runOnDevice(const std::vector<Test>& tests) {
  std::uint32_t devices = 0;
  if (muster_cuda_device_count(&devices) == MUSTER_OK && devices > 0) return runAll(tests);
  std::printf("no GPU: %zu checks not run (%s)\n", tests.size(), devices == 0 ? muster_cuda_last_failure()->message : "");
  return EXIT_SUCCESS;
}

}  // namespace check
