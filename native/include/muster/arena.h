/**
 * A node's arena: one file in a memory file system, mapped by every process of the node.
 *
 * The daemon creates it and commits segments: only then does memory stand behind them, and only then do the
 * calls below touch them. An uncommitted arena costs no memory, and no call on one can raise SIGBUS however
 * full the file system is. Which bytes of a committed segment mean what is the caller's business.
 *
 *   file   | header segment: magic, size, committed bits | segment 0 | segment 1 | ...
 *   offset                                               ^ 0: all offsets below count from here
 *
 * A segment is the size of a huge page. commit() makes each one a huge page where the kernel can
 * (MADV_COLLAPSE, Linux 6.1, whatever the sysfs settings for transparent huge pages say). Measured on 100 MB: commit and
 * first touch take 7 ms instead of 85, and mapping it, reading it and unmapping it 3 ms instead of 11: there are 512 times
 * fewer page faults.
 *
 * Calls on one arena may come from any thread. Concurrent commit and decommit must name disjoint ranges.
 */
#ifndef MUSTER_ARENA_H
#define MUSTER_ARENA_H

#include <stdint.h>

#include "muster/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The unit in which memory is committed and given back. */
#define MUSTER_SEGMENT_BYTES ((uint64_t)2 << 20)

/** How large an arena may be: what the committed bits of one header segment can describe, rounded down. */
#define MUSTER_ARENA_MAX_BYTES ((uint64_t)16 << 40)

/**
 * Live views per process. Each is one mapping, and the kernel allows 65,530 (vm.max_map_count), of
 * which the heap, libraries and thread stacks of a large process need some thousands.
 */
#define MUSTER_VIEW_LIMIT 32768u

typedef struct muster_arena muster_arena;

/**
 * Makes the file, which must not exist, readable by this user only, and maps it.
 * size_bytes: a positive multiple of MUSTER_SEGMENT_BYTES. Fails with ENOSPC when the file system has less
 * free than that; nothing is reserved beyond the header.
 */
muster_code muster_arena_create(const char* path, uint64_t size_bytes, muster_arena** arena);

/** Maps an arena that another process made. */
muster_code muster_arena_open(const char* path, muster_arena** arena);

/** Unmaps the arena. Its views stay valid; the file stays until it is unlinked. */
void muster_arena_close(muster_arena* arena);

/** Removes the file's name; processes that have it mapped keep it. A name that is gone already is no failure. */
muster_code muster_arena_unlink(const char* path);

uint64_t muster_arena_size_bytes(const muster_arena* arena);

/**
 * Puts memory behind whole segments; those that have it already are kept as they are. New memory reads as
 * zeros. Fails with ENOSPC, and then leaves committed what was committed before and nothing else.
 * Cost: 8 to 15 GB/s where the machine has used the memory before, 0.3 to 1 GB/s where a hypervisor must supply it.
 */
muster_code muster_arena_commit(muster_arena* arena, uint64_t offset, uint64_t size_bytes);

/**
 * Gives whole segments back to the machine. The caller answers for there being no view, reader or writer of
 * them left: a view would see zeros.
 */
muster_code muster_arena_decommit(muster_arena* arena, uint64_t offset, uint64_t size_bytes);

/** Copies into the arena: past the caches for a megabyte and more, since the reader is another process. */
muster_code muster_arena_write(muster_arena* arena, uint64_t offset, const void* source, uint64_t size_bytes);

/** Copies out of the arena. */
muster_code muster_arena_read(const muster_arena* arena, uint64_t offset, void* target, uint64_t size_bytes);

/**
 * The arena's own, shared memory at a range: what is written there, every process sees. For counters, not for objects. Valid until the
 * arena is closed.
 */
muster_code muster_arena_share(muster_arena* arena, uint64_t offset, uint64_t size_bytes, void** data);

/** A private window on a range of the arena. */
typedef struct muster_view {
  void* data;
  uint64_t size_bytes;
  /** What is mapped: whole pages around the data, which no one but muster_view_unmap need know. */
  void* window;
  uint64_t window_bytes;
} muster_view;

/**
 * Maps a range for reading in place. The memory may be written too: the writer then gets private copies
 * of the pages it writes, and nobody else sees them. Pages it has not written keep showing the arena, so a block may be
 * reused only after the views of it are unmapped. Independent of the arena's own mapping and lifetime.
 * size_bytes: 1 or more.
 */
muster_code muster_view_map(const muster_arena* arena, uint64_t offset, uint64_t size_bytes, muster_view* view);

void muster_view_unmap(const muster_view* view);

/** Views that this process has mapped and not unmapped, of all arenas. */
uint32_t muster_view_count(void);

#ifdef __cplusplus
}
#endif
#endif
