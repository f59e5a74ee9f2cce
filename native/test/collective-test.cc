/** What collective calls compute, on ranks in processes of their own: random calls against the plainest implementation. */
#include "muster/collective.h"

#include <algorithm>

#include "random-calls.h"
#include "ranks.h"

namespace {

void randomCalls(std::uint32_t size, int calls, std::uint32_t seed) {
  const std::string id = check::communicatorId("random");
  check::inProcesses(size, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, size);
    std::mt19937 random(seed);
    for (int call = 0; call < calls && check::failures == 0; call++) check::makeAndCheck(communicator, check::draw(random, size), rank, size);
    muster_communicator_close(communicator);
  });
}

void oneRankAlone() { randomCalls(1, 100, 1); }
void asManyRanksAsCores() { randomCalls(2, 250, 2); }
void moreRanksThanCores() {
  randomCalls(3, 40, 3);
  randomCalls(7, 15, 4);
}

/** Every element is a function of its message, so that a mix-up of messages shows. */
void fillMessage(std::vector<std::int32_t>& values, std::uint32_t from, std::uint32_t to, int turn) {
  for (std::size_t i = 0; i < values.size(); i++) values[i] = static_cast<std::int32_t>(i * 31 + from * 7 + to * 3 + static_cast<std::uint32_t>(turn) * 101);
}

/** All ranks send to all in one group, which would wait in a circle if one message waited for another. */
void messagesOfAGroupPassEachOther() {
  constexpr std::uint32_t kSize = 3;
  const std::string id = check::communicatorId("messages");
  check::inProcesses(kSize, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, kSize);
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{20'000}, std::size_t{100'001}}) {
      std::vector<std::vector<std::int32_t>> memory;
      std::vector<std::vector<std::int32_t>> expected;
      std::vector<muster_call> calls;
      for (std::uint32_t peer = 0; peer < kSize; peer++) {
        for (int turn = 0; turn < 2 && peer != rank; turn++) {
          for (const muster_call_kind kind : {MUSTER_SEND, MUSTER_RECEIVE}) {
            std::vector<std::int32_t>& values = memory.emplace_back(count, -1);
            std::vector<std::int32_t>& wanted = expected.emplace_back(count);
            fillMessage(wanted, kind == MUSTER_SEND ? rank : peer, kind == MUSTER_SEND ? peer : rank, turn);
            if (kind == MUSTER_SEND) values = wanted;
            calls.push_back({kind, MUSTER_I32, MUSTER_SUM, peer, values.data(), values.data(), count});
          }
        }
      }
      calls.push_back({MUSTER_BARRIER, MUSTER_U8, MUSTER_SUM, 0, nullptr, nullptr, 0});
      CHECK(muster_communicator_run(communicator, calls.data(), static_cast<std::uint32_t>(calls.size())) == MUSTER_OK);
      CHECK(memory == expected);
    }
    muster_communicator_close(communicator);
  });
}

/** The sender goes on after a small message, and the receiver finds it after a collective call. */
void aSmallMessageWaitsForNobody() {
  const std::string id = check::communicatorId("eager");
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    std::int64_t value = rank == 0 ? 42 : 0;
    std::int64_t sum = 1;
    const muster_call message{rank == 0 ? MUSTER_SEND : MUSTER_RECEIVE, MUSTER_I64, MUSTER_SUM, 1 - rank, &value, &value, 1};
    const muster_call collective{MUSTER_ALL_REDUCE, MUSTER_I64, MUSTER_SUM, 0, &sum, &sum, 1};
    CHECK(muster_communicator_run(communicator, rank == 0 ? &message : &collective, 1) == MUSTER_OK);
    CHECK(muster_communicator_run(communicator, rank == 0 ? &collective : &message, 1) == MUSTER_OK);
    CHECK(value == 42 && sum == 2);
    muster_communicator_close(communicator);
  });
}

struct Ended {
  std::atomic<int> count{0};
  std::atomic<int> failed{0};
};

void countEnd(void* context, const muster_failure* failure) {
  auto* ended = static_cast<Ended*>(context);
  if (failure != nullptr) ended->failed++;
  ended->count++;
  ended->count.notify_all();
}

