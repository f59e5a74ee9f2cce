#include "muster/gradients.h"

#include <atomic>
#include <cmath>

#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "status.h"

namespace muster::kernels {
namespace {

std::vector<Piece> gradientPieces(const muster_tensor* gradients, std::uint64_t count) {
  return piecesOf(count, [&](std::size_t index) { return gradients[index].elements; });
}

/** @returns whether all were finite. */
bool unscaleAll(const muster_tensor* gradients, const std::vector<Piece>& pieces, float inverse, std::uint32_t threads) {
  std::atomic<bool> finite = true;
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    const muster_tensor& gradient = gradients[piece.tensor];
    if (!table().unscale[gradient.dtype](elementAt(gradient, piece.offset), piece.elements, inverse)) finite.store(false, std::memory_order_relaxed);
  });
  return finite;
}

double normOf(const muster_tensor* gradients, const std::vector<Piece>& pieces, std::uint32_t threads) {
  std::vector<double> sums(pieces.size());
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    const muster_tensor& gradient = gradients[piece.tensor];
    sums[item] = table().sumOfSquares[gradient.dtype](elementAt(gradient, piece.offset), piece.elements);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_unscale(const muster_tensor* gradients, uint64_t count, float scale, float* found_inf, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkGradients(gradients, count, true); code != MUSTER_OK) return code;
  if (!(scale > 0) || !std::isfinite(scale)) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a loss scale of %g cannot be taken out of gradients: it must be finite and above 0", static_cast<double>(scale));
  }
  const auto inverse = static_cast<float>(1.0 / static_cast<double>(scale));
  if (!unscaleAll(gradients, gradientPieces(gradients, count), inverse, threads)) *found_inf = 1;
  return MUSTER_OK;
}

muster_code muster_gradient_norm(const muster_tensor* gradients, uint64_t count, uint32_t threads, double* norm) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkGradients(gradients, count, false); code != MUSTER_OK) return code;
  *norm = normOf(gradients, gradientPieces(gradients, count), threads);
  return MUSTER_OK;
}

muster_code muster_clip_gradients(const muster_tensor* gradients, uint64_t count, double max_norm, uint32_t threads, double* norm) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkGradients(gradients, count, true); code != MUSTER_OK) return code;
  if (const muster_code code = checkNormMax(max_norm); code != MUSTER_OK) return code;
  constexpr double kPreventsDivisionByZero = 1e-6;  // PyTorch's
  const std::vector<Piece> pieces = gradientPieces(gradients, count);
  *norm = normOf(gradients, pieces, threads);
  const auto factor = static_cast<float>(max_norm / (*norm + kPreventsDivisionByZero));
  if (!(factor >= 1)) unscaleAll(gradients, pieces, factor, threads);
  return MUSTER_OK;
}
