/** What can go wrong among ranks: each rank hears of it at once, in the same words, and nothing is left behind. */
#include "muster/collective.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "failures.h"
#include "ranks.h"
#include "status.h"

namespace {

using check::allReduce;
using check::checkFailed;
using check::kAtOnce;
using check::run;
using check::says;
using Clock = std::chrono::steady_clock;

struct SharedText {
  char text[MUSTER_MESSAGE_BYTES];
};

/** Rank 1 dies in the middle of its calls, some of which are waited for awake and some asleep. */
void deadRankEndsEveryCall(std::size_t count, std::uint32_t size) {
  const std::string id = check::communicatorId("dead");
  auto& calls = check::sharedBetweenProcesses<std::atomic<int>>();
  const std::vector<pid_t> children = check::startRanks(size, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, size);
    CHECK(!check::hasName(id));
    std::vector<float> values(count, 1);
    muster_code code = MUSTER_OK;
    while (code == MUSTER_OK) {
      code = run(communicator, allReduce(values, MUSTER_MAX));
      if (rank == 1) calls++;
    }
    checkFailed(communicator, MUSTER_RANK_GONE, 1, code);
    CHECK(says("rank 1 (process "));
    muster_communicator_close(communicator);
  });
  while (calls.load() < 20) std::this_thread::yield();
  ::kill(children[1], SIGKILL);
  const auto killed = Clock::now();
  const std::vector<int> statuses = check::endRanks(children);
  CHECK(Clock::now() - killed < kAtOnce);
  for (std::uint32_t rank = 0; rank < size; rank++) CHECK(rank == 1 ? WIFSIGNALED(statuses[rank]) : statuses[rank] == 0);
}

void aDeadRankEndsSmallCalls() { deadRankEndsEveryCall(10, 2); }
void aDeadRankEndsLargeCalls() { deadRankEndsEveryCall(1 << 20, 2); }
void aDeadRankAmongMany() { deadRankEndsEveryCall(1 << 18, 4); }

/** Rank 0 waits for a message of rank 1, which waits for the dead rank 2. */
void deathPassesOnThroughThoseWhoWait() {
  const std::string id = check::communicatorId("chain");
  const std::vector<pid_t> children = check::startRanks(3, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 3);
    if (rank == 2) ::raise(SIGKILL);
    std::int32_t value = 0;
    const muster_call receive{MUSTER_RECEIVE, MUSTER_I32, MUSTER_SUM, rank + 1, nullptr, &value, 1};
    checkFailed(communicator, MUSTER_RANK_GONE, 2, run(communicator, receive));
    muster_communicator_close(communicator);
  });
  const std::vector<int> statuses = check::endRanks(children);
  CHECK(statuses[0] == 0 && statuses[1] == 0);
}

/** A rank that ends after its last call disturbs nobody: what the others need of it is there. */
void whoEndsAfterItsLastCallIsNotMissed() {
  for (const std::size_t count : {std::size_t{10}, std::size_t{500'000}}) {
    const std::string id = check::communicatorId("last");
    check::inProcesses(4, [&](std::uint32_t rank) {
      muster_communicator* communicator = check::openCommunicator(id, rank, 4);
      std::vector<float> values(count, 1);
      for (int call = 0; call < 5; call++) {
        const muster_call reduce{MUSTER_REDUCE, MUSTER_F32, MUSTER_MAX, 0, values.data(), values.data(), values.size()};
        CHECK(run(communicator, reduce) == MUSTER_OK);
      }
      if (rank == 0) muster_communicator_close(communicator);
    });
  }
}

void whoClosesIsNamed() {
  const std::string id = check::communicatorId("closed");
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    if (rank == 0) {
      std::vector<float> values(10, 1);
      checkFailed(communicator, MUSTER_RANK_GONE, 1, run(communicator, allReduce(values)));
      CHECK(says("rank 1 (process ") && says("has closed"));
    }
    muster_communicator_close(communicator);
  });
}

