/** The element types that collectives and kernels know. Numbers are in the machine's own byte order. */
#ifndef MUSTER_DTYPE_H
#define MUSTER_DTYPE_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum muster_dtype {
  MUSTER_F64 = 0,
  MUSTER_F32 = 1,
  /** IEEE 754 binary16. */
  MUSTER_F16 = 2,
  /** The upper half of a binary32. */
  MUSTER_BF16 = 3,
  MUSTER_I64 = 4,
  MUSTER_I32 = 5,
  MUSTER_U8 = 6
} muster_dtype;

#define MUSTER_DTYPE_COUNT 7u

#ifdef __cplusplus
}
#endif
#endif
