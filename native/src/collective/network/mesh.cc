#include "collective/network/mesh.h"

#include <algorithm>
#include <list>
#include <memory>

#include <poll.h>

#include "status.h"

namespace muster {
namespace {

/** How long one connection may take to prove itself: a round trip or two, on a machine that is busy. */
constexpr std::chrono::seconds kHandshakeLimit{5};
/** How soon a connection that failed is tried again: the other rank may be about to listen. */
constexpr std::chrono::milliseconds kRetry{50};
/** Connections that have proved nothing yet. Of more than that the oldest go: somebody scans the port, and ranks try again. */
constexpr std::size_t kUnprovenMax = 512;
/** What else the key is used for must give another one: RFC 5869, 3.2. */
constexpr const char* kTlsPurpose = "muster collective TLS 1.3";
/** How often who waits looks whether it was told to give up. */
constexpr int kLookMs = 5;

class Mesh {
 public:
  Mesh(const MeshOptions& options, const FileDescriptor& listener, std::vector<Lines>& lines) : options_(options), listener_(listener), lines_(lines) {
    Sha256 hash;
    hash.add({reinterpret_cast<const std::uint8_t*>(options.id.data()), options.id.size()});
    communicator_ = hash.finish();
    trust_.key = options.key;
    if (options.usesTls) trust_.tls = {communicator_, hkdfSha256(options.key, communicator_, kTlsPurpose)};
    lines_.resize(options.places.size());
    for (std::uint32_t rank = 0; rank < lines_.size(); rank++) {
      if (!isRemote(rank)) continue;
      missing_ += kLanes;
      if (rank < options.rank) continue;
      for (std::uint32_t lane = 0; lane < kLanes; lane++) outgoing_.push_back({rank, lane, {}, "it does not answer", nullptr, false});
    }
  }

  muster_code run() {
    while (missing_ > 0) {
      if (const muster_code code = beginOutgoing(); code != MUSTER_OK) return code;
      waitForAny();
      if (const muster_code code = advanceOutgoing(); code != MUSTER_OK) return code;
      acceptAll();
      advanceIncoming();
      if (missing_ == 0) break;
      if (options_.isCancelled != nullptr && options_.isCancelled(options_.context)) {
        return MUSTER_FAIL(MUSTER_ABORTED, 0, "rank %u gave up waiting for the communicator '%s'", options_.rank, options_.id.c_str());
      }
      if (Clock::now() > options_.deadline) return failMissing();
    }
    return MUSTER_OK;
  }

 private:
  struct Outgoing {
    std::uint32_t rank;
    std::uint32_t lane;
    Clock::time_point notBefore;
    std::string lastReason;
    std::unique_ptr<Handshake> handshake;
    bool isDone = false;
  };

  bool isRemote(std::uint32_t rank) const { return options_.places[rank].node != options_.places[options_.rank].node; }
  Stream& line(std::uint32_t rank, std::uint32_t lane) { return lines_[rank][lane]; }
  Clock::time_point handshakeDeadline() const { return std::min(options_.deadline, Clock::now() + kHandshakeLimit); }

  /** Also again, where the other side did not hear that it is welcome. */
  bool isExpected(const Hello& hello) const {
    return hello.communicator == communicator_ && hello.to == options_.rank && hello.size == lines_.size() && hello.from < options_.rank && isRemote(hello.from) &&
           hello.lane < kLanes;
  }

  muster_code beginOutgoing() {
    const Clock::time_point now = Clock::now();
    for (Outgoing& each : outgoing_) {
      if (each.isDone || each.handshake != nullptr || now < each.notBefore) continue;
      FileDescriptor socket;
      if (const muster_code code = beginConnect(options_.places[each.rank].address, &socket); code != MUSTER_OK) {
        if (code == MUSTER_OUT_OF_RANGE) return code;
        retryLater(each, muster_last_failure()->message);
        continue;
      }
      const Hello hello{communicator_, options_.rank, each.rank, each.lane, static_cast<std::uint32_t>(lines_.size()), {}};
      each.handshake = std::make_unique<Handshake>(std::move(socket), trust_, handshakeDeadline(), hello);
    }
    return MUSTER_OK;
  }

  void retryLater(Outgoing& outgoing, std::string reason) {
    outgoing.handshake = nullptr;
    outgoing.lastReason = std::move(reason);
    outgoing.notBefore = Clock::now() + kRetry;
  }

