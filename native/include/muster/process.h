/** What the kernel can promise about a process and its parent. */
#ifndef MUSTER_PROCESS_H
#define MUSTER_PROCESS_H

#include "muster/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Has the kernel kill this process (SIGKILL) as soon as the thread that spawned it ends, and kills it at once
 * if parent_pid is no longer its parent: it may have died before this call. Does nothing where the kernel cannot do this.
 */
muster_code muster_die_with_parent(int parent_pid);

#ifdef __cplusplus
}
#endif
#endif
