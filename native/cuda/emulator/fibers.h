/** A block of threads as fibers of one thread: they run in turn, each until it waits for the others. */
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <cuda_runtime.h>

namespace muster::emulator {

/** Where the lanes of a warp write down what they bring to something that they do together. */
struct Warp {
  unsigned char slots[32][32];
  unsigned arrived = 0;
  unsigned generation = 0;
};

/** A thread's copies to shared memory in the background, in groups. */
class Copies {
 public:
  void add(void* target, const void* source, unsigned sizeBytes) { open_.push_back({target, source, sizeBytes}); }
  void commit();
  void wait(unsigned groups);

 private:
  struct Copy {
    void* target;
    const void* source;
    unsigned sizeBytes;
  };
  std::vector<Copy> open_;
  std::vector<std::vector<Copy>> groups_;
};

struct Thread {
  dim3 thread;
  dim3 block;
  dim3 blockSize;
  dim3 gridSize;
  unsigned index = 0;
  Copies copies;

  unsigned lane() const { return index % 32; }
  Warp& warp() const;
};

/** The thread that runs now. */
Thread& current();

void syncBlock();
bool anyInBlock(bool value);
/** All 32 lanes. */
void syncWarp();
/** Lets the others run, and says that this thread waits for something outside its block. */
void yield();
unsigned char* dynamicShared();
std::uint64_t nanoseconds();

/** Runs `kernel` once for each thread of the grid, block after block. Ends the process when a block's threads wait for each other for ever. */
void runGrid(dim3 grid, dim3 block, std::size_t sharedBytes, const std::function<void()>& kernel);

}  // namespace muster::emulator
