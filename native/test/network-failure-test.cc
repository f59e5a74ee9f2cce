/** What can go wrong among ranks of several nodes: everybody hears of it, soon, and is told which rank; strangers harm nobody. */
#include "muster/collective.h"

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>

#include "failures.h"
#include "nodes.h"
#include "proxy.h"

namespace {

using check::allReduce;
using check::checkFailed;
using check::kAtOnce;
using check::Nodes;
using check::run;
using check::says;
using check::Topology;
using Clock = std::chrono::steady_clock;

/** One rank dies in the middle of its calls. */
void deadRankEndsEveryCall(const Topology& topology, std::uint32_t dying, std::size_t count) {
  Nodes nodes(topology);
  auto& calls = check::sharedBetweenProcesses<std::atomic<int>>();
  const std::vector<pid_t> children = nodes.start([&](std::uint32_t rank, muster_communicator* communicator) {
    std::vector<float> values(count, 1);
    muster_code code = MUSTER_OK;
    while (code == MUSTER_OK) {
      code = run(communicator, allReduce(values, MUSTER_MAX));
      if (rank == dying) calls++;
    }
    checkFailed(communicator, MUSTER_RANK_GONE, static_cast<std::int32_t>(dying), code);
    CHECK(says(("rank " + std::to_string(dying)).c_str()));
  });
  while (calls.load() < 10) std::this_thread::yield();
  ::kill(children[dying], SIGKILL);
  const auto killed = Clock::now();
  const std::vector<int> statuses = check::endRanks(children);
  CHECK(Clock::now() - killed < kAtOnce);
  for (std::uint32_t rank = 0; rank < nodes.size(); rank++) CHECK(rank == dying ? WIFSIGNALED(statuses[rank]) : statuses[rank] == 0);
}

void aDeadRankEndsSmallCalls() { deadRankEndsEveryCall({0, 1}, 1, 10); }
void aDeadRankEndsLargeCalls() { deadRankEndsEveryCall({0, 1, 2}, 1, 1 << 20); }
void aDeadRankBesideALeader() { deadRankEndsEveryCall({0, 0, 1, 1}, 3, 1 << 18); }
void aDeadLeader() { deadRankEndsEveryCall({0, 0, 1, 1}, 2, 1 << 18); }

/** Nobody on rank 3's node waits for the network when rank 0, on another, dies. */
void aDeathIsHeardByThoseWhoWaitForTheirOwnNode() {
  Nodes nodes({0, 1, 1, 1});
  const std::vector<pid_t> children = nodes.start([&](std::uint32_t rank, muster_communicator* communicator) {
    if (rank == 0) ::raise(SIGKILL);
    std::int32_t value = 0;
    const muster_call receive{MUSTER_RECEIVE, MUSTER_I32, MUSTER_SUM, rank - 1, nullptr, &value, 1};
    checkFailed(communicator, MUSTER_RANK_GONE, 0, run(communicator, receive));
  });
  const std::vector<int> statuses = check::endRanks(children);
  for (std::uint32_t rank = 1; rank < nodes.size(); rank++) CHECK(statuses[rank] == 0);
}

/** Rank 0 waits for a rank of its own node and for one of another at once, and one of them dies. */
void aDeathEndsMessagesOfBothKinds() {
  for (const std::uint32_t dying : {1u, 2u}) {
    Nodes nodes({0, 0, 1});
    const std::vector<pid_t> children = nodes.start([&](std::uint32_t rank, muster_communicator* communicator) {
      if (rank == dying) ::raise(SIGKILL);
      std::int32_t values[3] = {};
      std::vector<muster_call> calls;
      for (std::uint32_t peer = 0; peer < 3; peer++) {
        if (peer != rank) calls.push_back({MUSTER_RECEIVE, MUSTER_I32, MUSTER_SUM, peer, nullptr, &values[peer], 1});
      }
      checkFailed(communicator, MUSTER_RANK_GONE, static_cast<std::int32_t>(dying), muster_communicator_run(communicator, calls.data(), 2));
    });
    const std::vector<int> statuses = check::endRanks(children);
    for (std::uint32_t rank = 0; rank < 3; rank++) CHECK(rank == dying || statuses[rank] == 0);
  }
}

void whoEndsAfterItsLastCallIsNotMissed() {
  for (const std::size_t count : {std::size_t{10}, std::size_t{500'000}}) {
    Nodes nodes({0, 0, 1, 2});
    check::inProcesses(nodes.size(), [&](std::uint32_t rank) {
      muster_communicator* communicator = nodes.open(rank);
      std::vector<float> values(count, 1);
      for (int call = 0; call < 5; call++) CHECK(run(communicator, {MUSTER_REDUCE, MUSTER_F32, MUSTER_MAX, 0, values.data(), values.data(), values.size()}) == MUSTER_OK);
      if (rank == 0) muster_communicator_close(communicator);
    });
  }
}

void whoClosesIsNamed() {
  Nodes nodes({0, 1});
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    if (rank == 1) return;
    std::vector<float> values(10, 1);
    checkFailed(communicator, MUSTER_RANK_GONE, 1, run(communicator, allReduce(values)));
    CHECK(says("rank 1 has closed"));
  });
}

/** Lines break at any byte of any call; everybody hears of it, also who has no part in that line. */
void brokenLinesAreReported() {
  std::mt19937 random(7);
  for (int round = 0; round < 12; round++) {
    Nodes nodes(round % 2 == 0 ? Topology{0, 1, 2} : Topology{0, 0, 1});
    check::Proxy proxy;
    const std::uint32_t behind = round % 2 == 0 ? 1 : 2;
    const std::uint16_t target = nodes.port(behind);
    nodes.redirect(behind, proxy.port());
    const std::size_t count = round % 3 == 0 ? 100 : 200'000;
    const std::vector<pid_t> children = nodes.start([&](std::uint32_t rank, muster_communicator* communicator) {
      std::vector<float> values(count, 1);
      muster_code code = MUSTER_OK;
      while (code == MUSTER_OK) {
        code = run(communicator, allReduce(values, MUSTER_MAX));
        CHECK(code != MUSTER_OK || (values.front() == 1 && values.back() == 1));
      }
      CHECK(code == MUSTER_RANK_GONE);
      CHECK(muster_last_failure()->rank >= 0 && muster_last_failure()->rank <= 2);
      if (rank == 0) CHECK(says("lost its connection"));
    });
    // After the handshakes, and what is measured when a communicator opens.
    proxy.run(target, 8'000'000 + random() % 4'000'000, false, children);
    for (const int status : check::endRanks(children)) CHECK(status == 0);
  }
}

/** Whatever breaks while ranks meet is tried again. */
void linesThatBreakInTheHandshakeAreTriedAgain() {
  for (const std::size_t limit : {std::size_t{1}, std::size_t{60}, std::size_t{150}}) {
    Nodes nodes({0, 1});
    check::Proxy proxy;
    const std::uint16_t target = nodes.port(1);
    nodes.redirect(1, proxy.port());
    const std::vector<pid_t> children = nodes.start([&](std::uint32_t, muster_communicator* communicator) {
      std::vector<float> values(10, 1);
      CHECK(run(communicator, allReduce(values)) == MUSTER_OK);
    });
    proxy.run(target, limit, true, children);
    for (const int status : check::endRanks(children)) CHECK(status == 0);
  }
}

/** Some say nothing, some talk nonsense, and one says what a rank would say, but cannot prove it. */
void strangersHarmNobody() {
  Nodes nodes({0, 1});
  std::vector<muster::FileDescriptor> strangers(700);  // more than may be unproven
  for (std::size_t each = 0; each < strangers.size(); each++) {
    CHECK(muster::beginConnect({"127.0.0.1", nodes.port(1)}, &strangers[each]) == MUSTER_OK);
    pollfd polled{strangers[each].number(), POLLOUT, 0};
    if (each < 400) ::poll(&polled, 1, 1000);  // the rest of them fill what the kernel keeps
    const char words[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n........................................................................................";
    if (each % 3 == 0) ::send(strangers[each].number(), words, sizeof words, MSG_NOSIGNAL);
  }
  const auto started = Clock::now();
  nodes.run([&](std::uint32_t, muster_communicator* communicator) {
    std::vector<float> values(10, 1);
    CHECK(run(communicator, allReduce(values)) == MUSTER_OK);
    CHECK(values[0] == 2);
  });
  CHECK(Clock::now() - started < kAtOnce);
}

void whoDoesNotKnowTheKeyIsRefused() {
  Nodes nodes({0, 1});
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_code code = MUSTER_OK;
    CHECK(nodes.open(rank, 2000, rank == 0 ? "the key" : "another key", &code) == nullptr);
    CHECK(code == (rank == 0 ? MUSTER_MISMATCH : MUSTER_TIMED_OUT));
    CHECK(muster_last_failure()->rank == static_cast<int>(1 - rank));
    if (rank == 0) CHECK(says("cannot be trusted: it does not know this cluster's token"));
  });
}

