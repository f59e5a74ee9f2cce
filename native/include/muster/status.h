/**
 * How every call of the C ABI answers: a code, and behind it one record of what failed, where and why.
 * Nothing here throws, exits or prints.
 */
#ifndef MUSTER_STATUS_H
#define MUSTER_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum muster_code {
  MUSTER_OK = 0,
  /** An offset, a size or a multiple is outside what the call accepts. The caller's mistake. */
  MUSTER_OUT_OF_RANGE = 1,
  /** The range has no memory behind it yet: touching it could end the process. */
  MUSTER_UNCOMMITTED = 2,
  /** The process holds as many views as it may. Copy instead, or release some. */
  MUSTER_TOO_MANY_VIEWS = 3,
  /** The file exists and is something else, or of another version. */
  MUSTER_NOT_AN_ARENA = 4,
  /** The operating system refused; the record has its errno. */
  MUSTER_SYSTEM_ERROR = 5,
  /** Another rank of the communicator ended or left it while this one waited for it. */
  MUSTER_RANK_GONE = 6,
  /** Another rank did not come within the communicator's time. */
  MUSTER_TIMED_OUT = 7,
  /** Ranks made different calls, or disagree about their communicator. */
  MUSTER_MISMATCH = 8,
  /** A rank aborted the communicator. */
  MUSTER_ABORTED = 9,
  /** More is under way than may be. */
  MUSTER_BUSY = 10,
  /** There is no such device, driver or library on this machine, or what there is cannot do this. */
  MUSTER_UNAVAILABLE = 11,
  /** A device refused or failed a call. After a fault in a kernel every call on its device fails: the process has to end. */
  MUSTER_DEVICE_FAILED = 12
} muster_code;

enum { MUSTER_MESSAGE_BYTES = 1024 };

typedef struct muster_failure {
  muster_code code;
  /** errno, or 0 unless the code is MUSTER_SYSTEM_ERROR. */
  int error_number;
  /** The rank that a communicator's failure names, or -1. */
  int rank;
  /** Where in the source it was found. */
  const char* file;
  int line;
  /** One sentence for people, cut at MUSTER_MESSAGE_BYTES. */
  char message[MUSTER_MESSAGE_BYTES];
} muster_failure;

/** The last failure of this thread. Owned by the thread, and overwritten by its next failure. */
const muster_failure* muster_last_failure(void);

#ifdef __cplusplus
}
#endif
#endif
