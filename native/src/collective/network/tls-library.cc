#include "collective/network/tls-library.h"

#include <dlfcn.h>

#include "status.h"

namespace muster {
namespace {

#ifdef __APPLE__
constexpr const char* kName = "libssl.3.dylib";
#else
constexpr const char* kName = "libssl.so.3";
#endif
constexpr unsigned long kVersionMin = 0x30000000UL;

}  // namespace

TlsLibrary::TlsLibrary(const char* name) {
  if (take(RTLD_DEFAULT)) return;
  void* const handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    reason = ::dlerror();
    return;
  }
  take(handle);
}

/** All functions come from one place, or none. */
bool TlsLibrary::take(void* handle) {
  reason.clear();
  const auto find = [&](auto*& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(handle, symbol));
    if (function == nullptr && reason.empty()) reason = std::string("it has no ") + symbol;
  };
  find(versionNumber, "OpenSSL_version_num");
  if (versionNumber != nullptr && versionNumber() < kVersionMin) reason = "it is older than OpenSSL 3";
  find(method, "TLS_method");
  find(newContext, "SSL_CTX_new");
  find(freeContext, "SSL_CTX_free");
  find(controlContext, "SSL_CTX_ctrl");
  find(setCiphersuites, "SSL_CTX_set_ciphersuites");
  find(setTickets, "SSL_CTX_set_num_tickets");
  find(setReadBufferBytes, "SSL_CTX_set_default_read_buffer_len");
  find(setUseSession, "SSL_CTX_set_psk_use_session_callback");
  find(setFindSession, "SSL_CTX_set_psk_find_session_callback");
  find(newSsl, "SSL_new");
  find(freeSsl, "SSL_free");
  find(setBio, "SSL_set_bio");
  find(setData, "SSL_set_ex_data");
  find(data, "SSL_get_ex_data");
  find(setConnects, "SSL_set_connect_state");
  find(setAccepts, "SSL_set_accept_state");
  find(handshake, "SSL_do_handshake");
  find(read, "SSL_read_ex");
  find(write, "SSL_write_ex");
  find(updateKey, "SSL_key_update");
  find(error, "SSL_get_error");
  find(findCipher, "SSL_CIPHER_find");
  find(newSession, "SSL_SESSION_new");
  find(freeSession, "SSL_SESSION_free");
  find(setSessionKey, "SSL_SESSION_set1_master_key");
  find(setSessionCipher, "SSL_SESSION_set_cipher");
  find(setSessionVersion, "SSL_SESSION_set_protocol_version");
  find(newBioMethod, "BIO_meth_new");
  find(setBioWrite, "BIO_meth_set_write");
  find(setBioRead, "BIO_meth_set_read");
  find(setBioControl, "BIO_meth_set_ctrl");
  find(newBio, "BIO_new");
  find(setBioData, "BIO_set_data");
  find(bioData, "BIO_get_data");
  find(setBioIsReady, "BIO_set_init");
  find(setBioFlags, "BIO_set_flags");
  find(clearBioFlags, "BIO_clear_flags");
  find(clearErrors, "ERR_clear_error");
  find(lastError, "ERR_peek_last_error");
  find(reasonOf, "ERR_reason_error_string");
  return reason.empty();
}

muster_code findTlsLibrary(const TlsLibrary** library) {
  static const TlsLibrary loaded(kName);
  if (!loaded.reason.empty()) {
    return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "connections cannot use TLS: this process has no OpenSSL 3, and %s cannot be used: %s", kName, loaded.reason.c_str());
  }
  *library = &loaded;
  return MUSTER_OK;
}

}  // namespace muster
