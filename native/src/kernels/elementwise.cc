#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "muster/layers.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** Calls `body(offset, elements)` for all pieces of a tensor. */
template <class Body>
void forEachPiece(const muster_tensor& tensor, std::uint32_t threads, Body body) {
  const auto pieces = piecesOf(1, [&](std::size_t) { return tensor.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) { body(pieces[item].offset, pieces[item].elements); });
}

bool isRow(std::int32_t token, std::uint64_t rows) { return token >= 0 && static_cast<std::uint64_t>(token) < rows; }

/** That each token is a row of the table. */
muster_code checkTokens(const std::int32_t* tokens, std::uint64_t count, std::uint64_t rows) {
  if (count > 0 && tokens == nullptr) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there are no tokens for %llu rows", static_cast<unsigned long long>(count));
  for (std::uint64_t index = 0; index < count; index++) {
    if (isRow(tokens[index], rows)) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "token %llu is %d, and the table has %llu rows", static_cast<unsigned long long>(index), tokens[index], static_cast<unsigned long long>(rows));
  }
  return MUSTER_OK;
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_combine(muster_pairwise operation, const muster_tensor* first, const muster_tensor* second, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkCombine(operation, *first, *second, *result); code != MUSTER_OK) return code;
  forEachPiece(*first, threads, [&](std::size_t offset, std::size_t elements) {
    table().layers[first->dtype].combine(operation, elementAt(*first, offset), elementAt(*second, offset), elementAt(*result, offset), elements);
  });
  return MUSTER_OK;
}

muster_code muster_activate(muster_activation activation, const muster_tensor* input, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkActivate(activation, *input, *result); code != MUSTER_OK) return code;
  forEachPiece(*input, threads, [&](std::size_t offset, std::size_t elements) {
    table().layers[input->dtype].activate(activation, elementAt(*input, offset), elementAt(*result, offset), elements);
  });
  return MUSTER_OK;
}

muster_code muster_activate_backward(muster_activation activation, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* result, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkActivateBackward(activation, *input, *gradient, *result); code != MUSTER_OK) return code;
  forEachPiece(*input, threads, [&](std::size_t offset, std::size_t elements) {
    table().layers[input->dtype].activateBackward(activation, elementAt(*input, offset), elementAt(*gradient, offset), elementAt(*result, offset), elements);
  });
  return MUSTER_OK;
}

muster_code muster_summarize(muster_reduction_kind kind, const muster_tensor* input, uint32_t threads, double* result) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkSummarize(kind, *input); code != MUSTER_OK) return code;
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
  if (const muster_code code = checkEmbedding(*weights, columns, *result); code != MUSTER_OK) return code;
  if (const muster_code code = checkTokens(tokens, result->elements / columns, weights->elements / columns); code != MUSTER_OK) return code;
  parallelFor(threadCount(threads), result->elements / columns, [&](std::size_t row) {
    const std::int32_t token = tokens[row];
    if (!isRow(token, weights->elements / columns)) return;  // once more: another thread may have written there
    std::memcpy(elementAt(*result, row * columns), elementAt(*weights, static_cast<std::size_t>(token) * columns), columns * muster::elementBytes(weights->dtype));
  });
  return MUSTER_OK;
}

muster_code muster_embedding_backward(const muster_tensor* gradient, uint64_t columns, const int32_t* tokens, const muster_tensor* table_gradient, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkEmbeddingBackward(*gradient, columns, *table_gradient); code != MUSTER_OK) return code;
  if (const muster_code code = checkTokens(tokens, gradient->elements / columns, table_gradient->elements / columns); code != MUSTER_OK) return code;
  // Threads take columns, not rows: a token may come twice.
  constexpr std::size_t kStripColumns = 256;
  parallelFor(threadCount(threads), (columns + kStripColumns - 1) / kStripColumns, [&](std::size_t strip) {
    const std::size_t first = strip * kStripColumns;
    const std::size_t width = std::min<std::size_t>(kStripColumns, columns - first);
    for (std::size_t row = 0; row < gradient->elements / columns; row++) {
      const std::int32_t token = tokens[row];
      if (!isRow(token, table_gradient->elements / columns)) continue;
      auto* const sums = static_cast<float*>(elementAt(*table_gradient, static_cast<std::size_t>(token) * columns + first));
      table().layers[gradient->dtype].addTo(sums, elementAt(*gradient, row * columns + first), width);
    }
  });
  return MUSTER_OK;
}
