/** The ArrayBuffer over a view of an arena, and how its collection becomes known. */
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <napi.h>

#include "muster/arena.h"

namespace muster::addon {

/** The largest view: Node 20 ends the process when an external buffer is larger. */
inline constexpr std::uint64_t kViewMaxBytes = std::uint64_t{4} << 30;

/**
 * What the views of one arena report to when they are collected: their tokens, until JavaScript takes them, and
 * what the garbage collector is told of their size. Shared by the arena and its views, which may outlive it.
 *
 * The collector counts every ArrayBuffer in full and marks the whole heap for each 64 MiB or so of new ones. Views cost
 * it no memory, but garbage views keep blocks of the arena from being reused. So a part of the arena is counted once,
 * when it is opened, and views are free of charge until they add up to that: they are prepaid. Views beyond count in full.
 * (Less must never be counted than is there: from version 24 on Node ends the process when a count falls below zero.)
 * What collected views had prepaid returns when their tokens are taken, in one step, since each step upwards may
 * start a marking. Measured with 1 MB views, read once, and a heap of 45 MB: 0.53 ms each with nothing prepaid, 0.31 ms
 * with 512 MiB, 0.16 ms for the reading alone.
 */
class ReleaseQueue {
 public:
  ReleaseQueue(napi_env env, std::uint64_t arenaBytes);
  ReleaseQueue(const ReleaseQueue&) = delete;
  ReleaseQueue& operator=(const ReleaseQueue&) = delete;
  /** Runs on the JavaScript thread: the arena's object and its views are all collected there. */
  ~ReleaseQueue();

  /** Uncounts a fresh view if the prepaid part has room for it. @returns whether it had. */
  bool prepay(std::uint64_t sizeBytes);

  /** Queues the token of a view that is unmapped by now, and calls the listener if it is the first one. */
  void released(double token, std::uint64_t prepaidBytes);

  /** Empties the queue. */
  std::vector<double> take();

  /** Called without arguments. Null for none; owned by the arena's object, which resets this at its end. */
  const Napi::FunctionReference* listener = nullptr;

 private:
  napi_env env_;
  std::uint64_t prepaidMaxBytes_;
  /** Of views that live, or are collected and their tokens not yet taken. */
  std::uint64_t prepaidBytes_ = 0;
  /** Of those, the collected. */
  std::uint64_t returnedBytes_ = 0;
  std::vector<double> tokens_;
};

/** Makes the ArrayBuffer, which owns the view from here on, also when this throws. */
Napi::Value makeViewBuffer(Napi::Env env, const muster_view& view, std::shared_ptr<ReleaseQueue> queue, double token);

}  // namespace muster::addon
