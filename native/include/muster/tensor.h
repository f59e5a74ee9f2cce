/** What the kernels compute on: plain memory of one format, owned by the caller, who keeps it for the length of a call. */
#ifndef MUSTER_TENSOR_H
#define MUSTER_TENSOR_H

#include <stdint.h>

#include "muster/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How a number lies in memory. All but the first are storage formats: arithmetic is done in f32. */
typedef enum muster_format {
  /** IEEE binary32. */
  MUSTER_FORMAT_F32 = 0,
  /** IEEE binary16: 5 bits of exponent, 10 of mantissa. */
  MUSTER_FORMAT_F16 = 1,
  /** bfloat16: the upper half of an f32. */
  MUSTER_FORMAT_BF16 = 2,
  /** OCP FP8 E4M3 without infinities ("fn"): up to 448, which larger numbers become. */
  MUSTER_FORMAT_F8_E4M3 = 3,
  /** OCP FP8 E5M2: the upper half of an f16. */
  MUSTER_FORMAT_F8_E5M2 = 4
} muster_format;

enum { MUSTER_FORMAT_COUNT = 5 };

/** `elements` numbers of one format, one behind the other, aligned to the size of an element. Without elements `data` may be null. */
typedef struct muster_tensor {
  void* data;
  uint64_t elements;
  muster_format format;
} muster_tensor;

/** Threads of a call: 0 is one for each core that the process may use. The caller is one of them. */
#define MUSTER_THREADS_MAX 256u

/** The instructions that the kernels use on this machine: "scalar", "neon", "avx2", "avx512" or "avx512-bf16". */
const char* muster_kernel_level(void);

#ifdef __cplusplus
}
#endif
#endif
