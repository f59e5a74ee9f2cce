/** TLS between nodes: nothing can be read or changed on the way, and who is not meant is refused, with a word of why. */
#include <chrono>
#include <cstring>
#include <random>

#include <poll.h>
#include <sys/socket.h>

#include "collective/network/handshake.h"
#include "failures.h"
#include "nodes.h"
#include "proxy.h"
#include "random-calls.h"

namespace {

using check::allReduce;
using check::Bytes;
using check::checkFailed;
using check::Nodes;
using check::run;
using check::says;

void whatIsMissingIsNamed() {
  const muster::TlsLibrary missing("libssl-of-nowhere.so");
  CHECK(missing.reason.find("libssl-of-nowhere.so") != std::string::npos);
  const muster::TlsLibrary other("libc.so.6");
  CHECK(other.reason == "it has no OpenSSL_version_num");
}

muster::TlsKey keyOf(std::uint8_t secret) {
  muster::TlsKey key{};
  key.identity.fill(7);
  key.secret.fill(secret);
  return key;
}

/** Two ends of one connection, in one thread. */
class Pair {
 public:
  using Role = muster::TlsSession::Role;
  using State = muster::TlsSession::State;

  Pair(const muster::TlsKey& first, const muster::TlsKey& second, std::uint64_t recordsPerKey = muster::TlsSession::kRecordsPerKey) {
    int sockets[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) == 0);
    for (int each : {0, 1}) sockets_[each] = muster::FileDescriptor(sockets[each]);
    CHECK(muster::TlsSession::open(Role::connects, sockets[0], first, &ends[0], recordsPerKey) == MUSTER_OK);
    CHECK(muster::TlsSession::open(Role::accepts, sockets[1], second, &ends[1], recordsPerKey) == MUSTER_OK);
    for (int round = 0; round < 10; round++) {
      for (int each : {0, 1}) {
        if (states[each] == State::moving) states[each] = ends[each]->advance();
      }
    }
  }

  std::unique_ptr<muster::TlsSession> ends[2];
  State states[2] = {State::moving, State::moving};

 private:
  muster::FileDescriptor sockets_[2];
};

/** Parts of every size, in both directions at once, through a socket that is often full; a fresh key every few records. */
void bytesArriveAsTheyWereSent() {
  std::mt19937 random(3);
  Pair pair(keyOf(1), keyOf(1), 5);
  CHECK(pair.states[0] == Pair::State::secure && pair.states[1] == Pair::State::secure);
  Bytes sent[2];
  Bytes got[2];
  std::size_t sentBytes[2] = {0, 0};
  for (Bytes& each : sent) {
    each.resize(3'000'000);
    for (unsigned char& byte : each) byte = static_cast<unsigned char>(random());
  }
  for (int turns = 0; (got[0].size() < sent[1].size() || got[1].size() < sent[0].size()) && turns < 1'000'000 && check::failures == 0; turns++) {
    const std::size_t end = random() % 2;
    if (random() % 2 == 0) {
      std::vector<iovec> parts;
      std::size_t from = sentBytes[end];
      for (int part = static_cast<int>(random() % 5); part >= 0; part--) {
        const std::size_t step = std::min<std::size_t>(std::size_t{1} << random() % 18, sent[end].size() - from);
        parts.push_back({sent[end].data() + from, step});
        from += step;
      }
      // What was refused is sent again with all that follows: more than before.
      parts.push_back({sent[end].data() + from, sent[end].size() - from});
      const ssize_t count = pair.ends[end]->send(parts);
      CHECK(count >= 0 || errno == EAGAIN);
      sentBytes[end] += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    } else {
      Bytes memory(std::size_t{1} << random() % 18);
      const std::size_t middle = random() % memory.size();
      const iovec parts[] = {{memory.data(), middle}, {memory.data() + middle, memory.size() - middle}};
      const ssize_t count = pair.ends[end]->receive(parts);
      CHECK(count > 0 || (count < 0 && errno == EAGAIN));
      got[end].insert(got[end].end(), memory.begin(), memory.begin() + std::max<ssize_t>(count, 0));
    }
  }
  CHECK(got[0] == sent[1] && got[1] == sent[0]);
}