/** Two ranks make these two calls as their second; both must hear of both. */
void checkMismatch(const muster_call& first, const muster_call& second, const char* firstWords, const char* secondWords) {
  const std::string id = check::communicatorId("mismatch");
  auto& memory = check::sharedBetweenProcesses<std::array<SharedText, 2>>();
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    std::vector<float> values(1 << 20, 1);
    CHECK(run(communicator, allReduce(values)) == MUSTER_OK);
    muster_call call = rank == 0 ? first : second;
    call.source = values.data();
    call.target = values.data();
    CHECK(run(communicator, call) == MUSTER_MISMATCH);
    CHECK(says(firstWords) && says(secondWords));
    std::strcpy(memory[rank].text, muster_last_failure()->message);
    muster_communicator_close(communicator);
  });
  CHECK(std::strcmp(memory[0].text, memory[1].text) == 0);
}

void differentCallsAreReported() {
  const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 1000};
  muster_call other = sum;
  other.count = 1001;
  checkMismatch(sum, other, "allReduce(sum of 1000 f32)", "allReduce(sum of 1001 f32)");
  other.count = 300'000;
  checkMismatch(sum, other, "1000 f32", "300000 f32");
  other = sum;
  other.dtype = MUSTER_I32;
  checkMismatch(sum, other, "1000 f32", "1000 i32");
  other = sum;
  other.reduction = MUSTER_AVERAGE;
  checkMismatch(sum, other, "sum of 1000", "average of 1000");
  const muster_call large{MUSTER_BROADCAST, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 200'000};
  other = large;
  other.peer = 1;
  checkMismatch(large, other, "broadcast(200000 f32 from rank 0)", "broadcast(200000 f32 from rank 1)");
  checkMismatch(large, {MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0}, "broadcast(", "barrier");
  checkMismatch({MUSTER_REDUCE_SCATTER, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 400'000}, {MUSTER_ALL_TO_ALL, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 400'000},
                "reduceScatter(", "allToAll(");
  const std::string deep = std::string(1000, '/') + "deep.ts:3:4";
  const std::string end = "from rank 1) at " + deep.substr(deep.size() - MUSTER_SITE_MAX_BYTES);
  muster_call called = large;
  called.site = "train.ts:1:2";
  other.site = deep.c_str();
  checkMismatch(called, other, "from rank 0) at train.ts:1:2", end.c_str());
}

void differentMessagesAreReported() {
  const std::string id = check::communicatorId("messages");
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    std::vector<float> values(100'000, 1);
    const muster_call message{rank == 0 ? MUSTER_SEND : MUSTER_RECEIVE, MUSTER_F32, MUSTER_SUM, 1 - rank, values.data(), values.data(), 100'000 - rank, rank == 0 ? "one.ts:1:2" : "two.ts:3:4"};
    checkFailed(communicator, MUSTER_MISMATCH, 0, run(communicator, message));
    CHECK(says("send(100000 f32 to rank 1) at one.ts:1:2") && says("recv(99999 f32 from rank 0) at two.ts:3:4"));
    muster_communicator_close(communicator);
  });
}

/** Rank 0 sends more than a channel holds, and rank 1 makes a collective call: neither can go on. */
void aSlowRankIsNamedWhenTimeIsUp() {
  const std::string id = check::communicatorId("slow");
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2, 300);
    std::vector<float> values(1 << 20, 1);
    const muster_call send{MUSTER_SEND, MUSTER_F32, MUSTER_SUM, 1, values.data(), nullptr, values.size()};
    CHECK(run(communicator, rank == 0 ? send : allReduce(values)) == MUSTER_TIMED_OUT);
    CHECK(says("send(1048576 f32 to rank 1)") && says("allReduce(sum of 1048576 f32)") && says("300 ms"));
    muster_communicator_close(communicator);
  });
}