void whoDoesNotJoinIsNamed() {
  Nodes nodes({0, 0, 1, 2});
  check::inProcesses(4, [&](std::uint32_t rank) {
    if (rank == 2) return;
    muster_code code = MUSTER_OK;
    CHECK(nodes.open(rank, 500, "the key", &code) == nullptr);
    CHECK(code == MUSTER_TIMED_OUT && muster_last_failure()->rank == 2);
    CHECK(says("rank 2 at 127.0.0.1:") && says("within 500 ms"));
  });
}

void nodesAreCounted() {
  const auto refuses = [](const Topology& topology) {
    Nodes nodes(topology);
    muster_code code = MUSTER_OK;
    CHECK(nodes.open(0, 500, "the key", &code) == nullptr);
    CHECK(code == MUSTER_OUT_OF_RANGE);
    CHECK(says("the ranks of one follow each other"));
  };
  refuses({0, 1, 0});
  refuses({1, 2});
  refuses({0, 2});
}

/** Two ranks make these two calls as their second; all must hear of both. */
void checkMismatch(const Topology& topology, const muster_call& first, const muster_call& second, const char* firstWords, const char* secondWords) {
  Nodes nodes(topology);
  const std::uint32_t odd = nodes.size() - 1;
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    std::vector<float> values(1 << 20, 1);
    // Others may hear of it in the call before, or where they have no part in the comparison, in the one after.
    muster_code code = run(communicator, allReduce(values));
    muster_call call = rank == odd ? second : first;
    call.source = values.data();
    call.target = values.data();
    for (int again = 0; again < 3 && code == MUSTER_OK; again++) code = run(communicator, call);
    CHECK(code == MUSTER_MISMATCH);
    CHECK(says(firstWords) && says(secondWords));
  });
}

