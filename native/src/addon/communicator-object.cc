#include "addon/communicator-object.h"

#include <cstring>
#include <forward_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "addon/addon.h"
#include "addon/communicator-calls.h"
#include "addon/failure.h"
#include "addon/open-communicator.h"

namespace muster::addon {
namespace {

/** How long a small call may hold the JavaScript thread: about what handing it to another thread and back costs. */
constexpr std::uint32_t kHoldSmallNs = 10'000;
/** A second: more than any other thread of the process should have to wait for this one. */
constexpr double kHoldMaxMs = 1000;

/** Objects of the CUDA library that a submission uses: they may not be given back meanwhile. */
class Uses {
 public:
  explicit Uses(const std::vector<Napi::External<Held>>& held) {
    for (const Napi::External<Held>& each : held) {
      each.Data()->users++;
      references_.push_back(Napi::Persistent(each));
    }
  }
  void end() {
    for (const auto& each : references_) each.Value().Data()->users--;
  }
  void suppressDestruct() {
    for (auto& each : references_) each.SuppressDestruct();
  }

 private:
  std::vector<Napi::Reference<Napi::External<Held>>> references_;
};

/** What a submission has of a GPU. */
struct OnDevice {
  DeviceCollective* collective;
  DeviceSubmission submission;
  Uses uses;
};

muster_code runOnDevice(OnDevice& device, muster_turn* turn) { return device.collective->run(device.submission, turn); }

/** One submission that did not end at once: what keeps its memory, and who waits for it. */
struct Pending {
  CommunicatorObject* communicator;
  napi_threadsafe_function settle;
  /** None if the environment took no promise any more. */
  std::optional<Napi::Promise::Deferred> settled;
  std::vector<Napi::ObjectReference> memory;
  std::forward_list<std::string> sites;
  /** None of a submission whose memory is the host's. */
  std::optional<OnDevice> device;
  /** Set of the last one, with which all ranks leave a group of GPUs: nobody waits for it. */
  DeviceCollective* left = nullptr;
  bool hasFailed = false;
  muster_failure failure{};
};

/** Ends what only the JavaScript thread may end. */
void letGo(OnDevice& device) {
  device.uses.end();
  MUSTER_CUDA_FUNCTION(muster_cuda_event_destroy)(device.submission.begun);
}

/** On the communicator's thread. */
void onDone(void* context, const muster_failure* failure) {
  auto* pending = static_cast<Pending*>(context);
  pending->hasFailed = failure != nullptr;
  if (failure != nullptr) pending->failure = *failure;
  napi_call_threadsafe_function(pending->settle, pending, napi_tsfn_nonblocking);  // its queue has no limit of its own
}

/** On the JavaScript thread. */
void onSettle(napi_env raw, napi_value, void*, void* data) {
  const std::unique_ptr<Pending> pending(static_cast<Pending*>(data));
  if (raw == nullptr) {
    for (Napi::ObjectReference& reference : pending->memory) reference.SuppressDestruct();
    if (pending->device) pending->device->uses.suppressDestruct();
    return;
  }
  const Napi::Env env(raw);
  const Napi::HandleScope scope(env);
  if (pending->device) letGo(*pending->device);
  if (pending->left != nullptr) pending->communicator->leave();
  pending->communicator->settling();
  if (!pending->settled) return;
  try {
    if (pending->hasFailed) {
      pending->settled->Reject(failureError(env, pending->failure).Value());
    } else {
      pending->settled->Resolve(env.Undefined());
    }
  } catch (const Napi::Error&) {
    // A worker thread that is being terminated takes no values any more.
  }
}

/** For `holdMs`, which may be left out. Runs no code of its caller's: that could take a call's memory away. */
muster_hold readHold(const Napi::Value& holdMs) {
  if (holdMs.IsUndefined()) return {kHoldSmallNs, 0};
  const double ms = holdMs.IsNumber() ? holdMs.As<Napi::Number>().DoubleValue() : -1;
  if (!(ms >= 0 && ms <= kHoldMaxMs)) throw rangeError(holdMs.Env(), "holdMs must be a number from 0 to 1000");
  return {kHoldSmallNs, static_cast<std::uint32_t>(ms * 1e6)};
}

/** The rest of (id, rank, size, timeoutMs). */
muster_communicator_options readOptions(const Napi::CallbackInfo& info) {
  return {nullptr, smallInteger(info[1], "rank"), smallInteger(info[2], "size"), smallInteger(info[3], "timeoutMs"), nullptr, nullptr};
}

/** What keeps a listener open until it is used. */
struct ListenerHandle {
  muster_listener* listener;
  ~ListenerHandle() { muster_listener_close(listener); }
};

}  // namespace

Napi::Function CommunicatorObject::define(Napi::Env env) {
  return DefineClass(env, "Communicator",
                     {
                         StaticMethod<&CommunicatorObject::open>("open"),
                         StaticMethod<&CommunicatorObject::listen>("listen"),
                         StaticMethod<&CommunicatorObject::connect>("connect"),
                         InstanceMethod<&CommunicatorObject::call>("call"),
                         InstanceMethod<&CommunicatorObject::group>("group"),
                         InstanceMethod<&CommunicatorObject::run>("run"),
                         InstanceMethod<&CommunicatorObject::abort>("abort"),
                         InstanceMethod<&CommunicatorObject::blame>("blame"),
                         InstanceMethod<&CommunicatorObject::close>("close"),
                         InstanceMethod<&CommunicatorObject::deviceWay>("deviceWay"),
                     });
}

CommunicatorObject::CommunicatorObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use Communicator.open");
  const OpenedCommunicator& opened = *info[0].As<Napi::External<OpenedCommunicator>>().Data();
  communicator_ = opened.communicator;
  place_ = opened.place;
  napi_create_threadsafe_function(info.Env(), nullptr, nullptr, Napi::String::New(info.Env(), "Communicator"), 0, 1, nullptr, nullptr, nullptr, onSettle, &settle_);
  napi_unref_threadsafe_function(info.Env(), settle_);
  napi_add_env_cleanup_hook(info.Env(), onEnvironmentEnd, this);  // after the function's own, and so run before it
}

