#include "addon/communicator-object.h"

#include <array>
#include <cstring>
#include <forward_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "addon/addon.h"
#include "addon/failure.h"
#include "addon/open-communicator.h"

namespace muster::addon {
namespace {

/** How long a small call may hold the JavaScript thread: about what handing it to another thread and back costs. */
constexpr std::uint32_t kHoldSmallNs = 10'000;
/** A second: more than any other thread of the process should have to wait for this one. */
constexpr double kHoldMaxMs = 1000;

/** Where calls are made, in texts that stay where they are. */
using Sites = std::forward_list<std::string>;

/** One submission that did not end at once: what keeps its memory, and who waits for it. */
struct Pending {
  CommunicatorObject* communicator;
  napi_threadsafe_function settle;
  /** None if the environment took no promise any more. */
  std::optional<Napi::Promise::Deferred> settled;
  std::vector<Napi::ObjectReference> memory;
  Sites sites;
  bool hasFailed = false;
  muster_failure failure{};
};

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
    return;
  }
  const Napi::Env env(raw);
  const Napi::HandleScope scope(env);
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

std::uint32_t smallInteger(const Napi::Value& value, const char* name) {
  const std::uint64_t number = safeInteger(value, name);
  if (number > UINT32_MAX) throw rangeError(value.Env(), std::string(name) + " must be below 2^32");
  return static_cast<std::uint32_t>(number);
}

/** The memory of any typed array; none for null. */
Bytes elements(const Napi::Value& value, const char* name) {
  if (value.IsNull()) return {nullptr, 0};
  napi_typedarray_type type;
  std::size_t length;
  void* data;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a typed array or null");
  }
  static constexpr std::size_t kElementBytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  return {data, length * kElementBytes[type]};
}

constexpr std::size_t kCallValues = 6;

/** (shape, peer, source, target, count, site); `shape` is kind, dtype and reduction, a byte each. The site's text is kept in `sites`. */
template <class At>
muster_call readCall(const muster_communicator* communicator, Napi::Env env, const At& at, Sites& sites) {
  const std::uint32_t shape = smallInteger(at(0), "shape");
  const Bytes source = elements(at(2), "source");
  const Bytes target = elements(at(3), "target");
  muster_call call{static_cast<muster_call_kind>(shape & 0xff), static_cast<muster_dtype>(shape >> 8 & 0xff), static_cast<muster_reduction>(shape >> 16),
                   smallInteger(at(1), "peer"), source.data, target.data, safeInteger(at(4), "count"), nullptr};
  if (const Napi::Value site = at(5); site.IsString()) call.site = sites.emplace_front(site.As<Napi::String>().Utf8Value()).c_str();
  std::uint64_t sourceBytes;
  std::uint64_t targetBytes;
  check(env, muster_communicator_extents(communicator, &call, &sourceBytes, &targetBytes));
  if (source.sizeBytes < sourceBytes) throw rangeError(env, "source has " + std::to_string(source.sizeBytes) + " bytes, and the call reads " + std::to_string(sourceBytes));
  if (target.sizeBytes < targetBytes) throw rangeError(env, "target has " + std::to_string(target.sizeBytes) + " bytes, and the call writes " + std::to_string(targetBytes));
  return call;
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
                     });
}

CommunicatorObject::CommunicatorObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use Communicator.open");
  communicator_ = info[0].As<Napi::External<muster_communicator>>().Data();
  napi_create_threadsafe_function(info.Env(), nullptr, nullptr, Napi::String::New(info.Env(), "Communicator"), 0, 1, nullptr, nullptr, nullptr, onSettle, &settle_);
  napi_unref_threadsafe_function(info.Env(), settle_);
  napi_add_env_cleanup_hook(info.Env(), onEnvironmentEnd, this);  // after the function's own, and so run before it
}

CommunicatorObject::~CommunicatorObject() { leave(); }

/** No thread may call the function any more when the environment takes it away. */
void CommunicatorObject::onEnvironmentEnd(void* object) {
  auto* self = static_cast<CommunicatorObject*>(object);
  muster_communicator_close(std::exchange(self->communicator_, nullptr));
}

