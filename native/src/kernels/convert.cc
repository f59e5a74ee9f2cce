#include "muster/convert.h"

#include <cinttypes>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "status.h"

using namespace muster::kernels;

muster_code muster_convert(const muster_tensor* source, const muster_tensor* target, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(*source, "source", kKernelDtypes);
  check.writes(*target, "target", kKernelDtypes);
  check.hasElements(*target, "target", source->elements, "the source");
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  const auto convert = table().convert[source->dtype][target->dtype];
  if (convert == nullptr) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "no conversion from %s to %s: one of the two must be f32, and the other not", muster::dtypeName(source->dtype), muster::dtypeName(target->dtype));
  }
  const bool past = target->elements * muster::elementBytes(target->dtype) >= kPastCachesMinBytes;
  const auto pieces = piecesOf(1, [&](std::size_t) { return source->elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    convert(elementAt(*source, piece.offset), elementAt(*target, piece.offset), piece.elements, past);
  });
  return MUSTER_OK;
}
