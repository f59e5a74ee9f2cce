#include "kernels/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <unistd.h>

#include "muster/tensor.h"
#include "process/cores.h"

namespace muster::kernels {
namespace {

/**
 * About a tenth of a millisecond: the parts of one matrix product follow each other faster than a thread wakes on a virtual core that has
 * gone to sleep, which takes as long. OpenMP's threads spin for several milliseconds.
 */
constexpr int kSpins = 6000;

/** Waits until `value` is no longer `old`. */
void waitForChange(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int spin = 0; spin < kSpins; spin++) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

/** One call's items. Lives on its caller's stack until every thread has left it. */
struct Job {
  Work work;
  void* context;
  std::size_t items;
  std::atomic<std::size_t> next = 0;

  void run() {
    for (std::size_t item = next++; item < items; item = next++) work(context, item);
  }
};

/** Where a helper is: idle -> offered (a job, by the caller) -> working -> idle, or offered -> idle where the caller was done before it woke. */
enum HelperState : std::uint32_t { kIdle, kOffered, kWorking };

class Pool {
 public:
  /** @returns false when another call has the pool. */
  bool tryRun(unsigned threads, Job& job) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock.owns_lock() || !supply(threads - 1)) return false;
    job_ = &job;
    for (unsigned index = 0; index < threads - 1; index++) {
      helpers_[index]->state.store(kOffered, std::memory_order_release);
      helpers_[index]->state.notify_one();
    }
    job.run();
    for (unsigned index = 0; index < threads - 1; index++) takeBack(*helpers_[index]);
    return true;
  }

 private:
  struct alignas(64) Helper {
    std::atomic<std::uint32_t> state = kIdle;
  };

  /** Threads are made when first wanted. @returns whether there are as many. */
  bool supply(unsigned helpers) {
    if (process_ != ::getpid()) {  // a fork left the threads with its parent
      helpers_.clear();
      process_ = ::getpid();
    }
    try {
      helpers_.reserve(helpers);
      while (helpers_.size() < helpers) {
        auto helper = std::make_unique<Helper>();
        std::thread([this, own = helper.get()] { help(*own); }).detach();
        helpers_.push_back(helper.release());
      }
    } catch (const std::exception&) {  // no memory, or no more threads
      return false;
    }
    return true;
  }

  void help(Helper& helper) {
    for (;;) {
      waitForChange(helper.state, kIdle);
      std::uint32_t offered = kOffered;
      if (!helper.state.compare_exchange_strong(offered, kWorking, std::memory_order_acquire)) continue;
      job_->run();
      helper.state.store(kIdle, std::memory_order_release);
      helper.state.notify_one();
    }
  }

  /** Nothing is left to begin: a helper that has not woken yet is not waited for. */
  static void takeBack(Helper& helper) {
    std::uint32_t offered = kOffered;
    if (helper.state.compare_exchange_strong(offered, kIdle, std::memory_order_acquire)) return;
    while (helper.state.load(std::memory_order_acquire) == kWorking) waitForChange(helper.state, kWorking);
  }

  std::mutex busy_;
  std::vector<Helper*> helpers_;
  pid_t process_ = ::getpid();
  Job* job_ = nullptr;
};

/** Never destroyed: its threads may run as long as the process does. */
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

/** A body's own calls run where it runs. */
thread_local bool insideJob = false;

}  // namespace

unsigned threadCount(std::uint32_t wanted) { return std::min(wanted == 0 ? ownCoreCount() : wanted, MUSTER_THREADS_MAX); }

void runInParallel(unsigned threads, std::size_t items, Work work, void* context) {
  Job job{work, context, items};
  const auto useful = static_cast<unsigned>(std::min<std::size_t>(threads, items));
  if (useful > 1 && !insideJob) {
    insideJob = true;
    const bool done = pool().tryRun(useful, job);
    insideJob = false;
    if (done) return;
  }
  job.run();
}

}  // namespace muster::kernels
