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

Handshake::Handshake(FileDescriptor socket, ByteSpan key, Clock::time_point deadline, IsExpected isExpected)
    : socket_(std::move(socket)), key_(key), deadline_(deadline), isExpected_(std::move(isExpected)), step_(Step::readHello) {}

Handshake::Handshake(FileDescriptor socket, ByteSpan key, Clock::time_point deadline, const Hello& hello)
    : socket_(std::move(socket)), key_(key), deadline_(deadline), step_(Step::connect), hello_(hello) {}

bool Handshake::isSending() const {
  return step_ == Step::connect || step_ == Step::sendHello || step_ == Step::sendProof || step_ == Step::sendChallenge || step_ == Step::sendWelcome;
}

short Handshake::events() const { return isSending() ? POLLOUT : POLLIN; }

ByteSpan Handshake::out() const {
  switch (step_) {
    case Step::sendHello: return bytesOf(hello_);
    case Step::sendChallenge: return bytesOf(challenge_);
    case Step::sendProof: return bytesOf(proof_);
    case Step::sendWelcome: return bytesOf(welcome_);
    default: return {};
  }
}

std::span<std::uint8_t> Handshake::in() {
  switch (step_) {
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
      if (const int error = socketError(socket_.number()); error != 0) return refuse(std::strerror(error));
      if (!makeNonce(hello_.nonce)) return refuse("the system has no random numbers");
      next(Step::sendHello);
    }
    const bool sends = isSending();
    const std::size_t total = sends ? out().size() : in().size();
    const ssize_t count = sends ? ::send(socket_.number(), out().data() + moved_, total - moved_, MSG_NOSIGNAL)
                                : ::recv(socket_.number(), in().data() + moved_, total - moved_, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN)) return State::moving;
    if (count <= 0) return refuse(count == 0 ? "it closed the connection" : std::strerror(errno));
    moved_ += static_cast<std::size_t>(count);
    if (moved_ < total) continue;
    if (const State state = moveOn(); state != State::moving) return state;
  }
}

/** After a step that has moved all of its bytes. */
Handshake::State Handshake::moveOn() {
  switch (step_) {
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
      if (hello_.magic != kConnectionMagic || !isExpected_(hello_)) return refuse("it is no rank that is expected here");
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
  return hmacSha256(key_, text);
}

bool Handshake::makeNonce(Digest& nonce) { return ::getentropy(nonce.data(), nonce.size()) == 0; }

}  // namespace muster
