/**
 * Calls with arguments drawn at random: wrong lengths and dtypes, addresses that are null or not aligned, ranges that overlap, sizes that no memory has,
 * numbers that are not finite. Whatever it is, a call does what it says, and writes nothing but its results, or refuses and writes nothing at all.
 * All tensors of a round lie in one block from malloc, so that the address sanitizer (sanitize.sh) sees each byte read beyond it.
 */
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <random>

#include "dtype.h"
#include "muster/convert.h"
#include "muster/gradients.h"
#include "muster/layers.h"
#include "muster/optimizer.h"
#include "ranks.h"

namespace {

constexpr std::size_t kBlockBytes = 1000;
constexpr int kRounds = 4000;
/** Of every operation at least this part of the rounds must be accepted: else nothing is tested but refusals. */
constexpr int kAcceptedMin = kRounds / 50;

class Round {
 public:
  explicit Round(std::uint32_t seed) : random_(seed), block_(new std::byte[kBlockBytes]) {
    for (std::size_t at = 0; at < kBlockBytes; at++) block_[at] = static_cast<std::byte>(random_());
    std::memcpy(before_, block_.get(), kBlockBytes);
  }

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bool oneIn(std::uint64_t rounds) { return below(rounds) == 0; }

  /** Mostly one of f32, f16 and bf16; sometimes any number. */
  muster_dtype dtype() { return static_cast<muster_dtype>(oneIn(20) ? below(12) : below(3)); }
  std::uint64_t size() { return oneIn(30) ? ~std::uint64_t{0} - below(8) : below(12); }
  std::uint32_t threads() { return oneIn(50) ? 300 : static_cast<std::uint32_t>(below(3)); }
  double number() { return oneIn(20) ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(below(100)) / (oneIn(2) ? 100 : 1) - (oneIn(20) ? 200 : 0); }
  /** Sometimes a number that has no name: of those that an enumeration may hold, which are the ones below the next power of two. */
  template <class Enum>
  Enum oneOf(unsigned count) {
    return static_cast<Enum>(below(oneIn(30) ? std::bit_ceil(count) : count));
  }

  /** Mostly in a place of its own, and as it is wanted; but never said to be larger than the block is, unless larger than any memory. */
  muster_tensor tensor(muster_dtype dtype, std::uint64_t elements) {
    if (oneIn(40)) dtype = this->dtype();
    if (oneIn(40)) elements = size();
    const std::size_t bytes = muster::isDtype(dtype) ? muster::elementBytes(dtype) : 1;
    const bool isPossible = elements <= kBlockBytes / bytes;
    const std::size_t needed = isPossible ? elements * bytes : 0;
    if (oneIn(40)) return {nullptr, elements, dtype};
    std::size_t start = (next_ + 7) / 8 * 8;
    if (oneIn(40)) start = below(kBlockBytes);
    if (isPossible && start + needed > kBlockBytes) elements = start < kBlockBytes ? (kBlockBytes - start) / bytes : 0;
    next_ = std::min(start + needed, kBlockBytes);
    return {block_.get() + std::min(start, kBlockBytes), elements, dtype};
  }

  /** The results of the call that follows. */
  void writes(const muster_tensor& tensor) { written_.push_back(tensor); }

  /** @returns whether the call was accepted */
  bool check(muster_code code) {
    if (code != MUSTER_OK) {
      CHECK(code == MUSTER_OUT_OF_RANGE && muster_last_failure()->message[0] != '\0');
      CHECK(std::memcmp(before_, block_.get(), kBlockBytes) == 0);
      return false;
    }
    for (const muster_tensor& tensor : written_) {
      const std::size_t bytes = tensor.elements * muster::elementBytes(tensor.dtype);
      if (bytes > 0) std::memcpy(before_ + (static_cast<std::byte*>(tensor.data) - block_.get()), tensor.data, bytes);
    }
    CHECK(std::memcmp(before_, block_.get(), kBlockBytes) == 0);
    return true;
  }

