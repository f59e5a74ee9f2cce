#include "addon/cuda-kernels.h"

#include "addon/kernel-table.h"

namespace muster::addon {

Memory bufferMemory(Napi::Env, const Napi::Value& value, const char* name) {
  Memory memory{.name = name, .data = nullptr, .sizeBytes = 0, .type = std::nullopt};
  if (value.IsNull() || value.IsUndefined()) return memory;
  const Held& buffer = held(value, kBufferTag, "buffer");
  memory.data = buffer.address;
  memory.sizeBytes = buffer.sizeBytes;
  return memory;
}

Napi::Value cudaKernels(const Napi::CallbackInfo& info) {
  streamOf(info[0]);  // that it is one
  // Functions may outlive their table, so it is kept for good: a few bytes for each stream.
  auto* const stream = new Napi::Reference<Napi::External<Held>>(Napi::Persistent(info[0].As<Napi::External<Held>>()));
  return kernelTable<Stream>(info.Env(), stream);
}

}  // namespace muster::addon
