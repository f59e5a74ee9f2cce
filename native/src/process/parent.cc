#include <cerrno>
#include <csignal>
#include <cstring>

#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "muster/process.h"
#include "status.h"

muster_code muster_die_with_parent([[maybe_unused]] int parent_pid) {
#ifdef __linux__
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, errno, "cannot tie this process to its parent: %s", std::strerror(errno));
  }
  if (getppid() != parent_pid) raise(SIGKILL);  // after prctl: a death from here on is the kernel's to report
#endif
  return MUSTER_OK;
}