void differentCallsAreReported() {
  const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 1000};
  const std::string deep = std::string(1000, '/') + "deep.ts:3:4";
  muster_call other = sum;
  for (const Topology& topology : {Topology{0, 1}, Topology{0, 1, 2, 3}, Topology{0, 0, 1, 1}}) {
    other = sum;
    other.count = 1001;
    checkMismatch(topology, sum, other, "allReduce(sum of 1000 f32)", "allReduce(sum of 1001 f32)");
    other.count = 300'000;
    checkMismatch(topology, sum, other, "1000 f32", "300000 f32");
    other = sum;
    other.dtype = MUSTER_I32;
    checkMismatch(topology, sum, other, "1000 f32", "1000 i32");
    muster_call called = sum;
    called.site = "train.ts:1:2";
    other.site = deep.c_str();
    checkMismatch(topology, called, other, "1000 f32) at train.ts:1:2", ("1000 i32) at " + deep.substr(deep.size() - MUSTER_SITE_MAX_BYTES)).c_str());
    other.site = nullptr;
    checkMismatch(topology, called, other, "1000 f32) at train.ts:1:2", "1000 i32)");
    const muster_call large{MUSTER_BROADCAST, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 200'000};
    other = large;
    other.peer = 1;
    checkMismatch(topology, large, other, "broadcast(200000 f32 from rank 0)", "broadcast(200000 f32 from rank 1)");
    checkMismatch(topology, large, {MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0}, "broadcast(", "barrier");
    // Both wait for the other to begin: neither would ever send.
    checkMismatch(topology, {MUSTER_BROADCAST, MUSTER_F32, MUSTER_SUM, topology.size() > 2 ? 2u : 1u, nullptr, nullptr, 10},
                  {MUSTER_BROADCAST, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 10}, "broadcast(10 f32", "from rank 0)");
  }
}

