#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "muster/layers.h"
#include "status.h"

namespace muster::kernels {
namespace {

muster_code checkActivation(muster_activation activation) {
  if (static_cast<std::uint32_t>(activation) < MUSTER_ACTIVATIONS) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no activation %d", static_cast<int>(activation));
}

/** Of calls that take two inputs, or one twice, to a result number by number. */
muster_code checkNumberByNumber(const muster_tensor& first, const muster_tensor& second, const muster_tensor& result, std::uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(first, "input", kTrainingDtypes);
  check.reads(second, "second input", kTrainingDtypes);
  check.hasDtype(second, "second input", first.dtype);
  check.hasDtype(result, "result", first.dtype);
  check.hasElements(second, "second input", first.elements, "the input");
  check.hasElements(result, "result", first.elements, "the input");
  check.writesOver(result, "result", result.data == second.data ? second : first, kTrainingDtypes);
  return check.code();
}

/** Calls `body(offset, elements)` for all pieces of a tensor. */
template <class Body>
void forEachPiece(const muster_tensor& tensor, std::uint32_t threads, Body body) {
  const auto pieces = piecesOf(1, [&](std::size_t) { return tensor.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) { body(pieces[item].offset, pieces[item].elements); });
}

/** That each token is a row of the table. */
muster_code checkTokens(const std::int32_t* tokens, std::uint64_t count, std::uint64_t rows) {
  for (std::uint64_t index = 0; index < count; index++) {
    if (tokens[index] >= 0 && static_cast<std::uint64_t>(tokens[index]) < rows) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "token %llu is %d, and the table has %llu rows", static_cast<unsigned long long>(index), tokens[index], static_cast<unsigned long long>(rows));
  }
  return MUSTER_OK;
}

/** Of an embedding: `table` and `rows` are whole rows of `columns`. */
muster_code checkEmbedding(const muster_tensor& table, const muster_tensor& rows, std::uint64_t columns, const std::int32_t* tokens) {
  if (columns == 0 || table.elements % columns != 0 || rows.elements % columns != 0) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu and %llu elements are not whole rows of %llu columns", static_cast<unsigned long long>(table.elements),
                       static_cast<unsigned long long>(rows.elements), static_cast<unsigned long long>(columns));
  }
  return checkTokens(tokens, rows.elements / columns, table.elements / columns);
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_combine(muster_pairwise operation, const muster_tensor* first, const muster_tensor* second, const muster_tensor* result, uint32_t threads) {
  if (operation != MUSTER_ADD && operation != MUSTER_MULTIPLY) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no pairwise operation %d", static_cast<int>(operation));
  if (const muster_code code = checkNumberByNumber(*first, *second, *result, threads); code != MUSTER_OK) return code;
  forEachPiece(*first, threads, [&](std::size_t offset, std::size_t elements) {
    table().layers[first->dtype].combine(operation, elementAt(*first, offset), elementAt(*second, offset), elementAt(*result, offset), elements);
  });
  return MUSTER_OK;
}

muster_code muster_activate(muster_activation activation, const muster_tensor* input, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkActivation(activation); code != MUSTER_OK) return code;
  if (const muster_code code = checkNumberByNumber(*input, *input, *result, threads); code != MUSTER_OK) return code;
  forEachPiece(*input, threads, [&](std::size_t offset, std::size_t elements) {
    table().layers[input->dtype].activate(activation, elementAt(*input, offset), elementAt(*result, offset), elements);
  });
  return MUSTER_OK;
}

muster_code muster_activate_backward(muster_activation activation, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkActivation(activation); code != MUSTER_OK) return code;
  if (const muster_code code = checkNumberByNumber(*input, *gradient, *result, threads); code != MUSTER_OK) return code;
  forEachPiece(*input, threads, [&](std::size_t offset, std::size_t elements) {
    table().layers[input->dtype].activateBackward(activation, elementAt(*input, offset), elementAt(*gradient, offset), elementAt(*result, offset), elements);
  });
  return MUSTER_OK;
}

muster_code muster_summarize(muster_reduction_kind kind, const muster_tensor* input, uint32_t threads, double* result) {
  if (kind != MUSTER_TOTAL && kind != MUSTER_LARGEST) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no reduction %d", static_cast<int>(kind));
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(*input, "input", kTrainingDtypes);
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  const auto pieces = piecesOf(1, [&](std::size_t) { return input->elements; });
  const LayerKernels& kernels = table().layers[input->dtype];
  const auto summarize = kind == MUSTER_TOTAL ? kernels.total : kernels.largest;
  std::vector<double> parts(pieces.size());
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) { parts[item] = summarize(elementAt(*input, pieces[item].offset), pieces[item].elements); });
  *result = kind == MUSTER_TOTAL ? 0 : -std::numeric_limits<double>::infinity();
  for (const double part : parts) {
    if (kind == MUSTER_TOTAL) {
      *result += part;
    } else if (part > *result || std::isnan(part)) {
      *result = part;
      if (std::isnan(part)) break;
    }
  }
  return MUSTER_OK;
}

muster_code muster_embedding(const muster_tensor* weights, uint64_t columns, const int32_t* tokens, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(*weights, "table", kTrainingDtypes);
  check.writes(*result, "result", kTrainingDtypes);
  check.hasDtype(*result, "result", weights->dtype);
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  if (const muster_code code = checkEmbedding(*weights, *result, columns, tokens); code != MUSTER_OK) return code;
  parallelFor(threadCount(threads), result->elements / columns, [&](std::size_t row) {
    std::memcpy(elementAt(*result, row * columns), elementAt(*weights, static_cast<std::size_t>(tokens[row]) * columns), columns * muster::elementBytes(weights->dtype));
  });
  return MUSTER_OK;
}

muster_code muster_embedding_backward(const muster_tensor* gradient, uint64_t columns, const int32_t* tokens, const muster_tensor* table_gradient, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(*gradient, "gradient", kTrainingDtypes);
  check.writes(*table_gradient, "table gradient", setOf(MUSTER_F32));
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  if (const muster_code code = checkEmbedding(*table_gradient, *gradient, columns, tokens); code != MUSTER_OK) return code;
  // Threads take columns, not rows: a token may come twice.
  constexpr std::size_t kStripColumns = 256;
  parallelFor(threadCount(threads), (columns + kStripColumns - 1) / kStripColumns, [&](std::size_t strip) {
    const std::size_t first = strip * kStripColumns;
    const std::size_t width = std::min<std::size_t>(kStripColumns, columns - first);
    for (std::size_t row = 0; row < gradient->elements / columns; row++) {
      auto* const sums = static_cast<float*>(elementAt(*table_gradient, static_cast<std::size_t>(tokens[row]) * columns + first));
      table().layers[gradient->dtype].addTo(sums, elementAt(*gradient, row * columns + first), width);
    }
  });
  return MUSTER_OK;
}
