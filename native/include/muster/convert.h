/** Conversions between f32 and the smaller floating-point formats. */
#ifndef MUSTER_CONVERT_H
#define MUSTER_CONVERT_H

#include "muster/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Converts `source` to the dtype of `target`, which has as many elements and does not overlap it. One of the two is f32.
 *
 * To a smaller format: rounded to nearest, ties to even, denormals included. Too large, and infinity: infinity, or 448 in E4M3, which has none.
 * NaN stays NaN with its sign: quiet, in the 16-bit formats with the upper bits of its payload, in FP8 all ones.
 * To f32: exact; a signalling NaN becomes quiet.
 * The results are the same bits with every instruction set.
 */
muster_code muster_convert(const muster_tensor* source, const muster_tensor* target, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
