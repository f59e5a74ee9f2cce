/** How a kernel of tensors becomes a function of JavaScript: tensor-kernels.ts. The same for the CPU's, on typed arrays, and a GPU's, on its buffers. */
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <napi.h>

#include "addon/cuda-library.h"
#include "addon/failure.h"
#include "dtype.h"
#include "muster/strided.h"
#include "muster/tensor.h"

namespace muster::addon {

/** A typed array among the arguments, or a device's buffer. */
struct Memory {
  const char* name;
  /** Null: none was given. */
  void* data = nullptr;
  std::uint64_t sizeBytes = 0;
  /** Of a buffer, which holds any dtype, nothing. */
  std::optional<napi_typedarray_type> type;
};

/** What a value is as a memory; nothing for null and undefined. No JavaScript runs. @throws TypeError */
using MemoryOf = Memory (*)(Napi::Env env, const Napi::Value& value, const char* name);

Memory arrayMemory(Napi::Env env, const Napi::Value& value, const char* name);

/** What a dtype's numbers lie in. */
struct Kind {
  muster_dtype dtype;
  napi_typedarray_type type;
  const char* array;
};

inline constexpr Kind kKinds[] = {
    {MUSTER_F32, napi_float32_array, "a Float32Array of f32"}, {MUSTER_F16, napi_uint16_array, "a Uint16Array of f16"},
    {MUSTER_BF16, napi_uint16_array, "a Uint16Array of bf16"}, {MUSTER_I64, napi_bigint64_array, "a BigInt64Array of i64"},
    {MUSTER_I32, napi_int32_array, "an Int32Array of i32"},    {MUSTER_U8, napi_uint8_array, "a Uint8Array of truth values"},
};

/**
 * A call's numbers, read one after another, and its memories. What is read is checked as it is: numbers for their range, memories for being what their
 * dtype says and for holding what the call says. The kernels check how they fit each other.
 */
class Call {
 public:
  Call(Napi::Env env, const Napi::Value& numbers) : env_(env) {
    const Memory memory = arrayMemory(env, numbers, "numbers");
    if (memory.type != napi_float64_array) throw Napi::TypeError::New(env, "numbers must be a Float64Array");
    numbers_ = static_cast<const double*>(memory.data);
    count_ = memory.sizeBytes / sizeof(double);
  }

  double number() {
    if (at_ >= count_) throw Napi::TypeError::New(env_, "numbers are fewer than the call has");
    return numbers_[at_++];
  }

  std::uint64_t count() {
    const double value = number();
    if (!(value >= 0 && value <= 9007199254740991.0) || value != std::floor(value)) throw rangeError(env_, "number " + std::to_string(at_ - 1) + " of a call must be an integer from 0 to 2^53 - 1");
    return static_cast<std::uint64_t>(value);
  }

  std::uint32_t small() {
    const std::uint64_t value = count();
    if (value > UINT32_MAX) throw rangeError(env_, "number " + std::to_string(at_ - 1) + " of a call is too large");
    return static_cast<std::uint32_t>(value);
  }

  /** One of an enumeration's `count` values: what is none may not even be held as one. */
  template <class Enum>
  Enum oneOf(int count) {
    const std::uint32_t value = small();
    if (value >= static_cast<std::uint32_t>(count)) throw rangeError(env_, "number " + std::to_string(at_ - 1) + " of a call must be below " + std::to_string(count));
    return static_cast<Enum>(value);
  }

  std::uint32_t rank() {
    const std::uint32_t rank = small();
    if (rank > MUSTER_RANK_MAX) throw rangeError(env_, "a call has at most 8 dimensions");
    return rank;
  }

  template <std::size_t most>
  void counts(std::uint64_t (&values)[most], std::uint32_t count) {
    for (std::uint32_t index = 0; index < count; index++) values[index] = this->count();
  }

