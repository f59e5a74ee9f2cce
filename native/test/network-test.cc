/** What calls among several nodes compute: random calls, topologies and ways of computing against the plainest implementation. */
#include "collective/network/accumulation.h"
#include "collective/network/cost-model.h"
#include "collective/network/exchange.h"
#include "collective/network/network-communicator.h"
#include "collective/network/ring.h"
#include "collective/network/sha256.h"

#include <chrono>
#include <thread>

#include "nodes.h"
#include "random-calls.h"
#include "slow-link.h"

namespace {

using check::Bytes;
using check::Nodes;
using check::Numbers;
using check::Topology;

std::string hex(const muster::Digest& digest) {
  std::string text;
  char two[3];
  for (const std::uint8_t byte : digest) {
    std::snprintf(two, sizeof two, "%02x", byte);
    text += two;
  }
  return text;
}

muster::ByteSpan bytesOf(const std::string& text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

/** Source: FIPS 180-4's examples, RFC 4231 and RFC 5869. */
void hashesAsPublished() {
  const auto hash = [](const std::string& text) {
    muster::Sha256 sha;
    sha.add(bytesOf(text));
    return hex(sha.finish());
  };
  CHECK(hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(hash(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(hex(muster::hmacSha256(bytesOf("Jefe"), bytesOf("what do ya want for nothing?"))) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(hex(muster::hkdfSha256(bytesOf(std::string(22, '\x0b')), bytesOf({"\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c", 13}), "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9")) ==
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
  CHECK(hex(muster::hmacSha256(bytesOf(std::string(131, '\xaa')), bytesOf("Test Using Larger Than Block-Size Key - Hash Key First"))) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/** A hash that differs where any byte does. */
std::uint64_t checksum(const Bytes& bytes) {
  std::uint64_t sum = 1469598103934665603u;
  for (const unsigned char byte : bytes) sum = (sum ^ byte) * 1099511628211u;
  return sum;
}

/** Inexact sums have the same bits everywhere, though not those of another order, from which they differ by little. */
void sumsAreTheSameEverywhere(muster_communicator* communicator, std::mt19937& random, std::uint32_t rank, std::uint32_t size) {
  const muster_dtype dtype = std::array{MUSTER_F32, MUSTER_F16, MUSTER_BF16, MUSTER_F8_E4M3, MUSTER_F8_E5M2, MUSTER_F64}[random() % 6];
  const std::uint64_t count = check::drawCount(random, size, muster::elementBytes(dtype));
  Bytes values(count * muster::elementBytes(dtype));
  check::fillElements(dtype, static_cast<std::uint32_t>(random()) + rank, Numbers::any, values);
  const muster_call sum{MUSTER_ALL_REDUCE, dtype, MUSTER_SUM, 0, values.data(), values.data(), count};
  CHECK(muster_communicator_run(communicator, &sum, 1) == MUSTER_OK);
  std::vector<std::uint64_t> sums(size);
  sums[rank] = checksum(values);
  const muster_call gather{MUSTER_ALL_GATHER, MUSTER_I64, MUSTER_SUM, 0, &sums[rank], sums.data(), 1};
  CHECK(muster_communicator_run(communicator, &gather, 1) == MUSTER_OK);
  for (const std::uint64_t each : sums) CHECK(each == sums[0]);
}

void randomCalls(const Topology& topology, int calls, std::uint32_t seed, bool usesTls = false) {
  Nodes nodes(topology, usesTls);
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    std::mt19937 random(seed);
    for (int call = 0; call < calls && check::failures == 0; call++) {
      check::makeAndCheck(communicator, check::draw(random, nodes.size()), rank, nodes.size(), Numbers::exact);
      if (call % 8 == 0) sumsAreTheSameEverywhere(communicator, random, rank, nodes.size());
    }
  });
}

void oneRankANode() {
  randomCalls({0, 1}, 80, 1);
  randomCalls({0, 1, 2}, 25, 2);
  randomCalls({0, 1, 2, 3, 4}, 10, 3);
}

void severalRanksANode() {
  randomCalls({0, 0, 1, 1}, 24, 4);
  randomCalls({0, 1, 1, 1, 2, 2}, 8, 5);
  randomCalls({0, 0, 0, 1}, 12, 6);
}

void overTls() {
  randomCalls({0, 1}, 40, 8, true);
  randomCalls({0, 1, 2}, 15, 9, true);
  randomCalls({0, 0, 1, 1}, 12, 10, true);
}

void oneNodeAlone() { randomCalls({0, 0}, 20, 7); }

/** A transport's owner that expects no failure. */
class NoFailures final : public muster::TransportOwner {
 public:
  bool hasFailed() const override { return false; }
  muster_code failure() const override { return MUSTER_OK; }
  muster_code fail(muster_code code, std::int32_t, const std::string& message) override { return wrong(code, message.c_str()); }
  muster_code failMismatch(std::uint32_t, muster::Lane, const muster::FrameLabel&, const muster::FrameLabel&) override { return wrong(MUSTER_MISMATCH, "mismatch"); }
  muster_code failGone(std::uint32_t, bool) override { return wrong(MUSTER_RANK_GONE, "gone"); }
  muster_code failTimedOut(std::uint32_t) override { return wrong(MUSTER_TIMED_OUT, "timed out"); }

 private:
  static muster_code wrong(muster_code code, const char* what) {
    std::fprintf(stderr, "%s\n", what);
    CHECK(false);
    return code;
  }
};

/** Places in threads, connected as ranks of different nodes are, and whatever they do with a circle. */
void inCircle(std::uint32_t size, const std::function<void(muster::Transport& transport, muster::Circle& circle)>& body) {
  std::vector<muster::RankPlace> places(size);
  std::vector<muster::FileDescriptor> listeners(size);
  std::vector<std::uint32_t> ranks(size);
  for (std::uint32_t rank = 0; rank < size; rank++) {
    places[rank] = {{"127.0.0.1", 0}, rank};
    ranks[rank] = rank;
    CHECK(muster::listenOn("127.0.0.1", &listeners[rank], &places[rank].address.port) == MUSTER_OK);
  }
  check::inThreads(size, [&](std::uint32_t rank) {
    const muster::MeshOptions options{"circle", rank, places, {}, false, check::kTimeoutMs, muster::Clock::now() + std::chrono::seconds(20), nullptr, nullptr};
    std::vector<muster::Lines> lines;
    CHECK(muster::connectMesh(options, listeners[rank], &lines) == MUSTER_OK);
    NoFailures owner;
    muster::Transport transport(owner, rank, check::kTimeoutMs, std::move(lines));
    muster::Circle circle(transport, {1, {}}, ranks, rank);
    body(transport, circle);
    CHECK(transport.flush() == MUSTER_OK);
    CHECK(muster::disseminate(circle) == MUSTER_OK);
    CHECK(transport.flush() == MUSTER_OK);
  });
}

/** Every way, whatever the model would choose, for sizes around those at which segments and pieces end. */
void everyWayForEveryNumberOfPlaces() {
  for (std::uint32_t size = 2; size <= 5; size++) {
    inCircle(size, [&](muster::Transport& transport, muster::Circle& circle) {
      muster::Pieces pieces(transport);
      for (const muster_dtype dtype : {MUSTER_F32, MUSTER_BF16, MUSTER_F8_E4M3, MUSTER_U8}) {
        for (const muster_reduction reduction : {MUSTER_SUM, MUSTER_AVERAGE}) {
          for (const std::size_t count : {std::size_t{1}, std::size_t{5}, std::size_t{1000}, std::size_t{65'537}, std::size_t{300'000} * size}) {
            const muster::Accumulation accumulation(dtype, dtype, reduction, size);
            std::vector<Bytes> sources(size, Bytes(count * muster::elementBytes(dtype)));
            for (std::uint32_t from = 0; from < size; from++) check::fillElements(dtype, from + static_cast<std::uint32_t>(count), Numbers::exact, sources[from]);
            const Bytes expected = check::expectedTarget({MUSTER_ALL_REDUCE, dtype, reduction, 0, nullptr, nullptr, count}, sources, 0);
            const Bytes& source = sources[circle.place()];
            Bytes target = source;
            CHECK(muster::Ring(circle, pieces).allReduce(accumulation, target.data(), target.data(), count) == MUSTER_OK);
            CHECK(target == expected);
            const std::uint32_t root = static_cast<std::uint32_t>(count) % size;
            Bytes atRoot(expected.size());
            CHECK(muster::Ring(circle, pieces).reduce(accumulation, source.data(), circle.place() == root ? atRoot.data() : nullptr, count, root) == MUSTER_OK);
            CHECK(circle.place() != root || atRoot == expected);
            CHECK(transport.flush() == MUSTER_OK);
            if (count > 70'000) continue;
            for (const bool halves : {false, true}) {
              Bytes accumulators(count * accumulation.bytes());
              Bytes theirs(accumulators.size());
              accumulation.load(accumulators.data(), source.data(), count);
              muster::Exchange exchange(circle, accumulation, reinterpret_cast<std::byte*>(accumulators.data()), reinterpret_cast<std::byte*>(theirs.data()), count);
              CHECK((halves ? exchange.halving() : exchange.doubling()) == MUSTER_OK);
              accumulation.finish(target.data(), accumulators.data(), count);
              CHECK(target == expected);
            }
          }
        }
      }
      for (const muster::TreeShape shape : {muster::TreeShape::binomial, muster::TreeShape::chain}) {
        std::vector<std::uint32_t> values(200'000, circle.place());
        CHECK(muster::broadcastTree(circle, 1, shape, values.data(), values.size() * 4) == MUSTER_OK);
        CHECK(transport.flush() == MUSTER_OK);
        CHECK(values.front() == 1 && values.back() == 1);
      }
    });
  }
}

/** What a principal would choose by hand. */
void theModelChoosesByLatencyAndBandwidth() {
  const muster::CostModel slow{50'000, 800, 800};  // 50 us, 10 Gb/s, whoever shares it
  using Way = muster::AllReduceWay;
  CHECK(slow.allReduce(8, 8) == Way::doubling);
  CHECK(slow.allReduce(8, 1 << 20) == Way::halving);
  CHECK(slow.allReduce(8, std::size_t{256} << 20) == Way::ring);
  CHECK(slow.allReduce(2, 1 << 12) == Way::doubling);
  CHECK(slow.allReduce(7, 2 << 20) == Way::ring);  // what is folded costs twice the bytes
  CHECK(slow.broadcast(8, 1000) == muster::TreeShape::binomial);
  CHECK(slow.broadcast(8, std::size_t{64} << 20) == muster::TreeShape::chain);
  CHECK(slow.isReduceByTree(4, 100) && !slow.isReduceByTree(4, std::size_t{64} << 20));
  CHECK(slow.lanes(2, 4, 64) == 1);
  const muster::CostModel wide{50'000, 800, 900};  // a rank alone does not fill it
  CHECK(wide.lanes(2, 4, std::size_t{4} << 20) == 4);
}

/** On average: one rank alone may find that what it waits for has come. */
std::uint64_t allReduceNs(muster::RankEnd& rankEnd, std::size_t bytes) {
  constexpr int kCalls = 4;
  std::vector<float> values(bytes / sizeof(float), 1);
  const auto start = muster::Clock::now();
  for (int call = 0; call < kCalls; call++) {
    const muster_call sum{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_MAX, 0, values.data(), values.data(), values.size()};
    CHECK(rankEnd.run({&sum, 1}) == MUSTER_OK);
  }
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(muster::Clock::now() - start).count()) / kCalls;
}

/**
 * 40 ms and 25 Mb/s, which are to each other as 10 ms and 100 Mb/s, and more than what a busy machine adds: what is measured is that, the choice is another
 * than nearby, and takes the time that the model says.
 */
void theModelPredictsASlowLink() {
  check::SlowLink link(std::chrono::milliseconds(40), 25'000'000 / 8);
  muster_rank_place places[2];
  muster::FileDescriptor listeners[2];
  for (std::uint32_t rank = 0; rank < 2; rank++) {
    places[rank] = {"127.0.0.1", 0, rank};
    CHECK(muster::listenOn("127.0.0.1", &listeners[rank], &places[rank].port) == MUSTER_OK);
  }
  const std::uint16_t target = std::exchange(places[1].port, link.port());
  const std::string id = check::communicatorId("slow");
  auto& done = check::sharedBetweenProcesses<std::atomic<int>>();
  const std::vector<pid_t> children = check::startRanks(2, [&](std::uint32_t rank) {
    std::unique_ptr<muster::RankEnd> opened;
    const muster_communicator_options options{id.c_str(), rank, 2, check::kTimeoutMs, nullptr, nullptr};
    CHECK(muster::NetworkCommunicator::open(options, {places, {}, false}, std::move(listeners[rank]), &opened) == MUSTER_OK);
    if (opened != nullptr) {
      const muster::CostModel& model = static_cast<const muster::NetworkCommunicator&>(*opened).model();
      CHECK(model.latencyNs > 39'000'000 && model.latencyNs < 80'000'000);
      CHECK(model.bytePs > 300'000 && model.bytePs < 640'000);
      constexpr std::size_t kMebibyte = std::size_t{1} << 20;
      CHECK(model.allReduce(2, kMebibyte) == muster::AllReduceWay::doubling);
      CHECK((muster::CostModel{7'000, 200, 200}.allReduce(2, kMebibyte)) == muster::AllReduceWay::ring);
      for (const std::size_t bytes : {std::size_t{1} << 10, kMebibyte}) {
        const std::uint64_t predictedNs = model.allReduceNs(model.allReduce(2, bytes), 2, bytes);
        const std::uint64_t measuredNs = allReduceNs(*opened, bytes);
        const bool isClose = measuredNs < 2 * predictedNs && predictedNs < 2 * measuredNs;
        CHECK(isClose);
        if (!isClose) std::fprintf(stderr, "  %zu bytes: %.1f ms, and %.1f were predicted\n", bytes, static_cast<double>(measuredNs) / 1e6, static_cast<double>(predictedNs) / 1e6);
      }
    }
    done++;
    while (done.load() < 2) std::this_thread::yield();
  });
  for (muster::FileDescriptor& each : listeners) each = muster::FileDescriptor();
  link.run(target, [&] { return done.load() == 2; });
  for (const int status : check::endRanks(children)) CHECK(status == 0);
}

/** Messages to ranks of this node and of others in one group, large and small, all at the same time. */
void messagesPassEachOther(bool usesTls) {
  Nodes nodes({0, 0, 1, 2}, usesTls);
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    for (const std::size_t count : {std::size_t{0}, std::size_t{3}, std::size_t{700'001}}) {
      std::vector<std::vector<std::int32_t>> memory;
      std::vector<std::vector<std::int32_t>> expected;
      std::vector<muster_call> calls;
      for (std::uint32_t peer = 0; peer < nodes.size(); peer++) {
        for (int turn = 0; turn < 2 && peer != rank; turn++) {
          for (const muster_call_kind kind : {MUSTER_RECEIVE, MUSTER_SEND}) {
            const std::uint32_t from = kind == MUSTER_SEND ? rank : peer;
            const std::uint32_t to = kind == MUSTER_SEND ? peer : rank;
            expected.emplace_back(count, static_cast<std::int32_t>(from * 100 + to * 10) + turn);
            memory.emplace_back(count, -1);
            if (kind == MUSTER_SEND) memory.back() = expected.back();
            calls.push_back({kind, MUSTER_I32, MUSTER_SUM, peer, memory.back().data(), memory.back().data(), count});
          }
        }
      }
      CHECK(muster_communicator_run(communicator, calls.data(), static_cast<std::uint32_t>(calls.size())) == MUSTER_OK);
      CHECK(memory == expected);
    }
  });
}

void messagesOfAGroupPassEachOther() { messagesPassEachOther(false); }
void messagesOfAGroupPassEachOtherOverTls() { messagesPassEachOther(true); }

void aSmallMessageWaitsForNobody() {
  Nodes nodes({0, 1});
  nodes.run([&](std::uint32_t rank, muster_communicator* communicator) {
    std::int64_t value = rank == 0 ? 42 : 0;
    std::int64_t sum = 1;
    const muster_call message{rank == 0 ? MUSTER_SEND : MUSTER_RECEIVE, MUSTER_I64, MUSTER_SUM, 1 - rank, &value, &value, 1};
    const muster_call collective{MUSTER_ALL_REDUCE, MUSTER_I64, MUSTER_SUM, 0, &sum, &sum, 1};
    CHECK(muster_communicator_run(communicator, rank == 0 ? &message : &collective, 1) == MUSTER_OK);
    CHECK(muster_communicator_run(communicator, rank == 0 ? &collective : &message, 1) == MUSTER_OK);
    CHECK(value == 42 && sum == 2);
  });
}

}  // namespace

int main() {
  return check::runAll({
      {"hashes are as published", hashesAsPublished},
      {"the model chooses by latency and bandwidth", theModelChoosesByLatencyAndBandwidth},
      {"the model predicts a slow link", theModelPredictsASlowLink},
      {"every way gives the reference's result for two to five places", everyWayForEveryNumberOfPlaces},
      {"random calls of one rank a node equal the reference", oneRankANode},
      {"random calls of several ranks a node equal the reference", severalRanksANode},
      {"random calls over TLS equal the reference", overTls},
      {"one node alone needs no network", oneNodeAlone},
      {"messages of a group pass each other", messagesOfAGroupPassEachOther},
      {"messages of a group pass each other over TLS", messagesOfAGroupPassEachOtherOverTls},
      {"a small message waits for nobody", aSmallMessageWaitsForNobody},
  });
}
