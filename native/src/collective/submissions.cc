#include "collective/submissions.h"

#include <algorithm>

#include "collective/describe.h"
#include "status.h"

namespace muster {

Submissions::~Submissions() {
  {
    const std::lock_guard lock(mutex_);
    isClosing_ = true;
    if (isBusy_ || !waiting_.empty()) communicator_->abort("it was closed while calls were under way");
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

muster_code Submissions::check(std::span<const muster_call> calls) const {
  for (const muster_call& call : calls) {
    if (const muster_code code = communicator_->check(call); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code Submissions::run(std::span<const muster_call> calls) {
  if (const muster_code code = check(calls); code != MUSTER_OK) return code;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !isBusy_ && waiting_.empty(); });
    isBusy_ = true;
  }
  const muster_code code = communicator_->run(calls);
  {
    const std::lock_guard lock(mutex_);
    isBusy_ = false;
  }
  if (thread_.joinable()) changed_.notify_all();
  return code;
}

std::chrono::nanoseconds Submissions::holdOf(std::span<const muster_call> calls, Hold hold) const {
  if (isBusy_ || !waiting_.empty() || calls.size() != 1 || isPointToPoint(calls[0].kind)) return {};
  return communicator_->isOneShot(calls[0]) ? std::max(hold.oneShot, hold.any) : hold.any;
}

muster_code Submissions::start(std::span<const muster_call> calls, Hold hold, Completion completion, bool* finished) {
  *finished = false;
  if (const muster_code code = check(calls); code != MUSTER_OK) return code;
  const std::lock_guard lock(mutex_);
  if (waiting_.size() >= MUSTER_SUBMISSIONS_MAX) {
    return MUSTER_FAIL(MUSTER_BUSY, 0, "%u submissions wait for the communicator already: wait for some of them first", MUSTER_SUBMISSIONS_MAX);
  }
  bool isBegun = false;
  if (const std::chrono::nanoseconds limit = holdOf(calls, hold); limit.count() > 0) {
    if (const muster_code code = communicator_->begin(calls[0]); code != MUSTER_OK) return code;
    if (communicator_->haveBegun(limit)) {
      *finished = true;
      return communicator_->end(calls[0]);
    }
    isBegun = true;
  }
  waiting_.push_back({{calls.begin(), calls.end()}, completion, isBegun});
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  changed_.notify_all();
  return MUSTER_OK;
}

void Submissions::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return !isBusy_ && (isClosing_ || !waiting_.empty()); });
    if (waiting_.empty()) return;
    const Submission submission = std::move(waiting_.front());
    waiting_.pop_front();
    isBusy_ = true;
    lock.unlock();
    const muster_code code = make(submission);
    lock.lock();
    isBusy_ = false;  // before the end is told: who hears of it may close the communicator at once, and nothing is under way then
    changed_.notify_all();
    lock.unlock();
    submission.completion.done(submission.completion.context, code == MUSTER_OK ? nullptr : muster_last_failure());
    lock.lock();
  }
}

muster_code Submissions::make(const Submission& submission) {
  return submission.isBegun ? communicator_->end(submission.calls[0]) : communicator_->run(submission.calls);
}

}  // namespace muster
