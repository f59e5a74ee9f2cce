/**
 * All-reduce among processes of this machine, one record a line. Started by mpirun, each size is measured in turn with this library, with MPI's own and
 * with a peer's, round by round on the same cores; started by itself it forks its ranks and leaves MPI out. Values are medians of the rounds, of rank 0.
 *
 *   collective-bench [--ranks 2] [--peer COMMAND] [--json]        mpirun -n 2 collective-bench        collective-bench --knows-mpi
 *
 * The command is of a program that answers as bench/peers/gloo-allreduce.py does.
 */
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launch.h"
#include "measure.h"
#include "muster/collective.h"
#include "peer.h"

namespace {

using bench::must;
using bench::Ranks;
using bench::sizeName;

constexpr int kRounds = 21;
/** A round makes as many calls as last about so long, so that the clock's own cost does not count. */
constexpr double kRoundUs = 4000;
constexpr std::size_t kSizes[] = {8, std::size_t{1} << 10, std::size_t{16} << 10, std::size_t{64} << 10, std::size_t{256} << 10, std::size_t{1} << 20, std::size_t{16} << 20, std::size_t{64} << 20};

#ifdef MUSTER_BENCH_MPI
const std::string kMpiName = "openmpi " + std::to_string(OMPI_MAJOR_VERSION) + "." + std::to_string(OMPI_MINOR_VERSION) + "." + std::to_string(OMPI_RELEASE_VERSION);
#endif

/** One way of doing what is measured, so many times: in microseconds a call. All ranks call it at the same time. */
struct Contender {
  std::string name;
  std::function<double(int calls)> us;
};

class Bench {
 public:
  /** `peerCommand` is for rank 0. */
  Bench(const Ranks& ranks, bool besideMpi, const char* peerCommand) : ranks_(ranks), besideMpi_(besideMpi), peer_(ranks.rank == 0 ? peerCommand : nullptr) {
    const muster_communicator_options options{ranks.id.c_str(), ranks.rank, ranks.size, 30'000, nullptr, nullptr};
    must(muster_communicator_open(&options, &communicator_));
    const std::size_t largest = *std::max_element(std::begin(kSizes), std::end(kSizes));
    source_.assign(largest, 0);
    target_.assign(largest, 1);
  }
  ~Bench() { muster_communicator_close(communicator_); }
  Bench(const Bench&) = delete;

  void run() {
    for (const std::size_t bytes : kSizes) compare("f32 " + sizeName(bytes), bytes, contenders(bytes));
    compareDtypes(std::size_t{64} << 20);
    for (const auto& [name, kind] : {std::pair{"reduceScatter", MUSTER_REDUCE_SCATTER}, {"allGather", MUSTER_ALL_GATHER}, {"allToAll", MUSTER_ALL_TO_ALL}, {"broadcast", MUSTER_BROADCAST}}) {
      for (const std::size_t bytes : {std::size_t{1} << 20, std::size_t{16} << 20}) report(name, bytes, kind);
    }
    const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0};
    const std::vector<double> us = measure({of("barrier", barrier)})[0];
    if (ranks_.rank == 0) bench::print(prefix("barrier"), bench::median(us), "us", "lower");
  }

 private:
  std::string prefix(const std::string& what) const { return what + ", " + std::to_string(ranks_.size) + " ranks"; }

  muster_call callOf(muster_call_kind kind, muster_dtype dtype, std::size_t count) {
    return {kind, dtype, MUSTER_SUM, 0, source_.data(), target_.data(), count};
  }

  Contender of(const std::string& name, const muster_call& call) {
    return {name, [this, call](int calls) {
              return timed(calls, [&] { must(muster_communicator_run(communicator_, &call, 1)); });
            }};
  }

