#include "addon/failure.h"

#include <cerrno>
#include <cmath>

namespace muster::addon {
namespace {

constexpr double kSafeIntegerMax = 9007199254740991;
constexpr const char* kOutOfRange = "ERR_OUT_OF_RANGE";

const char* systemCode(int errorNumber) {
  switch (errorNumber) {
    case EACCES: return "EACCES";
    case EEXIST: return "EEXIST";
    case EINVAL: return "EINVAL";
    case EISDIR: return "EISDIR";
    case EMFILE: return "EMFILE";
    case ENAMETOOLONG: return "ENAMETOOLONG";
    case ENFILE: return "ENFILE";
    case ENODEV: return "ENODEV";
    case ENOENT: return "ENOENT";
    case ENOMEM: return "ENOMEM";
    case ENOSPC: return "ENOSPC";
    case ENOTDIR: return "ENOTDIR";
    case EOPNOTSUPP: return "EOPNOTSUPP";
    case EPERM: return "EPERM";
    case EROFS: return "EROFS";
    default: return "EUNKNOWN";
  }
}

const char* failureCode(const muster_failure& failure) {
  switch (failure.code) {
    case MUSTER_OUT_OF_RANGE: return kOutOfRange;
    case MUSTER_UNCOMMITTED: return "ERR_ARENA_UNCOMMITTED";
    case MUSTER_TOO_MANY_VIEWS: return "ERR_ARENA_VIEW_LIMIT";
    case MUSTER_NOT_AN_ARENA: return "ERR_NOT_AN_ARENA";
    case MUSTER_SYSTEM_ERROR: return systemCode(failure.error_number);
    case MUSTER_RANK_GONE: return "ERR_RANK_GONE";
    case MUSTER_TIMED_OUT: return "ERR_RANK_TIMED_OUT";
    case MUSTER_MISMATCH: return "ERR_CALL_MISMATCH";
    case MUSTER_ABORTED: return "ERR_COMMUNICATOR_ABORTED";
    case MUSTER_BUSY: return "ERR_COMMUNICATOR_BUSY";
    case MUSTER_UNAVAILABLE: return "ERR_DEVICE_UNAVAILABLE";
    case MUSTER_DEVICE_FAILED: return "ERR_DEVICE_FAILED";
    case MUSTER_OK: break;
  }
  return "ERR_INTERNAL";
}

}  // namespace

Napi::Error codedError(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Error rangeError(Napi::Env env, const std::string& message) {
  Napi::Error error = Napi::RangeError::New(env, message);
  error.Set("code", Napi::String::New(env, kOutOfRange));
  return error;
}

Napi::Error failureError(Napi::Env env, const muster_failure& failure) {
  Napi::Error error = failure.code == MUSTER_OUT_OF_RANGE ? rangeError(env, failure.message)
                                                          : codedError(env, failureCode(failure), failure.message);
  if (failure.code == MUSTER_SYSTEM_ERROR) error.Set("errno", Napi::Number::New(env, -failure.error_number));
  if (failure.rank >= 0) error.Set("rank", Napi::Number::New(env, failure.rank));
  error.Set("place", Napi::String::New(env, std::string(failure.file) + ":" + std::to_string(failure.line)));
  return error;
}

std::uint64_t safeInteger(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= kSafeIntegerMax && std::trunc(number) == number)) {
    throw rangeError(value.Env(), std::string(name) + " must be an integer from 0 to 2^53 - 1, not " + value.ToString().Utf8Value());
  }
  return static_cast<std::uint64_t>(number);
}

std::string path(const Napi::Value& value) {
  if (value.IsString()) {
    std::string text = value.As<Napi::String>().Utf8Value();
    if (text.find('\0') == std::string::npos) return text;
  }
  throw Napi::TypeError::New(value.Env(), "path must be a string without null characters");
}

Bytes bytes(const Napi::Value& value, const char* name) {
  napi_typedarray_type type;
  std::size_t sizeBytes;
  void* data;
  if (napi_get_typedarray_info(value.Env(), value, &type, &sizeBytes, &data, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a Uint8Array");
  }
  return {data, sizeBytes};
}

}  // namespace muster::addon
