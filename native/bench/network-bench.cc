/**
 * All-reduce among processes that are told to be on nodes of their own, over TCP on 127.0.0.1, one record a line. Started by mpirun, each size is
 * measured in turn with this library and with MPI's own, round by round in the same processes on the same memory: with `--mca btl tcp,self` MPI
 * goes over TCP, too. Started by itself it forks its ranks and measures this library alone, in the clear and over TLS. Values are medians of the
 * rounds, of rank 0.
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

#include "launch.h"
#include "measure.h"
#include "muster/collective.h"
#include "peer.h"

namespace {

using bench::must;
using bench::Ranks;
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

/** How the ranks of one communicator meet. */
struct Meeting {
  std::string id;
  /** Where each rank listens, this one by `listener`. */
  std::vector<std::uint16_t> ports;
  muster_listener* listener = nullptr;
};

muster_communicator* meet(const Meeting& meeting, std::uint32_t rank, bool usesTls) {
  std::vector<muster_rank_place> places;
  for (std::uint32_t each = 0; each < meeting.ports.size(); each++) places.push_back({"127.0.0.1", meeting.ports[each], each});
  const muster_network network{places.data(), {}, usesTls};
  const muster_communicator_options options{meeting.id.c_str(), rank, static_cast<std::uint32_t>(places.size()), 30'000, nullptr, nullptr};
  muster_communicator* communicator = nullptr;
  const muster_code code = muster_communicator_connect(&options, &network, meeting.listener, &communicator);
  if (code == MUSTER_UNAVAILABLE) bench::skip("muster over tls", muster_last_failure()->message);
  else must(code);
  return communicator;
}

class Bench {
 public:
  Bench(std::uint32_t rank, const Meeting& clear, const Meeting& encrypted, bool besideMpi)
      : rank_(rank),
        size_(static_cast<std::uint32_t>(clear.ports.size())),
        besideMpi_(besideMpi),
        source_(kSizes[std::size(kSizes) - 1] / 4, 0),
        target_(source_.size(), 1),
        communicator_(meet(clear, rank, false)),
        encrypted_(meet(encrypted, rank, true)) {}
  ~Bench() {
    muster_communicator_close(communicator_);
    muster_communicator_close(encrypted_);
  }
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
    if (encrypted_ != nullptr) all.push_back({"muster over tls", [this, call] { must(muster_communicator_run(encrypted_, &call, 1)); }});
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
    for (std::size_t each = 1; each < all.size(); each++) {
      const bool isTls = all[each].name == "muster over tls";
      bench::print(what + (isTls ? ", over tls to in the clear" : ", openmpi's time to muster's"), bench::ratio(us[each], us[0]), "ratio", isTls ? "lower" : "higher");
    }
    if (bytes >= (1u << 20)) bench::print(what + ", bytes a second", static_cast<double>(bytes) / bench::median(us[0]) / 1000, "GB/s", "higher");
  }

  const std::uint32_t rank_;
  const std::uint32_t size_;
  const bool besideMpi_;
  std::vector<float> source_;
  std::vector<float> target_;
  muster_communicator* const communicator_;
  /** Null where there is no OpenSSL. */
  muster_communicator* const encrypted_;
};

/** Listeners of all ranks are made before their processes are forked, so that everybody knows everybody's port. */
int runAlone(std::uint32_t size) {
  std::vector<std::uint16_t> ports[2] = {std::vector<std::uint16_t>(size), std::vector<std::uint16_t>(size)};
  std::vector<muster_listener*> listeners[2] = {std::vector<muster_listener*>(size), std::vector<muster_listener*>(size)};
  for (std::uint32_t rank = 0; rank < size; rank++) {
    for (int each : {0, 1}) must(muster_listener_open("127.0.0.1", &listeners[each][rank], &ports[each][rank]));
  }
  return bench::runRanks(size, [&](const Ranks& ranks) {
    Bench(ranks.rank, {ranks.id, ports[0], listeners[0][ranks.rank]}, {ranks.id + "-tls", ports[1], listeners[1][ranks.rank]}, false).run();
  });
}

#ifdef MUSTER_BENCH_MPI
void runBesideMpi(const Ranks& ranks) {
  Meeting meetings[2] = {{ranks.id, std::vector<std::uint16_t>(ranks.size)}, {ranks.id + "-tls", std::vector<std::uint16_t>(ranks.size)}};
  for (Meeting& meeting : meetings) {
    std::uint16_t port = 0;
    must(muster_listener_open("127.0.0.1", &meeting.listener, &port));
    MPI_Allgather(&port, 1, MPI_UINT16_T, meeting.ports.data(), 1, MPI_UINT16_T, MPI_COMM_WORLD);
  }
  Bench(ranks.rank, meetings[0], meetings[1], true).run();
}
#else
void runBesideMpi(const Ranks&) {}
#endif

}  // namespace

int main(int argc, char** argv) {
  bench::asJson = bench::hasFlag(argc, argv, "--json");
  if (bench::runUnderMpi(&argc, &argv, runBesideMpi)) return EXIT_SUCCESS;
  return runAlone(bench::askedRanks(bench::optionOf(argc, argv, "--ranks")));
}
