/** Calls that wait for their turn, and the thread that makes them. */
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "collective/rank-end.h"

namespace muster {

class Submissions;

/** Who reports a submission's end, on the thread. */
struct Completion {
  muster_done done;
  void* context;
};

/** How long a call may hold the thread that starts it, for the other ranks to begin it, too. */
struct Hold {
  std::chrono::nanoseconds oneShot;
  std::chrono::nanoseconds any;
};

/** Owns the communicator: only one call at a time gets at it, in the order of submissions. */
class Submissions {
 public:
  explicit Submissions(std::unique_ptr<RankEnd> communicator) : communicator_(std::move(communicator)) {}
  /** Ends what is under way with a failure, and reports it. */
  ~Submissions();
  Submissions(const Submissions&) = delete;

  /** After all that was submitted before, on the caller's thread. */
  muster_code run(std::span<const muster_call> calls);
  /** The same of a piece of work. */
  muster_code run(muster_work work, void* context);
  /** On the communicator's own thread, but for a single collective call that all ranks begin within `hold`: see muster_communicator_start. */
  muster_code start(std::span<const muster_call> calls, Hold hold, Completion completion, bool* finished);

  muster_code start(muster_work work, Completion completion);
  /** Of calls that a piece of work makes in its turn. */
  muster_code runInTurn(std::span<const muster_call> calls);

  RankEnd& communicator() const { return *communicator_; }

 private:
  struct Submission {
    std::vector<muster_call> calls;
    Completion completion;
    /** A single collective call on which this rank has given its word already. */
    bool isBegun;
    /** In place of calls, unless it is null; its context is the completion's. */
    muster_work work;
  };

  muster_code check(std::span<const muster_call> calls) const;
  /** Does something on the caller's thread, after all that was submitted before. */
  template <class Body>
  muster_code inTurn(Body body);
  /** With the mutex, as the one below. */
  muster_code hasRoom() const;
  void enqueue(Submission submission);
  muster_code doWork(muster_work work, void* context);
  void serve();
  /** How long this thread may be held for the calls, which have their turn at once. */
  std::chrono::nanoseconds holdOf(std::span<const muster_call> calls, Hold hold) const;
  muster_code make(const Submission& submission);

  const std::unique_ptr<RankEnd> communicator_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Submission> waiting_;
  /** Whether somebody is in a call: the thread, or who made it. */
  bool isBusy_ = false;
  bool isClosing_ = false;
  /** Started by the first call that needs it. */
  std::thread thread_;
};

}  // namespace muster

struct muster_turn {
  muster::Submissions& submissions;
};