void anotherKeyIsRefused() {
  Pair pair(keyOf(1), keyOf(2));
  CHECK(pair.states[0] == Pair::State::refused && pair.ends[0]->hasOtherKey());
  CHECK(pair.states[1] == Pair::State::refused && pair.ends[1]->hasOtherKey());
  muster::TlsKey unknown = keyOf(1);
  unknown.identity.fill(8);
  Pair strangers(keyOf(1), unknown);
  for (int each : {0, 1}) CHECK(strangers.states[each] == Pair::State::refused && !strangers.ends[each]->reason().empty());
}

constexpr char kMark[] = "tensors!";

/** Whether anything of a tensor full of marks goes by in clear, whatever the call. */
bool canBeRead(bool usesTls) {
  Nodes nodes({0, 1}, usesTls);
  check::Proxy proxy;
  std::string seen;
  proxy.watch = [&](std::span<char> bytes, std::size_t) { seen.append(bytes.data(), bytes.size()); };
  const std::uint16_t target = nodes.port(1);
  nodes.redirect(1, proxy.port());
  const std::vector<pid_t> children = nodes.start([&](std::uint32_t rank, muster_communicator* communicator) {
    for (const std::size_t count : {std::size_t{2}, std::size_t{3000}, std::size_t{100'000}}) {
      std::vector<std::int64_t> values(2 * count);
      for (std::int64_t& value : values) std::memcpy(&value, kMark, sizeof value);
      std::vector<std::int64_t> target64(2 * count);
      for (std::uint32_t kind = MUSTER_ALL_REDUCE; kind <= MUSTER_ALL_TO_ALL; kind++) {
        if (kind == MUSTER_BARRIER) continue;
        CHECK(run(communicator, {static_cast<muster_call_kind>(kind), MUSTER_I64, MUSTER_MAX, 0, values.data(), target64.data(), count}) == MUSTER_OK);
      }
      CHECK(run(communicator, {rank == 0 ? MUSTER_SEND : MUSTER_RECEIVE, MUSTER_I64, MUSTER_MAX, 1 - rank, values.data(), values.data(), count}) == MUSTER_OK);
    }
  });
  proxy.run(target, SIZE_MAX, false, children);
  for (const int status : check::endRanks(children)) CHECK(status == 0);
  CHECK(seen.size() > 3'000'000);  // it was there that they went by
  return seen.find(kMark) != std::string::npos;
}

void nothingCanBeRead() {
  CHECK(!canBeRead(true));
  CHECK(canBeRead(false));  // by who looks as this test does
}

/** One bit of what goes by is turned: whose line it is ends, and nobody gets another number. */
void whatIsChangedIsNoticed() {
  Nodes nodes({0, 1}, true);
  check::Proxy proxy;
  proxy.watch = [](std::span<char> bytes, std::size_t passed) {
    constexpr std::size_t kWhere = 9'000'000;  // after what is measured when a communicator opens
    if (passed <= kWhere && kWhere < passed + bytes.size()) bytes[kWhere - passed] ^= 1;
  };
  const std::uint16_t target = nodes.port(1);
  nodes.redirect(1, proxy.port());
  const std::vector<pid_t> children = nodes.start([&](std::uint32_t, muster_communicator* communicator) {
    muster_code code = MUSTER_OK;
    for (int call = 0; call < 100 && code == MUSTER_OK; call++) {
      std::vector<float> values(200'000, 1);
      code = run(communicator, allReduce(values));
      CHECK(code != MUSTER_OK || std::all_of(values.begin(), values.end(), [](float value) { return value == 2; }));
    }
    CHECK(code == MUSTER_RANK_GONE);
    CHECK(says("lost its connection"));
  });
  proxy.run(target, SIZE_MAX, false, children);
  for (const int status : check::endRanks(children)) CHECK(status == 0);
}

/** Some say nothing, some talk nonsense before TLS, and some after its greeting. */
void strangersHarmNobody() {
  Nodes nodes({0, 1}, true);
  std::mt19937 random(4);
  std::vector<muster::FileDescriptor> strangers(60);
  for (std::size_t each = 0; each < strangers.size(); each++) {
    CHECK(muster::beginConnect({"127.0.0.1", nodes.port(1)}, &strangers[each]) == MUSTER_OK);
    pollfd polled{strangers[each].number(), POLLOUT, 0};
    ::poll(&polled, 1, 1000);
    unsigned char words[400];
    for (unsigned char& word : words) word = static_cast<unsigned char>(random());
    const muster::Greeting greeting{muster::kConnectionMagic, 1};
    if (each % 3 == 1) ::send(strangers[each].number(), &greeting, sizeof greeting, MSG_NOSIGNAL);
    if (each % 3 != 0) ::send(strangers[each].number(), words, sizeof words, MSG_NOSIGNAL);
  }
  nodes.run([&](std::uint32_t, muster_communicator* communicator) {
    std::vector<float> values(10, 1);
    CHECK(run(communicator, allReduce(values)) == MUSTER_OK);
    CHECK(values[0] == 2);
  });
}

/** @returns what rank 0, which connects, and rank 1, which is connected to, say when they are told different things */
void refuses(const std::function<void(Nodes& nodes, std::uint32_t rank)>& differ, const char* firstSays, const char* secondSays, const char* secondKey = "the key") {
  Nodes nodes({0, 1}, true);
  check::inProcesses(2, [&](std::uint32_t rank) {
    differ(nodes, rank);
    muster_code code = MUSTER_OK;
    CHECK(nodes.open(rank, 2000, rank == 0 ? "the key" : secondKey, &code) == nullptr);
    CHECK(code == (rank == 0 ? MUSTER_MISMATCH : MUSTER_TIMED_OUT));
    CHECK(muster_last_failure()->rank == static_cast<int>(1 - rank));
    CHECK(says(rank == 0 ? firstSays : secondSays));
  });
}

void ranksThatDifferAreToldSo() {
  refuses([](Nodes&, std::uint32_t) {}, "cannot be trusted: it does not know this cluster's token", "the last one who did was refused: it does not know this cluster's token", "another key");
  refuses([](Nodes& nodes, std::uint32_t rank) { nodes.useTls(rank == 0); }, "it does not use TLS, and this rank does", "it uses TLS, and this rank does not");
  refuses([](Nodes& nodes, std::uint32_t rank) { nodes.useTls(rank == 1); }, "it uses TLS, and this rank does not", "it does not use TLS, and this rank does");
}

void aDeadRankEndsEveryCall() {
  Nodes nodes({0, 1, 2}, true);
  const std::vector<pid_t> children = nodes.start([&](std::uint32_t rank, muster_communicator* communicator) {
    std::vector<float> values(1 << 18, 1);
    muster_code code = run(communicator, allReduce(values));
    if (rank == 1) ::raise(SIGKILL);
    while (code == MUSTER_OK) code = run(communicator, allReduce(values, MUSTER_MAX));
    checkFailed(communicator, MUSTER_RANK_GONE, 1, code);
  });
  const std::vector<int> statuses = check::endRanks(children);
  for (const std::uint32_t rank : {0u, 2u}) CHECK(statuses[rank] == 0);
}

}  // namespace

int main() {
  const muster::TlsLibrary* library = nullptr;
  if (muster::findTlsLibrary(&library) != MUSTER_OK) {
    std::printf("skipped: %s\n", muster_last_failure()->message);
    return EXIT_SUCCESS;
  }
  return check::runAll({
      {"what is missing is named", whatIsMissingIsNamed},
      {"bytes arrive as they were sent", bytesArriveAsTheyWereSent},
      {"another key is refused", anotherKeyIsRefused},
      {"nothing of a tensor can be read on the way", nothingCanBeRead},
      {"what is changed on the way is noticed", whatIsChangedIsNoticed},
      {"strangers harm nobody", strangersHarmNobody},
      {"ranks that differ are told so", ranksThatDifferAreToldSo},
      {"a dead rank ends every call over TLS", aDeadRankEndsEveryCall},
  });
}
