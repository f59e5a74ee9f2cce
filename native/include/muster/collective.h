/**
 * Collective calls among processes of one node, over memory that they share, and of several, over that and TCP.
 *
 * Every rank makes the same calls in the same order; a call returns when this rank's part is done, which is when its source may be
 * changed and its target holds the result. Whatever goes wrong at one rank ends the call of every rank with one and the same failure, and
 * every call after it: the communicator is then of no more use. What a target holds after a failure is not defined, but nobody writes
 * to it any more.
 *
 * The ranks of a node meet in a file under /dev/shm that loses its name as soon as all have mapped it: whatever ends them, nothing is left behind.
 *
 * Cost for S bytes and n ranks of one node. Up to 32 KiB each rank writes its part once and reads the others': S in, (n-1) S out, one flag. Above that a
 * pipeline of blocks: each rank copies its blocks for the others in, reduces one n-th of each block, and copies the other parts of
 * the result out: S (n-1)/n + S + S (n-1)/n bytes for an allReduce, through staging memory that stays in the caches.
 */
#ifndef MUSTER_COLLECTIVE_H
#define MUSTER_COLLECTIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "muster/dtype.h"
#include "muster/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How many ranks a communicator has at most: what one machine has of cores. The memory of the channels grows with its square. */
#define MUSTER_RANKS_MAX 128u

/** How many submissions wait for a communicator's thread at most: more is a loop that forgets to wait for its calls. */
#define MUSTER_SUBMISSIONS_MAX 1024u

typedef enum muster_call_kind {
  /** target[i] = reduction over all ranks of source[i]. */
  MUSTER_ALL_REDUCE = 1,
  /** `source` holds a part of `count` elements for each rank; target = reduction over all ranks of this rank's part. */
  MUSTER_REDUCE_SCATTER = 2,
  /** `target` gets the `count` elements of each rank's source, in the order of ranks. */
  MUSTER_ALL_GATHER = 3,
  /** Every rank's target gets the source of rank `peer`. Others' sources are not looked at. */
  MUSTER_BROADCAST = 4,
  /** As allReduce, but only rank `peer` gets the result. Others' targets are not looked at. */
  MUSTER_REDUCE = 5,
  /** Ends when every rank has begun it. */
  MUSTER_BARRIER = 6,
  /** Part r of this rank's source, of `count` elements, becomes part `rank` of rank r's target. */
  MUSTER_ALL_TO_ALL = 7,
  /** To rank `peer`, which receives. May end before the other has begun. */
  MUSTER_SEND = 8,
  /** From rank `peer`, into target. Matches that rank's sends in their order. */
  MUSTER_RECEIVE = 9,
  /** An allReduce of memory that is not the host's, and that others carry out: ranks give each other their word on it alone. Ends as a barrier does. */
  MUSTER_DEVICE_ALL_REDUCE = 10
} muster_call_kind;

/**
 * Results have the same bits on all ranks. On one node they do whichever way they are computed: values are taken in the order of ranks. On several,
 * those of a node are, and the order of nodes follows from the call's size and what the network was measured to be. Floats of 16 and 8 bits are
 * summed in f32 and rounded once, to the nearest even. The minimum and the maximum of anything with NaN are NaN. Integers wrap around; an average
 * of integers is that of their sum in 64 bits, rounded towards zero.
 */
typedef enum muster_reduction {
  MUSTER_SUM = 0,
  MUSTER_PRODUCT = 1,
  MUSTER_MIN = 2,
  MUSTER_MAX = 3,
  MUSTER_AVERAGE = 4
} muster_reduction;

#define MUSTER_REDUCTION_COUNT 5u

/** As much of a call's site reaches other ranks: its end, which has the line. */
#define MUSTER_SITE_MAX_BYTES 160u

typedef struct muster_call {
  muster_call_kind kind;
  muster_dtype dtype;
  /** Only of the calls that reduce. */
  muster_reduction reduction;
  /** The root, the receiver or the sender, where the kind has one. */
  uint32_t peer;
  /**
   * Aligned to the element's size. Source and target may be the same memory, part by part: for reduceScatter
   * the target is then this rank's part of the source, and for allGather the source this rank's part of the target. Any
   * other overlap is refused.
   */
  const void* source;
  void* target;
  /** Elements: see each kind. None is fine, and still a call that all ranks make. */
  uint64_t count;
  /** Where the program makes the call, for messages of calls that differ; null unless that is known. Must stay as the memory does. */
  const char* site;
} muster_call;

typedef struct muster_communicator muster_communicator;

typedef struct muster_communicator_options {
  /** Agreed on among the ranks and used once: 1 to 128 letters, digits, dots, hyphens and underscores. */
  const char* id;
  uint32_t rank;
  /** 1 to MUSTER_RANKS_MAX. */
  uint32_t size;
  /** How long a call, or this one, waits for another rank at most. */
  uint32_t timeout_ms;
  /** Null, or asked every few milliseconds, with the context, whether to give up meeting the others: open then fails with MUSTER_ABORTED. */
  bool (*is_cancelled)(void* context);
  void* context;
} muster_communicator_options;

/**
 * Meets the other ranks. Blocks until all are there.
 * Fails with MUSTER_TIMED_OUT, naming who is missing, MUSTER_RANK_GONE, MUSTER_MISMATCH where ranks disagree about the size or one
 * comes twice, and with the system's errors, of which ENOSPC means that /dev/shm is full.
 */
muster_code muster_communicator_open(const muster_communicator_options* options, muster_communicator** communicator);