CommunicatorObject::~CommunicatorObject() { leave(); }

/** No thread may call the function any more when the environment takes it away. */
void CommunicatorObject::onEnvironmentEnd(void* object) {
  auto* self = static_cast<CommunicatorObject*>(object);
  muster_communicator_close(std::exchange(self->communicator_, nullptr));
  self->device_.reset();
}

void CommunicatorObject::leave() {
  if (communicator_ == nullptr) return;
  napi_remove_env_cleanup_hook(Env(), onEnvironmentEnd, this);
  muster_communicator_close(std::exchange(communicator_, nullptr));
  device_.reset();
  napi_release_threadsafe_function(std::exchange(settle_, nullptr), napi_tsfn_release);  // after what is in its queue
}

void CommunicatorObject::keep(Napi::Env env) {
  if (pending_++ > 0) return;
  napi_ref_threadsafe_function(env, settle_);
  Ref();
}

void CommunicatorObject::settling() {
  if (--pending_ > 0) return;
  if (settle_ != nullptr) napi_unref_threadsafe_function(Env(), settle_);
  Unref();
}

muster_communicator* CommunicatorObject::opened(Napi::Env env) const {
  if (communicator_ == nullptr || isLeaving_) throw codedError(env, "ERR_COMMUNICATOR_CLOSED", "the communicator is closed");
  return communicator_;
}

Napi::Value CommunicatorObject::open(const Napi::CallbackInfo& info) { return openCommunicator(info.Env(), info[0].ToString().Utf8Value(), readOptions(info), nullptr); }

Napi::Value CommunicatorObject::listen(const Napi::CallbackInfo& info) {
  muster_listener* listener;
  std::uint16_t port;
  check(info.Env(), muster_listener_open(info[0].ToString().Utf8Value().c_str(), &listener, &port));
  Napi::Object result = Napi::Object::New(info.Env());
  result["port"] = Napi::Number::New(info.Env(), port);
  result["handle"] = Napi::External<ListenerHandle>::New(info.Env(), new ListenerHandle{listener}, [](Napi::Env, ListenerHandle* handle) { delete handle; });
  return result;
}

