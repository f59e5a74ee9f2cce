#include "addon/cuda.h"

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "addon/cuda-kernels.h"
#include "addon/cuda-library.h"
#include "addon/failure.h"

namespace muster::addon {
namespace {

/** Work that may wait for the device, on a thread of libuv's pool; `used` are the objects that it uses, and `memory` an array or undefined. */
class CudaWork : public Napi::AsyncWorker {
 public:
  static Napi::Value start(Napi::Env env, std::function<muster_code()> run, std::initializer_list<Napi::Value> used, const Napi::Value& memory) {
    auto* const work = new CudaWork(env, std::move(run));
    for (const Napi::Value& value : used) {
      work->used_.push_back(Napi::Persistent(value.As<Napi::External<Held>>()));
      value.As<Napi::External<Held>>().Data()->users++;
    }
    if (memory.IsObject()) work->memory_ = Napi::Persistent(memory.As<Napi::Object>());
    const Napi::Promise promise = work->settled_.Promise();
    work->Queue();
    return promise;
  }

 protected:
  void Execute() override {
    code_ = run_();
    if (code_ != MUSTER_OK) failure_ = lastCudaFailure();
  }

  void OnOK() override {
    for (const auto& one : used_) one.Value().Data()->users--;
    if (code_ == MUSTER_OK) {
      settled_.Resolve(Env().Undefined());
    } else {
      settled_.Reject(failureError(Env(), failure_).Value());
    }
  }

 private:
  CudaWork(Napi::Env env, std::function<muster_code()> run) : AsyncWorker(env), settled_(env), run_(std::move(run)) {}

  Napi::Promise::Deferred settled_;
  std::function<muster_code()> run_;
  std::vector<Napi::Reference<Napi::External<Held>>> used_;
  Napi::ObjectReference memory_;
  muster_code code_ = MUSTER_OK;
  muster_failure failure_{};
};

Napi::Value useDevice(const Napi::CallbackInfo& info) {
  const std::uint64_t index = safeInteger(info[0], "index");
  std::uint32_t count = 0;
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_device_count)(&count));
  if (index >= count) throw rangeError(info.Env(), "there is no device " + std::to_string(index) + ": this process sees " + std::to_string(count));
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_device_use)(static_cast<std::uint32_t>(index)));
  return info.Env().Undefined();
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  const std::uint64_t sizeBytes = safeInteger(info[0], "sizeBytes");
  if (sizeBytes == 0) throw rangeError(info.Env(), "sizeBytes must be above 0");
  void* data = nullptr;
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_allocate)(sizeBytes, &data));
  return hold(info.Env(), kBufferTag, data, sizeBytes);
}

Napi::Value sizeOf(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(held(info[0], kBufferTag, "buffer").sizeBytes)); }

Napi::Value free(const Napi::CallbackInfo& info) {
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_free)(giveBack(info[0], kBufferTag, "buffer")));
  return info.Env().Undefined();
}

struct CopyCall {
  void* device;
  Bytes memory;
  muster_cuda_stream stream;
};

/** (buffer, offset, memory, stream) */
CopyCall copyCall(const Napi::CallbackInfo& info, const char* name) {
  const Held& buffer = held(info[0], kBufferTag, "buffer");
  const std::uint64_t offset = safeInteger(info[1], "offset");
  const Bytes memory = bytes(info[2], name);
  const muster_cuda_stream stream = streamOf(info[3]);
  if (offset > buffer.sizeBytes || memory.sizeBytes > buffer.sizeBytes - offset) {
    throw rangeError(info.Env(), std::to_string(memory.sizeBytes) + " bytes at " + std::to_string(offset) + " are beyond the end of a buffer of " + std::to_string(buffer.sizeBytes));
  }
  return {static_cast<unsigned char*>(buffer.address) + offset, memory, stream};
}

/** write(buffer, offset, source, stream) and read(buffer, offset, target, stream) */
template <bool isWrite>
Napi::Value copy(const Napi::CallbackInfo& info) {
  const CopyCall call = copyCall(info, isWrite ? "source" : "target");
  return CudaWork::start(
      info.Env(),
      [=] {
        return isWrite ? MUSTER_CUDA_FUNCTION(muster_cuda_copy)(call.device, call.memory.data, call.memory.sizeBytes, call.stream)
                       : MUSTER_CUDA_FUNCTION(muster_cuda_copy)(call.memory.data, call.device, call.memory.sizeBytes, call.stream);
      },
      {info[0], info[3]}, info[2]);
}

/** How long a thread waits for what it wants to read, at most. */
constexpr std::uint32_t kReadTimeoutMs = 600'000;

/** writeNow(buffer, offset, source, stream) and readNow(buffer, offset, target, stream), on this thread. JavaScript's memory is not the driver's: a copy from it has read it when it returns. */
template <bool isWrite>
Napi::Value copyNow(const Napi::CallbackInfo& info) {
  const CopyCall call = copyCall(info, isWrite ? "source" : "target");
  checkCuda(info.Env(), isWrite ? MUSTER_CUDA_FUNCTION(muster_cuda_copy)(call.device, call.memory.data, call.memory.sizeBytes, call.stream)
                                : MUSTER_CUDA_FUNCTION(muster_cuda_copy)(call.memory.data, call.device, call.memory.sizeBytes, call.stream));
  if constexpr (!isWrite) checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_stream_wait)(call.stream, kReadTimeoutMs));
  return info.Env().Undefined();
}

Napi::Value fill(const Napi::CallbackInfo& info) {
  const Held& buffer = held(info[0], kBufferTag, "buffer");
  const std::uint64_t value = safeInteger(info[1], "value");
  if (value > 255) throw rangeError(info.Env(), "value must be a byte");
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_fill)(buffer.address, static_cast<std::uint8_t>(value), buffer.sizeBytes, streamOf(info[2])));
  return info.Env().Undefined();
}