  /** dtype, offset, strides */
  muster_strided strided(const Memory& memory, std::uint32_t rank) {
    muster_strided tensor{};
    tensor.dtype = kind(memory).dtype;
    tensor.data = memory.data;
    tensor.elements = memory.sizeBytes / elementBytes(tensor.dtype);
    tensor.offset = count();
    counts(tensor.strides, rank);
    return tensor;
  }

  /** dtype, offset: `elements` in one piece. A memory that is not there has none. */
  muster_tensor dense(const Memory& memory, std::uint64_t elements) {
    if (memory.data == nullptr) {
      at_ += 2;
      return {nullptr, 0, MUSTER_F32};
    }
    const Kind& own = kind(memory);
    return {static_cast<std::byte*>(memory.data) + offsetOf(memory, elements, elementBytes(own.dtype)) * elementBytes(own.dtype), elements, own.dtype};
  }

  /** dtype, offset, elements. A memory that is not there has none. */
  muster_tensor sized(const Memory& memory) {
    if (memory.data == nullptr) {
      at_ += 3;
      return {nullptr, 0, MUSTER_F32};
    }
    const Kind& own = kind(memory);
    const std::uint64_t offset = count();
    const std::uint64_t elements = count();
    return {static_cast<std::byte*>(memory.data) + placeOf(memory, offset, elements, elementBytes(own.dtype)) * elementBytes(own.dtype), elements, own.dtype};
  }

  /** As `integers`, or null. */
  std::int32_t* optionalIntegers(const Memory& memory, std::uint64_t elements) {
    if (memory.data != nullptr) return integers(memory, elements);
    at_ += 2;
    return nullptr;
  }

  /** dtype, offset, of i32 alone. Null where the memory is. */
  std::int32_t* integers(const Memory& memory, std::uint64_t elements) {
    if (memory.data != nullptr && memory.type.value_or(napi_int32_array) != napi_int32_array) throw Napi::TypeError::New(env_, std::string(memory.name) + " must be an Int32Array");
    at_ += 1;
    const std::uint64_t offset = offsetOf(memory, elements, sizeof(std::int32_t));
    return memory.data == nullptr ? nullptr : static_cast<std::int32_t*>(memory.data) + offset;
  }

  /** dtype, offset and three strides, which reach from the first element to the memory's end. */
  std::pair<muster_tensor, std::array<std::uint64_t, 3>> rest(const Memory& memory) {
    const muster_strided whole = strided(memory, 3);
    const std::uint64_t offset = std::min(whole.offset, whole.elements);
    return {{static_cast<std::byte*>(whole.data) + offset * elementBytes(whole.dtype), whole.elements - offset, whole.dtype}, {whole.strides[0], whole.strides[1], whole.strides[2]}};
  }

  /** Of two numbers of a call. */
  std::uint64_t product(std::uint64_t one, std::uint64_t other) const {
    std::uint64_t result;
    if (__builtin_mul_overflow(one, other, &result)) throw rangeError(env_, "a call has more elements than can be counted");
    return result;
  }

  Napi::Env env() const { return env_; }

 private:
  /** The next number, from which on there must be so many elements. */
  std::uint64_t offsetOf(const Memory& memory, std::uint64_t elements, std::uint64_t bytes) {
    return placeOf(memory, count(), elements, bytes);
  }

  std::uint64_t placeOf(const Memory& memory, std::uint64_t offset, std::uint64_t elements, std::uint64_t bytes) const {
    const std::uint64_t own = memory.sizeBytes / bytes;
    if (offset > own || elements > own - offset) throw rangeError(env_, std::string(memory.name) + " has fewer elements than the call says");
    return offset;
  }

  /** The next number says which dtype the memory is of. */
  const Kind& kind(const Memory& memory) {
    const std::uint32_t dtype = small();
    for (const Kind& kind : kKinds) {
      if (static_cast<std::uint32_t>(kind.dtype) != dtype) continue;
      if (memory.data == nullptr || memory.type.value_or(kind.type) != kind.type) throw Napi::TypeError::New(env_, std::string(memory.name) + " must be " + kind.array);
      return kind;
    }
    throw rangeError(env_, std::string(memory.name) + " is of a dtype that tensors do not have");
  }

