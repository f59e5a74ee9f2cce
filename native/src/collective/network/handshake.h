/**
 * How two ranks come to trust a connection: each proves that it knows the cluster's key, for this communicator, these ranks, this lane and
 * both sides' fresh nonces, before anything else is said.
 *
 *   connector -> acceptor   greeting: what is spoken here, and whether in TLS
 *   acceptor -> connector   its own, which must be the same
 *                           [the handshake of TLS, in whose records all that follows is]
 *   connector -> acceptor   hello: who it is, whom it means, for which communicator and lane, and a nonce
 *   acceptor -> connector   its own nonce, and HMAC(key, "accepts" hello nonce)
 *   connector -> acceptor   HMAC(key, "connects" hello nonce)
 *   acceptor -> connector   one byte: come in
 *
 * The key itself is never sent. What one side has proved is of no use anywhere else: the words differ by direction, and the nonces with each
 * connection. Without TLS, what follows on the connection is not encrypted and carries no proofs; with it the proofs repeat what TLS has proved, and the
 * hello is what counts. Nobody can talk two ranks out of TLS: each goes on only as it was told to. Source: ISO/IEC 9798-4, mutual authentication
 * in three passes with a keyed hash.
 */
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "collective/network/sha256.h"
#include "collective/network/stream.h"
#include "collective/wakeup.h"

namespace muster {

/** Another version of what goes over connections gets another number; machines of another byte order read another one. */
constexpr std::uint64_t kConnectionMagic = 0x326c6c6f636d756dULL;

struct Greeting {
  std::uint64_t magic;
  std::uint64_t usesTls;
};

struct Hello {
  /** SHA-256 of the communicator's id. */
  Digest communicator;
  std::uint32_t from;
  std::uint32_t to;
  std::uint32_t lane;
  std::uint32_t size;
  Digest nonce;
};

/** What both sides of a connection must have in common. */
struct Trust {
  Digest key;
  /** None: connections are in the clear. */
  std::optional<TlsKey> tls;
};

/** One connection until it is trusted or given up. Moves only when advance is called, and never blocks. */
class Handshake {
 public:
  enum class State { moving, trusted, refused };
  /** Whether the acceptor expects such a connection. */
  using IsExpected = std::function<bool(const Hello&)>;

  /** As the acceptor. `trust` must outlive it. */
  Handshake(FileDescriptor socket, const Trust& trust, Clock::time_point deadline, IsExpected isExpected);
  /** As the connector, on a socket that is about to be connected. */
  Handshake(FileDescriptor socket, const Trust& trust, Clock::time_point deadline, const Hello& hello);

  /** What to poll the socket for. */
  short events() const;
  State advance();
  /** Why it was refused. */
  const std::string& reason() const { return reason_; }
  /** The other side does not know the key, or is no rank, or differs about TLS: trying again would not help. */
  bool isHopeless() const { return isHopeless_; }

  int socket() const { return stream_.socket(); }
  Stream takeStream() { return std::move(stream_); }
  const Hello& hello() const { return hello_; }
  Clock::time_point deadline() const { return deadline_; }

 private:
  /** First what the connector does, then what the acceptor does; both secure the connection in between. */
  enum class Step {
    connect, sendGreeting, readAnswer, sendHello, readChallenge, sendProof, readWelcome,
    readGreeting, sendAnswer, readHello, sendChallenge, readProof, sendWelcome,
    secure, done
  };
  struct Challenge {
    Digest nonce;
    Digest proof;
  };

  State moveBytes();
  State moveOn();
  State compareGreetings();
  State beginTls();
  State advanceTls();
  State refuse(const std::string& reason, bool isHopeless = false);
  bool isSending() const;
  ByteSpan out() const;
  std::span<std::uint8_t> in();
  Digest proofOf(const char* role) const;
  void next(Step step);
  bool makeNonce(Digest& nonce);

  Stream stream_;
  const Trust& trust_;
  Clock::time_point deadline_;
  IsExpected isExpected_;
  const bool isConnector_;
  Step step_;
  std::size_t moved_ = 0;
  Greeting own_;
  Greeting theirs_{};
  Hello hello_{};
  Challenge challenge_{};
  Digest proof_{};
  std::uint8_t welcome_ = 1;
  std::string reason_;
  bool isHopeless_ = false;
};

}  // namespace muster