void waitFor(std::atomic<int>& count, int wanted) {
  for (int seen = count.load(); seen < wanted; seen = count.load()) count.wait(seen);
}

/** Ranks as threads, each with the thread of its communicator: what is started is made in order, beside small calls that end at once. */
void startedCallsAreMadeInOrder() {
  constexpr std::uint32_t kSize = 2;
  constexpr int kCalls = 200;
  const std::string id = check::communicatorId("started");
  check::inThreads(kSize, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, kSize);
    const muster_hold holds[] = {{0, 0}, {5000, 0}, {5000, 50'000}};
    std::vector<std::vector<float>> memory;
    Ended ended;
    int started = 0;
    for (int call = 0; call < kCalls; call++) {
      std::vector<float>& values = memory.emplace_back(call % 10 == 0 ? 40'000 : 16, static_cast<float>(call));
      const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, values.data(), values.data(), values.size()};
      bool finished = false;
      CHECK(muster_communicator_start(communicator, &sum, 1, &holds[call % 3], countEnd, &ended, &finished) == MUSTER_OK);
      if (!finished) started++;
      if (call % 50 == 49) waitFor(ended.count, started);
    }
    waitFor(ended.count, started);
    CHECK(ended.failed == 0);
    for (int call = 0; call < kCalls; call++) {
      const auto& values = memory[static_cast<std::size_t>(call)];
      CHECK(std::all_of(values.begin(), values.end(), [&](float value) { return value == static_cast<float>(kSize) * static_cast<float>(call); }));
    }
    muster_communicator_close(communicator);
  });
}

/** A large call that holds its thread is made there where the others come in time, and by the communicator's thread where they do not. */
void callsMayHoldTheirThread() {
  const std::string id = check::communicatorId("held");
  std::atomic<int> handedOver{0};
  check::inThreads(2, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, 2);
    for (int round = 0; round < 20; round++) {
      std::vector<float> values(100'000, static_cast<float>(rank + 1));
      const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, values.data(), values.data(), values.size()};
      const bool isLate = round % 2 == 1;
      const muster_hold hold{0, isLate && rank == 0 ? 1000u : 4'000'000'000u};
      Ended ended;
      bool finished = false;
      if (isLate && rank == 1) waitFor(handedOver, round / 2 + 1);
      CHECK(muster_communicator_start(communicator, &sum, 1, &hold, countEnd, &ended, &finished) == MUSTER_OK);
      CHECK(finished == !(isLate && rank == 0));
      if (!finished) {
        handedOver++;
        handedOver.notify_all();
        waitFor(ended.count, 1);
      }
      CHECK(ended.count == (finished ? 0 : 1) && ended.failed == 0);
      CHECK(std::all_of(values.begin(), values.end(), [](float value) { return value == 3; }));
    }
    muster_communicator_close(communicator);
  });
}

/** Adds a value up over the ranks, in calls of its own. */
muster_code addUp(void* context, muster_turn* turn) {
  auto* values = static_cast<float*>(context);
  const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, values, values, 1};
  const muster_call word{MUSTER_DEVICE_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 1000};
  if (const muster_code code = muster_turn_run(turn, &word, 1); code != MUSTER_OK) return code;
  if (const muster_code code = muster_turn_run(turn, &sum, 1); code != MUSTER_OK) return code;
  return muster_turn_look(turn);
}

void workHasItsTurnAmongCalls() {
  constexpr std::uint32_t kSize = 3;
  const std::string id = check::communicatorId("work");
  check::inThreads(kSize, [&](std::uint32_t rank) {
    muster_communicator* communicator = check::openCommunicator(id, rank, kSize);
    float value = 1;
    std::vector<float> large(50'000, 1);
    struct Work {
      float* value;
      Ended ended;
    } work{&value, {}};
    const auto add = [](void* context, muster_turn* turn) { return addUp(static_cast<Work*>(context)->value, turn); };
    const auto end = [](void* context, const muster_failure* failure) { countEnd(&static_cast<Work*>(context)->ended, failure); };
    Ended calls;
    int started = 0;
    for (int turn = 0; turn < 5; turn++) {
      const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, large.data(), large.data(), large.size()};
      bool finished = false;
      CHECK(muster_communicator_start(communicator, &sum, 1, &check::kNoHold, countEnd, &calls, &finished) == MUSTER_OK);
      started += !finished;
      CHECK(muster_communicator_start_work(communicator, add, end, &work) == MUSTER_OK);
    }
    CHECK(muster_communicator_run_work(communicator, add, &work) == MUSTER_OK);
    CHECK(value == 729 && large.back() == 243);  // all that was started before is done
    waitFor(calls.count, started);
    waitFor(work.ended.count, 5);
    CHECK(calls.failed == 0 && work.ended.failed == 0);
    muster_communicator_close(communicator);
  });
}

