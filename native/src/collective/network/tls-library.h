/**
 * What is used of OpenSSL 3, found at run time: nothing is linked with it, and who does not ask for TLS does not need it. Node brings it along and
 * exports its symbols; other processes get the system's.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "muster/status.h"

// OpenSSL's own names for what it keeps to itself.
struct bio_method_st;
struct bio_st;
struct evp_md_st;
struct ssl_cipher_st;
struct ssl_ctx_st;
struct ssl_method_st;
struct ssl_session_st;
struct ssl_st;

namespace muster {

/** Source: OpenSSL 3.0, man3; the numbers are part of its ABI. */
struct TlsLibrary {
  enum : int { kErrorSsl = 1, kWantRead = 2, kWantWrite = 3, kErrorSyscall = 5, kClosed = 6 };
  enum : int { kSetMode = 33, kSetReadAhead = 41, kSetMinVersion = 123 };
  enum : long { kPartialWrites = 1, kMovingWrites = 2, kTls13 = 0x0304 };
  enum : int { kBioRead = 1, kBioWrite = 2, kBioRetry = 8, kBioFlush = 11, kBioSourceSink = 0x400 };
  enum : int { kKeyUpdateNotRequested = 0 };
  /** Reasons of errors: a binder that another key has made, as who finds it says, and as OpenSSL 3.0 and RFC 8446 have it told to the other side. */
  enum : unsigned long { kReasonMask = 0x7fffff, kBinderDoesNotVerify = 253, kToldOfIllegalParameter = 1047, kToldOfDecryptError = 1051 };

  using UseSession = int (*)(ssl_st*, const evp_md_st*, const unsigned char** identity, std::size_t* identityBytes, ssl_session_st**);
  using FindSession = int (*)(ssl_st*, const unsigned char* identity, std::size_t identityBytes, ssl_session_st**);

  unsigned long (*versionNumber)();
  const ssl_method_st* (*method)();
  ssl_ctx_st* (*newContext)(const ssl_method_st*);
  void (*freeContext)(ssl_ctx_st*);
  long (*controlContext)(ssl_ctx_st*, int command, long number, void* pointer);
  int (*setCiphersuites)(ssl_ctx_st*, const char* names);
  int (*setTickets)(ssl_ctx_st*, std::size_t count);
  void (*setReadBufferBytes)(ssl_ctx_st*, std::size_t bytes);
  void (*setUseSession)(ssl_ctx_st*, UseSession);
  void (*setFindSession)(ssl_ctx_st*, FindSession);
  ssl_st* (*newSsl)(ssl_ctx_st*);
  void (*freeSsl)(ssl_st*);
  void (*setBio)(ssl_st*, bio_st* read, bio_st* write);
  int (*setData)(ssl_st*, int index, void* data);
  void* (*data)(const ssl_st*, int index);
  void (*setConnects)(ssl_st*);
  void (*setAccepts)(ssl_st*);
  int (*handshake)(ssl_st*);
  int (*read)(ssl_st*, void* data, std::size_t bytes, std::size_t* done);
  int (*write)(ssl_st*, const void* data, std::size_t bytes, std::size_t* done);
  int (*updateKey)(ssl_st*, int kind);
  int (*error)(const ssl_st*, int result);
  const ssl_cipher_st* (*findCipher)(ssl_st*, const unsigned char* number);
  ssl_session_st* (*newSession)();
  void (*freeSession)(ssl_session_st*);
  int (*setSessionKey)(ssl_session_st*, const unsigned char* key, std::size_t bytes);
  int (*setSessionCipher)(ssl_session_st*, const ssl_cipher_st*);
  int (*setSessionVersion)(ssl_session_st*, int version);
  bio_method_st* (*newBioMethod)(int type, const char* name);
  int (*setBioWrite)(bio_method_st*, int (*)(bio_st*, const char*, int));
  int (*setBioRead)(bio_method_st*, int (*)(bio_st*, char*, int));
  int (*setBioControl)(bio_method_st*, long (*)(bio_st*, int command, long number, void* pointer));
  bio_st* (*newBio)(const bio_method_st*);
  void (*setBioData)(bio_st*, void* data);
  void* (*bioData)(bio_st*);
  void (*setBioIsReady)(bio_st*, int ready);
  void (*setBioFlags)(bio_st*, int flags);
  void (*clearBioFlags)(bio_st*, int flags);
  void (*clearErrors)();
  unsigned long (*lastError)();
  const char* (*reasonOf)(unsigned long error);

  /** From what the process has loaded already, or from the library of this name, which stays loaded until the process ends. */
  explicit TlsLibrary(const char* name);

  /** Why it cannot be used; empty: it can. */
  std::string reason;

 private:
  bool take(void* handle);
};

/** The library, looked for once. Fails with MUSTER_UNAVAILABLE, and what is missing. */
muster_code findTlsLibrary(const TlsLibrary** library);

}  // namespace muster
