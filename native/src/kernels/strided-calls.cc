#include "kernels/strided-calls.h"

#include <algorithm>
#include <cinttypes>

#include "kernels/map.h"
#include "status.h"

namespace muster::kernels {
namespace {

bool isNothing(const NamedTensor& checked) { return std::find(checked.shape, checked.shape + checked.rank, std::uint64_t{0}) != checked.shape + checked.rank; }

/** Addresses, from that of the first element to the one behind the last. */
struct Extent {
  std::uintptr_t begin;
  std::uintptr_t end;
};

/** Of a tensor that was checked. */
Extent extentOf(const NamedTensor& checked) {
  const std::uint64_t bytes = elementBytes(checked.tensor.dtype);
  std::uint64_t reach = 1;
  for (std::uint32_t dimension = 0; dimension < checked.rank; dimension++) reach += (checked.shape[dimension] - 1) * checked.tensor.strides[dimension];
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(checked.tensor.data) + checked.tensor.offset * bytes;
  return {begin, begin + reach * bytes};
}

}  // namespace

bool isFloating(muster_dtype dtype) { return dtype == MUSTER_F32 || dtype == MUSTER_F16 || dtype == MUSTER_BF16; }

muster_code checkRank(std::uint32_t rank) {
  if (rank <= MUSTER_RANK_MAX) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%" PRIu32 " dimensions are more than the %d that a call may have", rank, MUSTER_RANK_MAX);
}

muster_code checkStrided(const NamedTensor& checked) {
  const auto& [tensor, name, rank, shape] = checked;
  const bool isKnown = isFloating(tensor.dtype) || tensor.dtype == MUSTER_I64 || tensor.dtype == MUSTER_I32 || tensor.dtype == MUSTER_U8;
  if (!isKnown) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s is of %s; this call takes f32, f16, bf16, i64, i32 and u8", name, dtypeName(tensor.dtype));
  if (isNothing(checked)) return MUSTER_OK;
  std::uint64_t last = tensor.offset;
  std::uint64_t count = 1;
  bool overflows = false;
  for (std::uint32_t dimension = 0; dimension < rank; dimension++) {
    std::uint64_t steps;
    overflows = overflows || __builtin_mul_overflow(count, shape[dimension], &count) || __builtin_mul_overflow(shape[dimension] - 1, tensor.strides[dimension], &steps) ||
                __builtin_add_overflow(last, steps, &last);
  }
  if (overflows || last >= tensor.elements) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s reaches beyond the %" PRIu64 " elements of its memory", name, tensor.elements);
  }
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data);
  if (tensor.data == nullptr || tensor.elements > (UINTPTR_MAX - begin) / elementBytes(tensor.dtype)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s has no memory for its %" PRIu64 " elements", name, tensor.elements);
  if (begin % elementBytes(tensor.dtype) != 0) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s is not aligned to its elements", name);
  return MUSTER_OK;
}

muster_code checkApart(const NamedTensor& written) {
  if (isNothing(written)) return MUSTER_OK;
  const auto& [tensor, name, rank, shape] = written;
  std::uint32_t order[MUSTER_RANK_MAX];  // dimensions by their strides, the smallest first
  std::uint32_t count = 0;
  for (std::uint32_t dimension = 0; dimension < rank; dimension++) {
    if (shape[dimension] <= 1) continue;
    std::uint32_t place = count++;
    for (; place > 0 && tensor.strides[order[place - 1]] > tensor.strides[dimension]; place--) order[place] = order[place - 1];
    order[place] = dimension;
  }
  std::uint64_t reach = 0;  // how far the dimensions so far go
  for (std::uint32_t index = 0; index < count; index++) {
    const std::uint64_t stride = tensor.strides[order[index]];
    if (stride <= reach) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s overlaps itself, and is written", name);
    reach += (shape[order[index]] - 1) * stride;
  }
  return MUSTER_OK;
}

muster_code checkDisjoint(const NamedTensor& written, const NamedTensor& read) {
  if (isNothing(written) || isNothing(read)) return MUSTER_OK;
  const Extent own = extentOf(written);
  const Extent other = extentOf(read);
  if (own.end <= other.begin || other.end <= own.begin) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s and %s overlap, and one of them is written", written.name, read.name);
}

