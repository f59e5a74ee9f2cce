#include "addon/arena-object.h"

#include <utility>
#include <vector>

#include "addon/addon.h"
#include "addon/failure.h"

namespace muster::addon {
namespace {

/** A commit on a thread of libuv's pool. Keeps the mapping alive though the arena may be closed meanwhile. */
class CommitWork : public Napi::AsyncWorker {
 public:
  CommitWork(Napi::Env env, std::shared_ptr<muster_arena> arena, std::uint64_t offset, std::uint64_t sizeBytes)
      : AsyncWorker(env), settled_(env), arena_(std::move(arena)), offset_(offset), sizeBytes_(sizeBytes) {}

  Napi::Promise promise() const { return settled_.Promise(); }

 protected:
  void Execute() override {
    code_ = muster_arena_commit(arena_.get(), offset_, sizeBytes_);
    if (code_ != MUSTER_OK) failure_ = *muster_last_failure();  // it belongs to this thread
  }

  void OnOK() override {
    if (code_ == MUSTER_OK) {
      settled_.Resolve(Env().Undefined());
    } else {
      settled_.Reject(failureError(Env(), failure_).Value());
    }
  }

 private:
  Napi::Promise::Deferred settled_;
  std::shared_ptr<muster_arena> arena_;
  std::uint64_t offset_;
  std::uint64_t sizeBytes_;
  muster_code code_ = MUSTER_OK;
  muster_failure failure_{};
};

/** Wraps a fresh arena into an object of the class `info` was called on. */
Napi::Value wrap(const Napi::CallbackInfo& info, muster_arena* arena) {
  const auto external = Napi::External<muster_arena>::New(info.Env(), arena);
  return info.Env().GetInstanceData<AddonData>()->arenaClass.New({external, info[0]});
}

}  // namespace

Napi::Function ArenaObject::define(Napi::Env env) {
  return DefineClass(env, "Arena",
                     {
                         StaticMethod<&ArenaObject::create>("create"),
                         StaticMethod<&ArenaObject::open>("open"),
                         InstanceAccessor<&ArenaObject::path>("path"),
                         InstanceAccessor<&ArenaObject::sizeBytes>("sizeBytes"),
                         InstanceMethod<&ArenaObject::commit>("commit"),
                         InstanceMethod<&ArenaObject::commitAsync>("commitAsync"),
                         InstanceMethod<&ArenaObject::decommit>("decommit"),
                         InstanceMethod<&ArenaObject::write>("write"),
                         InstanceMethod<&ArenaObject::read>("read"),
                         InstanceMethod<&ArenaObject::view>("view"),
                         InstanceMethod<&ArenaObject::share>("share"),
                         InstanceMethod<&ArenaObject::takeReleased>("takeReleased"),
                         InstanceMethod<&ArenaObject::setReleaseListener>("setReleaseListener"),
                         InstanceMethod<&ArenaObject::close>("close"),
                         InstanceMethod<&ArenaObject::unlink>("unlink"),
                     });
}

ArenaObject::ArenaObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "use Arena.create or Arena.open");
  arena_ = std::shared_ptr<muster_arena>(info[0].As<Napi::External<muster_arena>>().Data(), muster_arena_close);
  path_ = addon::path(info[1]);
  sizeBytes_ = muster_arena_size_bytes(arena_.get());
  released_ = std::make_shared<ReleaseQueue>(info.Env(), sizeBytes_);
  released_->listener = &releaseListener_;
}

ArenaObject::~ArenaObject() { released_->listener = nullptr; }

Napi::Value ArenaObject::create(const Napi::CallbackInfo& info) {
  muster_arena* arena = nullptr;
  check(info.Env(), muster_arena_create(addon::path(info[0]).c_str(), safeInteger(info[1], "sizeBytes"), &arena));
  return wrap(info, arena);
}

Napi::Value ArenaObject::open(const Napi::CallbackInfo& info) {
  muster_arena* arena = nullptr;
  check(info.Env(), muster_arena_open(addon::path(info[0]).c_str(), &arena));
  return wrap(info, arena);
}

Napi::Value ArenaObject::path(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), path_); }

Napi::Value ArenaObject::sizeBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(sizeBytes_));
}

