/** A process tied to its parent dies with it. */
#include "muster/process.h"

#include <csignal>

#include "check.h"

namespace {

/** The read end reports end-of-file once the last process that holds the write end is gone. */
void diesWithItsParent() {
  int ends[2];
  CHECK(::pipe(ends) == 0);
  const int status = check::inChild([&] {
    const pid_t parent = ::getpid();
    int ready[2];
    CHECK(::pipe(ready) == 0);
    if (::fork() == 0) {
      ::close(ends[0]);
      const bool tied = muster_die_with_parent(parent) == MUSTER_OK;
      if (::write(ready[1], tied ? "y" : "n", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char answer = 0;
    CHECK(::read(ready[0], &answer, 1) == 1 && answer == 'y');
    ::raise(SIGKILL);
  });
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  ::close(ends[1]);
  char byte;
  ::alarm(10);  // a grandchild that lives on fails the test instead of holding it
  CHECK(::read(ends[0], &byte, 1) == 0);
  ::alarm(0);
}

void diesAtOnceWhenTheParentIsGone() {
  const int status = check::inChild([] { muster_die_with_parent(::getppid() + 1); });
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

}  // namespace

int main() {
  return check::runAll({
      {"dies with its parent", diesWithItsParent},
      {"dies at once when its parent is gone already", diesAtOnceWhenTheParentIsGone},
  });
}
