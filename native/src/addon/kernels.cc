#include "addon/kernels.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/failure.h"
#include "addon/kernel-calls.h"
#include "addon/layer-kernels.h"
#include "muster/convert.h"
#include "muster/gemm.h"
#include "muster/gradients.h"
#include "muster/optimizer.h"

namespace muster::addon {
namespace {

Job convert(const Napi::CallbackInfo& info, Arguments& arguments) {
  const muster_tensor source = arguments.tensor(info[0], "source");
  const muster_tensor target = arguments.tensor(info[1], "target");
  return {[=, threads = arguments.threads(info[2])] { return muster_convert(&source, &target, threads); }};
}

std::vector<muster_tensor> gradientsOf(const Napi::Value& value, Arguments& arguments) {
  return arguments.list<muster_tensor>(value, "gradients", [&](const Napi::Value& element, const std::string& name) { return arguments.tensor(element, name); });
}

Job unscale(const Napi::CallbackInfo& info, Arguments& arguments) {
  const auto found = std::make_shared<float>(0.0f);
  return {
      [=, gradients = gradientsOf(info[0], arguments), scale = static_cast<float>(arguments.number(info[1], "scale")), threads = arguments.threads(info[2])] {
        return muster_unscale(gradients.data(), gradients.size(), scale, found.get(), threads);
      },
      [=](Napi::Env env) { return Napi::Boolean::New(env, *found != 0); }};
}

Job gradientNorm(const Napi::CallbackInfo& info, Arguments& arguments) {
  const auto norm = std::make_shared<double>(0);
  return {[=, gradients = gradientsOf(info[0], arguments), threads = arguments.threads(info[1])] { return muster_gradient_norm(gradients.data(), gradients.size(), threads, norm.get()); },
          [=](Napi::Env env) { return Napi::Number::New(env, *norm); }};
}

Job clipGradients(const Napi::CallbackInfo& info, Arguments& arguments) {
  const auto norm = std::make_shared<double>(0);
  return {[=, gradients = gradientsOf(info[0], arguments), normMax = arguments.number(info[1], "normMax"), threads = arguments.threads(info[2])] {
            return muster_clip_gradients(gradients.data(), gradients.size(), normMax, threads, norm.get());
          },
          [=](Napi::Env env) { return Napi::Number::New(env, *norm); }};
}

Job sgd(const Napi::CallbackInfo& info, Arguments& arguments) {
  auto parameters = arguments.list<muster_sgd_parameter>(info[0], "parameters", [&](const Napi::Value& element, const std::string& name) -> muster_sgd_parameter {
    const Napi::Object object = arguments.object(element, name);
    return {arguments.floats(object.Get("weights"), name + ".weights"), arguments.tensor(object.Get("gradient"), name + ".gradient"),
            arguments.optionalFloats(object.Get("momentum"), name + ".momentum"), arguments.optionalTensor(object.Get("copy"), name + ".copy")};
  });
  const Napi::Object object = arguments.object(info[1], "options");
  const muster_sgd_options options{
      .learning_rate = arguments.number(object, "learningRate"), .momentum = arguments.number(object, "momentum"), .dampening = arguments.number(object, "dampening"),
      .weight_decay = arguments.number(object, "weightDecay"), .gradient_factor = arguments.number(object, "gradientFactor"), .nesterov = arguments.flag(object, "nesterov"),
      .first_step = arguments.flag(object, "firstStep")};
  return {[=, parameters = std::move(parameters), threads = arguments.threads(info[2])] { return muster_sgd(parameters.data(), parameters.size(), &options, threads); }};
}

Job adam(const Napi::CallbackInfo& info, Arguments& arguments) {
  auto parameters = arguments.list<muster_adam_parameter>(info[0], "parameters", [&](const Napi::Value& element, const std::string& name) -> muster_adam_parameter {
    const Napi::Object object = arguments.object(element, name);
    return {arguments.floats(object.Get("weights"), name + ".weights"), arguments.tensor(object.Get("gradient"), name + ".gradient"),
            arguments.floats(object.Get("firstMoment"), name + ".firstMoment"), arguments.floats(object.Get("secondMoment"), name + ".secondMoment"),
            arguments.optionalTensor(object.Get("copy"), name + ".copy")};
  });
  const Napi::Object object = arguments.object(info[1], "options");
  const muster_adam_options options{
      .learning_rate = arguments.number(object, "learningRate"), .beta1 = arguments.number(object, "beta1"), .beta2 = arguments.number(object, "beta2"),
      .epsilon = arguments.number(object, "epsilon"), .weight_decay = arguments.number(object, "weightDecay"), .gradient_factor = arguments.number(object, "gradientFactor"),
      .step = arguments.count(object, "step"), .decoupled = arguments.flag(object, "decoupled")};
  return {[=, parameters = std::move(parameters), threads = arguments.threads(info[2])] { return muster_adam(parameters.data(), parameters.size(), &options, threads); }};
}

muster_matrices matricesOf(const Napi::Object& call, const char* name, Arguments& arguments) {
  const Napi::Object object = arguments.object(call.Get(name), name);
  return {arguments.tensor(object.Get("tensor"), std::string(name) + ".tensor"), arguments.count(object, "rowStride"), arguments.count(object, "columnStride"),
          arguments.count(object, "batchStride")};
}

muster_activation activationOf(const Napi::Object& call) {
  constexpr const char* names[MUSTER_ACTIVATIONS] = {"identity", "relu", "gelu-erf", "gelu-tanh", "silu"};
  const Napi::Value value = call.Get("activation");
  for (int index = 0; index < MUSTER_ACTIVATIONS; index++) {
    if (value.IsString() && value.As<Napi::String>().Utf8Value() == names[index]) return static_cast<muster_activation>(index);
  }
  throw Napi::TypeError::New(call.Env(), "activation must be 'identity', 'relu', 'gelu-erf', 'gelu-tanh' or 'silu'");
}

Job gemm(const Napi::CallbackInfo& info, Arguments& arguments) {
  const Napi::Object object = arguments.object(info[0], "call");
  const muster_gemm_call call{
      .batches = arguments.count(object, "batches"), .rows = arguments.count(object, "rows"), .columns = arguments.count(object, "columns"), .depth = arguments.count(object, "depth"),
      .left = matricesOf(object, "left", arguments), .right = matricesOf(object, "right", arguments), .result = matricesOf(object, "result", arguments),
      .alpha = static_cast<float>(arguments.number(object, "alpha")), .beta = static_cast<float>(arguments.number(object, "beta")),
      .bias = arguments.optionalFloats(object.Get("bias"), "bias"), .activation = activationOf(object)};
  return {[=, threads = arguments.threads(info[1])] { return muster_gemm(&call, threads); }};
}

}  // namespace

Napi::Object kernels(Napi::Env env) {
  Napi::Object kernels = Napi::Object::New(env);
  kernels["level"] = Napi::String::New(env, muster_kernel_level());
  add<convert>(kernels, "convert");
  add<unscale>(kernels, "unscale");
  add<gradientNorm>(kernels, "gradientNorm");
  add<clipGradients>(kernels, "clipGradients");
  add<sgd>(kernels, "sgd");
  add<adam>(kernels, "adam");
  add<gemm>(kernels, "gemm");
  addLayerKernels(kernels);
  return kernels;
}

}  // namespace muster::addon
