#include "addon/layer-kernels.h"

#include "addon/kernel-calls.h"
#include "muster/attention.h"
#include "muster/convolution.h"

namespace muster::addon {
namespace {

/** A call's properties, which are what its messages name. */
class Properties {
 public:
  Properties(const Napi::Value& call, Arguments& arguments) : object_(arguments.object(call, "call")), arguments_(arguments) {}

  muster_tensor tensor(const char* name) { return arguments_.tensor(object_.Get(name), name); }
  muster_tensor floats(const char* name) { return arguments_.floats(object_.Get(name), name); }
  muster_tensor optionalFloats(const char* name) { return arguments_.optionalFloats(object_.Get(name), name); }
  /** Null where the property is. */
  std::int32_t* optionalIntegers(const char* name, std::uint64_t count) {
    const Napi::Value value = object_.Get(name);
    return value.IsNull() ? nullptr : arguments_.integers(value, name, count);
  }
  Napi::Object object(const char* name) const { return arguments_.object(object_.Get(name), name); }
  std::string text(const char* name) const {
    const Napi::Value value = object_.Get(name);
    return value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  }

  muster_images images(const Napi::Object& shape) const {
    return {.batches = arguments_.count(shape, "batches"), .channels = arguments_.count(shape, "channels"), .rows = arguments_.count(shape, "rows"), .columns = arguments_.count(shape, "columns"),
            .vertical = window(shape, "vertical"), .horizontal = window(shape, "horizontal")};
  }

  muster_convolution convolution() const {
    const Napi::Object shape = object("shape");
    return {.images = images(arguments_.object(shape.Get("images"), "images")), .result_channels = arguments_.count(shape, "resultChannels"), .groups = arguments_.count(shape, "groups")};
  }

  muster_attention_shape attention() const {
    const Napi::Object shape = object("shape");
    return {.batches = arguments_.count(shape, "batches"), .heads = arguments_.count(shape, "heads"), .queries = arguments_.count(shape, "queries"), .keys = arguments_.count(shape, "keys"),
            .width = arguments_.count(shape, "width"), .scale = static_cast<float>(arguments_.number(shape, "scale")), .causal = arguments_.flag(shape, "causal") ? 1 : 0};
  }

  muster_heads heads(const char* name) {
    const Napi::Object object = this->object(name);
    return {.tensor = arguments_.tensor(object.Get("tensor"), std::string(name) + ".tensor"), .batch_stride = arguments_.count(object, "batchStride"),
            .head_stride = arguments_.count(object, "headStride"), .row_stride = arguments_.count(object, "rowStride")};
  }

 private:
  muster_window window(const Napi::Object& shape, const char* name) const {
    const Napi::Object window = arguments_.object(shape.Get(name), name);
    return {.kernel = arguments_.count(window, "kernel"), .stride = arguments_.count(window, "stride"), .padding = arguments_.count(window, "padding"),
            .dilation = arguments_.count(window, "dilation"), .overhang = arguments_.count(window, "overhang")};
  }

  Napi::Object object_;
  Arguments& arguments_;
};

muster_pooling poolingOf(const Napi::Env& env, const std::string& name) {
  constexpr const char* names[MUSTER_POOLINGS] = {"largest", "mean", "mean-padded"};
  for (int index = 0; index < MUSTER_POOLINGS; index++) {
    if (name == names[index]) return static_cast<muster_pooling>(index);
  }
  throw Napi::TypeError::New(env, "pooling must be 'largest', 'mean' or 'mean-padded'");
}

Job convolve(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties call(info[0], arguments);
  return {[shape = call.convolution(), input = call.tensor("input"), weight = call.tensor("weight"), bias = call.optionalFloats("bias"), result = call.tensor("result"),
           threads = arguments.threads(info[1])] { return muster_convolve(&shape, &input, &weight, &bias, &result, threads); }};
}

Job convolveBackwardInput(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties call(info[0], arguments);
  return {[shape = call.convolution(), gradient = call.tensor("gradient"), weight = call.tensor("weight"), inputGradient = call.tensor("inputGradient"),
           threads = arguments.threads(info[1])] { return muster_convolve_backward_input(&shape, &gradient, &weight, &inputGradient, threads); }};
}

Job convolveBackwardWeight(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties call(info[0], arguments);
  return {[shape = call.convolution(), input = call.tensor("input"), gradient = call.tensor("gradient"), weightGradient = call.floats("weightGradient"),
           biasGradient = call.optionalFloats("biasGradient"), threads = arguments.threads(info[1])] {
    return muster_convolve_backward_weight(&shape, &input, &gradient, &weightGradient, &biasGradient, threads);
  }};
}

Job pool(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties call(info[0], arguments);
  const muster_tensor result = call.tensor("result");
  return {[=, images = call.images(call.object("images")), pooling = poolingOf(info.Env(), call.text("pooling")), input = call.tensor("input"),
           places = call.optionalIntegers("places", result.elements), threads = arguments.threads(info[1])] { return muster_pool(&images, pooling, &input, &result, places, threads); }};
}

Job poolBackward(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties call(info[0], arguments);
  const muster_tensor gradient = call.tensor("gradient");
  return {[=, images = call.images(call.object("images")), pooling = poolingOf(info.Env(), call.text("pooling")), inputGradient = call.tensor("inputGradient"),
           places = call.optionalIntegers("places", gradient.elements), threads = arguments.threads(info[1])] {
    return muster_pool_backward(&images, pooling, &gradient, places, &inputGradient, threads);
  }};
}

Job attention(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties properties(info[0], arguments);
  const muster_attention_call call{.shape = properties.attention(), .query = properties.heads("query"), .key = properties.heads("key"), .value = properties.heads("value"),
                                   .result = properties.heads("result"), .log_sums = properties.floats("logSums")};
  return {[=, threads = arguments.threads(info[1])] { return muster_attention(&call, threads); }};
}

Job attentionBackward(const Napi::CallbackInfo& info, Arguments& arguments) {
  Properties properties(info[0], arguments);
  const muster_attention_backward_call call{
      .shape = properties.attention(), .query = properties.heads("query"), .key = properties.heads("key"), .value = properties.heads("value"), .result = properties.heads("result"),
      .log_sums = properties.floats("logSums"), .gradient = properties.heads("gradient"), .query_gradient = properties.heads("queryGradient"),
      .key_gradient = properties.heads("keyGradient"), .value_gradient = properties.heads("valueGradient")};
  return {[=, threads = arguments.threads(info[1])] { return muster_attention_backward(&call, threads); }};
}

}  // namespace

void addLayerKernels(Napi::Object& kernels) {
  add<convolve>(kernels, "convolve");
  add<convolveBackwardInput>(kernels, "convolveBackwardInput");
  add<convolveBackwardWeight>(kernels, "convolveBackwardWeight");
  add<pool>(kernels, "pool");
  add<poolBackward>(kernels, "poolBackward");
  add<attention>(kernels, "attention");
  add<attentionBackward>(kernels, "attentionBackward");
}

}  // namespace muster::addon
