/** Elementwise kernels, softmax, layer normalisation, cross-entropy, summaries and embeddings on the GPU, against the CPU's kernels. */
#include "device.h"

namespace {

using namespace check;

/** f32 arithmetic whose order differs. */
constexpr double kError = 4e-6;

void activatesAndCombines() {
  for (const muster_dtype dtype : kTraining) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{1003}, std::size_t{20'000}}) {
      for (const std::size_t shift : {0, 1}) {
        Both input(dtype, size, shift), other(dtype, size, shift), result(dtype, size, shift);
        input.fillNormal(1, 4), other.fillNormal(2);
        const muster_tensor x = input.host(), y = other.host(), z = result.host(), dx = input.device(), dy = other.device(), dz = result.device();
        for (int which = 0; which < MUSTER_ACTIVATIONS; which++) {
          const auto activation = static_cast<muster_activation>(which);
          must(muster_activate(activation, &x, &z, 1));
          must(muster_cuda_activate(activation, &dx, &dz, nullptr));
          CHECK(result.near(kError));
          must(muster_activate_backward(activation, &x, &y, &z, 1));
          must(muster_cuda_activate_backward(activation, &dx, &dy, &dz, nullptr));
          CHECK(result.near(kError));
        }
        for (const muster_pairwise operation : {MUSTER_ADD, MUSTER_MULTIPLY}) {
          must(muster_combine(operation, &x, &y, &z, 1));
          must(muster_cuda_combine(operation, &dx, &dy, &dz, nullptr));
          CHECK(result.same());
        }
      }
    }
  }
}

void summarizes() {
  for (const muster_dtype dtype : kTraining) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{70'001}}) {
      Both input(dtype, size);
      input.fillNormal(3);
      for (int round = 0; round < 2; round++) {
        for (const muster_reduction_kind kind : {MUSTER_TOTAL, MUSTER_LARGEST}) {
          double wanted = 0;
          DeviceNumber<double> found(77);
          const muster_tensor host = input.host(), device = input.device();
          must(muster_summarize(kind, &host, 1, &wanted));
          must(muster_cuda_summarize(kind, &device, found.address(), nullptr));
          const double is = found.get();
          CHECK(is == wanted || (std::isnan(is) && std::isnan(wanted)) || (kind == MUSTER_TOTAL && std::fabs(is - wanted) < 1e-9));
        }
        if (size == 0) break;
        input.set(size / 2, NAN);
        input.toDevice();
      }
    }
  }
}

/** Rows of a warp, with and without vectors, and rows of a block. */
constexpr std::size_t kColumns[] = {1, 7, 16, 104, 1031, 2048};

void softmaxesRows() {
  for (const muster_dtype dtype : kTraining) {
    for (const std::size_t columns : kColumns) {
      const std::size_t size = columns * 11;
      Both input(dtype, size), gradient(dtype, size), output(dtype, size);
      input.fillNormal(4, 5), gradient.fillNormal(5);
      const muster_tensor x = input.host(), y = output.host(), g = gradient.host(), dx = input.device(), dy = output.device(), dg = gradient.device();
      must(muster_softmax(&x, columns, &y, 1));
      must(muster_cuda_softmax(&dx, columns, &dy, nullptr));
      CHECK(output.near(kError));
      must(muster_cuda_softmax(&dx, columns, &dx, nullptr));  // in place
      must(muster_softmax(&x, columns, &x, 1));
      CHECK(input.near(kError));
      output.toDevice();
      must(muster_softmax_backward(&y, &g, columns, &g, 1));
      must(muster_cuda_softmax_backward(&dy, &dg, columns, &dg, nullptr));
      CHECK(gradient.near(kError));
    }
  }
  for (const std::size_t columns : {4, 1500}) {  // masked: a row in part, and one whole
    Both rows(MUSTER_F32, 2 * columns);
    for (std::size_t column = 0; column < columns; column++) rows.set(column, column % 2 == 0 ? 1.0f : -INFINITY), rows.set(columns + column, -INFINITY);
    rows.toDevice();
    const muster_tensor host = rows.host(), device = rows.device();
    must(muster_softmax(&host, columns, &host, 1));
    must(muster_cuda_softmax(&device, columns, &device, nullptr));
    CHECK(rows.near(kError));
  }
}

/** Integers on the device. */
class Tokens {
 public:
  explicit Tokens(std::vector<std::int32_t> tokens) : tokens_(std::move(tokens)), bytes_(tokens_.size() * 4) {
    std::memcpy(bytes_.host(), tokens_.data(), bytes_.size());
    bytes_.toDevice();
  }
  const std::int32_t* host() const { return tokens_.data(); }
  const std::int32_t* device() { return static_cast<const std::int32_t*>(bytes_.device()); }

 private:
  std::vector<std::int32_t> tokens_;
  Bytes bytes_;
};

void crossesEntropy() {
  for (const muster_dtype dtype : kTraining) {
    for (const std::size_t columns : kColumns) {
      constexpr std::size_t rows = 11;
      std::vector<std::int32_t> list(rows);
      for (std::size_t row = 0; row < rows; row++) list[row] = static_cast<std::int32_t>(row * 37 % columns);
      list[3] = -1;
      Tokens targets(list);
      Both logits(dtype, rows * columns), losses(MUSTER_F32, rows), gradient(dtype, rows * columns);
      logits.fillNormal(6, 3);
      const auto run = [&](bool hasGradient, bool isInPlace) {
        Both& to = isInPlace ? logits : gradient;
        muster_cross_entropy_call host{columns, logits.host(), targets.host(), losses.host(), hasGradient ? to.host() : muster_tensor{nullptr, 0, dtype}, 0.25f};
        muster_cross_entropy_call device{columns, logits.device(), targets.device(), losses.device(), hasGradient ? to.device() : muster_tensor{nullptr, 0, dtype}, 0.25f};
        must(muster_cuda_cross_entropy(&device, nullptr));
        must(muster_cross_entropy(&host, 1));
        return losses.near(kError) && (!hasGradient || to.near(kError));
      };
      CHECK(run(false, false) && run(true, false) && run(true, true));
    }
  }
  Both logits(MUSTER_F32, 3), losses(MUSTER_F32, 1);
  Tokens outside({3});
  const muster_cross_entropy_call call{3, logits.device(), outside.device(), losses.device(), logits.device(), 1};
  must(muster_cuda_cross_entropy(&call, nullptr));
  losses.set(0, NAN);
  for (std::size_t column = 0; column < 3; column++) logits.set(column, NAN);
  CHECK(losses.near(0) && logits.near(0));
}

