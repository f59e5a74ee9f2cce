#include "kernels/rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "muster/layers.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** Calls `body(row)` for every row; threads take as many at once as make a piece. */
template <class Body>
void forEachRow(std::uint64_t rows, std::uint64_t columns, std::uint32_t threads, Body body) {
  const std::uint64_t together = std::max<std::uint64_t>(1, kPieceElements / columns);
  parallelFor(threadCount(threads), (rows + together - 1) / together, [&](std::size_t item) {
    for (std::uint64_t row = item * together; row < std::min(rows, (item + 1) * together); row++) body(row);
  });
}

const float* floatsOf(const muster_tensor& tensor) { return static_cast<const float*>(tensor.data); }

muster_code checkTargets(const std::int32_t* targets, std::uint64_t rows, std::uint64_t columns) {
  if (rows > 0 && targets == nullptr) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there are no targets for %llu rows", static_cast<unsigned long long>(rows));
  for (std::uint64_t row = 0; row < rows; row++) {
    if (targets[row] >= -1 && targets[row] < static_cast<std::int64_t>(columns)) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "target %llu is %d: it must be one of %llu columns, from 0 on", static_cast<unsigned long long>(row), targets[row], static_cast<unsigned long long>(columns));
  }
  return MUSTER_OK;
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_softmax(const muster_tensor* input, uint64_t columns, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkSoftmax(*input, columns, *result); code != MUSTER_OK) return code;
  forEachRow(input->elements / columns, columns, threads, [&](std::uint64_t row) {
    table().layers[input->dtype].softmax(elementAt(*input, row * columns), elementAt(*result, row * columns), columns);
  });
  return MUSTER_OK;
}

muster_code muster_softmax_backward(const muster_tensor* output, const muster_tensor* gradient, uint64_t columns, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkSoftmaxBackward(*output, *gradient, columns, *result); code != MUSTER_OK) return code;
  forEachRow(output->elements / columns, columns, threads, [&](std::uint64_t row) {
    const std::uint64_t at = row * columns;
    table().layers[output->dtype].softmaxBackward(elementAt(*output, at), elementAt(*gradient, at), elementAt(*result, at), columns);
  });
  return MUSTER_OK;
}

muster_code muster_layer_norm(const muster_layer_norm_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkLayerNorm(*call); code != MUSTER_OK) return code;
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
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkLayerNormBackward(*call); code != MUSTER_OK) return code;
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
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkCrossEntropy(*call); code != MUSTER_OK) return code;
  if (const muster_code code = checkTargets(call->targets, call->logits.elements / call->columns, call->columns); code != MUSTER_OK) return code;
  forEachRow(call->logits.elements / call->columns, call->columns, threads, [&](std::uint64_t row) {
    const std::uint64_t at = row * call->columns;
    void* const gradient = call->gradient.elements == 0 ? nullptr : elementAt(call->gradient, at);
    float& loss = static_cast<float*>(call->losses.data)[row];
    const std::int32_t target = call->targets[row];
    if (target >= 0 && static_cast<std::uint64_t>(target) < call->columns) {  // once more: another thread may have written there
      loss = table().layers[call->logits.dtype].crossEntropy(elementAt(call->logits, at), static_cast<std::size_t>(target), gradient, call->gradient_scale, call->columns);
      return;
    }
    loss = 0;
    if (gradient != nullptr) std::memset(gradient, 0, call->columns * muster::elementBytes(call->logits.dtype));
  });
  return MUSTER_OK;
}
