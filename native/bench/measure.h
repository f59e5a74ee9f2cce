/**
 * Times contenders that take turns in every round, so that a busy machine is busy for all of them, and prints medians: a line a record for
 * people, or with --json what `cluster bench` reads.
 */
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "muster/status.h"

namespace bench {

inline bool asJson = false;

inline void print(const std::string& name, double value, const char* unit, const char* better) {
  if (asJson) {
    std::printf("{\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\",\"better\":\"%s\"}\n", name.c_str(), value, unit, better);
  } else {
    std::printf("%-64s %10.4g %s\n", name.c_str(), value, unit);
  }
  std::fflush(stdout);
}

/** Why a contender is not there. */
inline void skip(const char* what, const char* why) { std::fprintf(stderr, "%s: skipped, %s\n", what, why); }

/** Ends the program with the core's words unless a call did what it should. */
inline void must(muster_code code) {
  if (code == MUSTER_OK) return;
  std::fprintf(stderr, "%s\n", muster_last_failure()->message);
  std::exit(EXIT_FAILURE);
}

/** `64 KiB` */
inline std::string sizeName(std::size_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  return bytes < (1u << 20) ? std::to_string(bytes >> 10) + " KiB" : std::to_string(bytes >> 20) + " MiB";
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline double secondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/** Threads of OpenMP and OpenBLAS spin for up to 20 ms when their work is done, and would take a core from the next contender. */
constexpr double kOthersSpinSeconds = 0.03;

/**
 * The durations of each contender in each round, in seconds. Each runs for a while before its turn counts, until the others' threads sleep and the
 * caches are its own.
 */
inline std::vector<std::vector<double>> measure(const std::vector<std::function<void()>>& contenders, int rounds) {
  std::vector<std::vector<double>> seconds(contenders.size());
  for (int round = 0; round < rounds; round++) {
    for (std::size_t index = 0; index < contenders.size(); index++) {
      for (double spent = 0; spent < kOthersSpinSeconds;) spent += secondsOf(contenders[index]);
      seconds[index].push_back(secondsOf(contenders[index]));
    }
  }
  return seconds;
}

/** The median of `first` / `second`, round by round. */
inline double ratio(const std::vector<double>& first, const std::vector<double>& second) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < first.size(); round++) ratios.push_back(first[round] / second[round]);
  return median(ratios);
}

}  // namespace bench