 private:
  std::mt19937 random_;
  std::unique_ptr<std::byte[]> block_;
  std::byte before_[kBlockBytes];
  std::size_t next_ = 0;
  std::vector<muster_tensor> written_;
};

/** Makes a call whose arguments `make` draws. */
using Make = muster_code (*)(Round& round);

void fuzz(const char* name, Make make) {
  int accepted = 0;
  for (std::uint32_t seed = 0; seed < kRounds; seed++) {
    const int before = check::failures;
    Round round(seed);
    accepted += round.check(make(round));
    if (check::failures > before) std::fprintf(stderr, "  (%s, seed %u)\n", name, seed);
  }
  CHECK(accepted >= kAcceptedMin);
  if (accepted < kAcceptedMin) std::fprintf(stderr, "  (%s: %d of %d rounds accepted)\n", name, accepted, kRounds);
}

muster_code convert(Round& round) {
  const std::uint64_t elements = round.below(60);
  const bool widens = round.oneIn(2);
  const auto other = round.oneOf<muster_dtype>(5);
  const muster_tensor source = round.tensor(widens ? other : MUSTER_F32, elements);
  const muster_tensor target = round.tensor(widens ? MUSTER_F32 : other, elements);
  round.writes(target);
  return muster_convert(&source, &target, round.threads());
}

std::vector<muster_tensor> gradientsOf(Round& round) {
  std::vector<muster_tensor> gradients(round.below(4));
  for (muster_tensor& gradient : gradients) gradient = round.tensor(round.dtype(), round.below(40));
  return gradients;
}

muster_code unscale(Round& round) {
  const auto gradients = gradientsOf(round);
  for (const muster_tensor& gradient : gradients) round.writes(gradient);
  float found = 0;
  return muster_unscale(gradients.data(), gradients.size(), static_cast<float>(round.number()), &found, round.threads());
}

muster_code norm(Round& round) {
  const auto gradients = gradientsOf(round);
  double result;
  return muster_gradient_norm(gradients.data(), gradients.size(), round.threads(), &result);
}

muster_code clip(Round& round) {
  const auto gradients = gradientsOf(round);
  for (const muster_tensor& gradient : gradients) round.writes(gradient);
  double result;
  return muster_clip_gradients(gradients.data(), gradients.size(), round.number(), round.threads(), &result);
}

muster_code sgd(Round& round) {
  std::vector<muster_sgd_parameter> parameters(round.below(3));
  const muster_sgd_options options{round.number() / 100, round.oneIn(2) ? 0 : 0.9, 0, 0.01, 1, round.oneIn(4), round.oneIn(2)};
  for (muster_sgd_parameter& parameter : parameters) {
    const std::uint64_t elements = round.below(20);
    parameter = {round.tensor(MUSTER_F32, elements), round.tensor(round.dtype(), elements), round.tensor(MUSTER_F32, options.momentum == 0 ? 0 : elements),
                 round.tensor(MUSTER_BF16, round.oneIn(2) ? elements : 0)};
    for (const muster_tensor& tensor : {parameter.weights, parameter.momentum, parameter.copy}) round.writes(tensor);
  }
  return muster_sgd(parameters.data(), parameters.size(), &options, round.threads());
}

muster_code adam(Round& round) {
  std::vector<muster_adam_parameter> parameters(round.below(3));
  const muster_adam_options options{round.number() / 100, 0.9, round.oneIn(20) ? 1 : 0.999, 1e-8, 0.01, 1, round.oneIn(20) ? 0 : round.below(5) + 1, round.oneIn(2)};
  for (muster_adam_parameter& parameter : parameters) {
    const std::uint64_t elements = round.below(20);
    parameter = {round.tensor(MUSTER_F32, elements), round.tensor(round.dtype(), elements), round.tensor(MUSTER_F32, elements), round.tensor(MUSTER_F32, elements),
                 round.tensor(MUSTER_F16, round.oneIn(2) ? elements : 0)};
    for (const muster_tensor& tensor : {parameter.weights, parameter.first_moment, parameter.second_moment, parameter.copy}) round.writes(tensor);
  }
  return muster_adam(parameters.data(), parameters.size(), &options, round.threads());
}

/** Strides as they should be, swapped, 0 or anything. */
muster_matrices matricesOf(Round& round, muster_dtype dtype, std::uint64_t batches, std::uint64_t rows, std::uint64_t columns) {
  muster_matrices matrices{round.tensor(dtype, batches * rows * columns), columns, 1, rows * columns};
  if (round.oneIn(6)) matrices.row_stride = 1, matrices.column_stride = rows;
  for (std::uint64_t* stride : {&matrices.row_stride, &matrices.column_stride, &matrices.batch_stride}) {
    if (round.oneIn(20)) *stride = round.size();
  }
  return matrices;
}

muster_code gemm(Round& round) {
  const std::uint64_t batches = round.below(3), rows = round.below(7), columns = round.below(7), depth = round.below(7);
  const muster_dtype dtype = round.dtype();
  const auto orHuge = [&](std::uint64_t size) { return round.oneIn(60) ? ~std::uint64_t{0} / 2 : size; };
  muster_gemm_call call{};
  call.left = matricesOf(round, dtype, batches, rows, depth);
  call.right = matricesOf(round, dtype, batches, depth, columns);
  call.result = matricesOf(round, round.oneIn(2) ? MUSTER_F32 : dtype, batches, rows, columns);
  call.batches = orHuge(batches);
  call.rows = orHuge(rows);
  call.columns = orHuge(columns);
  call.depth = depth;
  call.alpha = static_cast<float>(round.number());
  call.beta = static_cast<float>(round.below(2));
  call.bias = round.tensor(MUSTER_F32, round.oneIn(2) ? columns : 0);
  call.activation = round.oneOf<muster_activation>(MUSTER_ACTIVATIONS);
  round.writes(call.result.tensor);
  return muster_gemm(&call, round.threads());
}

muster_code combine(Round& round) {
  const std::uint64_t elements = round.below(50);
  const muster_dtype dtype = round.dtype();
  const muster_tensor first = round.tensor(dtype, elements), second = round.tensor(dtype, elements);
  const muster_tensor result = round.oneIn(4) ? first : round.tensor(dtype, elements);
  round.writes(result);
  if (round.oneIn(2)) return muster_combine(round.oneOf<muster_pairwise>(2), &first, &second, &result, round.threads());
  return muster_activate_backward(round.oneOf<muster_activation>(MUSTER_ACTIVATIONS), &first, &second, &result, round.threads());
}

muster_code softmax(Round& round) {
  const std::uint64_t columns = round.below(8), elements = round.below(6) * columns;
  const muster_dtype dtype = round.dtype();
  const muster_tensor first = round.tensor(dtype, elements), second = round.tensor(dtype, elements);
  const muster_tensor result = round.oneIn(4) ? first : round.tensor(dtype, elements);
  round.writes(result);
  if (round.oneIn(2)) return muster_softmax(&first, columns, &result, round.threads());
  return muster_softmax_backward(&first, &second, columns, &result, round.threads());
}

muster_code layerNorm(Round& round) {
  const std::uint64_t columns = round.below(8), rows = round.below(5);
  const muster_dtype dtype = round.dtype();
  const muster_tensor input = round.tensor(dtype, rows * columns), weight = round.tensor(MUSTER_F32, columns), bias = round.tensor(MUSTER_F32, columns);
  const muster_tensor mean = round.tensor(MUSTER_F32, rows), scale = round.tensor(MUSTER_F32, rows), result = round.tensor(dtype, rows * columns);
  round.writes(result);
  if (round.oneIn(2)) {
    const muster_layer_norm_call call{columns, 1e-5, input, weight, bias, result, mean, scale};
    round.writes(mean);
    round.writes(scale);
    return muster_layer_norm(&call, round.threads());
  }
  const muster_layer_norm_backward_call call{columns, input, weight, mean, scale, round.tensor(dtype, rows * columns), result, round.tensor(MUSTER_F32, columns), bias};
  round.writes(call.weight_gradient);
  round.writes(call.bias_gradient);
  return muster_layer_norm_backward(&call, round.threads());
}

/** Of `count` rows, mostly each one of `choices`; none at all now and then. */
std::unique_ptr<std::int32_t[]> indicesOf(Round& round, std::uint64_t count, std::uint64_t choices) {
  if (round.oneIn(20)) return nullptr;
  std::unique_ptr<std::int32_t[]> indices(new std::int32_t[count]);
  for (std::uint64_t index = 0; index < count; index++) indices[index] = static_cast<std::int32_t>(round.oneIn(60) ? round.below(1000) - 500 : round.below(std::max<std::uint64_t>(choices, 1)));
  return indices;
}

muster_code crossEntropy(Round& round) {
  const std::uint64_t columns = round.below(8), rows = round.below(5);
  const muster_dtype dtype = round.dtype();
  muster_cross_entropy_call call{columns, round.tensor(dtype, rows * columns), nullptr, round.tensor(MUSTER_F32, rows), round.tensor(dtype, round.oneIn(2) ? rows * columns : 0),
                                 static_cast<float>(round.number())};
  const auto targets = indicesOf(round, kBlockBytes, columns);
  call.targets = targets.get();
  round.writes(call.losses);
  round.writes(call.gradient);
  return muster_cross_entropy(&call, round.threads());
}

muster_code embedding(Round& round) {
  const std::uint64_t columns = round.below(8), rows = round.below(5), words = round.below(5) + 1;
  const bool isBackward = round.oneIn(2);
  const muster_dtype dtype = round.dtype();
  const muster_tensor table = round.tensor(isBackward ? MUSTER_F32 : dtype, words * columns), activations = round.tensor(dtype, rows * columns);
  const auto tokens = indicesOf(round, kBlockBytes, words);
  round.writes(isBackward ? table : activations);
  if (isBackward) return muster_embedding_backward(&activations, columns, tokens.get(), &table, round.threads());
  return muster_embedding(&table, columns, tokens.get(), &activations, round.threads());
}

muster_code summarize(Round& round) {
  const muster_tensor input = round.tensor(round.dtype(), round.below(60));
  double result;
  return muster_summarize(round.oneOf<muster_reduction_kind>(2), &input, round.threads(), &result);
}

/** A communicator of one rank, which goes on whatever it has refused. */
muster_communicator* alone = nullptr;

muster_code collective(Round& round) {
  muster_call call{};
  call.kind = static_cast<muster_call_kind>(round.below(11));
  call.dtype = round.oneOf<muster_dtype>(MUSTER_DTYPE_COUNT);
  call.reduction = round.oneOf<muster_reduction>(MUSTER_REDUCTION_COUNT);
  call.peer = round.oneIn(20) ? 1 : 0;
  const muster_dtype dtype = muster::isDtype(call.dtype) ? call.dtype : MUSTER_U8;
  const auto tensor = [&] {
    const muster_tensor drawn = round.tensor(dtype, round.below(50));
    return muster_tensor{drawn.data, drawn.dtype == dtype ? drawn.elements : 0, dtype};  // another dtype has another size
  };
  const muster_tensor source = tensor();
  const muster_tensor target = round.oneIn(4) ? source : tensor();
  call.source = source.data;
  call.target = target.data;
  call.count = std::min(source.elements, target.elements);
  if (call.kind != MUSTER_BARRIER && call.count <= kBlockBytes) round.writes({target.data, call.count, dtype});
  return muster_communicator_run(alone, &call, 1);
}

void aCommunicatorGoesOn() {
  alone = check::openCommunicator(check::communicatorId("fuzz"), 0, 1);
  fuzz("a collective call", collective);
  float value = 3;
  const muster_call call{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, &value, &value, 1};
  CHECK(muster_communicator_run(alone, &call, 1) == MUSTER_OK && value == 3);
  muster_communicator_close(alone);
}

}  // namespace

int main() {
  return check::runAll({
      {"conversions", [] { fuzz("convert", convert); }},
      {"gradients", [] { fuzz("unscale", unscale), fuzz("norm", norm), fuzz("clip", clip); }},
      {"optimizers", [] { fuzz("sgd", sgd), fuzz("adam", adam); }},
      {"matrix products", [] { fuzz("gemm", gemm); }},
      {"layers", [] { fuzz("combine", combine), fuzz("softmax", softmax), fuzz("layer norm", layerNorm), fuzz("cross entropy", crossEntropy); }},
      {"embeddings and summaries", [] { fuzz("embedding", embedding), fuzz("summarize", summarize); }},
      {"collective calls, after which the communicator goes on", aCommunicatorGoesOn},
  });
}
