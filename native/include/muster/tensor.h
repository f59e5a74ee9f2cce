/** What the kernels compute on: plain memory of one dtype, owned by the caller, who keeps it for the length of a call. */
#ifndef MUSTER_TENSOR_H
#define MUSTER_TENSOR_H

#include <stdint.h>

#include "muster/dtype.h"
#include "muster/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** `elements` numbers of one dtype, one behind the other, aligned to the size of an element. Without elements `data` may be null. */
typedef struct muster_tensor {
  void* data;
  uint64_t elements;
  /** f32, f16, bf16 or FP8: each call says which of them it takes. */
  muster_dtype dtype;
} muster_tensor;

/** Threads of a call: 0 is one for each core that the process may use. The caller is one of them. */
#define MUSTER_THREADS_MAX 256u

/** The instructions that the kernels use on this machine: "scalar", "neon", "avx2", "avx512" or "avx512-bf16". */
const char* muster_kernel_level(void);

#ifdef __cplusplus
}
#endif
#endif
