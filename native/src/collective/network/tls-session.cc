#include "collective/network/tls-session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "status.h"

namespace muster {
namespace {

/** What one record holds at most. */
constexpr std::size_t kRecordBytes = std::size_t{16} << 10;
/** What is asked of the kernel at once: some records. */
constexpr std::size_t kReadBufferBytes = std::size_t{128} << 10;
/** One whose hash is SHA-256, as the derivation of the key has it. */
constexpr const char* kCiphersuite = "TLS_AES_128_GCM_SHA256";
constexpr unsigned char kCiphersuiteNumber[] = {0x13, 0x01};
/** Of SSL_set_ex_data: the one that is the application's. */
constexpr int kDataIndex = 0;

/** The next bytes of some parts. */
class Reader {
 public:
  explicit Reader(std::span<const iovec> parts) : parts_(parts) {}

  /** Those of the present part, at most a record's worth. */
  std::span<const std::byte> whole() {
    while (!parts_.empty() && done_ == parts_.front().iov_len) skipPart();
    if (parts_.empty()) return {};
    return {static_cast<const std::byte*>(parts_.front().iov_base) + done_, std::min(kRecordBytes, parts_.front().iov_len - done_)};
  }
  bool isLastPart() const { return parts_.size() <= 1; }

  /** Copies up to a record's worth, from as many parts as it takes. */
  std::span<const std::byte> gather(std::vector<std::byte>& memory) const {
    memory.clear();
    std::size_t from = done_;
    for (const iovec& part : parts_) {
      const std::size_t step = std::min(part.iov_len - from, kRecordBytes - memory.size());
      const auto* start = static_cast<const std::byte*>(part.iov_base) + from;
      memory.insert(memory.end(), start, start + step);
      from = 0;
    }
    return memory;
  }

  void advance(std::size_t bytes) {
    while (bytes > 0) {
      const std::size_t step = std::min(bytes, parts_.front().iov_len - done_);
      done_ += step;
      bytes -= step;
      if (done_ == parts_.front().iov_len) skipPart();
    }
  }

 private:
  void skipPart() {
    parts_ = parts_.subspan(1);
    done_ = 0;
  }

  std::span<const iovec> parts_;
  std::size_t done_ = 0;
};

}  // namespace

TlsSession::TlsSession(const TlsLibrary& library, int socket, const TlsKey& key, std::uint64_t recordsPerKey)
    : library_(library), socket_(socket), key_(key), recordsPerKey_(recordsPerKey) {}

TlsSession::~TlsSession() { library_.freeSsl(ssl_); }

muster_code TlsSession::open(Role role, int socket, const TlsKey& key, std::unique_ptr<TlsSession>* session, std::uint64_t recordsPerKey) {
  const TlsLibrary* library = nullptr;
  if (const muster_code code = findTlsLibrary(&library); code != MUSTER_OK) return code;
  std::unique_ptr<TlsSession> opened(new TlsSession(*library, socket, key, recordsPerKey));
  library->clearErrors();
  if (!opened->prepare(role)) {
    const char* reason = library->reasonOf(library->lastError());
    return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "connections cannot use TLS: OpenSSL: %s", reason == nullptr ? "it gives no reason" : reason);
  }
  *session = std::move(opened);
  return MUSTER_OK;
}

bool TlsSession::prepare(Role role) {
  ssl_ctx_st* const context = library_.newContext(library_.method());
  if (context == nullptr) return false;
  library_.controlContext(context, TlsLibrary::kSetMode, TlsLibrary::kPartialWrites | TlsLibrary::kMovingWrites, nullptr);
  library_.controlContext(context, TlsLibrary::kSetReadAhead, 1, nullptr);
  library_.setReadBufferBytes(context, kReadBufferBytes);
  library_.setUseSession(context, useSession);
  library_.setFindSession(context, findSession);
  const bool isStrict = library_.controlContext(context, TlsLibrary::kSetMinVersion, TlsLibrary::kTls13, nullptr) == 1 && library_.setCiphersuites(context, kCiphersuite) == 1 &&
                        library_.setTickets(context, 0) == 1;
  ssl_ = isStrict ? library_.newSsl(context) : nullptr;
  library_.freeContext(context);  // the session holds it
  // Not OpenSSL's own for sockets: a connection that breaks while it is written to would be a signal, which ends processes that are not Node's.
  static bio_method_st* const method = [this] {
    bio_method_st* made = library_.newBioMethod(TlsLibrary::kBioSourceSink, "muster's socket");
    if (made == nullptr) return made;
    library_.setBioWrite(made, writeSocket);
    library_.setBioRead(made, readSocket);
    library_.setBioControl(made, controlSocket);
    return made;
  }();
  bio_st* const bio = ssl_ == nullptr || method == nullptr ? nullptr : library_.newBio(method);
  if (bio == nullptr || library_.setData(ssl_, kDataIndex, this) != 1) return false;
  library_.setBioData(bio, this);
  library_.setBioIsReady(bio, 1);
  library_.setBio(ssl_, bio, bio);  // whose it is now
  if (role == Role::connects) library_.setConnects(ssl_);
  else library_.setAccepts(ssl_);
  return true;
}

int TlsSession::useSession(ssl_st* ssl, const evp_md_st*, const unsigned char** identity, std::size_t* identityBytes, ssl_session_st** session) {
  const TlsLibrary* library = nullptr;
  findTlsLibrary(&library);
  auto* const self = static_cast<TlsSession*>(library->data(ssl, kDataIndex));
  *identity = self->key_.identity.data();
  *identityBytes = self->key_.identity.size();
  *session = self->keySession();
  return *session == nullptr ? 0 : 1;
}