muster_code checkInPlace(const NamedTensor& written, const NamedTensor& read) {
  bool isSame = written.tensor.dtype == read.tensor.dtype && !isNothing(written) && extentOf(written).begin == extentOf(read).begin;
  for (std::uint32_t dimension = 0; dimension < written.rank; dimension++) {
    isSame = isSame && (written.shape[dimension] == 1 || written.tensor.strides[dimension] == read.tensor.strides[dimension]);
  }
  return isSame ? MUSTER_OK : checkDisjoint(written, read);
}

Space collapse(const std::uint64_t* shape, std::uint32_t first, std::uint32_t end, std::initializer_list<Tensors> tensors) {
  Space space;
  for (const Tensors& each : tensors) {
    const std::uint64_t offset = std::min(each.tensor->offset, each.tensor->elements);  // of nothing it may be any
    each.operand->data = static_cast<std::byte*>(each.tensor->data) + offset * elementBytes(each.tensor->dtype);
    each.operand->dtype = each.tensor->dtype;
  }
  for (std::uint32_t dimension = first; dimension < end; dimension++) {
    space.elements *= shape[dimension];
    if (shape[dimension] == 1) continue;
    const bool joins = space.rank > 0 && std::all_of(tensors.begin(), tensors.end(), [&](const Tensors& each) {
      return each.operand->strides[space.rank - 1] == each.tensor->strides[dimension] * shape[dimension];
    });
    if (joins) {
      space.shape[space.rank - 1] *= shape[dimension];
    } else {
      space.shape[space.rank++] = shape[dimension];
    }
    for (const Tensors& each : tensors) each.operand->strides[space.rank - 1] = each.tensor->strides[dimension];
  }
  return space;
}

unsigned inputsOfMap(muster_map_operation operation) {
  if (operation >= MUSTER_MAP_WHERE) return 3;
  return operation >= MUSTER_MAP_ADD ? 2 : 1;
}

bool mapsFloats(const muster_map_call& call) {
  bool floats = isFloating(call.result.dtype);
  for (unsigned index = 0; index < inputsOfMap(call.operation); index++) floats = floats || isFloating(call.inputs[index].dtype);
  return floats;
}

Map mapOf(const muster_map_call& call) {
  Map map{call.operation, inputsOfMap(call.operation), {}, {}, {}};
  const muster_strided* const second = &call.inputs[map.inputs > 1 ? 1 : 0];
  const muster_strided* const third = &call.inputs[map.inputs > 2 ? 2 : 0];
  map.space = collapse(call.shape, 0, call.rank, {{&call.inputs[0], &map.operands[0]}, {second, &map.operands[1]}, {third, &map.operands[2]}, {&call.result, &map.result}});
  return map;
}

Reduction reductionOf(const muster_reduce_call& call) {
  Reduction reduction{call.operation, call.factor, {}, {}, {}, {}, {}};
  reduction.kept = collapse(call.shape, 0, call.kept, {{&call.input, &reduction.input}, {&call.result, &reduction.result}});
  reduction.reduced = collapse(call.shape, call.kept, call.rank, {{&call.input, &reduction.along}});
  return reduction;
}

bool reducesRows(const Reduction& reduction, std::uint64_t least) {
  const Space& kept = reduction.kept;
  const Space& reduced = reduction.reduced;
  const bool liesInRows = kept.rank > 0 && reduction.input.strides[kept.rank - 1] == 1 && kept.shape[kept.rank - 1] >= least;
  const bool liesAlong = reduced.rank == 0 || reduction.along.strides[reduced.rank - 1] == 1;
  return liesInRows && !liesAlong;
}

