/** What tests of failing communicators ask: that all calls fail, alike, with a word of why. */
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "muster/collective.h"

namespace check {

/** What "at once" may take on a machine that does much else: far below check::kTimeoutMs. */
inline constexpr std::chrono::seconds kAtOnce{8};

inline muster_call allReduce(std::vector<float>& values, muster_reduction reduction = MUSTER_SUM) {
  return {MUSTER_ALL_REDUCE, MUSTER_F32, reduction, 0, values.data(), values.data(), values.size()};
}

inline muster_code run(muster_communicator* communicator, const muster_call& call) { return muster_communicator_run(communicator, &call, 1); }

inline bool says(const char* part) {
  if (std::strstr(muster_last_failure()->message, part) != nullptr) return true;
  std::fprintf(stderr, "'%s' is not in: %s\n", part, muster_last_failure()->message);
  return false;
}

/** The communicator has failed with this code, names this rank, and goes on failing in the same words. */
inline void checkFailed(muster_communicator* communicator, muster_code code, std::int32_t rank, muster_code found) {
  CHECK(found == code);
  CHECK(muster_last_failure()->rank == rank);
  const std::string first = muster_last_failure()->message;
  const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0};
  CHECK(run(communicator, barrier) == code);
  CHECK(first == muster_last_failure()->message);
}

}  // namespace check
