#include "muster/convert.h"

#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"

using namespace muster::kernels;

muster_code muster_convert(const muster_tensor* source, const muster_tensor* target, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkConvert(*source, *target); code != MUSTER_OK) return code;
  const auto convert = table().convert[source->dtype][target->dtype];
  const bool past = target->elements * muster::elementBytes(target->dtype) >= kPastCachesMinBytes;
  const auto pieces = piecesOf(1, [&](std::size_t) { return source->elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    convert(elementAt(*source, piece.offset), elementAt(*target, piece.offset), piece.elements, past);
  });
  return MUSTER_OK;
}