int TlsSession::findSession(ssl_st* ssl, const unsigned char* identity, std::size_t identityBytes, ssl_session_st** session) {
  const TlsLibrary* library = nullptr;
  findTlsLibrary(&library);
  auto* const self = static_cast<TlsSession*>(library->data(ssl, kDataIndex));
  const Digest& own = self->key_.identity;
  const bool isOwn = identityBytes == own.size() && std::memcmp(identity, own.data(), own.size()) == 0;
  *session = isOwn ? self->keySession() : nullptr;
  return isOwn && *session == nullptr ? 0 : 1;
}

/** The key in the form in which OpenSSL takes it: as what is left of an earlier session. */
ssl_session_st* TlsSession::keySession() {
  ssl_session_st* const session = library_.newSession();
  const ssl_cipher_st* const cipher = library_.findCipher(ssl_, kCiphersuiteNumber);
  if (session != nullptr && cipher != nullptr && library_.setSessionKey(session, key_.secret.data(), key_.secret.size()) == 1 && library_.setSessionCipher(session, cipher) == 1 &&
      library_.setSessionVersion(session, TlsLibrary::kTls13) == 1) {
    return session;
  }
  library_.freeSession(session);
  return nullptr;
}

int TlsSession::writeSocket(bio_st* bio, const char* data, int bytes) {
  const TlsLibrary* library = nullptr;
  findTlsLibrary(&library);
  auto* const self = static_cast<TlsSession*>(library->bioData(bio));
  library->clearBioFlags(bio, TlsLibrary::kBioRead | TlsLibrary::kBioWrite | TlsLibrary::kBioRetry);
  const ssize_t sent = ::send(self->socket_, data, static_cast<std::size_t>(bytes), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN)) library->setBioFlags(bio, TlsLibrary::kBioWrite | TlsLibrary::kBioRetry);
  return static_cast<int>(sent);
}

int TlsSession::readSocket(bio_st* bio, char* data, int bytes) {
  const TlsLibrary* library = nullptr;
  findTlsLibrary(&library);
  auto* const self = static_cast<TlsSession*>(library->bioData(bio));
  library->clearBioFlags(bio, TlsLibrary::kBioRead | TlsLibrary::kBioWrite | TlsLibrary::kBioRetry);
  const ssize_t got = ::recv(self->socket_, data, static_cast<std::size_t>(bytes), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN)) library->setBioFlags(bio, TlsLibrary::kBioRead | TlsLibrary::kBioRetry);
  return static_cast<int>(got);
}

long TlsSession::controlSocket(bio_st*, int command, long, void*) { return command == TlsLibrary::kBioFlush ? 1 : 0; }

TlsSession::State TlsSession::advance() {
  library_.clearErrors();
  const int result = library_.handshake(ssl_);
  if (result == 1) return State::secure;
  const int error = library_.error(ssl_, result);
  isSending_ = error == TlsLibrary::kWantWrite;
  if (isSending_ || error == TlsLibrary::kWantRead) return State::moving;
  if (const unsigned long last = library_.lastError(); error == TlsLibrary::kErrorSsl && last != 0) {
    const unsigned long why = last & TlsLibrary::kReasonMask;
    hasOtherKey_ = why == TlsLibrary::kBinderDoesNotVerify || why == TlsLibrary::kToldOfIllegalParameter || why == TlsLibrary::kToldOfDecryptError;
    const char* text = library_.reasonOf(last);
    reason_ = text == nullptr ? "it gives no reason" : text;
  }
  return State::refused;
}

ssize_t TlsSession::send(std::span<const iovec> parts) {
  const std::lock_guard lock(mutex_);
  library_.clearErrors();
  Reader reader(parts);
  std::size_t total = 0;
  for (;;) {
    std::span<const std::byte> record = reader.whole();
    if (record.empty()) return static_cast<ssize_t>(total);
    if (record.size() < kRecordBytes && !reader.isLastPart()) record = reader.gather(gathered_);
    std::size_t written = 0;
    const int result = library_.write(ssl_, record.data(), record.size(), &written);
    if (result != 1) return total > 0 ? static_cast<ssize_t>(total) : blockedOrBroken(result);
    reader.advance(written);
    total += written;
    if (++records_ % recordsPerKey_ == 0) library_.updateKey(ssl_, TlsLibrary::kKeyUpdateNotRequested);
  }
}

ssize_t TlsSession::receive(std::span<const iovec> parts) {
  const std::lock_guard lock(mutex_);
  library_.clearErrors();
  std::size_t total = 0;
  for (const iovec& part : parts) {
    for (std::size_t done = 0; done < part.iov_len;) {
      std::size_t got = 0;
      const int result = library_.read(ssl_, static_cast<std::byte*>(part.iov_base) + done, part.iov_len - done, &got);
      if (result != 1) return total > 0 ? static_cast<ssize_t>(total) : blockedOrBroken(result);
      done += got;
      total += got;
    }
  }
  return static_cast<ssize_t>(total);
}

/** As the system says it. */
ssize_t TlsSession::blockedOrBroken(int result) {
  const int error = library_.error(ssl_, result);
  if (error == TlsLibrary::kClosed) return 0;
  errno = error == TlsLibrary::kWantRead || error == TlsLibrary::kWantWrite ? EAGAIN : EPROTO;
  return -1;
}

}  // namespace muster
