#include "collective/network/socket.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "status.h"

namespace muster {
namespace {

/** Ranks that connect while this one looks elsewhere: each has a few connections. */
constexpr int kBacklog = 512;

struct ResolvedAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  int family = AF_UNSPEC;
};

muster_code resolve(const SocketAddress& address, ResolvedAddress* resolved) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found) != 0) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "'%s' is not a numeric address", address.host.c_str());
  }
  std::memcpy(&resolved->storage, found->ai_addr, found->ai_addrlen);
  resolved->bytes = found->ai_addrlen;
  resolved->family = found->ai_family;
  ::freeaddrinfo(found);
  return MUSTER_OK;
}

bool prepare(int socket) { return ::fcntl(socket, F_SETFL, O_NONBLOCK) == 0 && ::fcntl(socket, F_SETFD, FD_CLOEXEC) == 0; }

muster_code systemError(const char* verb, const SocketAddress& address, int errorNumber) {
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, errorNumber, "cannot %s %s: %s", verb, describeAddress(address).c_str(), std::strerror(errorNumber));
}

}  // namespace

std::string describeAddress(const SocketAddress& address) {
  const bool isSix = address.host.find(':') != std::string::npos;
  return (isSix ? '[' + address.host + ']' : address.host) + ':' + std::to_string(address.port);
}

muster_code listenOn(const std::string& host, FileDescriptor* listening, std::uint16_t* port) {
  const SocketAddress address{host, 0};
  ResolvedAddress resolved;
  if (const muster_code code = resolve(address, &resolved); code != MUSTER_OK) return code;
  FileDescriptor opened(::socket(resolved.family, SOCK_STREAM, 0));
  if (opened.number() < 0 || !prepare(opened.number()) || ::bind(opened.number(), reinterpret_cast<const sockaddr*>(&resolved.storage), resolved.bytes) != 0 ||
      ::listen(opened.number(), kBacklog) != 0) {
    return systemError("listen on", address, errno);
  }
  resolved.bytes = sizeof resolved.storage;
  if (::getsockname(opened.number(), reinterpret_cast<sockaddr*>(&resolved.storage), &resolved.bytes) != 0) return systemError("listen on", address, errno);
  *port = ntohs(resolved.family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(resolved.storage).sin6_port
                                            : reinterpret_cast<const sockaddr_in&>(resolved.storage).sin_port);
  *listening = std::move(opened);
  return MUSTER_OK;
}

muster_code beginConnect(const SocketAddress& address, FileDescriptor* connecting) {
  ResolvedAddress resolved;
  if (const muster_code code = resolve(address, &resolved); code != MUSTER_OK) return code;
  FileDescriptor opened(::socket(resolved.family, SOCK_STREAM, 0));
  if (opened.number() < 0 || !prepare(opened.number())) return systemError("connect to", address, errno);
  if (::connect(opened.number(), reinterpret_cast<const sockaddr*>(&resolved.storage), resolved.bytes) != 0 && errno != EINPROGRESS) {
    return systemError("connect to", address, errno);
  }
  *connecting = std::move(opened);
  return MUSTER_OK;
}

int acceptOne(int listener) {
  const int accepted = ::accept(listener, nullptr, nullptr);
  if (accepted < 0 || prepare(accepted)) return accepted;
  ::close(accepted);
  return -1;
}

int socketError(int socket) {
  int error = 0;
  socklen_t bytes = sizeof error;
  return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 ? error : errno;
}

void setSendBuffer(int socket, int bytes) { ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes); }

void tuneConnection(int socket, [[maybe_unused]] std::uint32_t timeoutMs) {
  const int yes = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
#ifdef TCP_USER_TIMEOUT
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeoutMs, sizeof timeoutMs);
#endif
}

}  // namespace muster
