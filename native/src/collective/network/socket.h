/** TCP sockets that never block: made, bound, connected. What they carry is not known here. */
#pragma once

#include <cstdint>
#include <string>

#include "muster/status.h"
#include "shm/mapping.h"

namespace muster {

/** A numeric IPv4 or IPv6 address, and a port. */
struct SocketAddress {
  std::string host;
  std::uint16_t port = 0;
};

/** `127.0.0.1:4711`, `[::1]:4711` */
std::string describeAddress(const SocketAddress& address);

/** Listens on a free port of the host, which it writes to `port`. */
muster_code listenOn(const std::string& host, FileDescriptor* socket, std::uint16_t* port);

/** Begins to connect. The socket is writable when it is connected or has failed: then ask socketError. */
muster_code beginConnect(const SocketAddress& address, FileDescriptor* socket);

/** Of a connection that has waited, or -1: nobody has connected, or went away again. */
int acceptOne(int listener);

/** What went wrong with the socket, as errno; 0 for nothing. */
int socketError(int socket);

/** How much of what is sent the kernel keeps until the other side has it; it no longer chooses by itself then. */
void setSendBuffer(int socket, int bytes);

/** No waiting for more to send, and an end to connections whose other side does not answer for so long. */
void tuneConnection(int socket, std::uint32_t timeoutMs);

}  // namespace muster
