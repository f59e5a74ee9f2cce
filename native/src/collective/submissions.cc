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

template <class Body>
muster_code Submissions::inTurn(Body body) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !isBusy_ && waiting_.empty(); });
    isBusy_ = true;
  }
  const muster_code code = body();
  {
    const std::lock_guard lock(mutex_);
    isBusy_ = false;
  }
  if (thread_.joinable()) changed_.notify_all();
  return code;
}

muster_code Submissions::run(std::span<const muster_call> calls) {
  if (const muster_code code = check(calls); code != MUSTER_OK) return code;
  return inTurn([&] { return communicator_->run(calls); });
}

muster_code Submissions::run(muster_work work, void* context) {
  return inTurn([&] { return doWork(work, context); });
}

muster_code Submissions::runInTurn(std::span<const muster_call> calls) {
  const muster_code code = check(calls);
  return code == MUSTER_OK ? communicator_->run(calls) : code;
}

/** All ranks end with one failure: the work's own, if no other was there before. */
muster_code Submissions::doWork(muster_work work, void* context) {
  if (const muster_code code = communicator_->look(); code != MUSTER_OK) return code;
  muster_turn turn{*this};
  const muster_code code = work(context, &turn);
  if (code == MUSTER_OK) return code;
  const std::string message = muster_last_failure()->message;  // looking may overwrite it
  return communicator_->failAll(code == MUSTER_SYSTEM_ERROR ? MUSTER_DEVICE_FAILED : code, communicator_->rank(), "rank " + std::to_string(communicator_->rank()) + ": " + message);
}

std::chrono::nanoseconds Submissions::holdOf(std::span<const muster_call> calls, Hold hold) const {
  if (isBusy_ || !waiting_.empty() || calls.size() != 1 || isPointToPoint(calls[0].kind)) return {};
  return communicator_->isOneShot(calls[0]) ? std::max(hold.oneShot, hold.any) : hold.any;
}

muster_code Submissions::start(std::span<const muster_call> calls, Hold hold, Completion completion, bool* finished) {
  *finished = false;
  if (const muster_code code = check(calls); code != MUSTER_OK) return code;
  const std::lock_guard lock(mutex_);
  if (const muster_code code = hasRoom(); code != MUSTER_OK) return code;
  bool isBegun = false;
  if (const std::chrono::nanoseconds limit = holdOf(calls, hold); limit.count() > 0) {
    if (const muster_code code = communicator_->begin(calls[0]); code != MUSTER_OK) return code;
    if (communicator_->haveBegun(limit)) {
      *finished = true;
      return communicator_->end(calls[0]);
    }
    isBegun = true;
  }
  enqueue({{calls.begin(), calls.end()}, completion, isBegun, nullptr});
  return MUSTER_OK;
}

muster_code Submissions::start(muster_work work, Completion completion) {
  const std::lock_guard lock(mutex_);
  const muster_code code = hasRoom();
  if (code == MUSTER_OK) enqueue({{}, completion, false, work});
  return code;
}

muster_code Submissions::hasRoom() const {
  if (waiting_.size() < MUSTER_SUBMISSIONS_MAX) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_BUSY, 0, "%u submissions wait for the communicator already: wait for some of them first", MUSTER_SUBMISSIONS_MAX);
}

void Submissions::enqueue(Submission submission) {
  waiting_.push_back(std::move(submission));
  if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
  changed_.notify_all();
}

void Submissions::serve() {
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
  if (submission.work != nullptr) return doWork(submission.work, submission.completion.context);
  return submission.isBegun ? communicator_->end(submission.calls[0]) : communicator_->run(submission.calls);
}

}  // namespace muster
