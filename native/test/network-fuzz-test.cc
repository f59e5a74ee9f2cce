/**
 * Bytes from a hostile peer, random or almost right: in the handshake, with TLS and without, in frames, in news, and on their way between two honest
 * ranks. Whatever comes, a rank trusts nobody who does not know the key, takes no frame for another, and ends its calls; sanitize.sh sees what it touches.
 */
#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include <sys/socket.h>

#include "collective/describe.h"
#include "collective/network/transport.h"
#include "failures.h"
#include "nodes.h"
#include "proxy.h"
#include "status.h"

namespace {

using check::allReduce;
using check::Nodes;
using check::run;
using Bytes = std::vector<std::uint8_t>;

Bytes randomBytes(std::mt19937& random, std::size_t count) {
  Bytes bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

struct Ends {
  muster::FileDescriptor own;
  muster::FileDescriptor theirs;
};

Ends connectedPair() {
  int sockets[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) == 0);
  return {muster::FileDescriptor(sockets[0]), muster::FileDescriptor(sockets[1])};
}

void write(const muster::FileDescriptor& socket, const Bytes& bytes) { ::send(socket.number(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }

/** What somebody between two sides does to the stream that goes one way: at one place it turns bits, leaves a byte out, or puts some in. */
class Meddler {
 public:
  Meddler(std::mt19937& random, std::size_t within) : random_(random), place_(random() % within), kind_(random() % 3) {}

  /** Passes on what waits. */
  void pass(const muster::FileDescriptor& from, const muster::FileDescriptor& to) {
    Bytes bytes(4096);
    const ssize_t count = ::recv(from.number(), bytes.data(), bytes.size(), 0);
    if (count <= 0) return;
    bytes.resize(static_cast<std::size_t>(count));
    if (place_ >= passed_ && place_ < passed_ + bytes.size()) {
      hasMeddled_ = true;
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(place_ - passed_);
      if (kind_ == 0) *at ^= static_cast<std::uint8_t>(1 + random_() % 255);
      if (kind_ == 1) bytes.erase(at);
      if (kind_ == 2) {
        const Bytes more = randomBytes(random_, 1 + random_() % 40);
        bytes.insert(at, more.begin(), more.end());
      }
    }
    passed_ += static_cast<std::size_t>(count);
    write(to, bytes);
  }
  bool hasMeddled() const { return hasMeddled_; }
  bool turnsBits() const { return kind_ == 0; }

 private:
  std::mt19937& random_;
  const std::size_t place_;
  const std::uint32_t kind_;
  std::size_t passed_ = 0;
  bool hasMeddled_ = false;
};

muster::Trust trustOf(bool usesTls) {
  muster::Trust trust{};
  trust.key.fill(5);
  if (usesTls) trust.tls = muster::TlsKey{trust.key, trust.key};
  return trust;
}

const muster::Hello kHello{{}, 0, 1, 0, 2, {}};

muster::Handshake acceptor(Ends& ends, const muster::Trust& trust) {
  return {std::move(ends.own), trust, muster::Clock::now() + std::chrono::seconds(5), [](const muster::Hello& hello) { return hello.from < 2 && hello.lane < muster::kLanes; }};
}

/** Two honest sides, of which one hears something else than the other says. */
void meddledHandshakes(bool usesTls, int rounds) {
  std::mt19937 random(11);
  const muster::Trust trust = trustOf(usesTls);
  int trusted = 0;
  for (int round = 0; round < rounds; round++) {
    Ends first = connectedPair();
    Ends second = connectedPair();
    muster::Handshake connects(std::move(first.own), trust, muster::Clock::now() + std::chrono::seconds(5), kHello);
    muster::Handshake accepts = acceptor(second, trust);
    // Sometimes beyond what is said, so that some succeed.
    Meddler forth(random, usesTls ? 900 : 250);
    Meddler back(random, random() % 2 == 0 ? 1'000'000 : 400);
    using State = muster::Handshake::State;
    State states[2] = {State::moving, State::moving};
    for (int turn = 0; turn < 12; turn++) {
      if (states[0] == State::moving) states[0] = connects.advance();
      forth.pass(first.theirs, second.theirs);
      if (states[1] == State::moving) states[1] = accepts.advance();
      back.pass(second.theirs, first.theirs);
    }
    trusted += states[1] == State::trusted ? 1 : 0;
    // In the clear every byte that the connector says is compared or proved; of TLS some bytes of records mean nothing.
    if (!usesTls && forth.hasMeddled()) CHECK(states[1] != State::trusted);
  }
  CHECK(trusted > 0 && trusted < rounds);
}

void handshakesInTheClear() { meddledHandshakes(false, 3000); }
void handshakesOfTls() { meddledHandshakes(true, 400); }

/** Somebody who does not know the key says what comes to mind, perhaps after a greeting as it should be. */
void strangers() {
  std::mt19937 random(12);
  for (int round = 0; round < 3000; round++) {
    const bool usesTls = round % 2 == 0;
    const muster::Trust trust = trustOf(usesTls);
    Ends ends = connectedPair();
    muster::Handshake accepts = acceptor(ends, trust);
    if (random() % 4 != 0) {
      const muster::Greeting greeting{muster::kConnectionMagic, usesTls ? 1u : 0u};
      ::send(ends.theirs.number(), &greeting, sizeof greeting, MSG_NOSIGNAL);
    }
    muster::Handshake::State state = muster::Handshake::State::moving;
    for (int turn = 0; turn < 3 && state == muster::Handshake::State::moving; turn++) {
      Bytes bytes = randomBytes(random, random() % 300);
      if (usesTls && random() % 2 == 0 && bytes.size() > 5) std::copy_n(std::initializer_list<std::uint8_t>{0x16, 3, 1, 0, 200}.begin(), 5, bytes.begin());
      write(ends.theirs, bytes);
      state = accepts.advance();
      CHECK(state != muster::Handshake::State::trusted);
    }
  }
}

/** Puts into words what has gone wrong, as a communicator does. */
class Describing final : public muster::TransportOwner {
 public:
  bool hasFailed() const override { return code_ != MUSTER_OK; }
  muster_code failure() const override { return code_; }
  muster_code fail(muster_code code, std::int32_t rank, const std::string& message) override {
    CHECK(code != MUSTER_OK && rank >= -1 && rank < 2);
    if (code_ == MUSTER_OK) code_ = MUSTER_FAIL(code, 0, "%s", message.c_str());
    return code_;
  }
  muster_code failMismatch(std::uint32_t rank, muster::Lane, const muster::FrameLabel& theirs, const muster::FrameLabel&) override {
    return fail(MUSTER_MISMATCH, static_cast<std::int32_t>(rank), muster::describeCall(muster::unpackCall(theirs.words), theirs.site.load()));
  }
  muster_code failGone(std::uint32_t rank, bool) override { return fail(MUSTER_RANK_GONE, static_cast<std::int32_t>(rank), "gone"); }
  muster_code failTimedOut(std::uint32_t rank) override { return fail(MUSTER_TIMED_OUT, static_cast<std::int32_t>(rank), "late"); }

 private:
  muster_code code_ = MUSTER_OK;
};

/** As the transport lays one out. */
struct FrameHeader {
  muster::FrameLabel label;
  std::uint64_t bytes;
};

template <class T>
Bytes almost(std::mt19937& random, const T& value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  for (std::uint32_t changes = random() % 4; changes > 0; changes--) bytes[random() % std::min<std::size_t>(bytes.size(), 64)] = static_cast<std::uint8_t>(random());
  return bytes;
}

/** A peer that knows the key: every byte of frames and news may be anything. */
void framesAndNews() {
  std::mt19937 random(13);
  int received = 0;
  constexpr int kRounds = 4000;
  for (int round = 0; round < kRounds; round++) {
    std::vector<muster::Lines> lines(2);
    muster::FileDescriptor theirs[muster::kLanes];
    for (std::size_t lane = 0; lane < muster::kLanes; lane++) {
      Ends ends = connectedPair();
      lines[1][lane] = muster::Stream(std::move(ends.own));
      theirs[lane] = std::move(ends.theirs);
    }
    Describing owner;
    muster::Transport transport(owner, 0, 2000, std::move(lines));
    const muster_call call{MUSTER_ALL_REDUCE, MUSTER_F32, MUSTER_SUM, 0, nullptr, nullptr, 1 + random() % 100, "train.ts:1:2"};
    const FrameHeader header{muster::labelOf(1 + random() % 3, muster::packCall(call), call), random() % 300};
    const bool isNoise = random() % 4 == 0;
    const Bytes sent = isNoise ? randomBytes(random, random() % 500) : almost(random, header);
    write(theirs[1], sent);
    write(theirs[1], randomBytes(random, header.bytes));
    muster::News news{};
    news.kind = static_cast<muster::News::Kind>(random() % 4);
    news.code = static_cast<std::int32_t>(random() % 20) - 3;
    news.rank = static_cast<std::int32_t>(random() % 6) - 2;
    std::memset(news.message, 'x', sizeof news.message);
    if (random() % 2 == 0) write(theirs[0], almost(random, news));
    if (random() % 2 == 0) write(theirs[0], randomBytes(random, random() % 2000));
    for (muster::FileDescriptor& each : theirs) each = muster::FileDescriptor();
    const std::unique_ptr<std::byte[]> memory(new std::byte[header.bytes]);  // exactly as large as that
    const muster_code code = transport.wait(transport.receive(1, muster::Lane::collective, header.label, memory.get(), header.bytes));
    Bytes own(sizeof header);
    std::memcpy(own.data(), &header, sizeof header);
    const bool isSame = sent.size() == own.size() && std::equal(sent.begin(), sent.begin() + offsetof(muster::FrameLabel, site), own.begin()) &&
                        std::equal(sent.begin() + offsetof(FrameHeader, bytes), sent.end(), own.begin() + offsetof(FrameHeader, bytes));
    CHECK(code != MUSTER_OK || isSame);
    received += code == MUSTER_OK ? 1 : 0;
    for (int more = 0; more < 3 && transport.hearNews() == MUSTER_OK; more++) transport.waitingOf(1);
  }
  CHECK(received > kRounds / 50 && received < kRounds);
}

/** What goes between two ranks, in the clear, changes here and there: numbers may be wrong then, which TLS is for, but both end. */
void meddledLines() {
  for (std::uint32_t seed = 1; seed <= 6; seed++) {
    Nodes nodes({0, 1});
    check::Proxy proxy;
    std::mt19937 random(seed);
    proxy.watch = [&](std::span<char> bytes, std::size_t passed) {
      if (passed > 4000 && random() % (seed * 20) == 0) bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    };
    const std::uint16_t target = nodes.port(1);
    nodes.redirect(1, proxy.port());
    const std::vector<pid_t> children = check::startRanks(2, [&](std::uint32_t rank) {
      muster_code code = MUSTER_OK;
      muster_communicator* communicator = nodes.open(rank, 1000, "the key", &code);
      std::vector<float> values(3000, 1);
      for (int call = 0; call < 60 && code == MUSTER_OK; call++) code = run(communicator, allReduce(values, MUSTER_MAX));
      if (communicator != nullptr) muster_communicator_close(communicator);
    });
    nodes.closeListeners();
    proxy.run(target, SIZE_MAX, false, children);
    for (const int status : check::endRanks(children)) CHECK(status == 0);
  }
}

}  // namespace

int main() {
  const muster::TlsLibrary* library = nullptr;
  const bool hasTls = muster::findTlsLibrary(&library) == MUSTER_OK;
  return check::runAll({
      {"handshakes that somebody meddles with", handshakesInTheClear},
      {"the same of TLS", hasTls ? handshakesOfTls : +[] { std::printf("skipped: %s\n", muster_last_failure()->message); }},
      {"strangers who say anything", strangers},
      {"frames and news that are anything", framesAndNews},
      {"lines that somebody meddles with", meddledLines},
  });
}
