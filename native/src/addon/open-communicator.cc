#include "addon/open-communicator.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "addon/addon.h"
#include "addon/communicator-object.h"
#include "addon/failure.h"

namespace muster::addon {
namespace {

/** Lives until its thread has ended and the promise is settled, or the environment ends. */
class Opening {
 public:
  Opening(Napi::Env env, std::string id, const muster_communicator_options& options, std::unique_ptr<NetworkPlaces> places)
      : env_(env), settled_(env), id_(std::move(id)), places_(std::move(places)), options_(options) {
    options_.id = id_.c_str();
    options_.is_cancelled = [](void* self) { return static_cast<Opening*>(self)->isCancelled_.load(); };
    options_.context = this;
    napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "Communicator.open"), 0, 1, nullptr, nullptr, nullptr, onOpened, &report_);
    napi_add_env_cleanup_hook(env, onEnvironmentEnd, this);  // after the function's own, and so run before it
    thread_ = std::thread([this] { run(); });
  }

  Napi::Promise promise() const { return settled_.Promise(); }

 private:
  void run() {
    code_ = places_ == nullptr ? muster_communicator_open(&options_, &communicator_) : connect();
    if (code_ != MUSTER_OK) failure_ = *muster_last_failure();  // it belongs to this thread
    napi_call_threadsafe_function(report_, this, napi_tsfn_nonblocking);
  }

  muster_code connect() {
    for (std::size_t rank = 0; rank < places_->ranks.size(); rank++) places_->ranks[rank].host = places_->hosts[rank].c_str();
    places_->network.ranks = places_->ranks.data();
    return muster_communicator_connect(&options_, &places_->network, places_->listener, &communicator_);
  }

  static void onOpened(napi_env env, napi_value, void*, void* data) {
    if (env == nullptr) return;  // the environment's end has taken it over
    const std::unique_ptr<Opening> self(static_cast<Opening*>(data));
    self->thread_.join();
    napi_remove_env_cleanup_hook(env, onEnvironmentEnd, self.get());
    napi_release_threadsafe_function(self->report_, napi_tsfn_release);
    self->settle();
  }

  void settle() {
    const Napi::Env env(env_);
    const Napi::HandleScope scope(env);
    try {
      if (code_ != MUSTER_OK) {
        settled_.Reject(failureError(env, failure_).Value());
        return;
      }
      OpenedCommunicator opened{communicator_, {options_.rank, options_.size, options_.timeout_ms, isOnOneNode()}};
      const auto external = Napi::External<OpenedCommunicator>::New(env, &opened);
      const Napi::Object object = env.GetInstanceData<AddonData>()->communicatorClass.New({external});
      communicator_ = nullptr;  // the object's now
      settled_.Resolve(object);
    } catch (const Napi::Error&) {  // a worker thread that is being terminated takes no values any more
      if (communicator_ != nullptr) muster_communicator_close(communicator_);
    }
  }

  bool isOnOneNode() const {
    return places_ == nullptr || places_->ranks.back().node == 0;  // counted from 0, and of one node behind each other
  }

  static void onEnvironmentEnd(void* data) {
    const std::unique_ptr<Opening> self(static_cast<Opening*>(data));
    self->isCancelled_ = true;
    self->thread_.join();
    if (self->code_ == MUSTER_OK) muster_communicator_close(self->communicator_);
  }

  const napi_env env_;
  const Napi::Promise::Deferred settled_;
  const std::string id_;
  const std::unique_ptr<NetworkPlaces> places_;
  muster_communicator_options options_;
  std::atomic<bool> isCancelled_{false};
  napi_threadsafe_function report_ = nullptr;
  std::thread thread_;
  muster_code code_ = MUSTER_OK;
  muster_communicator* communicator_ = nullptr;
  muster_failure failure_{};
};

}  // namespace

Napi::Promise openCommunicator(Napi::Env env, const std::string& id, const muster_communicator_options& options, std::unique_ptr<NetworkPlaces> places) {
  return (new Opening(env, id, options, std::move(places)))->promise();  // which deletes itself
}

}  // namespace muster::addon
