/** libmuster_cuda.so, found at run time, and what objects of JavaScript stand for of it. */
#pragma once

#include <string>

#include <napi.h>

#include "muster/cuda.h"

namespace muster::addon {

/** The functions of the library, loaded once and never unloaded: streams may still run its code. */
class CudaLibrary {
 public:
  /** @param isEmulated needs no driver: its device is the host */
  CudaLibrary(const std::string& path, bool isEmulated);

  const std::string& reason() const { return reason_; }
  bool isThere() const { return handle_ != nullptr; }
  void* find(const char* name) const;

 private:
  void* handle_ = nullptr;
  std::string reason_;
};

/** Opens it; the first path where it is there decides. */
const CudaLibrary& openCudaLibrary(const std::string& path, bool isEmulated);

/** The one that is open: whoever holds one of its objects has opened it. */
const CudaLibrary& cudaLibrary();

/** A function by its name in muster/cuda*.h. */
#define MUSTER_CUDA_FUNCTION(name)                                                                        \
  ([] {                                                                                                   \
    static auto* const function = reinterpret_cast<decltype(&name)>(::muster::addon::cudaLibrary().find(#name)); \
    return function;                                                                                      \
  }())

/** The library has failures of its own, of the thread that made the call. */
muster_failure lastCudaFailure();

void checkCuda(Napi::Env env, muster_code code);

/** What an object of JavaScript stands for; null once it was given back. */
struct Held {
  void* address;
  std::uint64_t sizeBytes;
  /** Calls under way that use it. */
  unsigned users = 0;
};

inline constexpr napi_type_tag kBufferTag{0x6d75737465720001, 1};
inline constexpr napi_type_tag kStreamTag{0x6d75737465720001, 2};
inline constexpr napi_type_tag kEventTag{0x6d75737465720001, 3};

Napi::Value hold(Napi::Env env, const napi_type_tag& tag, void* address, std::uint64_t sizeBytes = 0);
/** @throws TypeError for what is no such object, or was given back */
Held& held(const Napi::Value& value, const napi_type_tag& tag, const char* name);
/** Takes it away from its object. @throws TypeError while a call uses it */
void* giveBack(const Napi::Value& value, const napi_type_tag& tag, const char* name);

muster_cuda_stream streamOf(const Napi::Value& value);
muster_cuda_event eventOf(const Napi::Value& value);

}  // namespace muster::addon