muster_arena* ArenaObject::opened(Napi::Env env) const {
  if (arena_ == nullptr) throw codedError(env, "ERR_ARENA_CLOSED", "the arena " + path_ + " is closed");
  return arena_.get();
}

Napi::Value ArenaObject::commit(const Napi::CallbackInfo& info) {
  check(info.Env(), muster_arena_commit(opened(info.Env()), safeInteger(info[0], "offset"), safeInteger(info[1], "sizeBytes")));
  return info.Env().Undefined();
}

Napi::Value ArenaObject::commitAsync(const Napi::CallbackInfo& info) {
  opened(info.Env());
  auto* work = new CommitWork(info.Env(), arena_, safeInteger(info[0], "offset"), safeInteger(info[1], "sizeBytes"));
  work->Queue();  // which deletes it when it is done
  return work->promise();
}

Napi::Value ArenaObject::decommit(const Napi::CallbackInfo& info) {
  check(info.Env(), muster_arena_decommit(opened(info.Env()), safeInteger(info[0], "offset"), safeInteger(info[1], "sizeBytes")));
  return info.Env().Undefined();
}

Napi::Value ArenaObject::write(const Napi::CallbackInfo& info) {
  const Bytes source = bytes(info[1], "source");
  check(info.Env(), muster_arena_write(opened(info.Env()), safeInteger(info[0], "offset"), source.data, source.sizeBytes));
  return info.Env().Undefined();
}

Napi::Value ArenaObject::read(const Napi::CallbackInfo& info) {
  const Bytes target = bytes(info[1], "target");
  check(info.Env(), muster_arena_read(opened(info.Env()), safeInteger(info[0], "offset"), target.data, target.sizeBytes));
  return info.Env().Undefined();
}

Napi::Value ArenaObject::view(const Napi::CallbackInfo& info) {
  const std::uint64_t offset = safeInteger(info[0], "offset");
  const std::uint64_t sizeBytes = safeInteger(info[1], "sizeBytes");
  const std::uint64_t token = safeInteger(info[2], "token");
  if (sizeBytes > kViewMaxBytes) {
    throw rangeError(info.Env(), "a view of " + std::to_string(sizeBytes) + " bytes is larger than " +
                                     std::to_string(kViewMaxBytes) + " bytes, the most that one ArrayBuffer holds");
  }
  muster_view view;
  check(info.Env(), muster_view_map(opened(info.Env()), offset, sizeBytes, &view));
  return makeViewBuffer(info.Env(), view, released_, static_cast<double>(token));
}

Napi::Value ArenaObject::share(const Napi::CallbackInfo& info) {
  const std::uint64_t sizeBytes = safeInteger(info[1], "sizeBytes");
  void* data = nullptr;
  check(info.Env(), muster_arena_share(opened(info.Env()), safeInteger(info[0], "offset"), sizeBytes, &data));
  auto* keep = new std::shared_ptr<muster_arena>(arena_);  // the mapping outlives close() as long as the buffer lives
  return Napi::ArrayBuffer::New(info.Env(), data, sizeBytes, [](Napi::Env, void*, std::shared_ptr<muster_arena>* held) { delete held; }, keep);
}

Napi::Value ArenaObject::takeReleased(const Napi::CallbackInfo& info) {
  const std::vector<double> tokens = released_->take();
  Napi::Array array = Napi::Array::New(info.Env(), tokens.size());
  for (std::uint32_t index = 0; index < tokens.size(); index++) array[index] = Napi::Number::New(info.Env(), tokens[index]);
  return array;
}

Napi::Value ArenaObject::setReleaseListener(const Napi::CallbackInfo& info) {
  if (info[0].IsNull()) {
    releaseListener_.Reset();
  } else if (info[0].IsFunction()) {
    releaseListener_ = Napi::Persistent(info[0].As<Napi::Function>());
  } else {
    throw Napi::TypeError::New(info.Env(), "listener must be a function or null");
  }
  return info.Env().Undefined();
}

Napi::Value ArenaObject::close(const Napi::CallbackInfo& info) {
  arena_.reset();
  return info.Env().Undefined();
}

Napi::Value ArenaObject::unlink(const Napi::CallbackInfo& info) {
  check(info.Env(), muster_arena_unlink(path_.c_str()));
  return info.Env().Undefined();
}

}  // namespace muster::addon
