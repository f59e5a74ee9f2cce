/** How a kernel becomes a function of JavaScript: its arguments are read on this thread, and it runs here or on one of libuv's pool. */
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <napi.h>

#include "addon/failure.h"
#include "dtype.h"
#include "muster/tensor.h"

namespace muster::addon {

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

  /** `count` integers. */
  std::int32_t* integers(const Napi::Value& value, const std::string& name, std::uint64_t count) {
    const auto [data, elements] = memory(value, name, napi_int32_array, "Int32Array");
    if (elements != count) throw rangeError(env_, name + " has " + std::to_string(elements) + " elements, and " + std::to_string(count) + " are wanted");
    return static_cast<std::int32_t*>(data);
  }

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

  /** That no getter of a later argument has taken the memory of an earlier one away. No JavaScript may run between this and the kernel. */
  void recheck() const {
    for (const Array& array : arrays_) {
      std::size_t elements;
      void* data;
      napi_get_typedarray_info(env_, array.reference.Value(), nullptr, &elements, &data, nullptr, nullptr);
      if (data != array.data || elements != array.elements) throw Napi::TypeError::New(env_, "an array was detached or resized while the call's arguments were read");
    }
  }

  /** What keeps the arrays alive. */
  std::vector<Napi::ObjectReference> takeArrays() {
    std::vector<Napi::ObjectReference> references;
    for (Array& array : arrays_) references.push_back(std::move(array.reference));
    arrays_.clear();
    return references;
  }

 private:
  static muster_tensor none() { return {nullptr, 0, MUSTER_F32}; }

  /** The memory of a typed array whose elements are of the dtype. */
  muster_tensor array(const Napi::Value& value, const std::string& name, muster_dtype dtype) {
    constexpr struct {
      napi_typedarray_type type;
      const char* name;
    } kinds[kKernelDtypeCount] = {{napi_float32_array, "Float32Array"}, {napi_uint16_array, "Uint16Array"}, {napi_uint16_array, "Uint16Array"}, {napi_uint8_array, "Uint8Array"}, {napi_uint8_array, "Uint8Array"}};
    const auto [data, elements] = memory(value, name, kinds[dtype].type, kinds[dtype].name);
    return {data, elements, dtype};
  }

  /** That of a typed array, which is kept. */
  std::pair<void*, std::size_t> memory(const Napi::Value& value, const std::string& name, napi_typedarray_type wanted, const char* wantedName) {
    napi_typedarray_type type;
    std::size_t elements;
    void* data;
    napi_value buffer;
    if (napi_get_typedarray_info(env_, value, &type, &elements, &data, &buffer, nullptr) != napi_ok || type != wanted) throw Napi::TypeError::New(env_, name + " must be a " + wantedName);
    bool isDetached = false;
    napi_is_detached_arraybuffer(env_, buffer, &isDetached);
    if (isDetached) throw Napi::TypeError::New(env_, name + " is detached: its memory was transferred to somebody else");
    arrays_.push_back({Napi::Persistent(value.As<Napi::Object>()), data, elements});
    return {data, elements};
  }

  struct Array {
    Napi::ObjectReference reference;
    void* data;
    std::size_t elements;
  };

  Napi::Env env_;
  std::vector<Array> arrays_;
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

using Parse = Job (*)(const Napi::CallbackInfo&, Arguments&);

/** On this thread. */
template <Parse parse>
Napi::Value call(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Job job = parse(info, arguments);
  arguments.recheck();
  check(info.Env(), job.run());
  return job.result(info.Env());
}

/** On a thread of the pool. */
template <Parse parse>
Napi::Value callAsync(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  Job job = parse(info, arguments);
  arguments.recheck();
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

}  // namespace muster::addon
