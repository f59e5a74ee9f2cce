#include "status.h"

#include <cstdarg>
#include <cstdio>

namespace {

thread_local muster_failure lastFailure{};

}  // namespace

namespace muster {

muster_code recordFailure(muster_code code, int errorNumber, const char* file, int line, const char* format, ...) {
  lastFailure.code = code;
  lastFailure.error_number = errorNumber;
  lastFailure.rank = -1;
  lastFailure.file = file;
  lastFailure.line = line;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(lastFailure.message, sizeof lastFailure.message, format, arguments);
  va_end(arguments);
  return code;
}

void blameRank(int rank) { lastFailure.rank = rank; }

}  // namespace muster

const muster_failure* muster_last_failure(void) { return &lastFailure; }
