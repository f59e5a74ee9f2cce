#include "addon/cuda-library.h"

#include <dlfcn.h>

#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "addon/failure.h"

namespace muster::addon {

CudaLibrary::CudaLibrary(const std::string& path, bool isEmulated) {
  // Asked first, so that the answer names what is missing; the runtime in the library finds the driver by itself.
  void* const driver = isEmulated ? nullptr : ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr && !isEmulated) {
    reason_ = "there is no driver of NVIDIA's on this machine: libcuda.so.1 cannot be loaded";
    return;
  }
  if (driver != nullptr) ::dlclose(driver);
  handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle_ == nullptr) reason_ = std::string("the CUDA library is not there: ") + ::dlerror() + ". It is built by `npm run build` where nvcc and a GPU are found";
}

void* CudaLibrary::find(const char* name) const { return ::dlsym(handle_, name); }

namespace {

/** Never destroyed, as what it was loaded for. */
std::atomic<const CudaLibrary*> open = nullptr;

}  // namespace

const CudaLibrary& openCudaLibrary(const std::string& path, bool isEmulated) {
  static std::mutex mutex;
  static std::map<std::string, CudaLibrary> tried;
  const std::lock_guard lock(mutex);
  if (const CudaLibrary* const known = open.load(); known != nullptr) return *known;
  const CudaLibrary& library = tried.try_emplace(path, path, isEmulated).first->second;
  if (library.isThere()) open = &library;
  return library;
}

const CudaLibrary& cudaLibrary() { return *open.load(); }

muster_failure lastCudaFailure() { return *MUSTER_CUDA_FUNCTION(muster_cuda_last_failure)(); }

void checkCuda(Napi::Env env, muster_code code) {
  if (code != MUSTER_OK) throw failureError(env, lastCudaFailure());
}

Napi::Value hold(Napi::Env env, const napi_type_tag& tag, void* address, std::uint64_t sizeBytes) {
  auto external = Napi::External<Held>::New(env, new Held{address, sizeBytes, 0}, [](Napi::Env, Held* held) { delete held; });
  external.TypeTag(&tag);
  return external;
}

Held& held(const Napi::Value& value, const napi_type_tag& tag, const char* name) {
  if (!value.IsExternal() || !value.As<Napi::External<Held>>().CheckTypeTag(&tag)) throw Napi::TypeError::New(value.Env(), std::string(name) + " is no " + name);
  Held& found = *value.As<Napi::External<Held>>().Data();
  if (found.address == nullptr) throw Napi::TypeError::New(value.Env(), std::string("the ") + name + " was given back");
  return found;
}

void* giveBack(const Napi::Value& value, const napi_type_tag& tag, const char* name) {
  Held& found = held(value, tag, name);
  if (found.users != 0) throw Napi::TypeError::New(value.Env(), std::string("the ") + name + " is in use: wait for the calls that have it");
  return std::exchange(found.address, nullptr);
}

muster_cuda_stream streamOf(const Napi::Value& value) { return static_cast<muster_cuda_stream>(held(value, kStreamTag, "stream").address); }
muster_cuda_event eventOf(const Napi::Value& value) { return static_cast<muster_cuda_event>(held(value, kEventTag, "event").address); }

}  // namespace muster::addon
