/** Arithmetic, reductions, indexing, products and layers, as tensor-kernels.ts says: each reads its numbers, and runs where its queue is. */
#pragma once

#include <type_traits>

#include "addon/tensor-call.h"
#include "muster/cuda-kernels.h"

namespace muster::addon {

template <class Queue>
muster_code map(Call& call, const Memories<4>& memories, Queue queue, Answer&) {
  muster_map_call map{};
  map.operation = call.oneOf<muster_map_operation>(MUSTER_MAP_OPERATIONS);
  map.rank = call.rank();
  call.counts(map.shape, map.rank);
  map.result = call.strided(memories[0], map.rank);
  for (std::size_t index = 0; index < 3 && memories[1 + index].data != nullptr; index++) map.inputs[index] = call.strided(memories[1 + index], map.rank);
  return MUSTER_RUN(queue, map, &map);
}

template <class Queue>
muster_code reduce(Call& call, const Memories<2>& memories, Queue queue, Answer&) {
  muster_reduce_call reduce{};
  reduce.operation = call.oneOf<muster_reduce_operation>(MUSTER_REDUCE_OPERATIONS);
  reduce.factor = call.number();
  reduce.rank = call.rank();
  reduce.kept = call.rank();
  call.counts(reduce.shape, reduce.rank);
  reduce.result = call.strided(memories[0], reduce.kept);
  reduce.input = call.strided(memories[1], reduce.rank);
  return MUSTER_RUN(queue, reduce, &reduce);
}

inline muster_index_call indexCall(Call& call, const Memories<3>& memories) {
  muster_index_call index{};
  call.counts(index.shape, 3);
  index.extent = call.count();
  index.indexed = call.strided(memories[0], 3);
  index.index = call.strided(memories[1], 3);
  index.picked = call.strided(memories[2], 3);
  return index;
}

template <class Queue>
muster_code gather(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const muster_index_call index = indexCall(call, memories);
  return MUSTER_RUN(queue, gather, &index);
}

template <class Queue>
muster_code scatterAdd(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const muster_index_call index = indexCall(call, memories);
  return MUSTER_RUN(queue, scatter_add, &index);
}

template <class Queue>
muster_code random(Call& call, const Memories<1>& memories, Queue queue, Answer&) {
  muster_random_call random{};
  random.kind = call.oneOf<muster_random_kind>(MUSTER_RANDOM_KINDS);
  const std::uint64_t low = call.small();
  random.seed = static_cast<std::uint64_t>(call.small()) << 32 | low;
  random.counter = call.count();
  random.first = call.number();
  random.second = call.number();
  random.count = call.count();
  random.result = call.strided(memories[0], 0);
  return MUSTER_RUN(queue, random, &random);
}

/** dtype, offset, rowStride, columnStride, batchStride */
inline muster_matrices matrices(Call& call, const Memory& memory) {
  const auto [tensor, strides] = call.rest(memory);
  return {tensor, strides[0], strides[1], strides[2]};
}

template <class Queue>
muster_code gemm(Call& call, const Memories<4>& memories, Queue queue, Answer&) {
  muster_gemm_call gemm{};
  gemm.activation = call.oneOf<muster_activation>(MUSTER_ACTIVATIONS);
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
  if constexpr (std::is_same_v<Queue, Stream>) {
    return MUSTER_CUDA_FUNCTION(muster_cuda_gemm)(&gemm, MUSTER_CUDA_GEMM_BEST, queue.stream);
  } else {
    return muster_gemm(&gemm, queue.threads);
  }
}

template <class Queue>
muster_code activate(Call& call, const Memories<2>& memories, Queue queue, Answer&) {
  const auto activation = call.oneOf<muster_activation>(MUSTER_ACTIVATIONS);
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor input = call.dense(memories[1], elements);
  return MUSTER_RUN(queue, activate, activation, &input, &result);
}

template <class Queue>
muster_code activateBackward(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const auto activation = call.oneOf<muster_activation>(MUSTER_ACTIVATIONS);
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor input = call.dense(memories[1], elements);
  const muster_tensor gradient = call.dense(memories[2], elements);
  return MUSTER_RUN(queue, activate_backward, activation, &input, &gradient, &result);
}

template <class Queue>
muster_code softmax(Call& call, const Memories<2>& memories, Queue queue, Answer&) {
  const std::uint64_t columns = call.count();
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor input = call.dense(memories[1], elements);
  return MUSTER_RUN(queue, softmax, &input, columns, &result);
}

template <class Queue>
muster_code softmaxBackward(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const std::uint64_t columns = call.count();
  const std::uint64_t elements = call.count();
  const muster_tensor result = call.dense(memories[0], elements);
  const muster_tensor output = call.dense(memories[1], elements);
  const muster_tensor gradient = call.dense(memories[2], elements);
  return MUSTER_RUN(queue, softmax_backward, &output, &gradient, columns, &result);
}

template <class Queue>
muster_code layerNorm(Call& call, const Memories<6>& memories, Queue queue, Answer&) {
  muster_layer_norm_call norm{};
  norm.epsilon = call.number();
  norm.columns = call.count();
  const std::uint64_t rows = call.count();
  norm.result = call.dense(memories[0], call.product(rows, norm.columns));
  norm.mean = call.dense(memories[1], rows);
  norm.scale = call.dense(memories[2], rows);
  norm.input = call.dense(memories[3], call.product(rows, norm.columns));
  norm.weight = call.dense(memories[4], norm.columns);
  norm.bias = call.dense(memories[5], norm.columns);
  return MUSTER_RUN(queue, layer_norm, &norm);
}

template <class Queue>
muster_code layerNormBackward(Call& call, const Memories<8>& memories, Queue queue, Answer&) {
  muster_layer_norm_backward_call norm{};
  norm.columns = call.count();
  const std::uint64_t rows = call.count();
  norm.input_gradient = call.dense(memories[0], call.product(rows, norm.columns));
  norm.weight_gradient = call.dense(memories[1], norm.columns);
  norm.bias_gradient = call.dense(memories[2], norm.columns);
  norm.input = call.dense(memories[3], call.product(rows, norm.columns));
  norm.weight = call.dense(memories[4], norm.columns);
  norm.mean = call.dense(memories[5], rows);
  norm.scale = call.dense(memories[6], rows);
  norm.gradient = call.dense(memories[7], call.product(rows, norm.columns));
  return MUSTER_RUN(queue, layer_norm_backward, &norm);
}

template <class Queue>
muster_code crossEntropy(Call& call, const Memories<4>& memories, Queue queue, Answer&) {
  muster_cross_entropy_call loss{};
  loss.gradient_scale = static_cast<float>(call.number());
  loss.columns = call.count();
  const std::uint64_t rows = call.count();
  loss.losses = call.dense(memories[0], rows);
  loss.gradient = call.dense(memories[1], call.product(rows, loss.columns));
  loss.logits = call.dense(memories[2], call.product(rows, loss.columns));
  loss.targets = call.integers(memories[3], rows);
  return MUSTER_RUN(queue, cross_entropy, &loss);
}

template <class Queue>
muster_code embedding(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const std::uint64_t columns = call.count();
  const std::uint64_t rows = call.count();
  const std::uint64_t tokens = call.count();
  const muster_tensor result = call.dense(memories[0], call.product(tokens, columns));
  const muster_tensor table = call.dense(memories[1], call.product(rows, columns));
  return MUSTER_RUN(queue, embedding, &table, columns, call.integers(memories[2], tokens), &result);
}

template <class Queue>
muster_code embeddingBackward(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const std::uint64_t columns = call.count();
  const std::uint64_t rows = call.count();
  const std::uint64_t tokens = call.count();
  const muster_tensor table = call.dense(memories[0], call.product(rows, columns));
  const muster_tensor gradient = call.dense(memories[1], call.product(tokens, columns));
  return MUSTER_RUN(queue, embedding_backward, &gradient, columns, call.integers(memories[2], tokens), &table);
}

}  // namespace muster::addon
