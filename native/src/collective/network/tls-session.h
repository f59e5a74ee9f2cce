/**
 * TLS 1.3 over a socket that does not block, between two sides that know one key (RFC 8446, external pre-shared keys): there are no certificates, each side
 * proves to the other that it knows the key, and an ephemeral Diffie-Hellman exchange makes sure that who learns it later reads nothing of before.
 *
 * Records are sealed with AES-128-GCM: about as fast as a core copies memory. After some millions of records a side takes a fresh key, well below the
 * 2^24.5 that RFC 8446, 5.5, allows.
 */
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <sys/types.h>
#include <sys/uio.h>

#include "collective/network/sha256.h"
#include "collective/network/tls-library.h"

namespace muster {

/** Which key two sides mean, in the clear, and the key itself. */
struct TlsKey {
  Digest identity;
  Digest secret;
};

/** For one thread at a time in the handshake. Then any threads may send and receive. */
class TlsSession {
 public:
  enum class Role { connects, accepts };
  enum class State { moving, secure, refused };

  /** Records that one key seals. */
  static constexpr std::uint64_t kRecordsPerKey = std::uint64_t{1} << 22;

  /** The socket must stay open as long as the session lives. Fails with MUSTER_UNAVAILABLE where there is no OpenSSL. */
  static muster_code open(Role role, int socket, const TlsKey& key, std::unique_ptr<TlsSession>* session, std::uint64_t recordsPerKey = kRecordsPerKey);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;

  /** Goes on with the handshake as far as the socket lets it. */
  State advance();
  /** Whether the handshake waits for room, and not for bytes. */
  bool isSending() const { return isSending_; }
  /** Why it was refused; empty: the connection broke. */
  const std::string& reason() const { return reason_; }
  /** It was because the two sides have different keys. */
  bool hasOtherKey() const { return hasOtherKey_; }

  /**
   * As sendmsg and recvmsg, of what is inside the records. What has been sent is with the kernel. Bytes that are refused for now must be sent
   * again, with others behind them or not.
   */
  ssize_t send(std::span<const iovec> parts);
  ssize_t receive(std::span<const iovec> parts);

 private:
  TlsSession(const TlsLibrary& library, int socket, const TlsKey& key, std::uint64_t recordsPerKey);
  bool prepare(Role role);

  static int useSession(ssl_st* ssl, const evp_md_st*, const unsigned char** identity, std::size_t* identityBytes, ssl_session_st** session);
  static int findSession(ssl_st* ssl, const unsigned char* identity, std::size_t identityBytes, ssl_session_st** session);
  ssl_session_st* keySession();
  static int writeSocket(bio_st* bio, const char* data, int bytes);
  static int readSocket(bio_st* bio, char* data, int bytes);
  static long controlSocket(bio_st* bio, int command, long number, void* pointer);

  ssize_t blockedOrBroken(int result);

  const TlsLibrary& library_;
  const int socket_;
  const TlsKey key_;
  const std::uint64_t recordsPerKey_;
  ssl_st* ssl_ = nullptr;
  bool isSending_ = false;
  std::string reason_;
  bool hasOtherKey_ = false;
  /** OpenSSL's state is one for both directions. */
  std::mutex mutex_;
  std::uint64_t records_ = 0;
  /** A record's worth of small parts. */
  std::vector<std::byte> gathered_;
};

}  // namespace muster
