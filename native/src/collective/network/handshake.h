/**
 * How two ranks come to trust a connection: each proves that it knows the cluster's key, for this communicator, these ranks, this lane and
 * both sides' fresh nonces, before anything else is said.
 *
 *   connector -> acceptor   hello: who it is, whom it means, for which communicator and lane, and a nonce
 *   acceptor -> connector   its own nonce, and HMAC(key, "accepts" hello nonce)
 *   connector -> acceptor   HMAC(key, "connects" hello nonce)
 *   acceptor -> connector   one byte: come in
 *
 * The key itself is never sent. What one side has proved is of no use anywhere else: the words differ by direction, and the nonces with each
 * connection. What follows on the connection is not encrypted and carries no proofs. Source: ISO/IEC 9798-4, mutual authentication in
 * three passes with a keyed hash.
 */
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "collective/network/sha256.h"
#include "collective/wakeup.h"
#include "shm/mapping.h"

namespace muster {

/** Another version of what goes over connections gets another number; machines of another byte order read another one. */
constexpr std::uint64_t kConnectionMagic = 0x316c6c6f636d756dULL;

struct Hello {
  std::uint64_t magic;
  /** SHA-256 of the communicator's id. */
  Digest communicator;
  std::uint32_t from;
  std::uint32_t to;
  std::uint32_t lane;
  std::uint32_t size;
  Digest nonce;
};

/** One connection until it is trusted or given up. Moves only when advance is called, and never blocks. */
class Handshake {
 public:
  enum class State { moving, trusted, refused };
  /** Whether the acceptor expects such a connection. */
  using IsExpected = std::function<bool(const Hello&)>;

  /** As the acceptor. */
  Handshake(FileDescriptor socket, ByteSpan key, Clock::time_point deadline, IsExpected isExpected);
  /** As the connector, on a socket that is about to be connected. */
  Handshake(FileDescriptor socket, ByteSpan key, Clock::time_point deadline, const Hello& hello);

  /** What to poll the socket for. */
  short events() const;
  State advance();
  /** Why it was refused. */
  const std::string& reason() const { return reason_; }
  /** The other side does not know the key, or is no rank: trying again would not help. */
  bool isHopeless() const { return isHopeless_; }

  int socket() const { return socket_.number(); }
  FileDescriptor takeSocket() { return std::move(socket_); }
  const Hello& hello() const { return hello_; }
  Clock::time_point deadline() const { return deadline_; }

 private:
  enum class Step { connect, sendHello, readChallenge, sendProof, readWelcome, readHello, sendChallenge, readProof, sendWelcome, done };
  struct Challenge {
    Digest nonce;
    Digest proof;
  };

  State moveOn();
  State refuse(const std::string& reason, bool isHopeless = false);
  bool isSending() const;
  ByteSpan out() const;
  std::span<std::uint8_t> in();
  Digest proofOf(const char* role) const;
  void next(Step step);
  bool makeNonce(Digest& nonce);

  FileDescriptor socket_;
  ByteSpan key_;
  Clock::time_point deadline_;
  IsExpected isExpected_;
  Step step_;
  std::size_t moved_ = 0;
  Hello hello_{};
  Challenge challenge_{};
  Digest proof_{};
  std::uint8_t welcome_ = 1;
  std::string reason_;
  bool isHopeless_ = false;
};

}  // namespace muster
