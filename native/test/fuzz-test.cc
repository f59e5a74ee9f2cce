/** Calls of lists and layers, and of a communicator, with arguments drawn at random (fuzz.h). */
#include <memory>

#include "fuzz.h"
#include "muster/convert.h"
#include "muster/gradients.h"
#include "muster/layers.h"
#include "muster/optimizer.h"
#include "ranks.h"

namespace {

using fuzz::kBlockBytes;
using fuzz::Round;

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
  fuzz::run("a collective call", collective, false);
  float value = 3;
  const muster_call call{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, &value, &value, 1};
  CHECK(muster_communicator_run(alone, &call, 1) == MUSTER_OK && value == 3);
  muster_communicator_close(alone);
}

}  // namespace

int main() {
  return check::runAll({
      {"conversions", [] { fuzz::run("convert", convert); }},
      {"gradients", [] { fuzz::run("unscale", unscale), fuzz::run("norm", norm), fuzz::run("clip", clip); }},
      {"optimizers", [] { fuzz::run("sgd", sgd), fuzz::run("adam", adam); }},
      {"matrix products", [] { fuzz::run("gemm", gemm); }},
      {"layers", [] { fuzz::run("combine", combine), fuzz::run("softmax", softmax), fuzz::run("layer norm", layerNorm), fuzz::run("cross entropy", crossEntropy); }},
      {"embeddings and summaries", [] { fuzz::run("embedding", embedding), fuzz::run("summarize", summarize); }},
      {"collective calls, after which the communicator goes on", aCommunicatorGoesOn},
  });
}
