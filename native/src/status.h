/** How the core records a failure: `return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "offset %zu ...", offset)`. */
#pragma once

#include "muster/status.h"

namespace muster {

[[gnu::format(printf, 5, 6)]] muster_code recordFailure(
    muster_code code, int errorNumber, const char* file, int line, const char* format, ...);

/** Adds the rank that the last failure of this thread names. */
void blameRank(int rank);

}  // namespace muster

#define MUSTER_FAIL(code, errorNumber, ...) ::muster::recordFailure(code, errorNumber, __FILE__, __LINE__, __VA_ARGS__)