void anotherThreadAborts() {
  const std::string id = check::communicatorId("abort");
  check::inProcesses(3, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 3);
    std::vector<float> values(1 << 16, 1);
    if (rank == 2) {  // which never makes the call
      muster_communicator_abort(communicator, "it had enough");
      muster_communicator_abort(communicator, "nobody hears this");
    }
    const muster_code code = run(communicator, allReduce(values));
    checkFailed(communicator, MUSTER_ABORTED, 2, code);
    CHECK(says("rank 2 aborted") && says("it had enough"));
    muster_communicator_close(communicator);
  });
  const std::string alone = check::communicatorId("abort-thread");
  check::inThreads(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(alone, rank, 2);
    std::thread aborting;
    if (rank == 0) aborting = std::thread([&] { muster_communicator_abort(communicator, "from beside"); });
    std::vector<float> values(10, 1);
    muster_code code = MUSTER_OK;
    while (code == MUSTER_OK) code = run(communicator, allReduce(values, MUSTER_MIN));
    CHECK(code == MUSTER_ABORTED && says("from beside"));
    if (rank == 0) aborting.join();
    muster_communicator_close(communicator);
  });
}

/** Of a GPU, say: the others wait for this rank meanwhile. */
void workThatFailsEndsEveryCall() {
  const std::string id = check::communicatorId("work");
  check::inThreads(3, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 3);
    std::vector<float> values(10, 1);
    const auto refuse = [](void*, muster_turn*) { return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "the device has no memory left"); };
    const auto notice = [](void*, muster_turn* turn) { return muster_turn_fail(turn, MUSTER_TIMED_OUT, 2, "the GPU of rank 2 did not come"); };
    const muster_code found = rank == 1 ? muster_communicator_run_work(communicator, refuse, nullptr) : run(communicator, allReduce(values));
    checkFailed(communicator, MUSTER_DEVICE_FAILED, 1, found);
    CHECK(says("rank 1: the device has no memory left"));
    CHECK(muster_communicator_run_work(communicator, notice, nullptr) == MUSTER_DEVICE_FAILED);  // it is not begun
    muster_communicator_close(communicator);
  });
  const std::string other = check::communicatorId("work");
  check::inThreads(3, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(other, rank, 3);
    std::vector<float> values(10, 1);
    const auto notice = [](void*, muster_turn* turn) { return muster_turn_fail(turn, MUSTER_TIMED_OUT, 2, "the GPU of rank 2 did not come"); };
    checkFailed(communicator, MUSTER_TIMED_OUT, 2, rank == 0 ? muster_communicator_run_work(communicator, notice, nullptr) : run(communicator, allReduce(values)));
    muster_communicator_close(communicator);
  });
}

void countEnd(void* context, const muster_failure* failure) {
  if (failure != nullptr && failure->code == MUSTER_ABORTED) static_cast<std::atomic<int>*>(context)->fetch_add(1);
}

/** What was started and not made yet is reported before close returns; and so many may wait, but no more. */
void closingReportsWhatWasUnderWay() {
  const std::string id = check::communicatorId("closing");
  check::inThreads(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    std::vector<float> values(10, 1);
    if (rank == 0) {
      std::atomic<int> aborted{0};
      bool finished = false;
      int started = 0;
      muster_code code = MUSTER_OK;
      for (const muster_call call = allReduce(values); code == MUSTER_OK; started += code == MUSTER_OK) {
        code = muster_communicator_start(communicator, &call, 1, &check::kNoHold, countEnd, &aborted, &finished);
      }
      CHECK(code == MUSTER_BUSY);
      CHECK(started >= static_cast<int>(MUSTER_SUBMISSIONS_MAX));
      muster_communicator_close(communicator);
      CHECK(aborted == started);
    } else {
      const muster_call receive{MUSTER_RECEIVE, MUSTER_F32, MUSTER_SUM, 0, nullptr, values.data(), values.size()};
      CHECK(run(communicator, receive) == MUSTER_ABORTED);
      muster_communicator_close(communicator);
    }
  });
}

