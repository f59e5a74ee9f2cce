/** Convolutions, pooling, attention, and what is done to lists of gradients and parameters, as tensor-kernels.ts says. */
#pragma once

#include "addon/tensor-call.h"
#include "muster/cuda-kernels.h"

namespace muster::addon {

inline muster_window window(Call& call) {
  muster_window window{};
  for (std::uint64_t* number : {&window.kernel, &window.stride, &window.padding, &window.dilation, &window.overhang}) *number = call.count();
  return window;
}

inline muster_images images(Call& call) {
  muster_images images{};
  for (std::uint64_t* number : {&images.batches, &images.channels, &images.rows, &images.columns}) *number = call.count();
  images.vertical = window(call);
  images.horizontal = window(call);
  return images;
}

inline muster_convolution convolution(Call& call) {
  muster_convolution convolution{};
  convolution.images = images(call);
  convolution.result_channels = call.count();
  convolution.groups = call.count();
  return convolution;
}

/** dtype, offset, elements */
inline muster_tensor tensor(Call& call, const Memory& memory) { return call.sized(memory); }

template <class Queue>
muster_code convolve(Call& call, const Memories<4>& memories, Queue queue, Answer&) {
  const muster_convolution shape = convolution(call);
  const muster_tensor result = tensor(call, memories[0]), input = tensor(call, memories[1]), weight = tensor(call, memories[2]), bias = tensor(call, memories[3]);
  return MUSTER_RUN(queue, convolve, &shape, &input, &weight, &bias, &result);
}

template <class Queue>
muster_code convolveBackwardInput(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const muster_convolution shape = convolution(call);
  const muster_tensor inputGradient = tensor(call, memories[0]), gradient = tensor(call, memories[1]), weight = tensor(call, memories[2]);
  return MUSTER_RUN(queue, convolve_backward_input, &shape, &gradient, &weight, &inputGradient);
}

template <class Queue>
muster_code convolveBackwardWeight(Call& call, const Memories<4>& memories, Queue queue, Answer&) {
  const muster_convolution shape = convolution(call);
  const muster_tensor weightGradient = tensor(call, memories[0]), biasGradient = tensor(call, memories[1]), input = tensor(call, memories[2]), gradient = tensor(call, memories[3]);
  return MUSTER_RUN(queue, convolve_backward_weight, &shape, &input, &gradient, &weightGradient, &biasGradient);
}

template <class Queue>
muster_code pool(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const auto pooling = call.oneOf<muster_pooling>(MUSTER_POOLINGS);
  const muster_images shape = images(call);
  const muster_tensor result = tensor(call, memories[0]), input = tensor(call, memories[1]);
  std::int32_t* const places = call.optionalIntegers(memories[2], result.elements);
  return MUSTER_RUN(queue, pool, &shape, pooling, &input, &result, places);
}

template <class Queue>
muster_code poolBackward(Call& call, const Memories<3>& memories, Queue queue, Answer&) {
  const auto pooling = call.oneOf<muster_pooling>(MUSTER_POOLINGS);
  const muster_images shape = images(call);
  const muster_tensor inputGradient = tensor(call, memories[0]), gradient = tensor(call, memories[1]);
  const std::int32_t* const places = call.optionalIntegers(memories[2], gradient.elements);
  return MUSTER_RUN(queue, pool_backward, &shape, pooling, &gradient, places, &inputGradient);
}

inline muster_attention_shape attentionShape(Call& call) {
  muster_attention_shape shape{};
  for (std::uint64_t* number : {&shape.batches, &shape.heads, &shape.queries, &shape.keys, &shape.width}) *number = call.count();
  shape.scale = static_cast<float>(call.number());
  shape.causal = call.count() != 0;
  return shape;
}

/** dtype, offset, strides of batches, heads and rows */
inline muster_heads heads(Call& call, const Memory& memory) {
  const auto [tensor, strides] = call.rest(memory);
  return {tensor, strides[0], strides[1], strides[2]};
}

/** What both directions have first: the result, its log sums, and what was attended to. @param memories of these, in this order */
template <class Attention>
void attended(Call& call, const Memory* memories, Attention& attention) {
  attention.result = heads(call, memories[0]);
  attention.log_sums = tensor(call, memories[1]);
  attention.query = heads(call, memories[2]);
  attention.key = heads(call, memories[3]);
  attention.value = heads(call, memories[4]);
}

template <class Queue>
muster_code attention(Call& call, const Memories<5>& memories, Queue queue, Answer&) {
  muster_attention_call attention{};
  attention.shape = attentionShape(call);
  attended(call, &memories[0], attention);
  return MUSTER_RUN(queue, attention, &attention);
}

template <class Queue>
muster_code attentionBackward(Call& call, const Memories<9>& memories, Queue queue, Answer&) {
  muster_attention_backward_call attention{};
  attention.shape = attentionShape(call);
  attention.query_gradient = heads(call, memories[0]);
  attention.key_gradient = heads(call, memories[1]);
  attention.value_gradient = heads(call, memories[2]);
  attended(call, &memories[3], attention);
  attention.gradient = heads(call, memories[8]);
  return MUSTER_RUN(queue, attention_backward, &attention);
}

inline std::vector<muster_tensor> gradients(Call& call, const std::vector<Memory>& memories) {
  std::vector<muster_tensor> gradients;
  for (const Memory& memory : memories) gradients.push_back(tensor(call, memory));
  return gradients;
}

/** A few bytes of a device, for the length of a call that waits for them. */
class DeviceBytes {
 public:
  DeviceBytes() = default;
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;
  ~DeviceBytes() {
    if (data_ != nullptr) MUSTER_CUDA_FUNCTION(muster_cuda_free)(data_);
  }

