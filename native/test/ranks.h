/** Ranks of a communicator, as processes or as threads. */
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "muster/collective.h"

namespace check {

constexpr std::uint32_t kTimeoutMs = 20'000;

/** A test that hangs fails; with a sanitizer everything takes ten times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned kHangSeconds = 1200;
#else
constexpr unsigned kHangSeconds = 120;
#endif

/** An id that no other test uses. */
inline std::string communicatorId(const char* name) {
  static int count = 0;
  return "test-" + std::to_string(::getpid()) + "-" + name + "-" + std::to_string(count++);
}

/** Started calls are left to the communicator's thread. */
inline constexpr muster_hold kNoHold{0, 0};

inline muster_communicator* openCommunicator(const std::string& id, std::uint32_t rank, std::uint32_t size, std::uint32_t timeoutMs = kTimeoutMs) {
  const muster_communicator_options options{id.c_str(), rank, size, timeoutMs, nullptr, nullptr};
  muster_communicator* communicator = nullptr;
  CHECK(muster_communicator_open(&options, &communicator) == MUSTER_OK);
  return communicator;
}

using RankBody = std::function<void(std::uint32_t rank)>;

/** Forks a process for each rank. @returns their process ids */
inline std::vector<pid_t> startRanks(std::uint32_t size, const RankBody& body) {
  std::fflush(nullptr);
  std::vector<pid_t> children;
  for (std::uint32_t rank = 0; rank < size; rank++) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(kHangSeconds);
      failures = 0;
      body(rank);
      std::fflush(nullptr);
      ::_exit(failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    children.push_back(child);
  }
  return children;
}

/** @returns the wait status of each */
inline std::vector<int> endRanks(const std::vector<pid_t>& children) {
  std::vector<int> statuses;
  for (const pid_t child : children) {
    int status = -1;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    statuses.push_back(status);
  }
  return statuses;
}

inline void inProcesses(std::uint32_t size, const RankBody& body) {
  for (const int status : endRanks(startRanks(size, body))) CHECK(status == 0);
}

inline void inThreads(std::uint32_t size, const RankBody& body) {
  std::vector<std::thread> threads;
  for (std::uint32_t rank = 0; rank < size; rank++) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

/** Memory that forked processes share, zero at first. */
template <class T>
T& sharedBetweenProcesses() {
  void* data = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return *new (data) T{};
}

/** Whether a communicator of this id has a name in the file system. */
inline bool hasName(const std::string& id) { return ::access(("/dev/shm/muster-collective-" + id).c_str(), F_OK) == 0; }

/** Whether this rank has joined a communicator that still has its name: it holds the lock on its byte of the file. */
inline bool hasJoined(const std::string& id, std::uint32_t rank) {
  const int file = ::open(("/dev/shm/muster-collective-" + id).c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  const bool isLocked = ::fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  ::close(file);
  return isLocked;
}

}  // namespace check