/** Arguments that no rank could accept change nothing. */
void refusesWhatCannotBe() {
  const std::string id = check::communicatorId("refused");
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    std::vector<float> values(100, 1);
    const auto refuses = [&](const muster_call& call, const char* words) {
      CHECK(run(communicator, call) == MUSTER_OUT_OF_RANGE);
      CHECK(says(words));
    };
    auto* bytes = reinterpret_cast<unsigned char*>(values.data());
    const void* null = nullptr;
    refuses({MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, null, values.data(), 10}, "needs a source");
    refuses({MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, values.data(), nullptr, 10}, "needs a target");
    refuses({MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, bytes + 1, values.data() + 50, 10}, "aligned to its elements of 4 bytes");
    refuses({MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, values.data(), values.data() + 1, 10}, "overlap");
    refuses({MUSTER_ALL_GATHER, MUSTER_F32, MUSTER_SUM, 0, values.data() + (1 - rank) * 10, values.data(), 10}, "overlap");
    refuses({MUSTER_REDUCE_SCATTER, MUSTER_F32, MUSTER_SUM, 0, values.data(), values.data() + (1 - rank) * 10, 10}, "overlap");
    refuses({MUSTER_BROADCAST, MUSTER_F32, MUSTER_SUM, 2, values.data(), values.data(), 10}, "does not have");
    refuses({MUSTER_SEND, MUSTER_F32, MUSTER_SUM, rank, values.data(), nullptr, 10}, "to itself");
    refuses({MUSTER_ALL_GATHER, MUSTER_F32, MUSTER_SUM, 0, values.data(), values.data() + 50, ~std::uint64_t{0}}, "more than any memory");
    refuses({static_cast<muster_call_kind>(0), MUSTER_F32, MUSTER_SUM, 0, values.data(), values.data(), 10}, "no call of kind 0");
    refuses({MUSTER_ALL_REDUCE, static_cast<muster_dtype>(MUSTER_DTYPE_COUNT), MUSTER_SUM, 0, values.data(), values.data(), 10}, "no dtype 9");
    refuses({MUSTER_ALL_REDUCE, MUSTER_F32, static_cast<muster_reduction>(5), 0, values.data(), values.data(), 10}, "no reduction 5");
    CHECK(run(communicator, allReduce(values)) == MUSTER_OK);
    CHECK(values[0] == 2);
    muster_communicator_close(communicator);
  });
}

muster_code open(const std::string& id, std::uint32_t rank, std::uint32_t size, std::uint32_t timeoutMs) {
  const muster_communicator_options options{id.c_str(), rank, size, timeoutMs, nullptr, nullptr};
  muster_communicator* communicator = nullptr;
  const muster_code code = muster_communicator_open(&options, &communicator);
  if (code == MUSTER_OK) muster_communicator_close(communicator);
  return code;
}

void whoDoesNotJoinIsNamed() {
  const std::string id = check::communicatorId("missing");
  CHECK(open(id, 1, 2, 50) == MUSTER_TIMED_OUT);
  CHECK(says("rank 0 has not opened"));
  check::inProcesses(3, [&](std::uint32_t rank) {
    if (rank == 1) return;
    CHECK(open(id, rank, 3, 300) == MUSTER_TIMED_OUT);
    // Rank 2 finds no file any more where it comes too late.
    CHECK(std::strstr(muster_last_failure()->message, "rank 0 has not opened") != nullptr || says("rank 1 has not joined"));
  });
  CHECK(!check::hasName(id));
}

bool isSet(void* flag) { return static_cast<std::atomic<bool>*>(flag)->load(); }

/** Rank 0 and rank 2 of three give up: one has a file, the other waits for a file. */
void whoMeetsTheOthersMayGiveUp() {
  for (const std::uint32_t rank : {0u, 2u}) {
    const std::string id = check::communicatorId("cancelled");
    std::atomic<bool> cancelled{false};
    std::thread cancelling([&] {
      while (rank == 0 && !check::hasName(id)) std::this_thread::yield();
      cancelled = true;
    });
    const muster_communicator_options options{id.c_str(), rank, 3, check::kTimeoutMs, isSet, &cancelled};
    muster_communicator* communicator = nullptr;
    CHECK(muster_communicator_open(&options, &communicator) == MUSTER_ABORTED);
    CHECK(says("gave up waiting"));
    cancelling.join();
    CHECK(!check::hasName(id));
  }
}

