#include "kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "muster/layers.h"
#include "status.h"

namespace muster::kernels {
namespace {

muster_code checkColumns(const muster_tensor& input, std::uint64_t columns, std::uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (columns > 0 && input.elements % columns == 0) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu elements are not whole rows of %llu columns", static_cast<unsigned long long>(input.elements), static_cast<unsigned long long>(columns));
}

/** Calls `body(row)` for every row; threads take as many at once as make a piece. */
template <class Body>
void forEachRow(std::uint64_t rows, std::uint64_t columns, std::uint32_t threads, Body body) {
  const std::uint64_t together = std::max<std::uint64_t>(1, kPieceElements / columns);
  parallelFor(threadCount(threads), (rows + together - 1) / together, [&](std::size_t item) {
    for (std::uint64_t row = item * together; row < std::min(rows, (item + 1) * together); row++) body(row);
  });
}

const float* floatsOf(const muster_tensor& tensor) { return static_cast<const float*>(tensor.data); }

constexpr DtypeSet kF32Only = setOf(MUSTER_F32);

muster_code checkLayerNorm(const muster_layer_norm_call& call, std::uint32_t threads) {
  if (const muster_code code = checkColumns(call.input, call.columns, threads); code != MUSTER_OK) return code;
  if (!(call.epsilon >= 0) || !std::isfinite(call.epsilon)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "epsilon is %g: it must be finite, and 0 or more", call.epsilon);
  TensorCheck check;
  check.reads(call.input, "input", kTrainingDtypes);
  check.reads(call.weight, "weight", kF32Only);
  check.reads(call.bias, "bias", kF32Only);
  check.hasElements(call.weight, "weight", call.columns, "the input has columns");
  check.hasElements(call.bias, "bias", call.columns, "the input has columns");
  check.hasElements(call.result, "result", call.input.elements, "the input");
  check.hasDtype(call.result, "result", call.input.dtype);
  check.writesOver(call.result, "result", call.input, kTrainingDtypes);
  for (const auto& [tensor, name] : {std::pair{&call.mean, "mean"}, std::pair{&call.scale, "scale"}}) {
    check.writes(*tensor, name, kF32Only);
    check.hasElements(*tensor, name, call.input.elements / call.columns, "the input has rows");
  }
  return check.code();
}

muster_code checkLayerNormBackward(const muster_layer_norm_backward_call& call, std::uint32_t threads) {
  if (const muster_code code = checkColumns(call.input, call.columns, threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(call.input, "input", kTrainingDtypes);
  check.reads(call.weight, "weight", kF32Only);
  check.hasElements(call.weight, "weight", call.columns, "the input has columns");
  for (const auto& [tensor, name] : {std::pair{&call.mean, "mean"}, std::pair{&call.scale, "scale"}}) {
    check.reads(*tensor, name, kF32Only);
    check.hasElements(*tensor, name, call.input.elements / call.columns, "the input has rows");
  }
  check.reads(call.gradient, "gradient", kTrainingDtypes);
  check.hasDtype(call.gradient, "gradient", call.input.dtype);
  check.hasElements(call.gradient, "gradient", call.input.elements, "the input");
  check.hasDtype(call.input_gradient, "input gradient", call.input.dtype);
  check.hasElements(call.input_gradient, "input gradient", call.input.elements, "the input");
  check.writesOver(call.input_gradient, "input gradient", call.input_gradient.data == call.gradient.data ? call.gradient : call.input, kTrainingDtypes);
  for (const auto& [tensor, name] : {std::pair{&call.weight_gradient, "weight gradient"}, std::pair{&call.bias_gradient, "bias gradient"}}) {
    check.writes(*tensor, name, kF32Only);
    check.hasElements(*tensor, name, call.columns, "the input has columns");
  }
  return check.code();
}

muster_code checkCrossEntropy(const muster_cross_entropy_call& call, std::uint32_t threads) {
  if (const muster_code code = checkColumns(call.logits, call.columns, threads); code != MUSTER_OK) return code;
  const std::uint64_t rows = call.logits.elements / call.columns;
  TensorCheck check;
  check.reads(call.logits, "logits", kTrainingDtypes);
  check.writes(call.losses, "losses", kF32Only);
  check.hasElements(call.losses, "losses", rows, "the logits have rows");
  if (call.gradient.elements != 0) {
    check.hasElements(call.gradient, "gradient", call.logits.elements, "the logits");
    check.hasDtype(call.gradient, "gradient", call.logits.dtype);
    check.writesOver(call.gradient, "gradient", call.logits, kTrainingDtypes);
  }
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  for (std::uint64_t row = 0; row < rows; row++) {
    if (call.targets[row] >= -1 && call.targets[row] < static_cast<std::int64_t>(call.columns)) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "target %llu is %d: it must be one of %llu columns, or -1", static_cast<unsigned long long>(row), call.targets[row],
                       static_cast<unsigned long long>(call.columns));
  }
  return MUSTER_OK;
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_softmax(const muster_tensor* input, uint64_t columns, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkColumns(*input, columns, threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(*input, "input", kTrainingDtypes);
  check.hasDtype(*result, "result", input->dtype);
  check.hasElements(*result, "result", input->elements, "the input");
  check.writesOver(*result, "result", *input, kTrainingDtypes);
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  forEachRow(input->elements / columns, columns, threads, [&](std::uint64_t row) {
    table().layers[input->dtype].softmax(elementAt(*input, row * columns), elementAt(*result, row * columns), columns);
  });
  return MUSTER_OK;
}

muster_code muster_softmax_backward(const muster_tensor* output, const muster_tensor* gradient, uint64_t columns, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkColumns(*output, columns, threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(*output, "output", kTrainingDtypes);
  check.reads(*gradient, "gradient", kTrainingDtypes);
  for (const auto& [tensor, name] : {std::pair{gradient, "gradient"}, std::pair{result, "result"}}) {
    check.hasDtype(*tensor, name, output->dtype);
    check.hasElements(*tensor, name, output->elements, "the output");
  }
  check.writesOver(*result, "result", result->data == gradient->data ? *gradient : *output, kTrainingDtypes);
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  forEachRow(output->elements / columns, columns, threads, [&](std::uint64_t row) {
    const std::uint64_t at = row * columns;
    table().layers[output->dtype].softmaxBackward(elementAt(*output, at), elementAt(*gradient, at), elementAt(*result, at), columns);
  });
  return MUSTER_OK;
}

muster_code muster_layer_norm(const muster_layer_norm_call* call, uint32_t threads) {
  if (const muster_code code = checkLayerNorm(*call, threads); code != MUSTER_OK) return code;
  const auto epsilon = static_cast<float>(call->epsilon);
  forEachRow(call->input.elements / call->columns, call->columns, threads, [&](std::uint64_t row) {
    const std::uint64_t at = row * call->columns;
    const RowStatistics statistics = table().layers[call->input.dtype].layerNorm(elementAt(call->input, at), floatsOf(call->weight), floatsOf(call->bias), elementAt(call->result, at),
                                                                                 epsilon, call->columns);
    static_cast<float*>(call->mean.data)[row] = statistics.mean;
    static_cast<float*>(call->scale.data)[row] = statistics.scale;
  });
  return MUSTER_OK;
}

muster_code muster_layer_norm_backward(const muster_layer_norm_backward_call* call, uint32_t threads) {
  if (const muster_code code = checkLayerNormBackward(*call, threads); code != MUSTER_OK) return code;
  const LayerKernels& kernels = table().layers[call->input.dtype];
  const std::uint64_t rows = call->input.elements / call->columns;
  const auto statisticsOf = [&](std::uint64_t row) { return RowStatistics{floatsOf(call->mean)[row], floatsOf(call->scale)[row]}; };
  // The parameters first: the input's gradient may lie where the others are. Threads take columns, so that rows add up in order.
  constexpr std::uint64_t kStripColumns = 256;
  parallelFor(threadCount(threads), (call->columns + kStripColumns - 1) / kStripColumns, [&](std::size_t strip) {
    const std::uint64_t first = strip * kStripColumns;
    const std::uint64_t width = std::min(kStripColumns, call->columns - first);
    for (std::uint64_t row = 0; row < rows; row++) {
      const std::uint64_t at = row * call->columns + first;
      kernels.layerNormParameters(elementAt(call->input, at), elementAt(call->gradient, at), statisticsOf(row), static_cast<float*>(call->weight_gradient.data) + first,
                                  static_cast<float*>(call->bias_gradient.data) + first, width);
    }
  });
  forEachRow(rows, call->columns, threads, [&](std::uint64_t row) {
    const std::uint64_t at = row * call->columns;
    kernels.layerNormBackward(elementAt(call->input, at), floatsOf(call->weight), elementAt(call->gradient, at), elementAt(call->input_gradient, at), statisticsOf(row), call->columns);
  });
  return MUSTER_OK;
}

muster_code muster_cross_entropy(const muster_cross_entropy_call* call, uint32_t threads) {
  if (const muster_code code = checkCrossEntropy(*call, threads); code != MUSTER_OK) return code;
  forEachRow(call->logits.elements / call->columns, call->columns, threads, [&](std::uint64_t row) {
    const std::uint64_t at = row * call->columns;
    void* const gradient = call->gradient.elements == 0 ? nullptr : elementAt(call->gradient, at);
    float& loss = static_cast<float*>(call->losses.data)[row];
    if (call->targets[row] >= 0) {
      loss = table().layers[call->logits.dtype].crossEntropy(elementAt(call->logits, at), static_cast<std::size_t>(call->targets[row]), gradient, call->gradient_scale, call->columns);
      return;
    }
    loss = 0;
    if (gradient != nullptr) std::memset(gradient, 0, call->columns * muster::elementBytes(call->logits.dtype));
  });
  return MUSTER_OK;
}
