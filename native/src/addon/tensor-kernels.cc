#include "addon/tensor-kernels.h"

#include "addon/kernel-table.h"

namespace muster::addon {

Memory arrayMemory(Napi::Env env, const Napi::Value& value, const char* name) {
  static std::uint64_t empty = 0;  // what an array without elements lies at
  Memory memory{.name = name, .data = nullptr, .sizeBytes = 0, .type = std::nullopt};
  if (value.IsNull() || value.IsUndefined()) return memory;
  std::size_t elements;
  napi_typedarray_type type;
  napi_value buffer;
  if (napi_get_typedarray_info(env, value, &type, &elements, &memory.data, &buffer, nullptr) != napi_ok) throw Napi::TypeError::New(env, std::string(name) + " must be a typed array");
  bool isDetached = false;
  if (elements == 0) napi_is_detached_arraybuffer(env, buffer, &isDetached);  // a detached array has no elements
  if (isDetached) throw Napi::TypeError::New(env, std::string(name) + " is detached: its memory was transferred to somebody else");
  memory.type = type;
  constexpr std::size_t bytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};  // in the order of napi_typedarray_type
  if (static_cast<std::size_t>(type) >= std::size(bytes)) throw Napi::TypeError::New(env, std::string(name) + " is of a type that no kernel takes");
  memory.sizeBytes = elements * bytes[type];
  if (memory.data == nullptr) memory.data = &empty;
  return memory;
}

Napi::Object tensorKernels(Napi::Env env) { return kernelTable<Threads>(env, nullptr); }

}  // namespace muster::addon
