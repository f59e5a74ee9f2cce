/** The class Communicator of JavaScript: argument checks, lifetimes and promises around the C ABI. */
#pragma once

#include <cstdint>
#include <forward_list>
#include <string>
#include <vector>

#include <napi.h>

#include "muster/collective.h"

namespace muster::addon {

class CommunicatorObject : public Napi::ObjectWrap<CommunicatorObject> {
 public:
  static Napi::Function define(Napi::Env env);

  /** Called with an external muster_communicator by open alone. */
  explicit CommunicatorObject(const Napi::CallbackInfo& info);
  ~CommunicatorObject() override;

  /** On the JavaScript thread, when the promise of a submission is about to be settled. */
  void settling();

 private:
  static Napi::Value open(const Napi::CallbackInfo& info);
  static Napi::Value listen(const Napi::CallbackInfo& info);
  static Napi::Value connect(const Napi::CallbackInfo& info);
  Napi::Value call(const Napi::CallbackInfo& info);
  Napi::Value group(const Napi::CallbackInfo& info);
  /** Makes a call on the JavaScript thread, which waits for the other ranks. */
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value abort(const Napi::CallbackInfo& info);
  Napi::Value blame(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  /** @throws ERR_COMMUNICATOR_CLOSED after close. */
  muster_communicator* opened(Napi::Env env) const;
  /** Makes the calls, which stay in `info`'s arguments. @returns undefined when they are done, or a promise */
  Napi::Value start(const Napi::CallbackInfo& info, const std::vector<muster_call>& calls, const std::vector<Napi::Value>& memory, std::forward_list<std::string> sites, muster_hold hold);
  /** Leaves the others. What was under way is settled later. */
  void leave();
  static void onEnvironmentEnd(void* self);

  /** Null once closed. */
  muster_communicator* communicator_;
  /** Brings what has ended to the JavaScript thread. Null once closed. */
  napi_threadsafe_function settle_ = nullptr;
  /** Submissions whose promises are pending: while there are any, they keep this object and the process alive. */
  std::uint32_t pending_ = 0;
};

}  // namespace muster::addon
