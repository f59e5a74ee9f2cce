/** Calls of a communicator as JavaScript makes them: numbers, and memory in typed arrays or on a GPU. */
#pragma once

#include <array>
#include <cstdint>
#include <forward_list>
#include <optional>
#include <string>
#include <vector>

#include <napi.h>

#include "addon/cuda-library.h"
#include "addon/device-collective.h"
#include "muster/collective.h"

namespace muster::addon {

/** (shape, peer, source, target, count, site); `shape` is kind, dtype and reduction, a byte each. */
using CallValues = std::array<Napi::Value, 6>;

/** Calls that are made as one. */
struct ReadCalls {
  std::vector<PlacedCall> calls;
  /** Where they are made, in texts that stay where they are. */
  std::forward_list<std::string> sites;
  /** Arrays and descriptions of device memory. */
  std::vector<Napi::Value> memory;
  /** Of all memory on a GPU; none where there is none. */
  std::optional<std::uint32_t> device;
  muster_cuda_stream stream = nullptr;
  /** Buffers and the stream, which must stay. */
  std::vector<Napi::External<Held>> held;
};

/** @throws TypeError and RangeError for what is no call, or reads and writes beyond its memory */
ReadCalls readCalls(Napi::Env env, const muster_communicator* communicator, const std::vector<CallValues>& values);

/** The calls alone, where none has memory on a GPU. */
std::vector<muster_call> hostCalls(const ReadCalls& read);

std::uint32_t smallInteger(const Napi::Value& value, const char* name);

}  // namespace muster::addon
