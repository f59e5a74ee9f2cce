/** A connection's bytes, in the clear or through TLS: who uses it does not know which. */
#pragma once

#include <memory>
#include <span>

#include <sys/types.h>
#include <sys/uio.h>

#include "collective/network/tls-session.h"
#include "shm/mapping.h"

namespace muster {

class Stream {
 public:
  explicit Stream(FileDescriptor socket = FileDescriptor()) : socket_(std::move(socket)) {}

  int socket() const { return socket_.number(); }
  bool isOpen() const { return socket_.number() >= 0; }

  /** From now on all goes through TLS, whose handshake comes first. */
  muster_code secure(TlsSession::Role role, const TlsKey& key) { return TlsSession::open(role, socket(), key, &tls_); }
  /** Null: in the clear. */
  TlsSession* tls() const { return tls_.get(); }

  /** As sendmsg and recvmsg on a socket that does not block; sending to nobody is no signal. From any thread. */
  ssize_t send(std::span<const iovec> parts) const;
  ssize_t receive(std::span<const iovec> parts) const;
  ssize_t send(const void* data, std::size_t bytes) const;
  ssize_t receive(void* data, std::size_t bytes) const;

 private:
  FileDescriptor socket_;
  std::unique_ptr<TlsSession> tls_;
};

}  // namespace muster