  template <class Value>
  muster_code put(const Value& value, Stream queue) {
    if (const muster_code code = MUSTER_CUDA_FUNCTION(muster_cuda_allocate)(sizeof value, &data_); code != MUSTER_OK) return code;
    return MUSTER_CUDA_FUNCTION(muster_cuda_copy)(data_, &value, sizeof value, queue.stream);
  }
  template <class Value>
  muster_code get(Value& value, Stream queue) const {
    constexpr std::uint32_t timeoutMs = 600'000;  // a step takes less
    if (const muster_code code = MUSTER_CUDA_FUNCTION(muster_cuda_copy)(&value, data_, sizeof value, queue.stream); code != MUSTER_OK) return code;
    return MUSTER_CUDA_FUNCTION(muster_cuda_stream_wait)(queue.stream, timeoutMs);
  }
  template <class Value>
  Value* as() const {
    return static_cast<Value*>(data_);
  }

 private:
  void* data_ = nullptr;
};

inline muster_code unscaleOn(Threads queue, const std::vector<muster_tensor>& gradients, float scale, bool& found) {
  float foundInf = 0;
  const muster_code code = muster_unscale(gradients.data(), gradients.size(), scale, &foundInf, queue.threads);
  found = foundInf != 0;
  return code;
}

inline muster_code unscaleOn(Stream queue, const std::vector<muster_tensor>& gradients, float scale, bool& found) {
  muster_cuda_loss_scale state{scale, 0, 0, 0, 0};
  DeviceBytes bytes;
  muster_code code = bytes.put(state, queue);
  if (code == MUSTER_OK) code = MUSTER_CUDA_FUNCTION(muster_cuda_unscale)(gradients.data(), gradients.size(), bytes.as<muster_cuda_loss_scale>(), queue.stream);
  if (code == MUSTER_OK) code = bytes.get(state, queue);
  found = state.found_inf != 0;
  return code;
}

/** `normMax` where they are clipped. */
inline muster_code normOn(Threads queue, const std::vector<muster_tensor>& gradients, std::optional<double> normMax, double& norm) {
  if (!normMax.has_value()) return muster_gradient_norm(gradients.data(), gradients.size(), queue.threads, &norm);
  return muster_clip_gradients(gradients.data(), gradients.size(), *normMax, queue.threads, &norm);
}

inline muster_code normOn(Stream queue, const std::vector<muster_tensor>& gradients, std::optional<double> normMax, double& norm) {
  DeviceBytes bytes;
  muster_code code = bytes.put(norm, queue);
  if (code == MUSTER_OK) {
    code = normMax.has_value() ? MUSTER_CUDA_FUNCTION(muster_cuda_clip_gradients)(gradients.data(), gradients.size(), *normMax, bytes.as<double>(), queue.stream)
                               : MUSTER_CUDA_FUNCTION(muster_cuda_gradient_norm)(gradients.data(), gradients.size(), bytes.as<double>(), queue.stream);
  }
  return code == MUSTER_OK ? bytes.get(norm, queue) : code;
}

template <class Queue>
muster_code unscale(Call& call, const std::vector<Memory>& memories, Queue queue, Answer& answer) {
  const auto scale = static_cast<float>(call.number());
  bool found = false;
  const muster_code code = unscaleOn(queue, gradients(call, memories), scale, found);
  answer = found ? 1 : 0;
  return code;
}

template <class Queue>
muster_code gradientNorm(Call& call, const std::vector<Memory>& memories, Queue queue, Answer& answer) {
  double norm = 0;
  const muster_code code = normOn(queue, gradients(call, memories), std::nullopt, norm);
  answer = norm;
  return code;
}

template <class Queue>
muster_code clipGradients(Call& call, const std::vector<Memory>& memories, Queue queue, Answer& answer) {
  const double normMax = call.number();
  double norm = 0;
  const muster_code code = normOn(queue, gradients(call, memories), normMax, norm);
  answer = norm;
  return code;
}

/** That each of the parameters has so many memories. */
inline std::size_t parametersOf(Call& call, const std::vector<Memory>& memories, std::size_t each) {
  if (memories.size() % each != 0) throw rangeError(call.env(), std::to_string(memories.size()) + " memories are not " + std::to_string(each) + " for each parameter");
  return memories.size() / each;
}

inline muster_code adamOn(Threads queue, const std::vector<muster_adam_parameter>& parameters, const muster_adam_options& options) { return muster_adam(parameters.data(), parameters.size(), &options, queue.threads); }
inline muster_code adamOn(Stream queue, const std::vector<muster_adam_parameter>& parameters, const muster_adam_options& options) {
  return MUSTER_CUDA_FUNCTION(muster_cuda_adam)(parameters.data(), parameters.size(), &options, nullptr, queue.stream);
}
inline muster_code sgdOn(Threads queue, const std::vector<muster_sgd_parameter>& parameters, const muster_sgd_options& options) { return muster_sgd(parameters.data(), parameters.size(), &options, queue.threads); }
inline muster_code sgdOn(Stream queue, const std::vector<muster_sgd_parameter>& parameters, const muster_sgd_options& options) {
  return MUSTER_CUDA_FUNCTION(muster_cuda_sgd)(parameters.data(), parameters.size(), &options, nullptr, queue.stream);
}

template <class Queue>
muster_code sgd(Call& call, const std::vector<Memory>& memories, Queue queue, Answer&) {
  muster_sgd_options options{.gradient_factor = 1};
  for (double* number : {&options.learning_rate, &options.momentum, &options.dampening, &options.weight_decay}) *number = call.number();
  options.nesterov = call.count() != 0;
  options.first_step = call.count() != 0;
  std::vector<muster_sgd_parameter> parameters(parametersOf(call, memories, 4));
  for (std::size_t index = 0; index < parameters.size(); index++) {
    muster_sgd_parameter& one = parameters[index];
    std::size_t at = 4 * index;
    for (muster_tensor* part : {&one.weights, &one.gradient, &one.momentum, &one.copy}) *part = tensor(call, memories[at++]);
  }
  return sgdOn(queue, parameters, options);
}

template <class Queue>
muster_code adam(Call& call, const std::vector<Memory>& memories, Queue queue, Answer&) {
  muster_adam_options options{.gradient_factor = 1};
  for (double* number : {&options.learning_rate, &options.beta1, &options.beta2, &options.epsilon, &options.weight_decay}) *number = call.number();
  options.step = call.count();
  options.decoupled = call.count() != 0;
  std::vector<muster_adam_parameter> parameters(parametersOf(call, memories, 5));
  for (std::size_t index = 0; index < parameters.size(); index++) {
    muster_adam_parameter& one = parameters[index];
    std::size_t at = 5 * index;
    for (muster_tensor* part : {&one.weights, &one.gradient, &one.first_moment, &one.second_moment, &one.copy}) *part = tensor(call, memories[at++]);
  }
  return adamOn(queue, parameters, options);
}

}  // namespace muster::addon
