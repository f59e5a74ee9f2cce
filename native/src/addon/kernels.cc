#include "addon/kernels.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/failure.h"
#include "dtype.h"
#include "muster/convert.h"
#include "muster/gemm.h"
#include "muster/gradients.h"
#include "muster/optimizer.h"

namespace muster::addon {
namespace {

/** A kernel call whose arguments were taken over from JavaScript. */
struct Job {
  std::function<muster_code()> run;
  /** What the call returns, once it has run. */
  std::function<Napi::Value(Napi::Env)> result = [](Napi::Env env) { return env.Undefined(); };
};

/** Reads a call's arguments, and keeps the arrays among them alive while it runs. */
class Arguments {
 public:
  explicit Arguments(Napi::Env env) : env_(env) {}

  /** { dtype, data } */
  muster_tensor tensor(const Napi::Value& value, const std::string& name) {
    const Napi::Object object = this->object(value, name);
    const Napi::Value dtype = object.Get("dtype");
    const std::string text = dtype.IsString() ? dtype.As<Napi::String>().Utf8Value() : "";
    for (std::uint32_t index = 0; index < kKernelDtypeCount; index++) {
      const auto each = static_cast<muster_dtype>(index);
      if (text == dtypeName(each)) return array(object.Get("data"), name + ".data", each);
    }
    throw Napi::TypeError::New(env_, name + ".dtype must be 'f32', 'f16', 'bf16', 'f8e4m3' or 'f8e5m2'");
  }

  muster_tensor floats(const Napi::Value& value, const std::string& name) { return array(value, name, MUSTER_F32); }

  /** A tensor or null. */
  muster_tensor optionalTensor(const Napi::Value& value, const std::string& name) { return value.IsNull() ? none() : tensor(value, name); }
  muster_tensor optionalFloats(const Napi::Value& value, const std::string& name) { return value.IsNull() ? none() : floats(value, name); }

  Napi::Object object(const Napi::Value& value, const std::string& name) const {
    if (!value.IsObject()) throw Napi::TypeError::New(env_, name + " must be an object");
    return value.As<Napi::Object>();
  }

  double number(const Napi::Object& object, const char* name) const { return number(object.Get(name), name); }
  double number(const Napi::Value& value, const char* name) const {
    if (!value.IsNumber()) throw Napi::TypeError::New(env_, std::string(name) + " must be a number");
    return value.As<Napi::Number>().DoubleValue();
  }

  bool flag(const Napi::Object& object, const char* name) const {
    const Napi::Value value = object.Get(name);
    if (!value.IsBoolean()) throw Napi::TypeError::New(env_, std::string(name) + " must be true or false");
    return value.As<Napi::Boolean>();
  }

  std::uint64_t count(const Napi::Object& object, const char* name) const { return safeInteger(object.Get(name), name); }

  /** The last argument; without it, one thread for each core. */
  std::uint32_t threads(const Napi::Value& value) const {
    if (value.IsUndefined()) return 0;
    const std::uint64_t threads = safeInteger(value, "threads");
    return threads <= MUSTER_THREADS_MAX ? static_cast<std::uint32_t>(threads) : MUSTER_THREADS_MAX + 1;  // which the kernels refuse
  }

  /** What `read(element, name)` makes of each element of an array. */
  template <class Item, class Read>
  std::vector<Item> list(const Napi::Value& value, const std::string& name, Read read) {
    if (!value.IsArray()) throw Napi::TypeError::New(env_, name + " must be an array");
    const auto array = value.As<Napi::Array>();
    std::vector<Item> items;
    for (std::uint32_t index = 0; index < array.Length(); index++) items.push_back(read(Napi::Value(array[index]), name + "[" + std::to_string(index) + "]"));
    return items;
  }

  std::vector<Napi::ObjectReference> takeArrays() { return std::exchange(arrays_, {}); }

 private:
  static muster_tensor none() { return {nullptr, 0, MUSTER_F32}; }

  /** The memory of a typed array whose elements are of the dtype. */
  muster_tensor array(const Napi::Value& value, const std::string& name, muster_dtype dtype) {
    constexpr struct {
      napi_typedarray_type type;
      const char* name;
    } kinds[kKernelDtypeCount] = {{napi_float32_array, "Float32Array"}, {napi_uint16_array, "Uint16Array"}, {napi_uint16_array, "Uint16Array"}, {napi_uint8_array, "Uint8Array"}, {napi_uint8_array, "Uint8Array"}};
    napi_typedarray_type type;
    std::size_t elements;
    void* data;
    napi_value buffer;
    if (napi_get_typedarray_info(env_, value, &type, &elements, &data, &buffer, nullptr) != napi_ok || type != kinds[dtype].type) {
      throw Napi::TypeError::New(env_, name + " must be a " + kinds[dtype].name);
    }
    bool isDetached = false;
    napi_is_detached_arraybuffer(env_, buffer, &isDetached);
    if (isDetached) throw Napi::TypeError::New(env_, name + " is detached: its memory was transferred to somebody else");
    arrays_.push_back(Napi::Persistent(value.As<Napi::Object>()));
    return {data, elements, dtype};
  }

  Napi::Env env_;
  std::vector<Napi::ObjectReference> arrays_;
};

/** A kernel on a thread of libuv's pool. */
class KernelWork : public Napi::AsyncWorker {
 public:
  KernelWork(Napi::Env env, Job job, std::vector<Napi::ObjectReference> arrays) : AsyncWorker(env), settled_(env), job_(std::move(job)), arrays_(std::move(arrays)) {}

  Napi::Promise promise() const { return settled_.Promise(); }

 protected:
  void Execute() override {
    code_ = job_.run();
    if (code_ != MUSTER_OK) failure_ = *muster_last_failure();  // it belongs to this thread
  }

  void OnOK() override {
    if (code_ == MUSTER_OK) {
      settled_.Resolve(job_.result(Env()));
    } else {
      settled_.Reject(failureError(Env(), failure_).Value());
    }
  }

 private:
  Napi::Promise::Deferred settled_;
  Job job_;
  std::vector<Napi::ObjectReference> arrays_;
  muster_code code_ = MUSTER_OK;
  muster_failure failure_{};
};

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

using Parse = Job (*)(const Napi::CallbackInfo&, Arguments&);

/** On this thread. */
template <Parse parse>
Napi::Value call(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Job job = parse(info, arguments);
  check(info.Env(), job.run());
  return job.result(info.Env());
}

/** On a thread of the pool. */
template <Parse parse>
Napi::Value callAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  Job job = parse(info, arguments);
  auto* work = new KernelWork(info.Env(), std::move(job), arguments.takeArrays());
  work->Queue();  // which deletes it when it is done
  return work->promise();
}

template <Parse parse>
void add(Napi::Object& kernels, const char* name) {
  kernels[name] = Napi::Function::New<call<parse>>(kernels.Env(), name);
  const std::string asyncName = std::string(name) + "Async";
  kernels[asyncName] = Napi::Function::New<callAsync<parse>>(kernels.Env(), asyncName.c_str());
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
  return kernels;
}

}  // namespace muster::addon
