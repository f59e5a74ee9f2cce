/**
 * NVIDIA GPUs: devices, memory, streams and events. libmuster_cuda.so holds what cuda*.h declare, and is loaded where a driver is; each of its threads has a
 * last failure of its own, muster_cuda_last_failure.
 *
 * Nothing waits for a device unless it says so. Work is put into a stream, runs there in order, and its memory stays the caller's, who keeps it until
 * the work is done. Calls go to the device that this thread uses: the one that its memory and streams belong to.
 * Compute capability 8.0 (Ampere) or newer.
 */
#ifndef MUSTER_CUDA_H
#define MUSTER_CUDA_H

#include <stdint.h>

#include "muster/status.h"

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/** The CUDA runtime's own streams and events: those of other libraries may be given. A null stream is the legacy default stream. */
typedef struct CUstream_st* muster_cuda_stream;
typedef struct CUevent_st* muster_cuda_event;

/** The last failure of this thread in this library, as muster_last_failure is for the core. */
const muster_failure* muster_cuda_last_failure(void);

typedef struct muster_cuda_device {
  char name[256];
  unsigned char uuid[16];
  uint64_t memory_bytes;
  /** Compute capability: 9.0 is Hopper. */
  uint32_t major;
  uint32_t minor;
  uint32_t multiprocessors;
} muster_cuda_device;

/** Fails with MUSTER_UNAVAILABLE where there is no driver or it is older than this library, in its words. */
muster_code muster_cuda_device_count(uint32_t* count);
muster_code muster_cuda_device_describe(uint32_t index, muster_cuda_device* device);

/** The device of this thread's calls; the first one until told otherwise. */
muster_code muster_cuda_device_use(uint32_t index);
muster_code muster_cuda_device_current(uint32_t* index);

/** `size_bytes` of device memory, aligned to 256 bytes; 0 bytes are null. May wait for the device: allocate before a loop, not in it. */
muster_code muster_cuda_allocate(uint64_t size_bytes, void** data);
/** Waits for the device. Null is fine. */
muster_code muster_cuda_free(void* data);

/** Host memory that is copied from and to without a stop on the way, for what is copied often: the system has less of it than of other memory. */
muster_code muster_cuda_host_allocate(uint64_t size_bytes, void** data);
/** Null is fine. */
muster_code muster_cuda_host_free(void* data);

/**
 * Copies between host and device or within one, whichever the addresses are. Host memory that the driver did not allocate is
 * copied through its own: from such memory the call returns when the source was read, to such memory when all is done.
 */
muster_code muster_cuda_copy(void* target, const void* source, uint64_t size_bytes, muster_cuda_stream stream);
muster_code muster_cuda_fill(void* target, uint8_t value, uint64_t size_bytes, muster_cuda_stream stream);

/** A stream that does not wait for the legacy default stream. */
muster_code muster_cuda_stream_create(muster_cuda_stream* stream);
/** What is in it still runs. */
muster_code muster_cuda_stream_destroy(muster_cuda_stream stream);
/** Waits until all that is in the stream has run. Fails with MUSTER_TIMED_OUT after `timeout_ms`; the work goes on. */
muster_code muster_cuda_stream_wait(muster_cuda_stream stream, uint32_t timeout_ms);

muster_code muster_cuda_event_create(muster_cuda_event* event);
muster_code muster_cuda_event_destroy(muster_cuda_event event);
/** The event will have happened when all that is in the stream by now has run. */
muster_code muster_cuda_event_record(muster_cuda_event event, muster_cuda_stream stream);
/** What is put into the stream from now on runs after the event. An event that was never recorded is not waited for. */
muster_code muster_cuda_stream_wait_event(muster_cuda_stream stream, muster_cuda_event event);
/** Waits on the host, as muster_cuda_stream_wait. */
muster_code muster_cuda_event_wait(muster_cuda_event event, uint32_t timeout_ms);
/** Milliseconds between two events that have happened. */
muster_code muster_cuda_event_elapsed(muster_cuda_event start, muster_cuda_event end, float* elapsed_ms);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