void normalisesLayers() {
  for (const muster_dtype dtype : kTraining) {
    for (const std::size_t columns : {7, 16, 104, 1031, 2048}) {
      const std::size_t rows = columns > 200 ? 11 : 150;  // several parts
      const std::size_t size = rows * columns;
      Both input(dtype, size), weight(MUSTER_F32, columns), bias(MUSTER_F32, columns), result(dtype, size), mean(MUSTER_F32, rows), scale(MUSTER_F32, rows);
      Both gradient(dtype, size), weights(MUSTER_F32, columns), biases(MUSTER_F32, columns);
      input.fillNormal(7, 2, 1), weight.fillNormal(8), bias.fillNormal(9), gradient.fillNormal(10), weights.fillNormal(11), biases.fillNormal(12);
      const muster_layer_norm_call host{columns, 1e-5, input.host(), weight.host(), bias.host(), result.host(), mean.host(), scale.host()};
      const muster_layer_norm_call device{columns, 1e-5, input.device(), weight.device(), bias.device(), result.device(), mean.device(), scale.device()};
      must(muster_layer_norm(&host, 1));
      must(muster_cuda_layer_norm(&device, nullptr));
      CHECK(result.near(kError) && mean.near(kError) && scale.near(kError));
      mean.toDevice(), scale.toDevice();
      const muster_layer_norm_backward_call hostBack{columns, input.host(), weight.host(), mean.host(), scale.host(), gradient.host(), gradient.host(), weights.host(), biases.host()};
      const muster_layer_norm_backward_call deviceBack{columns, input.device(), weight.device(), mean.device(), scale.device(), gradient.device(), gradient.device(), weights.device(), biases.device()};
      must(muster_layer_norm_backward(&hostBack, 1));
      must(muster_cuda_layer_norm_backward(&deviceBack, nullptr));
      CHECK(gradient.near(kError) && weights.near(1e-5) && biases.near(1e-5));
    }
  }
}

void embeds() {
  for (const muster_dtype dtype : kTraining) {
    for (const std::size_t columns : {300, 304}) {
      std::vector<std::int32_t> list;
      for (int index = 0; index < 600; index++) list.push_back(index * index % 23);
      Tokens tokens(list);
      Both table(dtype, 23 * columns), gradient(dtype, 600 * columns), result(dtype, 600 * columns), sums(MUSTER_F32, 23 * columns);
      table.fillNormal(13), gradient.fillNormal(14), sums.fillNormal(15);
      const muster_tensor t = table.host(), g = gradient.host(), r = result.host(), s = sums.host(), dt = table.device(), dg = gradient.device(), dr = result.device(), ds = sums.device();
      must(muster_embedding(&t, columns, tokens.host(), &r, 1));
      must(muster_cuda_embedding(&dt, columns, tokens.device(), &dr, nullptr));
      CHECK(result.same());
      must(muster_embedding_backward(&g, columns, tokens.host(), &s, 1));
      must(muster_cuda_embedding_backward(&dg, columns, tokens.device(), &ds, nullptr));
      CHECK(sums.same());  // rows are added in their order
    }
  }
  Both table(MUSTER_F32, 4), result(MUSTER_F32, 6), sums(MUSTER_F32, 4);
  Tokens tokens({1, 2, -1});
  const muster_tensor from = table.device(), to = result.device(), below = sums.device();
  must(muster_cuda_embedding(&from, 2, tokens.device(), &to, nullptr));
  for (std::size_t index = 2; index < 6; index++) result.set(index, NAN);
  CHECK(result.near(0));
  result.fillNormal(16).set(0, 1), result.set(1, 2), result.toDevice();
  must(muster_cuda_embedding_backward(&to, 2, tokens.device(), &below, nullptr));
  sums.set(2, 1), sums.set(3, 2);
  CHECK(sums.same());
}

void refusesWhatDoesNotFit() {
  Both ten(MUSTER_F32, 10), eleven(MUSTER_F32, 11);
  const muster_tensor a = ten.device(), b = eleven.device();
  CHECK(muster_cuda_activate(MUSTER_RELU, &a, &b, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_cuda_activate(static_cast<muster_activation>(5), &a, &a, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_cuda_softmax(&a, 3, &a, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_cuda_summarize(MUSTER_TOTAL, &a, nullptr, nullptr) == MUSTER_OUT_OF_RANGE);
  CHECK(std::strstr(muster_cuda_last_failure()->message, "no memory") != nullptr);
}

}  // namespace

int main() {
  return check::runOnDevice({
      {"activations, their slopes, sums and products", activatesAndCombines},
      {"totals and largest numbers", summarizes},
      {"softmax, forward and backward", softmaxesRows},
      {"cross-entropy with its gradient", crossesEntropy},
      {"layer normalisation, forward and backward", normalisesLayers},
      {"embeddings, forward and backward", embeds},
      {"refuses what does not fit", refusesWhatDoesNotFit},
  });
}
