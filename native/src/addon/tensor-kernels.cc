#include "addon/tensor-kernels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "addon/failure.h"
#include "dtype.h"
#include "muster/gemm.h"
#include "muster/layers.h"
#include "muster/strided.h"

namespace muster::addon {
namespace {

/** A typed array among the arguments. */
struct Memory {
  const char* name;
  /** Null: none was given. */
  void* data = nullptr;
  std::uint64_t elements = 0;
  napi_typedarray_type type{};
};

/** What a dtype's numbers lie in. */
struct Kind {
  muster_dtype dtype;
  napi_typedarray_type type;
  const char* array;
};

constexpr Kind kKinds[] = {
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
    const Memory memory = memoryOf(numbers, "numbers");
    if (memory.data == nullptr || memory.type != napi_float64_array) throw Napi::TypeError::New(env, "numbers must be a Float64Array");
    numbers_ = static_cast<const double*>(memory.data);
    count_ = memory.elements;
  }

  /** @returns nothing for null and undefined */
  Memory memoryOf(const Napi::Value& value, const char* name) const {
    Memory memory{.name = name};
    if (value.IsNull() || value.IsUndefined()) return memory;
    std::size_t elements;
    napi_value buffer;
    if (napi_get_typedarray_info(env_, value, &memory.type, &elements, &memory.data, &buffer, nullptr) != napi_ok) throw Napi::TypeError::New(env_, std::string(name) + " must be a typed array");
    bool isDetached = false;
    if (elements == 0) napi_is_detached_arraybuffer(env_, buffer, &isDetached);  // a detached array has no elements
    if (isDetached) throw Napi::TypeError::New(env_, std::string(name) + " is detached: its memory was transferred to somebody else");
    memory.elements = elements;
    if (memory.data == nullptr) memory.data = &kEmpty;
    return memory;
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
    tensor.elements = memory.elements;
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
    const std::uint64_t offset = count();
    if (offset > memory.elements || elements > memory.elements - offset) throw rangeError(env_, std::string(memory.name) + " has fewer elements than the call says");
    return {static_cast<std::byte*>(memory.data) + offset * elementBytes(own.dtype), elements, own.dtype};
  }

  /** dtype, offset, of i32 alone. */
  const std::int32_t* integers(const Memory& memory, std::uint64_t elements) {
    if (memory.data != nullptr && memory.type != napi_int32_array) throw Napi::TypeError::New(env_, std::string(memory.name) + " must be an Int32Array");
    at_ += 1;
    const std::uint64_t offset = count();
    if (offset > memory.elements || elements > memory.elements - offset) throw rangeError(env_, std::string(memory.name) + " has fewer elements than the call says");
    return static_cast<const std::int32_t*>(memory.data) + offset;
  }

 private:
  /** The next number says which dtype the memory is of. */
  const Kind& kind(const Memory& memory) {
    const auto dtype = static_cast<muster_dtype>(small());
    for (const Kind& kind : kKinds) {
      if (kind.dtype != dtype) continue;
      if (memory.data == nullptr || kind.type != memory.type) throw Napi::TypeError::New(env_, std::string(memory.name) + " must be " + kind.array);
      return kind;
    }
    throw rangeError(env_, std::string(memory.name) + " is of a dtype that tensors do not have");
  }

  static inline std::uint64_t kEmpty = 0;

