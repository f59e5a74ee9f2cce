/** The class Arena of JavaScript: argument checks and lifetimes around the C ABI, nothing else. */
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <napi.h>

#include "addon/view-buffer.h"
#include "muster/arena.h"

namespace muster::addon {

class ArenaObject : public Napi::ObjectWrap<ArenaObject> {
 public:
  static Napi::Function define(Napi::Env env);

  /** Called with an external muster_arena by create and open alone. */
  explicit ArenaObject(const Napi::CallbackInfo& info);
  ~ArenaObject() override;

 private:
  static Napi::Value create(const Napi::CallbackInfo& info);
  static Napi::Value open(const Napi::CallbackInfo& info);
  Napi::Value path(const Napi::CallbackInfo& info);
  Napi::Value sizeBytes(const Napi::CallbackInfo& info);
  Napi::Value commit(const Napi::CallbackInfo& info);
  Napi::Value commitAsync(const Napi::CallbackInfo& info);
  Napi::Value decommit(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value view(const Napi::CallbackInfo& info);
  Napi::Value share(const Napi::CallbackInfo& info);
  Napi::Value takeReleased(const Napi::CallbackInfo& info);
  Napi::Value setReleaseListener(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value unlink(const Napi::CallbackInfo& info);

  /** @throws ERR_ARENA_CLOSED after close. */
  muster_arena* opened(Napi::Env env) const;

  /** Null once closed. A commit in the background holds it, too. */
  std::shared_ptr<muster_arena> arena_;
  std::string path_;
  std::uint64_t sizeBytes_;
  std::shared_ptr<ReleaseQueue> released_;
  Napi::FunctionReference releaseListener_;
};

}  // namespace muster::addon
