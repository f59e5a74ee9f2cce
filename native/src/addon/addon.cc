/** The addon's exports. index.ts describes them, and is the only file to load them. */
#include "addon/addon.h"

#include <cstring>

#include "addon/arena-object.h"
#include "addon/communicator-object.h"
#include "addon/failure.h"
#include "addon/kernels.h"
#include "addon/tensor-kernels.h"
#include "addon/view-buffer.h"
#include "muster/process.h"

namespace muster::addon {
namespace {

Napi::Value dieWithParent(const Napi::CallbackInfo& info) {
  check(info.Env(), muster_die_with_parent(static_cast<int>(safeInteger(info[0], "parentPid"))));
  return info.Env().Undefined();
}

Napi::Value viewCount(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), muster_view_count()); }

Napi::Value memcpy(const Napi::CallbackInfo& info) {
  const Bytes target = bytes(info[0], "target");
  const Bytes source = bytes(info[1], "source");
  if (target.sizeBytes < source.sizeBytes) throw rangeError(info.Env(), "target is shorter than source");
  std::memmove(target.data, source.data, source.sizeBytes);  // memcpy's own code in glibc; the two may be of one buffer
  return info.Env().Undefined();
}

Napi::Number number(Napi::Env env, std::uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* data = new AddonData{Napi::Persistent(ArenaObject::define(env)), Napi::Persistent(CommunicatorObject::define(env))};
  env.SetInstanceData(data);
  exports["Arena"] = data->arenaClass.Value();
  exports["Communicator"] = data->communicatorClass.Value();
  exports["kernels"] = kernels(env);
  exports["tensorKernels"] = tensorKernels(env);
  exports["dieWithParent"] = Napi::Function::New<dieWithParent>(env, "dieWithParent");
  exports["viewCount"] = Napi::Function::New<viewCount>(env, "viewCount");
  exports["memcpy"] = Napi::Function::New<memcpy>(env, "memcpy");
  exports["SEGMENT_BYTES"] = number(env, MUSTER_SEGMENT_BYTES);
  exports["VIEW_LIMIT"] = number(env, MUSTER_VIEW_LIMIT);
  exports["VIEW_MAX_BYTES"] = number(env, kViewMaxBytes);
  return exports;
}

}  // namespace
}  // namespace muster::addon

Napi::Object initMuster(Napi::Env env, Napi::Object exports) { return muster::addon::init(env, exports); }

NODE_API_MODULE(muster, initMuster)
