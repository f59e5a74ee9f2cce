#include "collective/network/handshake.h"

#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "collective/network/socket.h"

namespace muster {
namespace {

template <class T>
ByteSpan bytesOf(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

template <class T>
std::span<std::uint8_t> writableBytesOf(T& value) {
  return {reinterpret_cast<std::uint8_t*>(&value), sizeof value};
}

}  // namespace

Handshake::Handshake(FileDescriptor socket, const Trust& trust, Clock::time_point deadline, IsExpected isExpected)
    : stream_(std::move(socket)),
      trust_(trust),
      deadline_(deadline),
      isExpected_(std::move(isExpected)),
      isConnector_(false),
      step_(Step::readGreeting),
      own_{kConnectionMagic, trust.tls.has_value()} {}

Handshake::Handshake(FileDescriptor socket, const Trust& trust, Clock::time_point deadline, const Hello& hello)
    : stream_(std::move(socket)), trust_(trust), deadline_(deadline), isConnector_(true), step_(Step::connect), own_{kConnectionMagic, trust.tls.has_value()}, hello_(hello) {}

bool Handshake::isSending() const {
  if (step_ == Step::secure) return stream_.tls()->isSending();
  return step_ == Step::connect || !out().empty();
}

short Handshake::events() const { return isSending() ? POLLOUT : POLLIN; }

ByteSpan Handshake::out() const {
  switch (step_) {
    case Step::sendGreeting:
    case Step::sendAnswer: return bytesOf(own_);
    case Step::sendHello: return bytesOf(hello_);
    case Step::sendChallenge: return bytesOf(challenge_);
    case Step::sendProof: return bytesOf(proof_);
    case Step::sendWelcome: return bytesOf(welcome_);
    default: return {};
  }
}

std::span<std::uint8_t> Handshake::in() {
  switch (step_) {
    case Step::readGreeting:
    case Step::readAnswer: return writableBytesOf(theirs_);
    case Step::readHello: return writableBytesOf(hello_);
    case Step::readChallenge: return writableBytesOf(challenge_);
    case Step::readProof: return writableBytesOf(proof_);
    case Step::readWelcome: return writableBytesOf(welcome_);
    default: return {};
  }
}

Handshake::State Handshake::advance() {
  for (;;) {
    if (step_ == Step::done) return State::trusted;
    if (Clock::now() > deadline_) return refuse("it did not answer in time");
    if (step_ == Step::connect) {
      if (const int error = socketError(socket()); error != 0) return refuse(std::strerror(error));
      if (!makeNonce(hello_.nonce)) return refuse("the system has no random numbers");
      next(Step::sendGreeting);
    }
    const Step before = step_;
    const State state = step_ == Step::secure ? advanceTls() : moveBytes();
    if (state != State::moving || step_ == before) return state;
  }
}

/** As many bytes of the step as can be moved now; when it has all of them, the next one begins. */
Handshake::State Handshake::moveBytes() {
  for (;;) {
    const bool sends = isSending();
    const std::size_t total = sends ? out().size() : in().size();
    const ssize_t count = sends ? stream_.send(out().data() + moved_, total - moved_) : stream_.receive(in().data() + moved_, total - moved_);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN)) return State::moving;
    if (count <= 0) return refuse(count == 0 ? "it closed the connection" : std::strerror(errno));
    moved_ += static_cast<std::size_t>(count);
    if (moved_ == total) return moveOn();
  }
}

/** After a step that has moved all of its bytes. */
Handshake::State Handshake::moveOn() {
  switch (step_) {
    case Step::sendGreeting: next(Step::readAnswer); break;
    case Step::readAnswer: return compareGreetings();
    case Step::readGreeting:
      if (theirs_.magic != kConnectionMagic) return refuse("it speaks another protocol, or another version of this one");
      next(Step::sendAnswer);  // also where they differ about TLS: so that the other side can say so
      break;
    case Step::sendAnswer: return compareGreetings();
    case Step::sendHello: next(Step::readChallenge); break;
    case Step::readChallenge:
      if (!isSameDigest(challenge_.proof, proofOf("accepts"))) return refuse("it does not know this cluster's token", true);
      proof_ = proofOf("connects");
      next(Step::sendProof);
      break;
    case Step::sendProof: next(Step::readWelcome); break;
    case Step::readWelcome:
    case Step::sendWelcome: next(Step::done); break;
    case Step::readHello:
      if (!isExpected_(hello_)) return refuse("it is no rank that is expected here");
      if (!makeNonce(challenge_.nonce)) return refuse("the system has no random numbers");
      challenge_.proof = proofOf("accepts");
      next(Step::sendChallenge);
      break;
    case Step::sendChallenge: next(Step::readProof); break;
    case Step::readProof:
      // Asked again: another connection of the same name may have been trusted meanwhile.
      if (!isSameDigest(proof_, proofOf("connects")) || !isExpected_(hello_)) return refuse("it does not know this cluster's token", true);
      next(Step::sendWelcome);
      break;
    default: break;
  }
  return step_ == Step::done ? State::trusted : State::moving;
}

Handshake::State Handshake::compareGreetings() {
  if (theirs_.magic != kConnectionMagic) return refuse("it speaks another protocol, or another version of this one");
  if (theirs_.usesTls != own_.usesTls) return refuse(own_.usesTls != 0 ? "it does not use TLS, and this rank does" : "it uses TLS, and this rank does not", true);
  if (trust_.tls.has_value()) return beginTls();
  next(isConnector_ ? Step::sendHello : Step::readHello);
  return State::moving;
}

Handshake::State Handshake::beginTls() {
  const auto role = isConnector_ ? TlsSession::Role::connects : TlsSession::Role::accepts;
  if (stream_.secure(role, *trust_.tls) != MUSTER_OK) return refuse(muster_last_failure()->message, true);
  next(Step::secure);
  return State::moving;
}

Handshake::State Handshake::advanceTls() {
  const TlsSession& tls = *stream_.tls();
  switch (stream_.tls()->advance()) {
    case TlsSession::State::moving: break;
    case TlsSession::State::secure: next(isConnector_ ? Step::sendHello : Step::readHello); break;
    case TlsSession::State::refused:
      if (tls.hasOtherKey()) return refuse("it does not know this cluster's token", true);
      return refuse(tls.reason().empty() ? "it closed the connection" : "TLS: " + tls.reason());
  }
  return State::moving;
}

Handshake::State Handshake::refuse(const std::string& reason, bool isHopeless) {
  reason_ = reason;
  isHopeless_ = isHopeless;
  return State::refused;
}

void Handshake::next(Step step) {
  step_ = step;
  moved_ = 0;
}

Digest Handshake::proofOf(const char* role) const {
  std::vector<std::uint8_t> text(role, role + std::strlen(role) + 1);
  const ByteSpan hello = bytesOf(hello_);
  text.insert(text.end(), hello.begin(), hello.end());
  text.insert(text.end(), challenge_.nonce.begin(), challenge_.nonce.end());
  return hmacSha256(trust_.key, text);
}

bool Handshake::makeNonce(Digest& nonce) { return ::getentropy(nonce.data(), nonce.size()) == 0; }

}  // namespace muster
