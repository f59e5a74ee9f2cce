/**
 * All-reduce among processes that are told to be on nodes of their own, over TCP on 127.0.0.1, one record a line. Started by mpirun, each size is
 * measured in turn with this library and with MPI's own, round by round in the same processes on the same memory: with `--mca btl tcp,self` MPI
 * goes over TCP, too. Started by itself it forks its ranks and measures this library alone. Values are medians of the rounds, of rank 0.
 *
 *   network-bench [--ranks 2] [--json]        mpirun -n 2 --mca btl tcp,self network-bench
 */
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#ifdef MUSTER_BENCH_MPI
#include <mpi.h>
#endif

#include "measure.h"
#include "muster/collective.h"
#include "peer.h"

namespace {

using bench::must;
using bench::sizeName;

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 21;
/** A round makes as many calls as last about so long, so that the clock's own cost does not count. */
constexpr double kRoundUs = 8000;
constexpr std::size_t kSizes[] = {8, std::size_t{1} << 10, std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{16} << 20, std::size_t{64} << 20};

struct Contender {
  std::string name;
  std::function<void()> call;
};

class Bench {
 public:
  /** `ports`: where each rank listens, this one by `listener`. */
  Bench(const std::string& id, std::uint32_t rank, const std::vector<std::uint16_t>& ports, muster_listener* listener, bool besideMpi)
      : rank_(rank), size_(static_cast<std::uint32_t>(ports.size())), besideMpi_(besideMpi), source_(kSizes[std::size(kSizes) - 1] / 4, 0), target_(source_.size(), 1) {
    std::vector<muster_rank_place> places;
    for (std::uint32_t each = 0; each < size_; each++) places.push_back({"127.0.0.1", ports[each], each});
    const muster_network network{places.data(), {}};
    const muster_communicator_options options{id.c_str(), rank, size_, 30'000, nullptr, nullptr};
    must(muster_communicator_connect(&options, &network, listener, &communicator_));
  }
  ~Bench() { muster_communicator_close(communicator_); }
  Bench(const Bench&) = delete;

  void run() {
    for (const std::size_t bytes : kSizes) compare("allReduce f32 " + sizeName(bytes) + ", " + std::to_string(size_) + " nodes over loopback", bytes);
  }

 private:
  std::vector<Contender> contenders(std::size_t bytes) {
    const muster_call call{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, source_.data(), target_.data(), bytes / 4};
    std::vector<Contender> all{{"muster", [this, call] { must(muster_communicator_run(communicator_, &call, 1)); }}};
#ifdef MUSTER_BENCH_MPI
    if (besideMpi_) all.push_back({"openmpi over tcp", [call] { MPI_Allreduce(call.source, call.target, static_cast<int>(call.count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); }});
#endif
    return all;
  }

  void compare(const std::string& what, std::size_t bytes) {
    const std::vector<Contender> all = contenders(bytes);
    std::vector<int> calls;
    for (const Contender& contender : all) {
      contender.call();
      const auto start = Clock::now();
      for (int i = 0; i < 3; i++) contender.call();
      std::int32_t count = std::clamp(static_cast<int>(kRoundUs * 3 / std::chrono::duration<double, std::micro>(Clock::now() - start).count()), 1, 2000);
      const muster_call agree{MUSTER_BROADCAST, MUSTER_I32, MUSTER_SUM, 0, &count, &count, 1};
      must(muster_communicator_run(communicator_, &agree, 1));
      calls.push_back(count);
    }
    const muster_call barrier{MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0};
    std::vector<std::vector<double>> us(all.size());
    for (int round = 0; round < kRounds; round++) {
      for (std::size_t each = 0; each < all.size(); each++) {
        all[each].call();
        must(muster_communicator_run(communicator_, &barrier, 1));
        const auto start = Clock::now();
        for (int i = 0; i < calls[each]; i++) all[each].call();
        us[each].push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() / calls[each]);
      }
    }
    if (rank_ != 0) return;
    for (std::size_t each = 0; each < all.size(); each++) bench::print(what + ", " + all[each].name, bench::median(us[each]), "us", "lower");
    if (all.size() > 1) bench::print(what + ", openmpi's time to muster's", bench::ratio(us[1], us[0]), "ratio", "higher");
    if (bytes >= (1u << 20)) bench::print(what + ", bytes a second", static_cast<double>(bytes) / bench::median(us[0]) / 1000, "GB/s", "higher");
  }

  const std::uint32_t rank_;
  const std::uint32_t size_;
  const bool besideMpi_;
  std::vector<float> source_;
  std::vector<float> target_;
  muster_communicator* communicator_ = nullptr;
};

int runAlone(std::uint32_t size) {
  const std::string id = "bench-" + std::to_string(::getpid());
  std::vector<muster_listener*> listeners(size);
  std::vector<std::uint16_t> ports(size);
  for (std::uint32_t rank = 0; rank < size; rank++) must(muster_listener_open("127.0.0.1", &listeners[rank], &ports[rank]));
  std::vector<pid_t> children;
  for (std::uint32_t rank = 1; rank < size; rank++) {
    const pid_t child = ::fork();
    if (child == 0) {
      Bench(id, rank, ports, listeners[rank], false).run();
      ::_exit(EXIT_SUCCESS);
    }
    children.push_back(child);
  }
  Bench(id, 0, ports, listeners[0], false).run();
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
  bench::asJson = bench::hasFlag(argc, argv, "--json");
#ifdef MUSTER_BENCH_MPI
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) {
    MPI_Init(&argc, &argv);
    int rank = 0;
    int size = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int processId = static_cast<int>(::getpid());
    MPI_Bcast(&processId, 1, MPI_INT, 0, MPI_COMM_WORLD);
    muster_listener* listener = nullptr;
    std::vector<std::uint16_t> ports(static_cast<std::size_t>(size));
    std::uint16_t port = 0;
    must(muster_listener_open("127.0.0.1", &listener, &port));
    MPI_Allgather(&port, 1, MPI_UINT16_T, ports.data(), 1, MPI_UINT16_T, MPI_COMM_WORLD);
    Bench("bench-" + std::to_string(processId), static_cast<std::uint32_t>(rank), ports, listener, true).run();
    MPI_Finalize();
    return EXIT_SUCCESS;
  }
#endif
  const char* ranks = bench::optionOf(argc, argv, "--ranks");
  return runAlone(ranks == nullptr ? 2 : static_cast<std::uint32_t>(std::atoi(ranks)));
}