  std::vector<Contender> contenders(std::size_t bytes) {
    const muster_call call = callOf(MUSTER_ALL_REDUCE, MUSTER_F32, bytes / 4);
    std::vector<Contender> all{of("muster", call)};
#ifdef MUSTER_BENCH_MPI
    if (besideMpi_) {
      all.push_back({kMpiName, [this, call](int calls) {
                       return timed(calls, [&] { MPI_Allreduce(call.source, call.target, static_cast<int>(call.count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
                     }});
    }
#endif
    if (hasPeer()) {
      all.push_back({peer_.name(), [this, bytes](int calls) {
                       return ranks_.rank == 0 ? peer_.ask(std::to_string(std::max<std::size_t>(bytes, 4)) + " " + std::to_string(calls)) : 0;
                     }});
    }
    return all;
  }

  /** Rank 0 knows, and tells the others. */
  bool hasPeer() { return agreed(peer_.isThere() ? 1 : 0) == 1; }

  std::int32_t agreed(std::int32_t number) {
    const muster_call call{MUSTER_BROADCAST, MUSTER_I32, MUSTER_SUM, 0, &number, &number, 1};
    must(muster_communicator_run(communicator_, &call, 1));
    return number;
  }

  double timed(int calls, const std::function<void()>& call) {
    const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0};
    call();
    must(muster_communicator_run(communicator_, &barrier, 1));
    return bench::secondsOf([&] { for (int i = 0; i < calls; i++) call(); }) * 1e6 / calls;
  }

  /** Microseconds of each contender's call, round by round. All ranks make as many calls. */
  std::vector<std::vector<double>> measure(const std::vector<Contender>& contenders) {
    std::vector<int> calls;
    for (const Contender& contender : contenders) calls.push_back(agreed(std::clamp(static_cast<int>(kRoundUs / std::max(contender.us(3), 0.1)), 1, 4000)));
    std::vector<std::vector<double>> us(contenders.size());
    for (int round = 0; round < kRounds; round++) {
      for (std::size_t each = 0; each < contenders.size(); each++) us[each].push_back(contenders[each].us(calls[each]));
    }
    return us;
  }

  void compare(const std::string& what, std::size_t bytes, const std::vector<Contender>& contenders) {
    const std::vector<std::vector<double>> us = measure(contenders);
    if (ranks_.rank != 0) return;
    for (std::size_t each = 0; each < contenders.size(); each++) {
      const std::string& name = contenders[each].name;
      bench::print(prefix("allReduce " + what) + ", " + name, bench::median(us[each]), "us", "lower");
      const std::string family = name.substr(0, name.find(' '));  // without its version
      if (each > 0) bench::print(prefix("allReduce " + what) + ", " + family + "'s time to muster's", bench::ratio(us[each], us[0]), "ratio", "higher");
    }
    if (bytes >= (1u << 20)) bench::print(prefix("allReduce " + what) + ", bytes a second", static_cast<double>(bytes) / bench::median(us[0]) / 1000, "GB/s", "higher");
  }

  /** Equal bytes of 16-bit and of 32-bit numbers. */
  void compareDtypes(std::size_t bytes) {
    const std::vector<std::vector<double>> us = measure({of("f32", callOf(MUSTER_ALL_REDUCE, MUSTER_F32, bytes / 4)), of("bf16", callOf(MUSTER_ALL_REDUCE, MUSTER_BF16, bytes / 2)),
                                                         of("f16", callOf(MUSTER_ALL_REDUCE, MUSTER_F16, bytes / 2))});
    if (ranks_.rank != 0) return;
    bench::print(prefix("allReduce bf16 to f32 of equal bytes, " + sizeName(bytes)), bench::ratio(us[1], us[0]), "ratio", "lower");
    bench::print(prefix("allReduce f16 to f32 of equal bytes, " + sizeName(bytes)), bench::ratio(us[2], us[0]), "ratio", "lower");
  }

  /** `bytes` of the larger of source and target. */
  void report(const char* name, std::size_t bytes, muster_call_kind kind) {
    const muster_call call = callOf(kind, MUSTER_F32, bytes / 4 / (kind == MUSTER_BROADCAST ? 1 : ranks_.size));
    const std::vector<double> us = measure({of(name, call)})[0];
    if (ranks_.rank == 0) bench::print(prefix(std::string(name) + " f32 " + sizeName(bytes)), bench::median(us), "us", "lower");
  }

  const Ranks ranks_;
  [[maybe_unused]] const bool besideMpi_;
  bench::Peer peer_;
  muster_communicator* communicator_ = nullptr;
  std::vector<unsigned char> source_;
  std::vector<unsigned char> target_;
};

}  // namespace

int main(int argc, char** argv) {
  const bool isAsked = argc > 1 && std::strcmp(argv[1], "--knows-mpi") == 0;  // whether it was built with MPI
  bench::asJson = bench::hasFlag(argc, argv, "--json");
  const char* peerCommand = bench::optionOf(argc, argv, "--peer");
#ifdef MUSTER_BENCH_MPI
  if (isAsked) return EXIT_SUCCESS;
#else
  if (isAsked) return EXIT_FAILURE;
#endif
  if (bench::runUnderMpi(&argc, &argv, [&](const Ranks& ranks) { Bench(ranks, true, peerCommand).run(); })) return EXIT_SUCCESS;
  return bench::runRanks(bench::askedRanks(bench::optionOf(argc, argv, "--ranks")), [&](const Ranks& ranks) { Bench(ranks, false, peerCommand).run(); });
}
