/**
 * What an array library needs on tensors whose elements lie anywhere: arithmetic number by number with broadcasting, reductions along dimensions,
 * picking by index, random numbers. Floating point of 16 bits is computed in f32, integers in 64 bits; u8 is a truth value, 0 or 1.
 */
#ifndef MUSTER_STRIDED_H
#define MUSTER_STRIDED_H

#include <stdint.h>

#include "muster/dtype.h"
#include "muster/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MUSTER_RANK_MAX = 8 };

/**
 * Elements of a memory, in the shape that their call has: element (i, j, ...) is number offset + i * strides[0] + j * strides[1] + ...; a stride of 0
 * repeats. dtype: f32, f16, bf16, i64, i32 or u8. Calls check that all lies within the memory.
 */
typedef struct muster_strided {
  void* data;
  /** Of the memory. */
  uint64_t elements;
  muster_dtype dtype;
  uint64_t offset;
  uint64_t strides[MUSTER_RANK_MAX];
} muster_strided;

/** f: first, s: second, t: third input. Of integers those that divide or take roots and powers are refused. */
typedef enum muster_map_operation {
  /** f, in the result's dtype: fractions are cut off, what is too large for an integer is the nearest there is, NaN is 0. */
  MUSTER_MAP_COPY = 0,
  MUSTER_MAP_NEGATE,
  MUSTER_MAP_ABSOLUTE,
  MUSTER_MAP_EXPONENTIAL,
  MUSTER_MAP_LOGARITHM,
  MUSTER_MAP_SQUARE_ROOT,
  MUSTER_MAP_TANH,
  /** 1 / (1 + exp(-f)) */
  MUSTER_MAP_SIGMOID,
  MUSTER_MAP_ADD,
  MUSTER_MAP_SUBTRACT,
  MUSTER_MAP_MULTIPLY,
  MUSTER_MAP_DIVIDE,
  MUSTER_MAP_POWER,
  /** The larger; NaN where one of them is NaN. */
  MUSTER_MAP_MAXIMUM,
  MUSTER_MAP_MINIMUM,
  /** 1 or 0. Nothing equals NaN. */
  MUSTER_MAP_EQUAL,
  MUSTER_MAP_NOT_EQUAL,
  MUSTER_MAP_LESS,
  MUSTER_MAP_LESS_EQUAL,
  /** s * (1 - f^2): the gradient of tanh, from its output and its gradient. */
  MUSTER_MAP_TANH_BACKWARD,
  /** s * f * (1 - f): the same of the sigmoid. */
  MUSTER_MAP_SIGMOID_BACKWARD,
  /** f is not 0 ? s : t */
  MUSTER_MAP_WHERE,
  /** f * s + t */
  MUSTER_MAP_MULTIPLY_ADD
} muster_map_operation;

enum { MUSTER_MAP_OPERATIONS = 23 };

typedef struct muster_map_call {
  muster_map_operation operation;
  uint32_t rank;
  uint64_t shape[MUSTER_RANK_MAX];
  /** As many as the operation takes. Their dtypes may differ. */
  muster_strided inputs[3];
  /** May lie exactly where an input of its dtype lies, and nowhere else where one does. */
  muster_strided result;
} muster_map_call;

/** result = operation(inputs), number by number. */
muster_code muster_map(const muster_map_call* call, uint32_t threads);

typedef enum muster_reduce_operation {
  /** Times the call's factor. Floating point is summed in f64, partly in f32 over a few dozen numbers. */
  MUSTER_REDUCE_SUM = 0,
  /** The sum of squares, times the factor. */
  MUSTER_REDUCE_SQUARES,
  /** NaN where there is one. Of nothing: refused. */
  MUSTER_REDUCE_LARGEST,
  MUSTER_REDUCE_SMALLEST,
  /** i64: where the first of the largest is, counted along the reduced dimensions; a NaN is larger than all. */
  MUSTER_REDUCE_ARG_LARGEST
} muster_reduce_operation;

enum { MUSTER_REDUCE_OPERATIONS = 5 };

typedef struct muster_reduce_call {
  muster_reduce_operation operation;
  uint32_t rank;
  /** The first so many dimensions are the result's; the others are reduced. */
  uint32_t kept;
  uint64_t shape[MUSTER_RANK_MAX];
  muster_strided input;
  muster_strided result;
  double factor;
} muster_reduce_call;

/** The same bits with any number of threads. */
muster_code muster_reduce(const muster_reduce_call* call, uint32_t threads);

/** Three dimensions of which the middle one is indexed. */
typedef struct muster_index_call {
  /** Of the index, and of the result or source. */
  uint64_t shape[3];
  /** Of the input's or target's middle dimension: indices lie in [0, extent). */
  uint64_t extent;
  muster_strided indexed;
  /** i64 or i32. */
  muster_strided index;
  /** Of indexed's dtype; of a scatter f32. */
  muster_strided picked;
} muster_index_call;

/** picked[i][j][k] = indexed[i][index[i][j][k]][k] */
muster_code muster_gather(const muster_index_call* call, uint32_t threads);

/** indexed[i][index[i][j][k]][k] += picked[i][j][k], in the order of j; f32. */
muster_code muster_scatter_add(const muster_index_call* call, uint32_t threads);

typedef enum muster_random_kind {
  /** From [first, second): 24 bits of it are random. */
  MUSTER_RANDOM_UNIFORM = 0,
  /** Mean first, deviation second. Source: Box and Muller 1958. */
  MUSTER_RANDOM_NORMAL,
  /** second with the probability first, else 0. */
  MUSTER_RANDOM_BERNOULLI,
  /** 32 random bits; i32 alone. */
  MUSTER_RANDOM_BITS
} muster_random_kind;

enum { MUSTER_RANDOM_KINDS = 4 };

typedef struct muster_random_call {
  muster_random_kind kind;
  uint64_t seed;
  /** The number of the first counter: element i is made of counter + i / 4. */
  uint64_t counter;
  double first;
  double second;
  /** f32, f16 or bf16, or i32 of bits. In one piece from `offset` on. */
  muster_strided result;
  uint64_t count;
} muster_random_call;

/** Philox 4x32-10 (Salmon et al. 2011): the same numbers with any number of threads and every instruction set. */
muster_code muster_random(const muster_random_call* call, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
