/** The class Communicator of JavaScript: argument checks, lifetimes and promises around the C ABI. */
#pragma once

#include <cstdint>
#include <memory>

#include <napi.h>

#include "addon/communicator-calls.h"
#include "addon/device-collective.h"
#include "muster/collective.h"

namespace muster::addon {

/** What open gives a new object. */
struct OpenedCommunicator {
  muster_communicator* communicator;
  DeviceCollective::Place place;
};

class CommunicatorObject : public Napi::ObjectWrap<CommunicatorObject> {
 public:
  static Napi::Function define(Napi::Env env);

  /** Called with an external OpenedCommunicator by open alone, whose communicator it owns. */
  explicit CommunicatorObject(const Napi::CallbackInfo& info);
  ~CommunicatorObject() override;

  /** On the JavaScript thread, when the promise of a submission is about to be settled. */
  void settling();
  /** Leaves the others. What was under way is settled later. */
  void leave();

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
  /** Which way allReduce of GPU memory goes. */
  Napi::Value deviceWay(const Napi::CallbackInfo& info);
  /** Makes the calls. @returns undefined when they are done, or a promise */
  Napi::Value start(Napi::Env env, ReadCalls read, muster_hold hold);
  /** What is to be done on a GPU, after what is in the stream by now. */
  DeviceSubmission submissionOf(Napi::Env env, const ReadCalls& read);
  bool leavesDevice(Napi::Env env);
  /** For one submission more, until it is settled. */
  void keep(Napi::Env env);
  static void onEnvironmentEnd(void* self);

  /** Null once closed. */
  muster_communicator* communicator_;
  DeviceCollective::Place place_{};
  /** Made by the first call of GPU memory. */
  std::unique_ptr<DeviceCollective> device_;
  /** Closed, but for the group of GPUs that the others have not left yet. */
  bool isLeaving_ = false;
  /** Brings what has ended to the JavaScript thread. Null once closed. */
  napi_threadsafe_function settle_ = nullptr;
  /** Submissions whose promises are pending: while there are any, they keep this object and the process alive. */
  std::uint32_t pending_ = 0;
};

}  // namespace muster::addon
