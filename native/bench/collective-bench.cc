/**
 * All-reduce among processes of this machine, one JSON record a line. Started by mpirun, each size is measured in turn with this library and
 * with MPI's own, round by round in the same processes on the same memory; started by itself it forks its ranks and measures this
 * library alone. Values are medians of the rounds, of rank 0.
 *
 *   collective-bench [ranks]        mpirun -n 2 collective-bench        collective-bench --knows-mpi
 */
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#ifdef MUSTER_BENCH_MPI
#include <mpi.h>
#endif

#include "muster/collective.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 21;
/** A round makes as many calls as last about so long, so that the clock's own cost does not count. */
constexpr double kRoundUs = 4000;
constexpr std::size_t kSizes[] = {8, std::size_t{1} << 10, std::size_t{16} << 10, std::size_t{64} << 10, std::size_t{256} << 10, std::size_t{1} << 20, std::size_t{16} << 20, std::size_t{64} << 20};

struct Ranks {
  std::uint32_t rank;
  std::uint32_t size;
  std::string id;
  bool besideMpi;
};

void must(muster_code code) {
  if (code == MUSTER_OK) return;
  std::fprintf(stderr, "%s\n", muster_last_failure()->message);
  std::exit(EXIT_FAILURE);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string sizeName(std::size_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  return bytes < (1u << 20) ? std::to_string(bytes >> 10) + " KiB" : std::to_string(bytes >> 20) + " MiB";
}

void print(const std::string& name, double value, const char* unit, const char* better) {
  std::printf("{\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\",\"better\":\"%s\"}\n", name.c_str(), value, unit, better);
  std::fflush(stdout);
}

/** One way of doing what is measured. */
struct Contender {
  std::string name;
  std::function<void()> call;
};

class Bench {
 public:
  explicit Bench(const Ranks& ranks) : ranks_(ranks) {
    const muster_communicator_options options{ranks.id.c_str(), ranks.rank, ranks.size, 30'000, nullptr, nullptr};
    must(muster_communicator_open(&options, &communicator_));
    const std::size_t largest = *std::max_element(std::begin(kSizes), std::end(kSizes));
    source_.assign(largest, 0);
    target_.assign(largest, 1);
  }
  ~Bench() { muster_communicator_close(communicator_); }
  Bench(const Bench&) = delete;

  void run() {
    for (const std::size_t bytes : kSizes) compare("f32 " + sizeName(bytes), bytes, contenders(MUSTER_F32, bytes));
    compareDtypes(std::size_t{64} << 20);
    for (const auto& [name, kind] : {std::pair{"reduceScatter", MUSTER_REDUCE_SCATTER}, {"allGather", MUSTER_ALL_GATHER}, {"allToAll", MUSTER_ALL_TO_ALL}, {"broadcast", MUSTER_BROADCAST}}) {
      for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{16} << 20}) report(name, bytes, kind);
    }
    const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0};
    const std::vector<double> us = measure({{"barrier", [&] { must(muster_communicator_run(communicator_, &barrier, 1)); }}})[0];
    if (ranks_.rank == 0) print(prefix("barrier"), median(us), "us", "lower");
  }

 private:
  std::string prefix(const std::string& what) const { return what + ", " + std::to_string(ranks_.size) + " ranks"; }

  muster_call callOf(muster_call_kind kind, muster_dtype dtype, std::size_t count) {
    return {kind, dtype, MUSTER_SUM, 0, source_.data(), target_.data(), count};
  }

  std::vector<Contender> contenders(muster_dtype dtype, std::size_t bytes) {
    const muster_call call = callOf(MUSTER_ALL_REDUCE, dtype, bytes / (dtype == MUSTER_F32 ? 4 : 2));
    std::vector<Contender> all{{"muster", [this, call] { must(muster_communicator_run(communicator_, &call, 1)); }}};
#ifdef MUSTER_BENCH_MPI
    if (!ranks_.besideMpi) return all;
    all.push_back({"openmpi", [this, call] { MPI_Allreduce(call.source, call.target, static_cast<int>(call.count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }});
#endif
    return all;
  }

  /** Microseconds of each contender's call, round by round. All ranks make as many calls. */
  std::vector<std::vector<double>> measure(const std::vector<Contender>& contenders) {
    std::vector<int> calls;
    for (const Contender& contender : contenders) {
      contender.call();
      const auto start = Clock::now();
      for (int i = 0; i < 3; i++) contender.call();
      const double us = std::chrono::duration<double, std::micro>(Clock::now() - start).count() / 3;
      std::int32_t count = std::clamp(static_cast<int>(kRoundUs / us), 1, 4000);
      const muster_call agree{MUSTER_BROADCAST, MUSTER_I32, MUSTER_SUM, 0, &count, &count, 1};
      must(muster_communicator_run(communicator_, &agree, 1));
      calls.push_back(count);
    }
    std::vector<std::vector<double>> us(contenders.size());
    const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0};
    for (int round = 0; round < kRounds; round++) {
      for (std::size_t each = 0; each < contenders.size(); each++) {
        contenders[each].call();
        must(muster_communicator_run(communicator_, &barrier, 1));
        const auto start = Clock::now();
        for (int i = 0; i < calls[each]; i++) contenders[each].call();
        us[each].push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / calls[each]);
      }
    }
    return us;
  }

  void compare(const std::string& what, std::size_t bytes, const std::vector<Contender>& contenders) {
    const std::vector<std::vector<double>> us = measure(contenders);
    if (ranks_.rank != 0) return;
    for (std::size_t each = 0; each < contenders.size(); each++) print(prefix("allReduce " + what) + ", " + contenders[each].name, median(us[each]), "us", "lower");
    if (contenders.size() > 1) print(prefix("allReduce " + what) + ", openmpi's time to muster's", median(us[1]) / median(us[0]), "ratio", "higher");
    if (bytes >= (1u << 20)) print(prefix("allReduce " + what) + ", bytes a second", static_cast<double>(bytes) / median(us[0]) / 1000, "GB/s", "higher");
  }

  /** Equal bytes of 16-bit and of 32-bit numbers. */
  void compareDtypes(std::size_t bytes) {
    const std::vector<std::vector<double>> us = measure({contenders(MUSTER_F32, bytes)[0], contenders(MUSTER_BF16, bytes)[0], contenders(MUSTER_F16, bytes)[0]});
    if (ranks_.rank != 0) return;
    print(prefix("allReduce bf16 to f32 of equal bytes, " + sizeName(bytes)), median(us[1]) / median(us[0]), "ratio", "lower");
    print(prefix("allReduce f16 to f32 of equal bytes, " + sizeName(bytes)), median(us[2]) / median(us[0]), "ratio", "lower");
  }

  /** `bytes` of the larger of source and target. */
  void report(const char* name, std::size_t bytes, muster_call_kind kind) {
    const muster_call call = callOf(kind, MUSTER_F32, bytes / 4 / (kind == MUSTER_BROADCAST ? 1 : ranks_.size));
    const std::vector<double> us = measure({{name, [&] { must(muster_communicator_run(communicator_, &call, 1)); }}})[0];
    if (ranks_.rank == 0) print(prefix(std::string(name) + " f32 " + sizeName(bytes)), median(us), "us", "lower");
  }

  const Ranks ranks_;
  muster_communicator* communicator_ = nullptr;
  std::vector<unsigned char> source_;
  std::vector<unsigned char> target_;
};