void whoDoesNotFitIsRefused() {
  const std::string id = check::communicatorId("misfit");
  check::inThreads(2, [&](std::uint32_t rank) {
    if (rank == 0) {
      CHECK(open(id, 0, 2, check::kTimeoutMs) == MUSTER_OK);
      return;
    }
    while (!check::hasName(id)) std::this_thread::yield();
    CHECK(open(id, 1, 3, 1000) == MUSTER_MISMATCH);
    CHECK(says("for 3 ranks, and rank 0 for 2"));
    CHECK(open(id, 0, 2, 1000) == MUSTER_MISMATCH);
    CHECK(says("each rank joins once"));
    CHECK(open(id, 1, 2, 1000) == MUSTER_OK);
  });
  CHECK(open("", 0, 1, 1000) == MUSTER_OUT_OF_RANGE);
  CHECK(open("../escape", 0, 1, 1000) == MUSTER_OUT_OF_RANGE);
  CHECK(open(id, 2, 2, 1000) == MUSTER_OUT_OF_RANGE);
  CHECK(open(id, 0, 0, 1000) == MUSTER_OUT_OF_RANGE);
  CHECK(open(id, 0, MUSTER_RANKS_MAX + 1, 1000) == MUSTER_OUT_OF_RANGE);
  CHECK(open(id, 0, 1, 0) == MUSTER_OUT_OF_RANGE);
}

/** Rank 0 dies while it waits for the others: who has joined hears of it and removes the file, and the id can be used anew. */
void rankZeroDiesBeforeAllHaveJoined() {
  const std::string id = check::communicatorId("early");
  const std::vector<pid_t> children = check::startRanks(2, [&](std::uint32_t rank) {
    if (rank == 0) open(id, 0, 3, check::kTimeoutMs);
    CHECK(open(id, 1, 3, check::kTimeoutMs) == MUSTER_RANK_GONE);
    CHECK(says("rank 0"));
  });
  while (!check::hasJoined(id, 1)) std::this_thread::yield();
  ::kill(children[0], SIGKILL);
  CHECK(check::endRanks(children)[1] == 0);
  CHECK(!check::hasName(id));

  const std::vector<pid_t> alone = check::startRanks(1, [&](std::uint32_t) { open(id, 0, 2, check::kTimeoutMs); });
  while (!check::hasName(id)) std::this_thread::yield();
  ::kill(alone[0], SIGKILL);
  check::endRanks(alone);
  CHECK(check::hasName(id));  // with nobody there to remove it, until the id's next use
  check::inProcesses(1, [&](std::uint32_t) { CHECK(open(id, 0, 1, 1000) == MUSTER_OK); });
  CHECK(!check::hasName(id));
}

}  // namespace

int main() {
  return check::runAll({
      {"a dead rank ends small calls of the others", aDeadRankEndsSmallCalls},
      {"a dead rank ends large calls of the others", aDeadRankEndsLargeCalls},
      {"a dead rank ends the calls of many", aDeadRankAmongMany},
      {"a death passes on through those who wait for those who wait", deathPassesOnThroughThoseWhoWait},
      {"who ends after its last call is not missed", whoEndsAfterItsLastCallIsNotMissed},
      {"who closes is named", whoClosesIsNamed},
      {"different calls are reported with both sides", differentCallsAreReported},
      {"different messages are reported with both sides", differentMessagesAreReported},
      {"a slow rank is named when time is up", aSlowRankIsNamedWhenTimeIsUp},
      {"another rank or thread aborts", anotherThreadAborts},
      {"work that fails ends every call", workThatFailsEndsEveryCall},
      {"closing reports what was under way", closingReportsWhatWasUnderWay},
      {"refuses what cannot be, and goes on", refusesWhatCannotBe},
      {"who does not join is named", whoDoesNotJoinIsNamed},
      {"who meets the others may give up", whoMeetsTheOthersMayGiveUp},
      {"who does not fit is refused", whoDoesNotFitIsRefused},
      {"rank 0 dies before all have joined", rankZeroDiesBeforeAllHaveJoined},
  });
}