/** (id, rank, size, timeoutMs, listener, key, ranks, usesTls); each of the ranks is [host, port, node]. */
Napi::Value CommunicatorObject::connect(const Napi::CallbackInfo& info) {
  const muster_communicator_options options = readOptions(info);
  const Bytes key = bytes(info[5], "key");
  if (key.sizeBytes != MUSTER_KEY_BYTES) throw rangeError(info.Env(), "key must have " + std::to_string(MUSTER_KEY_BYTES) + " bytes");
  if (!info[4].IsObject() || !info[4].As<Napi::Object>().Get("handle").IsExternal()) throw Napi::TypeError::New(info.Env(), "listener must be one of Communicator.listen");
  if (!info[6].IsArray() || info[6].As<Napi::Array>().Length() != options.size) throw Napi::TypeError::New(info.Env(), "ranks must be an array of every rank's place");
  auto places = std::make_unique<NetworkPlaces>();
  std::memcpy(places->network.key, key.data, key.sizeBytes);
  places->network.uses_tls = info[7].ToBoolean();
  const auto ranks = info[6].As<Napi::Array>();
  for (std::uint32_t rank = 0; rank < ranks.Length(); rank++) {
    const Napi::Value each = ranks[rank];
    if (!each.IsArray()) throw Napi::TypeError::New(info.Env(), "each rank's place must be an array");
    const auto place = each.As<Napi::Array>();
    const Napi::Value host = place[0u];
    places->hosts.push_back(host.ToString().Utf8Value());
    places->ranks.push_back({nullptr, static_cast<std::uint16_t>(smallInteger(place[1u], "port")), smallInteger(place[2u], "node")});
  }
  auto* handle = info[4].As<Napi::Object>().Get("handle").As<Napi::External<ListenerHandle>>().Data();
  if (handle->listener == nullptr) throw Napi::TypeError::New(info.Env(), "listener has been used");
  places->listener = std::exchange(handle->listener, nullptr);
  return openCommunicator(info.Env(), info[0].ToString().Utf8Value(), options, std::move(places));
}

namespace {

/** Arguments, or the elements of an array, as a call's values. */
template <class At>
CallValues valuesOf(const At& at) {
  CallValues values;
  for (std::uint32_t place = 0; place < values.size(); place++) values[place] = at(place);
  return values;
}

}  // namespace

DeviceSubmission CommunicatorObject::submissionOf(Napi::Env env, const ReadCalls& read) {
  if (device_ == nullptr) device_ = std::make_unique<DeviceCollective>(communicator_, place_);
  std::uint32_t devices = 0;
  checkCuda(env, MUSTER_CUDA_FUNCTION(muster_cuda_device_count)(&devices));
  if (*read.device >= devices) throw rangeError(env, "there is no device " + std::to_string(*read.device) + ": this process sees " + std::to_string(devices));
  const DeviceScope scope(*read.device);
  checkCuda(env, scope.code());
  muster_cuda_event begun = nullptr;
  checkCuda(env, MUSTER_CUDA_FUNCTION(muster_cuda_event_create)(&begun));
  if (const muster_code code = MUSTER_CUDA_FUNCTION(muster_cuda_event_record)(begun, read.stream); code != MUSTER_OK) {
    const muster_failure failure = lastCudaFailure();
    MUSTER_CUDA_FUNCTION(muster_cuda_event_destroy)(begun);
    throw failureError(env, failure);
  }
  return {read.calls, *read.device, read.stream, begun};
}

Napi::Value CommunicatorObject::start(Napi::Env env, ReadCalls read, muster_hold hold) {
  auto pending = std::make_unique<Pending>();
  pending->communicator = this;
  pending->settle = settle_;
  pending->sites = std::move(read.sites);
  if (read.device) {
    pending->device.emplace(OnDevice{nullptr, submissionOf(env, read), Uses(read.held)});
    pending->device->collective = device_.get();
    const auto work = [](void* context, muster_turn* turn) { return runOnDevice(*static_cast<Pending*>(context)->device, turn); };
    if (const muster_code code = muster_communicator_start_work(communicator_, work, onDone, pending.get()); code != MUSTER_OK) {
      const muster_failure failure = *muster_last_failure();
      letGo(*pending->device);
      throw failureError(env, failure);
    }
  } else {
    const std::vector<muster_call> calls = hostCalls(read);
    bool isFinished = false;
    check(env, muster_communicator_start(communicator_, calls.data(), static_cast<std::uint32_t>(calls.size()), &hold, onDone, pending.get(), &isFinished));
    if (isFinished) return env.Undefined();
  }
  // It may have ended meanwhile, but is settled by this thread, and so after this call.
  Pending* const started = pending.release();
  for (const Napi::Value& array : read.memory) {
    if (array.IsObject()) started->memory.push_back(Napi::Persistent(array.As<Napi::Object>()));
  }
  keep(env);
  started->settled.emplace(env);  // throws in a worker thread that is being terminated
  return started->settled->Promise();
}