/** Where a rank of another node connects: a TCP socket that listens. */
typedef struct muster_listener muster_listener;

/** Listens on a free port of this machine's numeric address `host`, which it writes to `port`. */
muster_code muster_listener_open(const char* host, muster_listener** listener, uint16_t* port);

void muster_listener_close(muster_listener* listener);

enum { MUSTER_KEY_BYTES = 32 };

typedef struct muster_rank_place {
  /** Where the rank listens: a numeric IPv4 or IPv6 address. Not looked at for ranks of this node. */
  const char* host;
  uint16_t port;
  /** Counted from 0; the ranks of one node follow each other. */
  uint32_t node;
} muster_rank_place;

typedef struct muster_network {
  /** By rank. */
  const muster_rank_place* ranks;
  /** What all ranks know and nobody else does. Connections prove that both sides do; it is never sent. */
  uint8_t key[MUSTER_KEY_BYTES];
  /** Whether connections are encrypted, with TLS 1.3 and a key made from that one. All ranks or none. Needs OpenSSL 3, in the process or installed. */
  bool uses_tls;
} muster_network;

/**
 * As muster_communicator_open, among ranks of several nodes: see collective/network/network-communicator.h for how calls are made then. Ids have
 * 120 characters at most. Fails with MUSTER_MISMATCH, too, where a rank's address is answered by who does not know the key, or differs
 * about TLS, and with MUSTER_UNAVAILABLE where there is no OpenSSL for it.
 * Closes the listener, whatever comes of it.
 */
muster_code muster_communicator_connect(const muster_communicator_options* options, const muster_network* network, muster_listener* listener,
                                        muster_communicator** communicator);

/** How many bytes of its source the call reads at this rank, and of its target it writes. Fails with MUSTER_OUT_OF_RANGE as run does. */
muster_code muster_communicator_extents(const muster_communicator* communicator, const muster_call* call, uint64_t* source_bytes,
                                        uint64_t* target_bytes);

/**
 * Makes one call or a group: collective calls one after another, then all sends and receives at the same time, whatever their
 * order. Blocks until they are done, after those that were started before. Not for use by two threads at a time.
 * Fails with MUSTER_OUT_OF_RANGE for arguments that no rank could accept: then nothing has happened and the communicator is as before.
 */
muster_code muster_communicator_run(muster_communicator* communicator, const muster_call* calls, uint32_t call_count);

/** `failure` is null when all went well, and valid during the call only. */
typedef void (*muster_done)(void* context, const muster_failure* failure);

/** How long a call may hold the thread that starts it until the other ranks have begun it, too: a small one, and one of any size. */
typedef struct muster_hold {
  uint32_t small_ns;
  uint32_t any_ns;
} muster_hold;

/**
 * As run, on the communicator's own thread, which calls `done` in the order of submissions. The calls are copied; their memory must stay.
 * A single collective call among ranks of one node, made while nothing else is under way, is begun here and now, and carried out here if the others
 * have begun it within `hold`: then *finished says true, the code is the call's own and `done` is not called. Any failure that this returns means
 * that `done` will not be called.
 * Fails with MUSTER_OUT_OF_RANGE as run does, and with MUSTER_BUSY when MUSTER_SUBMISSIONS_MAX wait.
 */
muster_code muster_communicator_start(muster_communicator* communicator, const muster_call* calls, uint32_t call_count, const muster_hold* hold,
                                      muster_done done, void* context, bool* finished);

/** A place in the line of a communicator's calls, for as long as a piece of work has it. */
typedef struct muster_turn muster_turn;

/** A piece of the program's own work among a communicator's calls, such as a call of memory that is not the host's. What fails in it ends the communicator. */
typedef muster_code (*muster_work)(void* context, muster_turn* turn);

/** Makes calls within the work, as muster_communicator_run does outside of it. */
muster_code muster_turn_run(muster_turn* turn, const muster_call* calls, uint32_t call_count);

/** MUSTER_OK, or the failure that the communicator has had meanwhile, at whichever rank: work that waits for something else looks at it. */
muster_code muster_turn_look(muster_turn* turn);

/** Has the communicator end with this failure, which names a rank, unless it has another: for what the work finds out. @returns the communicator's, as muster_turn_look */
muster_code muster_turn_fail(muster_turn* turn, muster_code code, uint32_t rank, const char* message);

/** Does the work in its turn, after what was started before, on this thread. Fails as calls do. */
muster_code muster_communicator_run_work(muster_communicator* communicator, muster_work work, void* context);

/** As that, on the communicator's own thread, which calls `done` with the same context. Fails with MUSTER_BUSY as start does. */
muster_code muster_communicator_start_work(muster_communicator* communicator, muster_work work, muster_done done, void* context);

/** Ends the calls of all ranks with MUSTER_ABORTED and this reason. From any thread, also while another is in a call. */
void muster_communicator_abort(muster_communicator* communicator, const char* reason);

/**
 * Ends the calls of all ranks with MUSTER_RANK_GONE, for a rank whose end somebody else has noticed; `reason` says how it ended. As
 * muster_communicator_abort from any thread. Fails with MUSTER_OUT_OF_RANGE where there is no such rank.
 */
muster_code muster_communicator_blame(muster_communicator* communicator, uint32_t rank, const char* reason);

/**
 * Leaves. Calls of this rank that are under way fail, and so do those of others that wait for this rank: make it the
 * last call of all ranks. No other call may be under way on another thread but the communicator's own.
 */
void muster_communicator_close(muster_communicator* communicator);

#ifdef __cplusplus
}
#endif
#endif
