/** The element types that collectives and kernels know. Numbers are in the machine's own byte order. */
#ifndef MUSTER_DTYPE_H
#define MUSTER_DTYPE_H

#ifdef __cplusplus
extern "C" {
#endif

/** Floating point of 32 bits and less comes first, and of it what training computes in. Arithmetic on less than 32 bits is done in f32. */
typedef enum muster_dtype {
  /** IEEE 754 binary32. */
  MUSTER_F32 = 0,
  /** IEEE 754 binary16: 5 bits of exponent, 10 of mantissa. */
  MUSTER_F16 = 1,
  /** bfloat16: the upper half of an f32. */
  MUSTER_BF16 = 2,
  /** OCP FP8 E4M3 without infinities ("fn"): up to 448, which larger numbers become. */
  MUSTER_F8_E4M3 = 3,
  /** OCP FP8 E5M2: the upper half of an f16. */
  MUSTER_F8_E5M2 = 4,
  /** IEEE 754 binary64. */
  MUSTER_F64 = 5,
  MUSTER_I64 = 6,
  MUSTER_I32 = 7,
  MUSTER_U8 = 8
} muster_dtype;

#define MUSTER_DTYPE_COUNT 9u

#ifdef __cplusplus
}
#endif
#endif