Napi::Value createStream(const Napi::CallbackInfo& info) {
  muster_cuda_stream stream = nullptr;
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_stream_create)(&stream));
  return hold(info.Env(), kStreamTag, stream);
}

Napi::Value destroyStream(const Napi::CallbackInfo& info) {
  const auto stream = static_cast<muster_cuda_stream>(giveBack(info[0], kStreamTag, "stream"));
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_stream_destroy)(stream));
  return info.Env().Undefined();
}

Napi::Value waitForStream(const Napi::CallbackInfo& info) {
  const muster_cuda_stream stream = streamOf(info[0]);
  const std::uint64_t timeoutMs = safeInteger(info[1], "timeoutMs");
  if (timeoutMs > UINT32_MAX) throw rangeError(info.Env(), "timeoutMs must be below 2^32");
  return CudaWork::start(info.Env(), [=] { return MUSTER_CUDA_FUNCTION(muster_cuda_stream_wait)(stream, static_cast<std::uint32_t>(timeoutMs)); }, {info[0]}, info.Env().Undefined());
}

Napi::Value createEvent(const Napi::CallbackInfo& info) {
  muster_cuda_event event = nullptr;
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_event_create)(&event));
  return hold(info.Env(), kEventTag, event);
}

Napi::Value destroyEvent(const Napi::CallbackInfo& info) {
  const auto event = static_cast<muster_cuda_event>(giveBack(info[0], kEventTag, "event"));
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_event_destroy)(event));
  return info.Env().Undefined();
}

Napi::Value recordEvent(const Napi::CallbackInfo& info) {
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_event_record)(eventOf(info[0]), streamOf(info[1])));
  return info.Env().Undefined();
}

Napi::Value waitForEvent(const Napi::CallbackInfo& info) {
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_stream_wait_event)(streamOf(info[0]), eventOf(info[1])));
  return info.Env().Undefined();
}

Napi::Value elapsedMs(const Napi::CallbackInfo& info) {
  float elapsed = 0;
  checkCuda(info.Env(), MUSTER_CUDA_FUNCTION(muster_cuda_event_elapsed)(eventOf(info[0]), eventOf(info[1]), &elapsed));
  return Napi::Number::New(info.Env(), elapsed);
}

Napi::Value unavailable(Napi::Env env, const std::string& reason) {
  Napi::Object object = Napi::Object::New(env);
  object["available"] = Napi::Boolean::New(env, false);
  object["reason"] = Napi::String::New(env, reason);
  return object;
}

Napi::Object describe(Napi::Env env, const muster_cuda_device& device) {
  Napi::Object object = Napi::Object::New(env);
  object["name"] = Napi::String::New(env, device.name);
  object["memoryBytes"] = Napi::Number::New(env, static_cast<double>(device.memory_bytes));
  object["computeCapability"] = Napi::String::New(env, std::to_string(device.major) + "." + std::to_string(device.minor));
  object["multiprocessors"] = Napi::Number::New(env, device.multiprocessors);
  return object;
}

}  // namespace

Napi::Value openCuda(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CudaLibrary& opened = openCudaLibrary(path(info[0]), info[1].IsBoolean() && info[1].As<Napi::Boolean>());
  if (!opened.isThere()) return unavailable(env, opened.reason());
  std::uint32_t count = 0;
  if (MUSTER_CUDA_FUNCTION(muster_cuda_device_count)(&count) != MUSTER_OK) return unavailable(env, lastCudaFailure().message);
  if (count == 0) return unavailable(env, "this process sees no GPU");
  Napi::Array devices = Napi::Array::New(env, count);
  for (std::uint32_t index = 0; index < count; index++) {
    muster_cuda_device device;
    checkCuda(env, MUSTER_CUDA_FUNCTION(muster_cuda_device_describe)(index, &device));
    devices[index] = describe(env, device);
  }
  Napi::Object object = Napi::Object::New(env);
  object["available"] = Napi::Boolean::New(env, true);
  object["devices"] = devices;
  object["useDevice"] = Napi::Function::New<useDevice>(env, "useDevice");
  object["allocate"] = Napi::Function::New<allocate>(env, "allocate");
  object["sizeOf"] = Napi::Function::New<sizeOf>(env, "sizeOf");
  object["free"] = Napi::Function::New<free>(env, "free");
  object["write"] = Napi::Function::New<copy<true>>(env, "write");
  object["read"] = Napi::Function::New<copy<false>>(env, "read");
  object["writeNow"] = Napi::Function::New<copyNow<true>>(env, "writeNow");
  object["readNow"] = Napi::Function::New<copyNow<false>>(env, "readNow");
  object["kernels"] = Napi::Function::New<cudaKernels>(env, "kernels");
  object["fill"] = Napi::Function::New<fill>(env, "fill");
  object["createStream"] = Napi::Function::New<createStream>(env, "createStream");
  object["destroyStream"] = Napi::Function::New<destroyStream>(env, "destroyStream");
  object["waitForStream"] = Napi::Function::New<waitForStream>(env, "waitForStream");
  object["createEvent"] = Napi::Function::New<createEvent>(env, "createEvent");
  object["destroyEvent"] = Napi::Function::New<destroyEvent>(env, "destroyEvent");
  object["recordEvent"] = Napi::Function::New<recordEvent>(env, "recordEvent");
  object["waitForEvent"] = Napi::Function::New<waitForEvent>(env, "waitForEvent");
  object["elapsedMs"] = Napi::Function::New<elapsedMs>(env, "elapsedMs");
  return object;
}

}  // namespace muster::addon