/** What rank 1 hears, and how far the ranks are. */
struct Parting {
  std::atomic<bool> isTold = false;
  std::atomic<bool> isClosing = false;
  std::atomic<bool> hasReceived = false;
};

/** Its last call has ended: to close aborts nothing, even while the end is being told. */
void aRankThatHasHeardOfTheEndMayClose() {
  for (int round = 0; round < 20; round++) {
    const std::string id = check::communicatorId("parting");
    Parting parting;
    check::inThreads(2, [&](std::uint32_t rank) {
      muster_communicator* communicator = check::openCommunicator(id, rank, 2);
      std::vector<float> values(10, 1);
      const muster_call call{rank == 1 ? MUSTER_SEND : MUSTER_RECEIVE, MUSTER_F32, MUSTER_SUM, 1 - rank, values.data(), values.data(), values.size()};
      if (rank == 1) {
        const auto tell = [](void* context, const muster_failure*) {
          auto& told = *static_cast<Parting*>(context);
          told.isTold = true;
          while (!told.hasReceived) std::this_thread::yield();
        };
        bool finished = false;
        CHECK(muster_communicator_start(communicator, &call, 1, &check::kNoHold, tell, &parting, &finished) == MUSTER_OK && !finished);
        while (!parting.isTold) std::this_thread::yield();
        parting.isClosing = true;
      } else {
        while (!parting.isClosing) std::this_thread::yield();
        CHECK(muster_communicator_run(communicator, &call, 1) == MUSTER_OK);
        parting.hasReceived = true;
      }
      muster_communicator_close(communicator);
    });
  }
}

void severalCommunicatorsAtOnce() {
  const std::string first = check::communicatorId("first");
  const std::string second = check::communicatorId("second");
  check::inProcesses(2, [&](std::uint32_t rank) {
    muster_communicator* one = check::openCommunicator(first, rank, 2);
    muster_communicator* other = check::openCommunicator(second, 1 - rank, 2);
    std::vector<float> ones(100'000, 1);
    std::vector<float> ranks(100'000, static_cast<float>(rank));
    Ended ended;
    bool finished = false;
    const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, ones.data(), ones.data(), ones.size()};
    const muster_call max{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_MAX, 0, ranks.data(), ranks.data(), ranks.size()};
    CHECK(muster_communicator_start(one, &sum, 1, &check::kNoHold, countEnd, &ended, &finished) == MUSTER_OK);
    CHECK(muster_communicator_run(other, &max, 1) == MUSTER_OK);
    waitFor(ended.count, 1);
    CHECK(ones.front() == 2 && ones.back() == 2 && ranks.front() == 1 && ranks.back() == 1);
    muster_communicator_close(one);
    muster_communicator_close(other);
  });
}

}  // namespace

int main() {
  return check::runAll({
      {"one rank alone", oneRankAlone},
      {"random calls of two ranks equal the reference", asManyRanksAsCores},
      {"random calls of three and of seven ranks equal the reference", moreRanksThanCores},
      {"messages of a group pass each other", messagesOfAGroupPassEachOther},
      {"a small message waits for nobody", aSmallMessageWaitsForNobody},
      {"started calls are made in order", startedCallsAreMadeInOrder},
      {"calls may hold their thread", callsMayHoldTheirThread},
      {"work has its turn among calls", workHasItsTurnAmongCalls},
      {"several communicators work at once", severalCommunicatorsAtOnce},
      {"a rank that has heard of the end may close", aRankThatHasHeardOfTheEndMayClose},
  });
}
