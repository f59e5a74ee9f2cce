#include "muster/optimizer.h"

#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/optimizer.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "status.h"

namespace muster::kernels {
namespace {

float* floatsAt(const muster_tensor& tensor, std::size_t offset) { return static_cast<float*>(elementAt(tensor, offset)); }

/** Where the kernel for a dtype of copies lies: f32 stands for none. */
muster_dtype copyDtype(const muster_tensor& copy) { return copy.elements == 0 ? MUSTER_F32 : copy.dtype; }

void* copyAt(const muster_tensor& copy, std::size_t offset) { return copy.elements == 0 ? nullptr : elementAt(copy, offset); }

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_sgd(const muster_sgd_parameter* parameters, uint64_t count, const muster_sgd_options* options, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkSgd(parameters, count, *options); code != MUSTER_OK) return code;
  const SgdFactors factors = sgdFactors(*options);
  const auto pieces = piecesOf(count, [&](std::size_t index) { return parameters[index].weights.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    const muster_sgd_parameter& parameter = parameters[piece.tensor];
    const SgdPiece part{
        floatsAt(parameter.weights, piece.offset), elementAt(parameter.gradient, piece.offset),
        options->momentum == 0 ? nullptr : floatsAt(parameter.momentum, piece.offset), copyAt(parameter.copy, piece.offset), piece.elements};
    table().sgd[parameter.gradient.dtype][copyDtype(parameter.copy)](part, factors);
  });
  return MUSTER_OK;
}

muster_code muster_adam(const muster_adam_parameter* parameters, uint64_t count, const muster_adam_options* options, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkAdam(parameters, count, *options); code != MUSTER_OK) return code;
  const AdamFactors factors = adamFactors(*options);
  const auto pieces = piecesOf(count, [&](std::size_t index) { return parameters[index].weights.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    const muster_adam_parameter& parameter = parameters[piece.tensor];
    const AdamPiece part{floatsAt(parameter.weights, piece.offset), elementAt(parameter.gradient, piece.offset), floatsAt(parameter.first_moment, piece.offset),
                         floatsAt(parameter.second_moment, piece.offset), copyAt(parameter.copy, piece.offset), piece.elements};
    table().adam[parameter.gradient.dtype][copyDtype(parameter.copy)](part, factors);
  });
  return MUSTER_OK;
}
