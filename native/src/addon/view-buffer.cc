#include "addon/view-buffer.h"

#include <algorithm>
#include <utility>

namespace muster::addon {
namespace {

/** What an ArrayBuffer over a view owns. */
struct ViewHolder {
  muster_view view;
  std::shared_ptr<ReleaseQueue> queue;
  double token;
  bool prepaid = false;

  ~ViewHolder() { muster_view_unmap(&view); }
};

/** Runs on the JavaScript thread, some time after the collection. */
void onCollected(napi_env, void*, void* hint) {
  std::unique_ptr<ViewHolder> holder(static_cast<ViewHolder*>(hint));
  const std::shared_ptr<ReleaseQueue> queue = holder->queue;
  const double token = holder->token;
  const std::uint64_t prepaidBytes = holder->prepaid ? holder->view.size_bytes : 0;
  holder.reset();  // unmapped before anybody hears of it, and reuses the block
  queue->released(token, prepaidBytes);
}

/** An eighth of an arena: a few workers that each leave that much garbage do not fill it. */
constexpr std::uint64_t kPrepaidPart = 8;
/** And no more than this: the marking of the heap takes its time, and views become garbage meanwhile. */
constexpr std::uint64_t kPrepaidMaxBytes = std::uint64_t{512} << 20;

void countMore(napi_env env, std::uint64_t sizeBytes) {
  std::int64_t totalBytes;
  napi_adjust_external_memory(env, static_cast<std::int64_t>(sizeBytes), &totalBytes);
}

void countLess(napi_env env, std::uint64_t sizeBytes) {
  std::int64_t totalBytes;
  napi_adjust_external_memory(env, -static_cast<std::int64_t>(sizeBytes), &totalBytes);
}

}  // namespace

ReleaseQueue::ReleaseQueue(napi_env env, std::uint64_t arenaBytes)
    : env_(env), prepaidMaxBytes_(std::min(arenaBytes / kPrepaidPart, kPrepaidMaxBytes)) {
  countMore(env_, prepaidMaxBytes_);
}

ReleaseQueue::~ReleaseQueue() { countLess(env_, prepaidMaxBytes_ - prepaidBytes_); }

bool ReleaseQueue::prepay(std::uint64_t sizeBytes) {
  if (sizeBytes > prepaidMaxBytes_ - prepaidBytes_) return false;
  prepaidBytes_ += sizeBytes;
  countLess(env_, sizeBytes);
  return true;
}

void ReleaseQueue::released(double token, std::uint64_t prepaidBytes) {
  returnedBytes_ += prepaidBytes;
  tokens_.push_back(token);
  if (tokens_.size() > 1 || listener == nullptr || listener->IsEmpty()) return;
  Napi::HandleScope scope(env_);
  // What the listener throws stays pending, and Node reports it as uncaught.
  napi_call_function(env_, Napi::Env(env_).Undefined(), listener->Value(), 0, nullptr, nullptr);
}

std::vector<double> ReleaseQueue::take() {
  if (returnedBytes_ > 0) {
    countMore(env_, returnedBytes_);
    prepaidBytes_ -= std::exchange(returnedBytes_, 0);
  }
  return std::exchange(tokens_, {});
}

Napi::Value makeViewBuffer(Napi::Env env, const muster_view& view, std::shared_ptr<ReleaseQueue> queue, double token) {
  auto holder = std::unique_ptr<ViewHolder>(new ViewHolder{view, queue, token});
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, view.data, view.size_bytes, onCollected, holder.get(), &buffer) != napi_ok) {
    throw Napi::Error::New(env);
  }
  holder.release()->prepaid = queue->prepay(view.size_bytes);
  return Napi::Value(env, buffer);
}

}  // namespace muster::addon