int runAlone(std::uint32_t size) {
  const std::string id = "bench-" + std::to_string(::getpid());
  std::vector<pid_t> children;
  for (std::uint32_t rank = 1; rank < size; rank++) {
    const pid_t child = ::fork();
    if (child == 0) {
      Bench({rank, size, id, false}).run();
      ::_exit(EXIT_SUCCESS);
    }
    children.push_back(child);
  }
  Bench({0, size, id, false}).run();
  int failed = 0;
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    failed += status != 0;
  }
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  const bool isAsked = argc > 1 && std::strcmp(argv[1], "--knows-mpi") == 0;  // whether it was built with MPI
#ifdef MUSTER_BENCH_MPI
  if (isAsked) return EXIT_SUCCESS;
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) {
    MPI_Init(&argc, &argv);
    int rank = 0;
    int size = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int processId = static_cast<int>(::getpid());
    MPI_Bcast(&processId, 1, MPI_INT, 0, MPI_COMM_WORLD);
    Bench({static_cast<std::uint32_t>(rank), static_cast<std::uint32_t>(size), "bench-" + std::to_string(processId), true}).run();
    MPI_Finalize();
    return EXIT_SUCCESS;
  }
#else
  if (isAsked) return EXIT_FAILURE;
#endif
  return runAlone(argc > 1 ? static_cast<std::uint32_t>(std::atoi(argv[1])) : 2);
}
