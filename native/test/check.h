/** The smallest test harness that prints what differed and goes on. One program is one file of tests. */
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "muster/arena.h"

namespace check {

inline int failures = 0;

inline void report(bool passed, const char* expression, const char* file, int line) {
  if (passed) return;
  failures++;
  const muster_failure* last = muster_last_failure();
  std::fprintf(stderr, "%s:%d: not so: %s\n  (last failure of the core: %s)\n", file, line, expression, last->message);
}

struct Test {
  const char* name;
  std::function<void()> run;
};

inline int runAll(const std::vector<Test>& tests) {
  for (const Test& test : tests) {
    const int before = failures;
    test.run();
    std::printf("%s - %s\n", failures == before ? "ok" : "not ok", test.name);
    std::fflush(stdout);  // who is ended in the next test shows which it was
  }
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/** Runs `body` in a child process. @returns its wait status; a failed CHECK in it is exit code 1. */
inline int inChild(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    failures = 0;
    body();
    std::fflush(nullptr);
    ::_exit(failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/** A path of this test alone in the shared-memory file system. */
inline std::string arenaPath(const char* name) {
  return std::string("/dev/shm/muster-test-") + std::to_string(::getpid()) + "-" + name;
}

/** A fresh arena that is gone at the end of the scope. */
class ScopedArena {
 public:
  ScopedArena(const char* name, std::uint64_t segments) : path_(arenaPath(name)) {
    if (muster_arena_create(path_.c_str(), segments * MUSTER_SEGMENT_BYTES, &arena_) != MUSTER_OK) {
      std::fprintf(stderr, "%s\n", muster_last_failure()->message);
      std::abort();
    }
  }
  ScopedArena(const ScopedArena&) = delete;
  ScopedArena& operator=(const ScopedArena&) = delete;
  ~ScopedArena() {
    muster_arena_close(arena_);
    muster_arena_unlink(path_.c_str());
  }
  muster_arena* get() const { return arena_; }
  const char* path() const { return path_.c_str(); }

 private:
  std::string path_;
  muster_arena* arena_ = nullptr;
};

}  // namespace check

#define CHECK(expression) ::check::report(static_cast<bool>(expression), #expression, __FILE__, __LINE__)