  Napi::Env env_;
  const double* numbers_;
  std::size_t count_;
  std::size_t at_ = 0;
};

template <std::size_t count>
using Memories = std::array<Memory, count>;

muster_code map(Call& call, const Memories<4>& memories, std::uint32_t threads) {
  muster_map_call map{};
  map.operation = static_cast<muster_map_operation>(call.small());
  map.rank = call.rank();
  call.counts(map.shape, map.rank);
  map.result = call.strided(memories[0], map.rank);
  for (std::size_t index = 0; index < 3 && memories[1 + index].data != nullptr; index++) map.inputs[index] = call.strided(memories[1 + index], map.rank);
  return muster_map(&map, threads);
}

muster_code reduce(Call& call, const Memories<2>& memories, std::uint32_t threads) {
  muster_reduce_call reduce{};
  reduce.operation = static_cast<muster_reduce_operation>(call.small());
  reduce.factor = call.number();
  reduce.rank = call.rank();
  reduce.kept = call.rank();
  call.counts(reduce.shape, reduce.rank);
  reduce.result = call.strided(memories[0], reduce.kept);
  reduce.input = call.strided(memories[1], reduce.rank);
  return muster_reduce(&reduce, threads);
}

muster_index_call indexCall(Call& call, const Memories<3>& memories) {
  muster_index_call index{};
  call.counts(index.shape, 3);
  index.extent = call.count();
  index.indexed = call.strided(memories[0], 3);
  index.index = call.strided(memories[1], 3);
  index.picked = call.strided(memories[2], 3);
  return index;
}

muster_code gather(Call& call, const Memories<3>& memories, std::uint32_t threads) {
  const muster_index_call index = indexCall(call, memories);
  return muster_gather(&index, threads);
}

muster_code scatterAdd(Call& call, const Memories<3>& memories, std::uint32_t threads) {
  const muster_index_call index = indexCall(call, memories);
  return muster_scatter_add(&index, threads);
}

muster_code random(Call& call, const Memories<1>& memories, std::uint32_t threads) {
  muster_random_call random{};
  random.kind = static_cast<muster_random_kind>(call.small());
  const std::uint64_t low = call.small();
  random.seed = static_cast<std::uint64_t>(call.small()) << 32 | low;
  random.counter = call.count();
  random.first = call.number();
  random.second = call.number();
  random.count = call.count();
  random.result = call.strided(memories[0], 0);
  return muster_random(&random, threads);
}

/** dtype, offset, rowStride, columnStride, batchStride */
muster_matrices matrices(Call& call, const Memory& memory) {
  const muster_strided strided = call.strided(memory, 3);
  const std::uint64_t offset = std::min(strided.offset, strided.elements);
  return {{static_cast<std::byte*>(strided.data) + offset * elementBytes(strided.dtype), strided.elements - offset, strided.dtype}, strided.strides[0], strided.strides[1], strided.strides[2]};
}

muster_code gemm(Call& call, const Memories<4>& memories, std::uint32_t threads) {
  muster_gemm_call gemm{};
  gemm.activation = static_cast<muster_activation>(call.small());
  gemm.alpha = static_cast<float>(call.number());
  gemm.beta = static_cast<float>(call.number());
  gemm.batches = call.count();
  gemm.rows = call.count();
  gemm.columns = call.count();
  gemm.depth = call.count();
  gemm.result = matrices(call, memories[0]);
  gemm.left = matrices(call, memories[1]);
  gemm.right = matrices(call, memories[2]);
  gemm.bias = call.dense(memories[3], gemm.columns);
  return muster_gemm(&gemm, threads);
}

muster_code activate(Call& call, const Memories<2>& memories, std::uint32_t threads) {
  const auto activation = static_cast<muster_activation>(call.small());
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor input = call.dense(memories[1], elements);
  return muster_activate(activation, &input, &result, threads);
}

muster_code activateBackward(Call& call, const Memories<3>& memories, std::uint32_t threads) {
  const auto activation = static_cast<muster_activation>(call.small());
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor input = call.dense(memories[1], elements);
  const muster_tensor gradient = call.dense(memories[2], elements);
  return muster_activate_backward(activation, &input, &gradient, &result, threads);
}

muster_code softmax(Call& call, const Memories<2>& memories, std::uint32_t threads) {
  const std::uint64_t columns = call.count();
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor input = call.dense(memories[1], elements);
  return muster_softmax(&input, columns, &result, threads);
}

muster_code softmaxBackward(Call& call, const Memories<3>& memories, std::uint32_t threads) {
  const std::uint64_t columns = call.count();
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor output = call.dense(memories[1], elements);
  const muster_tensor gradient = call.dense(memories[2], elements);
  return muster_softmax_backward(&output, &gradient, columns, &result, threads);
}

muster_code layerNorm(Call& call, const Memories<6>& memories, std::uint32_t threads) {
  muster_layer_norm_call norm{};
  norm.epsilon = call.number();
  norm.columns = call.count();
  const std::uint64_t rows = call.count();
  norm.result = call.dense(memories[0], rows * norm.columns);
  norm.mean = call.dense(memories[1], rows);
  norm.scale = call.dense(memories[2], rows);
  norm.input = call.dense(memories[3], rows * norm.columns);
  norm.weight = call.dense(memories[4], norm.columns);
  norm.bias = call.dense(memories[5], norm.columns);
  return muster_layer_norm(&norm, threads);
}

muster_code layerNormBackward(Call& call, const Memories<8>& memories, std::uint32_t threads) {
  muster_layer_norm_backward_call norm{};
  norm.columns = call.count();
  const std::uint64_t rows = call.count();
  norm.input_gradient = call.dense(memories[0], rows * norm.columns);
  norm.weight_gradient = call.dense(memories[1], norm.columns);
  norm.bias_gradient = call.dense(memories[2], norm.columns);
  norm.input = call.dense(memories[3], rows * norm.columns);
  norm.weight = call.dense(memories[4], norm.columns);
  norm.mean = call.dense(memories[5], rows);
  norm.scale = call.dense(memories[6], rows);
  norm.gradient = call.dense(memories[7], rows * norm.columns);
  return muster_layer_norm_backward(&norm, threads);
}

muster_code crossEntropy(Call& call, const Memories<4>& memories, std::uint32_t threads) {
  muster_cross_entropy_call loss{};
  loss.gradient_scale = static_cast<float>(call.number());
  loss.columns = call.count();
  const std::uint64_t rows = call.count();
  loss.losses = call.dense(memories[0], rows);
  loss.gradient = call.dense(memories[1], rows * loss.columns);
  loss.logits = call.dense(memories[2], rows * loss.columns);
  loss.targets = call.integers(memories[3], rows);
  return muster_cross_entropy(&loss, threads);
}

muster_code embedding(Call& call, const Memories<3>& memories, std::uint32_t threads) {
  const std::uint64_t columns = call.count();
  const std::uint64_t rows = call.count();
  const std::uint64_t tokens = call.count();
  const muster_tensor result = call.dense(memories[0], tokens * columns);
  const muster_tensor table = call.dense(memories[1], rows * columns);
  return muster_embedding(&table, columns, call.integers(memories[2], tokens), &result, threads);
}

muster_code embeddingBackward(Call& call, const Memories<3>& memories, std::uint32_t threads) {
  const std::uint64_t columns = call.count();
  const std::uint64_t rows = call.count();
  const std::uint64_t tokens = call.count();
  const muster_tensor table = call.dense(memories[0], rows * columns);
  const muster_tensor gradient = call.dense(memories[1], tokens * columns);
  return muster_embedding_backward(&gradient, columns, call.integers(memories[2], tokens), &table, threads);
}

template <std::size_t count>
using Kernel = muster_code (*)(Call&, const Memories<count>&, std::uint32_t threads);

/** A kernel's function in JavaScript: (numbers, ...memories), the first number of which is the threads. */
template <std::size_t count>
struct Entry {
  const char* name;
  Kernel<count> kernel;
  /** In the order of the arguments. */
  const char* memories[count];
};

template <std::size_t count, const Entry<count>& entry>
void run(const Napi::CallbackInfo& info) {
  Call call(info.Env(), info[0]);
  Memories<count> memories;
  for (std::size_t index = 0; index < count; index++) memories[index] = call.memoryOf(info[1 + index], entry.memories[index]);
  const std::uint32_t threads = call.small();
  check(info.Env(), entry.kernel(call, memories, threads));
}

constexpr Entry<4> kMap{"map", map, {"result", "first", "second", "third"}};
constexpr Entry<2> kReduce{"reduce", reduce, {"result", "input"}};
constexpr Entry<3> kGather{"gather", gather, {"indexed", "index", "picked"}};
constexpr Entry<3> kScatterAdd{"scatterAdd", scatterAdd, {"indexed", "index", "picked"}};
constexpr Entry<1> kRandom{"random", random, {"result"}};
constexpr Entry<4> kGemm{"gemm", gemm, {"result", "left", "right", "bias"}};
constexpr Entry<2> kActivate{"activate", activate, {"result", "input"}};
constexpr Entry<3> kActivateBackward{"activateBackward", activateBackward, {"result", "input", "gradient"}};
constexpr Entry<2> kSoftmax{"softmax", softmax, {"result", "input"}};
constexpr Entry<3> kSoftmaxBackward{"softmaxBackward", softmaxBackward, {"result", "output", "gradient"}};
constexpr Entry<6> kLayerNorm{"layerNorm", layerNorm, {"result", "mean", "scale", "input", "weight", "bias"}};
constexpr Entry<8> kLayerNormBackward{"layerNormBackward", layerNormBackward, {"inputGradient", "weightGradient", "biasGradient", "input", "weight", "mean", "scale", "gradient"}};
constexpr Entry<4> kCrossEntropy{"crossEntropy", crossEntropy, {"losses", "gradient", "logits", "targets"}};
constexpr Entry<3> kEmbedding{"embedding", embedding, {"result", "table", "tokens"}};
constexpr Entry<3> kEmbeddingBackward{"embeddingBackward", embeddingBackward, {"tableGradient", "gradient", "tokens"}};

template <std::size_t count, const Entry<count>& entry>
void add(Napi::Object& kernels) {
  kernels[entry.name] = Napi::Function::New<run<count, entry>>(kernels.Env(), entry.name);
}

}  // namespace

Napi::Object tensorKernels(Napi::Env env) {
  Napi::Object kernels = Napi::Object::New(env);
  add<4, kMap>(kernels);
  add<2, kReduce>(kernels);
  add<3, kGather>(kernels);
  add<3, kScatterAdd>(kernels);
  add<1, kRandom>(kernels);
  add<4, kGemm>(kernels);
  add<2, kActivate>(kernels);
  add<3, kActivateBackward>(kernels);
  add<2, kSoftmax>(kernels);
  add<3, kSoftmaxBackward>(kernels);
  add<6, kLayerNorm>(kernels);
  add<8, kLayerNormBackward>(kernels);
  add<4, kCrossEntropy>(kernels);
  add<3, kEmbedding>(kernels);
  add<3, kEmbeddingBackward>(kernels);
  return kernels;
}

}  // namespace muster::addon
