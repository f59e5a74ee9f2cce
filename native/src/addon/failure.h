/** Turns what the core answers into what JavaScript throws, and numbers of JavaScript into the core's. */
#pragma once

#include <cstdint>
#include <string>

#include <napi.h>

#include "muster/status.h"

namespace muster::addon {

/** The error for a failure: a RangeError or an Error, with `code`, `place` and, from the system, `errno`. */
Napi::Error failureError(Napi::Env env, const muster_failure& failure);

/** A RangeError with its `code`. */
Napi::Error rangeError(Napi::Env env, const std::string& message);

/** An Error with `code`. */
Napi::Error codedError(Napi::Env env, const char* code, const std::string& message);

/** Throws this thread's last failure unless `code` is MUSTER_OK. */
inline void check(Napi::Env env, muster_code code) {
  if (code != MUSTER_OK) throw failureError(env, *muster_last_failure());
}

/** An offset, a size or another count. @throws TypeError unless it is a number, RangeError unless it is an integer from 0 to 2^53 - 1. */
std::uint64_t safeInteger(const Napi::Value& value, const char* name);

/** A path. @throws TypeError unless it is a string without NUL. */
std::string path(const Napi::Value& value);

struct Bytes {
  void* data;
  std::size_t sizeBytes;
};

/** The memory of a Uint8Array, valid until JavaScript runs again. @throws TypeError for anything else. */
Bytes bytes(const Napi::Value& value, const char* name);

}  // namespace muster::addon
