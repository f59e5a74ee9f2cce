/** What calls on strided tensors ask of their arguments, and the shapes that they go through, whichever device does. */
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "dtype.h"
#include "muster/strided.h"

namespace muster::kernels {

/** A shape, of which dimensions of size 1 and those that can be gone through as one were taken out. */
struct Space {
  std::uint32_t rank = 0;
  std::uint64_t shape[MUSTER_RANK_MAX];
  std::uint64_t elements = 1;
};

/** A tensor in such a shape. */
struct Operand {
  /** Of its first element. */
  std::byte* data;
  muster_dtype dtype;
  std::uint64_t strides[MUSTER_RANK_MAX];
};

bool isFloating(muster_dtype dtype);

/** A tensor of a call, as its failures name it. `shape` has `rank` dimensions. */
struct NamedTensor {
  const muster_strided& tensor;
  const char* name;
  std::uint32_t rank;
  const std::uint64_t* shape;
};

/** That a tensor is of one of the dtypes, and lies within its memory. Nothing is anywhere. */
muster_code checkStrided(const NamedTensor& checked);
/** That no two elements are one: of tensors that are written. */
muster_code checkApart(const NamedTensor& written);
/** That a tensor which is written shares no memory with one that is read. */
muster_code checkDisjoint(const NamedTensor& written, const NamedTensor& read);
/** The same, unless they are the very same elements: a result in place. */
muster_code checkInPlace(const NamedTensor& written, const NamedTensor& read);
muster_code checkRank(std::uint32_t rank);

/** Takes dimensions [first, end) of a call, together for all its tensors. `operands` are filled from `tensors`. */
struct Tensors {
  const muster_strided* tensor;
  Operand* operand;
};
Space collapse(const std::uint64_t* shape, std::uint32_t first, std::uint32_t end, std::initializer_list<Tensors> tensors);

/** How many inputs a map has. */
unsigned inputsOfMap(muster_map_operation operation);
/** Whether a map computes in f32; else in 64-bit integers. */
bool mapsFloats(const muster_map_call& call);

/** A map, ready to be gone through. */
struct Map {
  muster_map_operation operation;
  unsigned inputs;
  Space space;
  /** Those that it does not have go along with the first one. */
  Operand operands[3];
  Operand result;
};
Map mapOf(const muster_map_call& call);

/** A reduction, ready to be gone through. */
struct Reduction {
  muster_reduce_operation operation;
  double factor;
  Space kept;
  Operand input;
  Operand result;
  Space reduced;
  /** The input along the reduced dimensions, from the first of them. */
  Operand along;
};
Reduction reductionOf(const muster_reduce_call& call);
/** Whether neighbours in memory belong to neighbouring results, `least` of them or more, and not to one result: the gradient of a bias. */
bool reducesRows(const Reduction& reduction, std::uint64_t least);

muster_code checkMap(const muster_map_call& call);
muster_code checkReduce(const muster_reduce_call& call);
/** All but the indices, which may lie where they cannot be looked at. @param writesIndexed whether it adds, or picks */
muster_code checkIndexing(const muster_index_call& call, bool writesIndexed);
/** The call with its result in one piece, as the header says. */
muster_random_call inOnePiece(muster_random_call call);
muster_code checkRandom(const muster_random_call& call);

}  // namespace muster::kernels