  void waitForAny() {
    std::vector<pollfd> polled{{listener_.number(), POLLIN, 0}};
    for (const Outgoing& each : outgoing_) {
      if (each.handshake != nullptr) polled.push_back({each.handshake->socket(), each.handshake->events(), 0});
    }
    for (const Handshake& each : incoming_) polled.push_back({each.socket(), each.events(), 0});
    ::poll(polled.data(), polled.size(), kLookMs);
  }

  muster_code advanceOutgoing() {
    for (Outgoing& each : outgoing_) {
      if (each.handshake == nullptr) continue;
      const Handshake::State state = each.handshake->advance();
      if (state == Handshake::State::trusted) {
        keep(*each.handshake, each.rank);
        each.handshake = nullptr;
        each.isDone = true;
      } else if (state == Handshake::State::refused) {
        if (each.handshake->isHopeless()) return failUntrusted(each);
        retryLater(each, each.handshake->reason());
      }
    }
    return MUSTER_OK;
  }

  void acceptAll() {
    for (;;) {
      FileDescriptor socket(acceptOne(listener_.number()));
      if (socket.number() < 0) return;
      if (incoming_.size() >= kUnprovenMax) incoming_.pop_front();
      incoming_.emplace_back(std::move(socket), trust_, handshakeDeadline(), [this](const Hello& hello) { return isExpected(hello); });
    }
  }

  void advanceIncoming() {
    incoming_.remove_if([this](Handshake& each) {
      const Handshake::State state = each.advance();
      if (state == Handshake::State::trusted) keep(each, each.hello().from);
      if (state == Handshake::State::refused) noteRefusal(each);
      return state != Handshake::State::moving;
    });
  }

  /** Who is refused for good closes its other lines, too: that they closed says less than why. */
  void noteRefusal(const Handshake& refused) {
    if (isRefusalCertain_ && !refused.isHopeless()) return;
    lastRefusal_ = refused.reason();
    isRefusalCertain_ = refused.isHopeless();
  }

  void keep(Handshake& handshake, std::uint32_t rank) {
    tuneConnection(handshake.socket(), options_.timeoutMs);
    Stream& kept = line(rank, handshake.hello().lane);
    if (!kept.isOpen()) missing_--;
    kept = handshake.takeStream();
  }

  muster_code failUntrusted(const Outgoing& outgoing) {
    const muster_code code = MUSTER_FAIL(MUSTER_MISMATCH, 0, "who answers for rank %u of the communicator '%s' at %s cannot be trusted: %s", outgoing.rank, options_.id.c_str(),
                                         describeAddress(options_.places[outgoing.rank].address).c_str(), outgoing.handshake->reason().c_str());
    blameRank(static_cast<int>(outgoing.rank));
    return code;
  }

  muster_code failMissing() {
    std::uint32_t rank = 0;
    while (!isRemote(rank) || std::all_of(lines_[rank].begin(), lines_[rank].end(), [](const Stream& each) { return each.isOpen(); })) rank++;
    std::string reason = "it has not connected" + (lastRefusal_.empty() ? "" : "; the last one who did was refused: " + lastRefusal_);
    for (const Outgoing& each : outgoing_) {
      if (each.rank == rank && !each.isDone) reason = each.lastReason;
    }
    const muster_code code = MUSTER_FAIL(MUSTER_TIMED_OUT, 0, "rank %u at %s has not joined the communicator '%s' within %u ms, for which rank %u waits: %s", rank,
                                         describeAddress(options_.places[rank].address).c_str(), options_.id.c_str(), options_.timeoutMs, options_.rank, reason.c_str());
    blameRank(static_cast<int>(rank));
    return code;
  }

  const MeshOptions& options_;
  const FileDescriptor& listener_;
  std::vector<Lines>& lines_;
  Digest communicator_;
  Trust trust_;
  /** Of who connected, whoever it was. */
  std::string lastRefusal_;
  /** Whether it would be refused again. */
  bool isRefusalCertain_ = false;
  std::size_t missing_ = 0;
  std::vector<Outgoing> outgoing_;
  std::list<Handshake> incoming_;
};

}  // namespace

muster_code connectMesh(const MeshOptions& options, const FileDescriptor& listener, std::vector<Lines>* lines) {
  const TlsLibrary* library = nullptr;
  if (options.usesTls) {
    if (const muster_code code = findTlsLibrary(&library); code != MUSTER_OK) return code;
  }
  return Mesh(options, listener, *lines).run();
}

}  // namespace muster