Napi::Value CommunicatorObject::call(const Napi::CallbackInfo& info) {
  return start(info.Env(), readCalls(info.Env(), opened(info.Env()), {valuesOf([&](std::uint32_t place) { return info[place]; })}), readHold(info[6]));
}

Napi::Value CommunicatorObject::group(const Napi::CallbackInfo& info) {
  if (!info[0].IsArray()) throw Napi::TypeError::New(info.Env(), "calls must be an array");
  // All values are read before any memory is looked at: a getter among them could take the memory of an earlier call away.
  const auto list = info[0].As<Napi::Array>();
  std::vector<CallValues> values;
  for (std::uint32_t index = 0; index < list.Length(); index++) {
    const Napi::Value each = list[index];
    if (!each.IsArray()) throw Napi::TypeError::New(info.Env(), "each call must be an array");
    values.push_back(valuesOf([&](std::uint32_t place) { return Napi::Value(each.As<Napi::Array>()[place]); }));
  }
  return start(info.Env(), readCalls(info.Env(), opened(info.Env()), values), {kHoldSmallNs, 0});
}

Napi::Value CommunicatorObject::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ReadCalls read = readCalls(env, opened(env), {valuesOf([&](std::uint32_t place) { return info[place]; })});
  if (!read.device) {
    const std::vector<muster_call> calls = hostCalls(read);
    check(env, muster_communicator_run(communicator_, calls.data(), static_cast<std::uint32_t>(calls.size())));
    return env.Undefined();
  }
  OnDevice device{nullptr, submissionOf(env, read), Uses(read.held)};
  device.collective = device_.get();
  const muster_code code = muster_communicator_run_work(communicator_, [](void* context, muster_turn* turn) { return runOnDevice(*static_cast<OnDevice*>(context), turn); }, &device);
  const muster_failure failure = code == MUSTER_OK ? muster_failure{} : *muster_last_failure();
  letGo(device);
  if (code != MUSTER_OK) throw failureError(env, failure);
  return env.Undefined();
}

/** undefined, or [way, reason] */
Napi::Value CommunicatorObject::deviceWay(const Napi::CallbackInfo& info) {
  static constexpr const char* kNames[] = {"", "shared", "peer", "nccl", "staged"};
  if (device_ == nullptr) return info.Env().Undefined();
  const auto [way, reason] = device_->way();
  if (way == DeviceCollective::Way::none) return info.Env().Undefined();
  Napi::Array told = Napi::Array::New(info.Env(), 2);
  told[0u] = Napi::String::New(info.Env(), kNames[static_cast<int>(way)]);
  told[1u] = Napi::String::New(info.Env(), reason);
  return told;
}

Napi::Value CommunicatorObject::abort(const Napi::CallbackInfo& info) {
  muster_communicator_abort(opened(info.Env()), info[0].ToString().Utf8Value().c_str());
  return info.Env().Undefined();
}

/** (rank, reason) */
Napi::Value CommunicatorObject::blame(const Napi::CallbackInfo& info) {
  check(info.Env(), muster_communicator_blame(opened(info.Env()), smallInteger(info[0], "rank"), info[1].ToString().Utf8Value().c_str()));
  return info.Env().Undefined();
}

/**
 * Others may be about to read this rank's memory on the GPU: all leave it together, on the communicator's thread, but for a rank that leaves calls behind, and so ends theirs.
 * @returns whether that goes on
 */
bool CommunicatorObject::leavesDevice(Napi::Env env) {
  if (isLeaving_) return true;
  if (communicator_ == nullptr || device_ == nullptr || !device_->hasGroup() || pending_ > 0) return false;
  auto pending = std::make_unique<Pending>();
  pending->communicator = this;
  pending->settle = settle_;
  pending->left = device_.get();
  const auto leaving = [](void* context, muster_turn* turn) { return static_cast<Pending*>(context)->left->leave(turn); };
  if (muster_communicator_start_work(communicator_, leaving, onDone, pending.get()) != MUSTER_OK) return false;
  pending.release();
  isLeaving_ = true;
  keep(env);
  return true;
}

Napi::Value CommunicatorObject::close(const Napi::CallbackInfo& info) {
  if (!leavesDevice(info.Env())) leave();
  return info.Env().Undefined();
}

}  // namespace muster::addon
