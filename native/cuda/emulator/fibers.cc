#include "fibers.h"

#include <algorithm>
#include <chrono>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <sched.h>
#include <ucontext.h>

namespace muster::emulator {
namespace {

constexpr std::size_t kStackBytes = std::size_t{64} << 10;

struct Fiber {
  Thread state;
  ucontext_t start;
  std::jmp_buf resume;
  bool hasStarted = false;
  bool isDone = false;
};

/** Of the thread that emulates a GPU. */
struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<char> stacks;
  std::vector<Warp> warps;
  std::vector<unsigned char> shared;
  const std::function<void()>* kernel = nullptr;
  std::jmp_buf scheduler;
  Fiber* running = nullptr;
  unsigned arrived = 0;
  unsigned generation = 0;
  bool any = false;
  bool lastAny = false;
  /** Something has changed since the threads had their last turns. */
  bool hasProgressed = false;
};

thread_local Machine machine;

/** Back to the scheduler; returns at this fiber's next turn. */
void leave() {
  if (_setjmp(machine.running->resume) == 0) _longjmp(machine.scheduler, 1);
}

void enter() {
  (*machine.kernel)();
  machine.running->isDone = true;
  machine.hasProgressed = true;
  _longjmp(machine.scheduler, 1);
}

/** One turn of a fiber: the first one through a context of its own, the others by jumps, which need no system call. */
void takeTurn(Fiber& fiber, char* stack) {
  machine.running = &fiber;
  if (_setjmp(machine.scheduler) != 0) return;
  if (fiber.hasStarted) _longjmp(fiber.resume, 1);
  fiber.hasStarted = true;
  ::getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = stack;
  fiber.start.uc_stack.ss_size = kStackBytes;
  fiber.start.uc_link = nullptr;
  ::makecontext(&fiber.start, enter, 0);
  ::setcontext(&fiber.start);
}

void meet(unsigned& arrived, unsigned& generation, unsigned size) {
  const unsigned before = generation;
  if (++arrived == size) {
    arrived = 0;
    generation++;
    machine.hasProgressed = true;
    return;
  }
  while (generation == before) leave();
}

void runBlock(dim3 grid, dim3 blockSize, dim3 block) {
  const unsigned threads = blockSize.x * blockSize.y * blockSize.z;
  for (unsigned index = 0; index < threads; index++) {
    Fiber& fiber = *machine.fibers[index];
    fiber.hasStarted = fiber.isDone = false;
    fiber.state = {{index % blockSize.x, index / blockSize.x % blockSize.y, index / blockSize.x / blockSize.y}, block, blockSize, grid, index, {}};
  }
  machine.warps.assign((threads + 31) / 32, {});
  machine.arrived = 0;
  for (unsigned done = 0; done < threads;) {
    machine.hasProgressed = false;
    done = 0;
    for (unsigned index = 0; index < threads; index++) {
      Fiber& fiber = *machine.fibers[index];
      if (!fiber.isDone) takeTurn(fiber, machine.stacks.data() + index * kStackBytes);
      done += fiber.isDone;
    }
    if (machine.hasProgressed || done == threads) continue;
    std::fprintf(stderr, "the threads of block (%u, %u, %u) wait for each other for ever\n", block.x, block.y, block.z);
    std::abort();
  }
}

}  // namespace

void Copies::commit() { groups_.push_back(std::move(open_)), open_.clear(); }

void Copies::wait(unsigned groups) {
  const std::size_t ready = groups_.size() > groups ? groups_.size() - groups : 0;
  for (std::size_t index = 0; index < ready; index++) {
    for (const Copy& copy : groups_[index]) {
      std::memset(copy.target, 0, 16);
      std::memcpy(copy.target, copy.source, copy.sizeBytes);
    }
  }
  groups_.erase(groups_.begin(), groups_.begin() + static_cast<std::ptrdiff_t>(ready));
}

Warp& Thread::warp() const { return machine.warps[index / 32]; }

Thread& current() { return machine.running->state; }

void syncBlock() {
  const dim3& size = current().blockSize;
  meet(machine.arrived, machine.generation, size.x * size.y * size.z);
}

bool anyInBlock(bool value) {
  machine.any = machine.any || value;
  syncBlock();
  machine.lastAny = machine.any;
  syncBlock();
  machine.any = false;
  syncBlock();
  return machine.lastAny;
}

void syncWarp() {
  Warp& warp = current().warp();
  meet(warp.arrived, warp.generation, 32);
}

void yield() {
  machine.hasProgressed = true;
  ::sched_yield();
  leave();
}

unsigned char* dynamicShared() {
  const auto address = reinterpret_cast<std::uintptr_t>(machine.shared.data());
  return machine.shared.data() + (1024 - address % 1024) % 1024;
}

std::uint64_t nanoseconds() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

void runGrid(dim3 grid, dim3 block, std::size_t sharedBytes, const std::function<void()>& kernel) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  while (machine.fibers.size() < threads) machine.fibers.push_back(std::make_unique<Fiber>());
  machine.stacks.resize(std::max(machine.stacks.size(), threads * kStackBytes));
  machine.shared.assign(sharedBytes + 1024, 0xff);  // what is read before it was written is NaN
  machine.kernel = &kernel;
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) runBlock(grid, block, {x, y, z});
    }
  }
}

}  // namespace muster::emulator