muster_code checkMap(const muster_map_call& call) {
  if (static_cast<std::uint32_t>(call.operation) >= MUSTER_MAP_OPERATIONS) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no map %d", static_cast<int>(call.operation));
  if (const muster_code code = checkRank(call.rank); code != MUSTER_OK) return code;
  const NamedTensor result{call.result, "the result", call.rank, call.shape};
  if (const muster_code code = checkStrided(result); code != MUSTER_OK) return code;
  if (const muster_code code = checkApart(result); code != MUSTER_OK) return code;
  constexpr const char* names[] = {"the first input", "the second input", "the third input"};
  for (unsigned index = 0; index < inputsOfMap(call.operation); index++) {
    const NamedTensor input{call.inputs[index], names[index], call.rank, call.shape};
    if (const muster_code code = checkStrided(input); code != MUSTER_OK) return code;
    if (const muster_code code = checkInPlace(result, input); code != MUSTER_OK) return code;
  }
  std::int64_t unused;
  if (mapsFloats(call) || reference::mapInteger(call.operation, 0, 0, 0, unused)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "integers have no map %d", static_cast<int>(call.operation));
}

muster_code checkReduce(const muster_reduce_call& call) {
  if (static_cast<std::uint32_t>(call.operation) >= MUSTER_REDUCE_OPERATIONS) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no reduction %d", static_cast<int>(call.operation));
  if (const muster_code code = checkRank(call.rank); code != MUSTER_OK) return code;
  if (call.kept > call.rank) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%u of %u dimensions cannot be kept", call.kept, call.rank);
  const NamedTensor input{call.input, "the input", call.rank, call.shape};
  const NamedTensor result{call.result, "the result", call.kept, call.shape};
  if (const muster_code code = checkStrided(input); code != MUSTER_OK) return code;
  if (const muster_code code = checkStrided(result); code != MUSTER_OK) return code;
  if (const muster_code code = checkApart(result); code != MUSTER_OK) return code;
  if (const muster_code code = checkDisjoint(result, input); code != MUSTER_OK) return code;
  if (call.operation == MUSTER_REDUCE_ARG_LARGEST && call.result.dtype != MUSTER_I64) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "indices are i64");
  if (!isFloating(call.input.dtype) && call.operation == MUSTER_REDUCE_SQUARES) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "squares of integers are not summed");
  if (!isFloating(call.input.dtype) && isFloating(call.result.dtype)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "integers are reduced to integers");
  std::uint64_t reduced = 1;
  for (std::uint32_t dimension = call.kept; dimension < call.rank; dimension++) reduced *= call.shape[dimension] == 0 ? 0 : 1;
  if (reduced == 0 && call.operation >= MUSTER_REDUCE_LARGEST) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "of nothing there is no largest or smallest");
  return MUSTER_OK;
}

muster_code checkIndexing(const muster_index_call& call, bool writesIndexed) {
  const std::uint64_t wholeShape[3] = {call.shape[0], call.extent, call.shape[2]};
  const NamedTensor index{call.index, "the index", 3, call.shape};
  const NamedTensor picked{call.picked, "what is picked", 3, call.shape};
  const NamedTensor indexed{call.indexed, "what is indexed", 3, wholeShape};
  for (const NamedTensor& tensor : {index, picked, indexed}) {
    if (const muster_code code = checkStrided(tensor); code != MUSTER_OK) return code;
  }
  if (call.index.dtype != MUSTER_I64 && call.index.dtype != MUSTER_I32) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the index must be i64 or i32");
  if (call.picked.dtype != call.indexed.dtype) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "what is picked and what is indexed have different dtypes");
  if (writesIndexed && call.indexed.dtype != MUSTER_F32) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "only f32 is added to");
  const NamedTensor& written = writesIndexed ? indexed : picked;
  if (const muster_code code = checkApart(written); code != MUSTER_OK) return code;
  for (const NamedTensor& read : {index, writesIndexed ? picked : indexed}) {
    if (const muster_code code = checkDisjoint(written, read); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_random_call inOnePiece(muster_random_call call) {
  call.result.strides[0] = 1;
  return call;
}

muster_code checkRandom(const muster_random_call& call) {
  if (static_cast<std::uint32_t>(call.kind) >= MUSTER_RANDOM_KINDS) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there are no random numbers of kind %d", static_cast<int>(call.kind));
  if (const muster_code code = checkStrided({call.result, "the result", 1, &call.count}); code != MUSTER_OK) return code;
  if (call.kind == MUSTER_RANDOM_BITS ? call.result.dtype == MUSTER_I32 : isFloating(call.result.dtype)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "random bits are i32, and other random numbers f32, f16 or bf16");
}

}  // namespace muster::kernels