  Napi::Env env_;
  const double* numbers_;
  std::size_t count_;
  std::size_t at_ = 0;
};

/** Where the CPU's kernels run: on so many threads. */
struct Threads {
  static constexpr MemoryOf memoryOf = arrayMemory;
  std::uint32_t threads;

  static Threads of(const Napi::CallbackInfo&, Call& call) { return {call.small()}; }
  template <class Kernel, class Find, class... Values>
  muster_code run(Kernel kernel, Find, Values... values) const {
    return kernel(values..., threads);
  }
  static void check(Napi::Env env, muster_code code) { addon::check(env, code); }
};

Memory bufferMemory(Napi::Env env, const Napi::Value& value, const char* name);

/** Where a GPU's do. */
struct Stream {
  static constexpr MemoryOf memoryOf = bufferMemory;
  muster_cuda_stream stream;

  /** The stream is the functions' own; the number of threads is nobody's. */
  static Stream of(const Napi::CallbackInfo& info, Call& call) {
    call.small();
    return {streamOf(static_cast<Napi::Reference<Napi::External<Held>>*>(info.Data())->Value())};
  }
  template <class Kernel, class Find, class... Values>
  muster_code run(Kernel, Find find, Values... values) const {
    return find()(values..., stream);
  }
  static void check(Napi::Env env, muster_code code) { checkCuda(env, code); }
};

/** muster_NAME(..., threads), or muster_cuda_NAME(..., stream). */
#define MUSTER_RUN(queue, name, ...) (queue).run(muster_##name, [] { return MUSTER_CUDA_FUNCTION(muster_cuda_##name); }, __VA_ARGS__)

/** What a kernel returns to JavaScript, if anything. */
using Answer = std::optional<double>;

template <std::size_t count>
using Memories = std::array<Memory, count>;

/** A kernel with so many memories, each an argument. */
template <class Queue, std::size_t count>
using Kernel = muster_code (*)(Call&, const Memories<count>&, Queue, Answer&);
/** A kernel with any number of them, in an array. */
template <class Queue>
using ListKernel = muster_code (*)(Call&, const std::vector<Memory>&, Queue, Answer&);

inline Napi::Value answerOf(Napi::Env env, const Answer& answer) { return answer.has_value() ? Napi::Number::New(env, *answer) : env.Undefined(); }

template <class Queue, std::size_t count, const std::array<const char*, count>& names, Kernel<Queue, count> kernel>
Napi::Value run(const Napi::CallbackInfo& info) {
  Call call(info.Env(), info[0]);
  Memories<count> memories;
  for (std::size_t index = 0; index < count; index++) memories[index] = Queue::memoryOf(info.Env(), info[1 + index], names[index]);
  const Queue queue = Queue::of(info, call);
  Answer answer;
  Queue::check(info.Env(), kernel(call, memories, queue, answer));
  return answerOf(info.Env(), answer);
}

/** Getters of the array may run JavaScript: memory is looked at when all of them have. */
template <class Queue, ListKernel<Queue> kernel>
Napi::Value runList(const Napi::CallbackInfo& info) {
  if (!info[1].IsArray()) throw Napi::TypeError::New(info.Env(), "memories must be an array");
  const auto array = info[1].As<Napi::Array>();
  std::vector<Napi::Value> values;
  for (std::uint32_t index = 0; index < array.Length(); index++) values.push_back(array[index]);
  Call call(info.Env(), info[0]);
  std::vector<Memory> memories;
  for (const Napi::Value& value : values) memories.push_back(Queue::memoryOf(info.Env(), value, "a memory"));
  const Queue queue = Queue::of(info, call);
  Answer answer;
  Queue::check(info.Env(), kernel(call, memories, queue, answer));
  return answerOf(info.Env(), answer);
}

}  // namespace muster::addon