void differentMessagesAreReported() {
  Nodes nodes({0, 1});
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    std::vector<float> values(100'000, 1);
    muster_code code = run(communicator, {rank == 0 ? MUSTER_SEND : MUSTER_RECEIVE, MUSTER_F32, MUSTER_SUM, 1 - rank, values.data(), values.data(), 100'000 - rank, rank == 0 ? "one.ts:1:2" : "two.ts:3:4"});
    if (rank == 0 && code == MUSTER_OK) code = run(communicator, allReduce(values));  // it was small enough to go
    checkFailed(communicator, MUSTER_MISMATCH, 0, code);
    CHECK(says("send(100000 f32 to rank 1) at one.ts:1:2") && says("recv(99999 f32 from rank 0) at two.ts:3:4"));
  });
}

/** Rank 0 waits for 1, which waits for 2, which waits inside its node for 3, which does something else. */
void aSlowRankIsNamedByThoseWhoWaitForOthers() {
  Nodes nodes({0, 1, 2, 2});
  auto& failed = check::sharedBetweenProcesses<std::atomic<int>>();
  nodes.run(
      [&](std::uint32_t rank, muster_communicator* communicator) {
        std::vector<float> values(1 << 16, 1);
        CHECK(run(communicator, allReduce(values)) == MUSTER_OK);
        if (rank == 3) {
          while (failed.load() < 3) std::this_thread::yield();
        }
        const muster_code code = run(communicator, allReduce(values));
        failed++;
        checkFailed(communicator, MUSTER_TIMED_OUT, 3, code);
        CHECK(says("allReduce(sum of 65536 f32)"));
      },
      1200);
}

/** Somebody else has noticed that rank 2 is no more, which itself says nothing: its lines stay as they are. */
void whoIsBlamedIsNamed() {
  for (const bool usesTls : {false, true}) {
    Nodes nodes({0, 0, 1, 2}, usesTls);
    auto& opened = check::sharedBetweenProcesses<std::atomic<int>>();
    auto& failed = check::sharedBetweenProcesses<std::atomic<int>>();
    nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
      opened++;
      while (opened.load() < 4) std::this_thread::yield();
      if (rank == 2) {
        while (failed.load() < 3) std::this_thread::yield();
        return;
      }
      std::thread noticing;
      if (rank == 3) noticing = std::thread([&] { CHECK(muster_communicator_blame(communicator, 2, "its node has no power") == MUSTER_OK); });
      std::vector<float> values(1 << 16, 1);
      const auto started = Clock::now();
      checkFailed(communicator, MUSTER_RANK_GONE, 2, run(communicator, allReduce(values)));
      CHECK(says("rank 2") && says("its node has no power"));
      CHECK(Clock::now() - started < kAtOnce);
      if (rank == 3) noticing.join();
      CHECK(muster_communicator_blame(communicator, 4, "it never was") == MUSTER_OUT_OF_RANGE);
      failed++;
    });
  }
}

void anotherThreadAborts() {
  Nodes nodes({0, 1, 1});
  auto& opened = check::sharedBetweenProcesses<std::atomic<int>>();
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    opened++;
    while (opened.load() < 3) std::this_thread::yield();
    std::vector<float> values(1 << 16, 1);
    std::thread aborting;
    if (rank == 2) aborting = std::thread([&] { muster_communicator_abort(communicator, "it had enough"); });
    if (rank == 2) aborting.join();
    checkFailed(communicator, MUSTER_ABORTED, 2, run(communicator, allReduce(values)));
    CHECK(says("rank 2 aborted") && says("it had enough"));
  });
}

}  // namespace

int main() {
  return check::runAll({
      {"a dead rank ends small calls of the others", aDeadRankEndsSmallCalls},
      {"a dead rank ends large calls of the others", aDeadRankEndsLargeCalls},
      {"a dead rank beside a leader ends the calls of all", aDeadRankBesideALeader},
      {"a dead leader ends the calls of all", aDeadLeader},
      {"a death is heard by those who wait for their own node", aDeathIsHeardByThoseWhoWaitForTheirOwnNode},
      {"a death ends messages of both kinds", aDeathEndsMessagesOfBothKinds},
      {"who ends after its last call is not missed", whoEndsAfterItsLastCallIsNotMissed},
      {"who closes is named", whoClosesIsNamed},
      {"broken lines are reported", brokenLinesAreReported},
      {"lines that break in the handshake are tried again", linesThatBreakInTheHandshakeAreTriedAgain},
      {"strangers harm nobody", strangersHarmNobody},
      {"who does not know the key is refused", whoDoesNotKnowTheKeyIsRefused},
      {"who does not join is named", whoDoesNotJoinIsNamed},
      {"nodes are counted from 0 in the order of ranks", nodesAreCounted},
      {"different calls are reported with both sides", differentCallsAreReported},
      {"different messages are reported with both sides", differentMessagesAreReported},
      {"a slow rank is named by those who wait for others", aSlowRankIsNamedByThoseWhoWaitForOthers},
      {"who is blamed is named", whoIsBlamedIsNamed},
      {"another thread aborts", anotherThreadAborts},
  });
}
