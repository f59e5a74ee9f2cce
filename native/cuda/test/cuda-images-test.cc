/** Convolutions, pooling and attention on the GPU, against the CPU's kernels. */
#include "device.h"

namespace {

using namespace check;

/** f32 sums in another order, of numbers of about 1. */
constexpr double kError = 3e-5;

struct Layer {
  muster_convolution shape;
  const char* name;
};

constexpr muster_window window(std::uint64_t kernel, std::uint64_t stride = 1, std::uint64_t padding = 0, std::uint64_t dilation = 1, std::uint64_t overhang = 0) { return {kernel, stride, padding, dilation, overhang}; }

const Layer kLayers[] = {
    {{{3, 2, 7, 6, window(3, 1, 1), window(3, 1, 1)}, 4, 1}, "3 x 3"},
    {{{2, 4, 9, 8, window(3, 2, 2, 2), window(2, 1, 1)}, 6, 2}, "in groups, dilated, by 2"},
    {{{2, 5, 4, 5, window(1), window(1)}, 3, 1}, "pointwise"},
    {{{1, 1, 5, 5, window(5), window(5)}, 1, 1}, "one position"},
    {{{1, 2, 5, 6, window(2, 1, 0, 1, 1), window(4, 2, 1, 1, 1)}, 2, 1}, "with an overhang"},
};

/** Half-precision sums are rounded on the way. */
double errorOf(muster_dtype dtype) { return dtype == MUSTER_F32 ? kError : dtype == MUSTER_F16 ? 2e-3 : 2e-2; }

void convolves() {
  for (const muster_dtype dtype : kTraining) {
    for (const auto& [shape, name] : kLayers) {
      const muster_images& images = shape.images;
      const std::uint64_t positions = muster_window_positions(&images.vertical, images.rows) * muster_window_positions(&images.horizontal, images.columns);
      const std::uint64_t weights = shape.result_channels * (images.channels / shape.groups) * images.vertical.kernel * images.horizontal.kernel;
      Both input(dtype, images.batches * images.channels * images.rows * images.columns), weight(dtype, weights), bias(MUSTER_F32, shape.result_channels);
      Both result(dtype, images.batches * shape.result_channels * positions), weightGradient(MUSTER_F32, weights), biasGradient(MUSTER_F32, shape.result_channels);
      input.fillNormal(1), weight.fillNormal(2), bias.fillNormal(3), weightGradient.fillNormal(4), biasGradient.fillNormal(5);
      const muster_tensor x = input.host(), w = weight.host(), b = bias.host(), y = result.host(), dw = weightGradient.host(), db = biasGradient.host();
      const muster_tensor xd = input.device(), wd = weight.device(), bd = bias.device(), yd = result.device(), dwd = weightGradient.device(), dbd = biasGradient.device();
      const muster_tensor none{nullptr, 0, MUSTER_F32};
      for (const bool hasBias : {false, true}) {
        must(muster_convolve(&shape, &x, &w, hasBias ? &b : &none, &y, 1));
        must(muster_cuda_convolve(&shape, &xd, &wd, hasBias ? &bd : &none, &yd, nullptr));
        CHECK(result.near(errorOf(dtype)));
      }
      result.fillNormal(6);
      must(muster_convolve_backward_weight(&shape, &x, &y, &dw, &db, 1));
      must(muster_cuda_convolve_backward_weight(&shape, &xd, &yd, &dwd, &dbd, nullptr));
      CHECK(weightGradient.near(kError) && biasGradient.near(kError));
      must(muster_convolve_backward_input(&shape, &y, &w, &x, 1));
      must(muster_cuda_convolve_backward_input(&shape, &yd, &wd, &xd, nullptr));
      const bool same = input.near(errorOf(dtype));
      if (!same) std::fprintf(stderr, "  (%s)\n", name);
      CHECK(same);
    }
  }
}

void pools() {
  const muster_images shapes[] = {{2, 3, 6, 8, window(2, 2), window(2, 2)}, {2, 2, 7, 5, window(3, 2, 1), window(3, 1, 1)}, {1, 2, 9, 9, window(2, 3, 0, 3), window(3, 2, 2, 2)}, {2, 1, 6, 5, window(3, 2, 1, 1, 1), window(2, 2, 0, 1, 1)}};
  for (const muster_dtype dtype : kTraining) {
    for (const muster_images& images : shapes) {
      const std::uint64_t planes = images.batches * images.channels;
      const std::uint64_t positions = muster_window_positions(&images.vertical, images.rows) * muster_window_positions(&images.horizontal, images.columns);
      Both input(dtype, planes * images.rows * images.columns), result(dtype, planes * positions);
      Bytes places(planes * positions * 4);
      for (const muster_pooling pooling : {MUSTER_POOL_LARGEST, MUSTER_POOL_MEAN, MUSTER_POOL_MEAN_PADDED}) {
        input.fillNormal(7).set(3, NAN);
        input.toDevice();
        const muster_tensor x = input.host(), y = result.host(), xd = input.device(), yd = result.device();
        const bool isLargest = pooling == MUSTER_POOL_LARGEST;
        auto* const at = isLargest ? static_cast<std::int32_t*>(places.host()) : nullptr;
        auto* const atDevice = isLargest ? static_cast<std::int32_t*>(places.device()) : nullptr;
        must(muster_pool(&images, pooling, &x, &y, at, 1));
        must(muster_cuda_pool(&images, pooling, &xd, &yd, atDevice, nullptr));
        CHECK(result.near(kError));
        if (isLargest) CHECK(std::memcmp(places.fromDevice().data(), places.host(), places.size()) == 0);
        result.fillNormal(8);
        must(muster_pool_backward(&images, pooling, &y, at, &x, 1));
        must(muster_cuda_pool_backward(&images, pooling, &yd, atDevice, &xd, nullptr));
        CHECK(input.near(errorOf(dtype)));
      }
    }
  }
}

/** Queries, keys and values of one product: [batches, places, 3, heads, width]. */
void attends() {
  for (const muster_dtype dtype : kTraining) {
    for (const auto& [queries, keys, width, causal] : {std::tuple{5u, 5u, 8u, 1}, {3u, 7u, 40u, 0}, {4u, 6u, 33u, 1}, {1u, 1u, 1u, 0}, {130u, 130u, 64u, 1}, {33u, 97u, 48u, 0}, {40u, 70u, 128u, 1}}) {
      if (dtype == MUSTER_F32 && queries > 32) continue;  // several tiles, which 16 bits alone are divided into
      constexpr std::uint64_t batches = 2, heads = 2;
      const muster_attention_shape shape{batches, heads, queries, keys, width, 0.3f, causal};
      const auto size = [&](std::uint64_t rows) { return batches * rows * heads * width; };
      Both query(dtype, size(queries)), key(dtype, size(keys)), value(dtype, size(keys)), result(dtype, size(queries)), sums(MUSTER_F32, batches * heads * queries), gradient(dtype, size(queries));
      Both queryGradient(dtype, size(queries)), keyGradient(dtype, size(keys)), valueGradient(dtype, size(keys));
      query.fillNormal(9), key.fillNormal(10), value.fillNormal(11), gradient.fillNormal(12);
      const auto vectors = [&](const muster_tensor& tensor, std::uint64_t rows) { return muster_heads{tensor, rows * heads * width, width, heads * width}; };
      const muster_attention_call host{shape, vectors(query.host(), queries), vectors(key.host(), keys), vectors(value.host(), keys), vectors(result.host(), queries), sums.host()};
      const muster_attention_call device{shape, vectors(query.device(), queries), vectors(key.device(), keys), vectors(value.device(), keys), vectors(result.device(), queries), sums.device()};
      must(muster_attention(&host, 1));
      must(muster_cuda_attention(&device, nullptr));
      CHECK(result.near(errorOf(dtype)) && sums.near(kError));
      result.toDevice(), sums.toDevice();
      const muster_attention_backward_call hostBack{shape, host.query, host.key, host.value, host.result, host.log_sums, vectors(gradient.host(), queries),
                                                    vectors(queryGradient.host(), queries), vectors(keyGradient.host(), keys), vectors(valueGradient.host(), keys)};
      const muster_attention_backward_call deviceBack{shape, device.query, device.key, device.value, device.result, device.log_sums, vectors(gradient.device(), queries),
                                                      vectors(queryGradient.device(), queries), vectors(keyGradient.device(), keys), vectors(valueGradient.device(), keys)};
      must(muster_attention_backward(&hostBack, 1));
      must(muster_cuda_attention_backward(&deviceBack, nullptr));
      const double error = 2 * errorOf(dtype);  // shares are rounded on the device, but not on the host
      CHECK(queryGradient.near(error) && keyGradient.near(error) && valueGradient.near(error));
    }
  }
}

void refusesWhatTheCpuRefuses() {
  Both ten(MUSTER_F32, 10), other(MUSTER_F32, 10);
  const muster_tensor a = ten.device(), b = other.device();
  const muster_images images{1, 1, 2, 5, window(3), window(1)};
  CHECK(muster_cuda_pool(&images, MUSTER_POOL_MEAN, &a, &b, nullptr, nullptr) == MUSTER_OUT_OF_RANGE);
  const muster_convolution groups{{1, 2, 1, 5, window(1), window(1)}, 2, 3};
  CHECK(muster_cuda_convolve(&groups, &a, &a, &b, &b, nullptr) == MUSTER_OUT_OF_RANGE);
  const muster_convolution vast{{0, 1, 2, 2, window(1, 1, 0x7fffffff), window(1, 1, 0x7fffffff)}, 1, 1};  // 2^64 positions
  const muster_tensor none{nullptr, 0, MUSTER_F32}, one{a.data, 1, MUSTER_F32};
  CHECK(muster_cuda_convolve(&vast, &none, &one, &none, &none, nullptr) == MUSTER_OK && muster_convolve(&vast, &none, &one, &none, &none, 1) == MUSTER_OK);
}

}  // namespace

int main() {
  return check::runOnDevice({
      {"convolutions, forward and backward", convolves},
      {"pooling, forward and backward", pools},
      {"attention, forward and backward", attends},
      {"refuses what the CPU refuses", refusesWhatTheCpuRefuses},
  });
}
