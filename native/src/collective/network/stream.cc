#include "collective/network/stream.h"

#include <sys/socket.h>

namespace muster {
namespace {

msghdr messageOf(std::span<const iovec> parts) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  return message;
}

}  // namespace

ssize_t Stream::send(std::span<const iovec> parts) const {
  if (tls_ != nullptr) return tls_->send(parts);
  const msghdr message = messageOf(parts);
  return ::sendmsg(socket(), &message, MSG_NOSIGNAL);
}

ssize_t Stream::receive(std::span<const iovec> parts) const {
  if (tls_ != nullptr) return tls_->receive(parts);
  msghdr message = messageOf(parts);
  return ::recvmsg(socket(), &message, 0);
}

ssize_t Stream::send(const void* data, std::size_t bytes) const {
  const iovec part{const_cast<void*>(data), bytes};
  return send({&part, 1});
}

ssize_t Stream::receive(void* data, std::size_t bytes) const {
  const iovec part{data, bytes};
  return receive({&part, 1});
}

}  // namespace muster
