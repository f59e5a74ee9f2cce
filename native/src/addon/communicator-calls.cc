#include "addon/communicator-calls.h"

#include "addon/failure.h"

namespace muster::addon {
namespace {

/** Where one operand of a call lies. */
struct Operand {
  Bytes memory{nullptr, 0};
  bool isOnDevice = false;
};

/** The memory of any typed array; nothing for other values. */
std::optional<Bytes> arrayBytes(const Napi::Value& value) {
  napi_typedarray_type type;
  std::size_t length;
  void* data;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok) return std::nullopt;
  static constexpr std::size_t kElementBytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  return Bytes{data, length * kElementBytes[type]};
}

/** What native/cuda.ts calls a CudaArray. Runs JavaScript, if its properties are getters. */
Bytes deviceBytes(const Napi::Value& value, const char* name, ReadCalls& read) {
  if (!value.IsObject()) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a typed array, an array on a GPU or null");
  const auto object = value.As<Napi::Object>();
  const Napi::Value buffer = object.Get("buffer");
  const Napi::Value stream = object.Get("stream");
  const Held& memory = held(buffer, kBufferTag, "buffer");
  const muster_cuda_stream own = streamOf(stream);
  const std::uint64_t offset = safeInteger(object.Get("offsetBytes"), "offsetBytes");
  const std::uint32_t device = smallInteger(object.Get("device"), "device");
  if (offset > memory.sizeBytes) throw rangeError(value.Env(), std::string(name) + " begins beyond the end of its buffer of " + std::to_string(memory.sizeBytes) + " bytes");
  if (read.device && (*read.device != device || read.stream != own)) throw rangeError(value.Env(), "all memory of a call that lies on GPUs must be one's, and have one stream");
  read.device = device;
  read.stream = own;
  read.held.push_back(buffer.As<Napi::External<Held>>());
  read.held.push_back(stream.As<Napi::External<Held>>());
  return {static_cast<unsigned char*>(memory.address) + offset, memory.sizeBytes - offset};
}

/** Of what is on a GPU. */
Operand deviceOperand(const Napi::Value& value, const char* name, ReadCalls& read) {
  if (value.IsNull() || value.IsTypedArray()) return {};
  return {deviceBytes(value, name, read), true};
}

Operand operandOf(const Operand& onDevice, const Napi::Value& value) {
  if (onDevice.isOnDevice || value.IsNull()) return onDevice;
  return {arrayBytes(value).value_or(Bytes{nullptr, 0}), false};
}

PlacedCall readCall(Napi::Env env, const muster_communicator* communicator, const CallValues& values, const Operand& source, const Operand& target) {
  const std::uint32_t shape = smallInteger(values[0], "shape");
  const bool isOnDevice = source.isOnDevice || target.isOnDevice;
  const bool isMixed = isOnDevice && ((!values[2].IsNull() && !source.isOnDevice) || (!values[3].IsNull() && !target.isOnDevice));
  if (isMixed) throw Napi::TypeError::New(env, "source and target must both be on the GPU, or both be typed arrays");
  const muster_call call{static_cast<muster_call_kind>(shape & 0xff), static_cast<muster_dtype>(shape >> 8 & 0xff), static_cast<muster_reduction>(shape >> 16),
                         smallInteger(values[1], "peer"), source.memory.data, target.memory.data, safeInteger(values[4], "count"), nullptr};
  if (call.kind == MUSTER_DEVICE_ALL_REDUCE) throw rangeError(env, "there is no call of kind 10 for programs");
  std::uint64_t sourceBytes;
  std::uint64_t targetBytes;
  check(env, muster_communicator_extents(communicator, &call, &sourceBytes, &targetBytes));
  if (source.memory.sizeBytes < sourceBytes) throw rangeError(env, "source has " + std::to_string(source.memory.sizeBytes) + " bytes, and the call reads " + std::to_string(sourceBytes));
  if (target.memory.sizeBytes < targetBytes) throw rangeError(env, "target has " + std::to_string(target.memory.sizeBytes) + " bytes, and the call writes " + std::to_string(targetBytes));
  return {call, isOnDevice};
}

}  // namespace

std::uint32_t smallInteger(const Napi::Value& value, const char* name) {
  const std::uint64_t number = safeInteger(value, name);
  if (number > UINT32_MAX) throw rangeError(value.Env(), std::string(name) + " must be below 2^32");
  return static_cast<std::uint32_t>(number);
}

ReadCalls readCalls(Napi::Env env, const muster_communicator* communicator, const std::vector<CallValues>& values) {
  ReadCalls read;
  // What runs JavaScript comes before any array is looked at: a getter could take its memory away.
  std::vector<std::array<Operand, 2>> operands;
  for (const CallValues& each : values) operands.push_back({deviceOperand(each[2], "source", read), deviceOperand(each[3], "target", read)});
  for (std::size_t index = 0; index < values.size(); index++) {
    const CallValues& each = values[index];
    PlacedCall placed = readCall(env, communicator, each, operandOf(operands[index][0], each[2]), operandOf(operands[index][1], each[3]));
    if (each[5].IsString()) placed.call.site = read.sites.emplace_front(each[5].As<Napi::String>().Utf8Value()).c_str();
    read.calls.push_back(placed);
    read.memory.push_back(each[2]);
    read.memory.push_back(each[3]);
  }
  return read;
}

std::vector<muster_call> hostCalls(const ReadCalls& read) {
  std::vector<muster_call> calls;
  for (const PlacedCall& placed : read.calls) calls.push_back(placed.call);
  return calls;
}

}  // namespace muster::addon