void CommunicatorObject::leave() {
  if (communicator_ == nullptr) return;
  napi_remove_env_cleanup_hook(Env(), onEnvironmentEnd, this);
  muster_communicator_close(std::exchange(communicator_, nullptr));
  napi_release_threadsafe_function(std::exchange(settle_, nullptr), napi_tsfn_release);  // after what is in its queue
}

void CommunicatorObject::settling() {
  if (--pending_ > 0) return;
  if (settle_ != nullptr) napi_unref_threadsafe_function(Env(), settle_);
  Unref();
}

muster_communicator* CommunicatorObject::opened(Napi::Env env) const {
  if (communicator_ == nullptr) throw codedError(env, "ERR_COMMUNICATOR_CLOSED", "the communicator is closed");
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

Napi::Value CommunicatorObject::start(const Napi::CallbackInfo& info, const std::vector<muster_call>& calls, const std::vector<Napi::Value>& memory,
                                      std::forward_list<std::string> sites, muster_hold hold) {
  auto pending = std::make_unique<Pending>();
  pending->communicator = this;
  pending->settle = settle_;
  pending->sites = std::move(sites);
  bool isFinished = false;
  check(info.Env(), muster_communicator_start(communicator_, calls.data(), static_cast<std::uint32_t>(calls.size()), &hold, onDone, pending.get(), &isFinished));
  if (isFinished) return info.Env().Undefined();
  // It may have ended meanwhile, but is settled by this thread, and so after this call.
  Pending* const started = pending.release();
  for (const Napi::Value& array : memory) {
    if (array.IsObject()) started->memory.push_back(Napi::Persistent(array.As<Napi::Object>()));
  }
  if (pending_++ == 0) {
    napi_ref_threadsafe_function(info.Env(), settle_);
    Ref();
  }
  started->settled.emplace(info.Env());  // throws in a worker thread that is being terminated
  return started->settled->Promise();
}

Napi::Value CommunicatorObject::call(const Napi::CallbackInfo& info) {
  Sites sites;
  const muster_call call = readCall(opened(info.Env()), info.Env(), [&](std::size_t place) { return info[place]; }, sites);
  return start(info, {call}, {info[2], info[3]}, std::move(sites), readHold(info[6]));
}

Napi::Value CommunicatorObject::group(const Napi::CallbackInfo& info) {
  if (!info[0].IsArray()) throw Napi::TypeError::New(info.Env(), "calls must be an array");
  // All values are read before any memory is looked at: a getter among them could take the memory of an earlier call away.
  const auto list = info[0].As<Napi::Array>();
  std::vector<std::array<Napi::Value, kCallValues>> read;
  for (std::uint32_t index = 0; index < list.Length(); index++) {
    const Napi::Value each = list[index];
    if (!each.IsArray()) throw Napi::TypeError::New(info.Env(), "each call must be an array");
    auto& values = read.emplace_back();
    for (std::uint32_t place = 0; place < kCallValues; place++) values[place] = each.As<Napi::Array>()[place];
  }
  std::vector<muster_call> calls;
  std::vector<Napi::Value> memory;
  Sites sites;
  for (const auto& values : read) {
    calls.push_back(readCall(opened(info.Env()), info.Env(), [&](std::size_t place) { return values[place]; }, sites));
    memory.push_back(values[2]);
    memory.push_back(values[3]);
  }
  return start(info, calls, memory, std::move(sites), {kHoldSmallNs, 0});
}

Napi::Value CommunicatorObject::run(const Napi::CallbackInfo& info) {
  Sites sites;
  const muster_call call = readCall(opened(info.Env()), info.Env(), [&](std::size_t place) { return info[place]; }, sites);
  check(info.Env(), muster_communicator_run(communicator_, &call, 1));
  return info.Env().Undefined();
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

Napi::Value CommunicatorObject::close(const Napi::CallbackInfo& info) {
  leave();
  return info.Env().Undefined();
}

}  // namespace muster::addon
