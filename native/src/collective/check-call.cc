/** What is refused before any rank hears of it. */
#include <cinttypes>

#include "collective/describe.h"
#include "collective/rank-end.h"
#include "dtype.h"
#include "status.h"

namespace muster {
namespace {

/** What can be counted in bytes, for all ranks together, with room to spare. */
constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 60;

struct Memory {
  const std::byte* data;
  std::uint64_t bytes;
};

bool overlap(const Memory& a, const Memory& b) { return a.bytes > 0 && b.bytes > 0 && a.data < b.data + b.bytes && b.data < a.data + a.bytes; }

muster_code checkPointer(const char* name, const Memory& memory, const muster_call& call) {
  if (memory.bytes == 0) return MUSTER_OK;
  if (memory.data == nullptr) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s needs a %s", describeCall(call).c_str(), name);
  const std::size_t alignment = elementBytes(call.dtype);
  if (reinterpret_cast<std::uintptr_t>(memory.data) % alignment != 0) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the %s of %s must be aligned to its elements of %zu bytes", name, describeCall(call).c_str(), alignment);
  }
  return MUSTER_OK;
}

/** What this rank reads. */
Memory sourceOf(const muster_call& call, std::uint32_t rank, std::uint32_t size) {
  const std::uint64_t partBytes = call.count * elementBytes(call.dtype);
  const auto* data = static_cast<const std::byte*>(call.source);
  switch (call.kind) {
    case MUSTER_BARRIER:
    case MUSTER_DEVICE_ALL_REDUCE:
    case MUSTER_RECEIVE: return {nullptr, 0};
    case MUSTER_BROADCAST: return {data, rank == call.peer ? partBytes : 0};
    case MUSTER_REDUCE_SCATTER:
    case MUSTER_ALL_TO_ALL: return {data, partBytes * size};
    default: return {data, partBytes};
  }
}

/** What this rank writes. */
Memory targetOf(const muster_call& call, std::uint32_t rank, std::uint32_t size) {
  const std::uint64_t partBytes = call.count * elementBytes(call.dtype);
  const auto* data = static_cast<const std::byte*>(call.target);
  switch (call.kind) {
    case MUSTER_BARRIER:
    case MUSTER_DEVICE_ALL_REDUCE:
    case MUSTER_SEND: return {nullptr, 0};
    case MUSTER_REDUCE: return {data, rank == call.peer ? partBytes : 0};
    case MUSTER_ALL_GATHER:
    case MUSTER_ALL_TO_ALL: return {data, partBytes * size};
    default: return {data, partBytes};
  }
}

/** Whether source and target are the same memory part by part. */
bool isInPlace(const muster_call& call, const Memory& source, const Memory& target, std::uint32_t rank) {
  const std::uint64_t partStart = rank * call.count * elementBytes(call.dtype);
  switch (call.kind) {
    case MUSTER_REDUCE_SCATTER: return target.data == source.data + partStart;
    case MUSTER_ALL_GATHER: return source.data == target.data + partStart;
    default: return source.data == target.data;
  }
}

}  // namespace

Extents RankEnd::extents(const muster_call& call) const { return {sourceOf(call, rank_, size_).bytes, targetOf(call, rank_, size_).bytes}; }

muster_code RankEnd::check(const muster_call& call) const {
  if (call.kind < MUSTER_ALL_REDUCE || call.kind > MUSTER_DEVICE_ALL_REDUCE) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no call of kind %d", static_cast<int>(call.kind));
  if (!isDtype(call.dtype)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no dtype %d", static_cast<int>(call.dtype));
  if (static_cast<unsigned>(call.reduction) >= MUSTER_REDUCTION_COUNT) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no reduction %d", static_cast<int>(call.reduction));
  }
  if (hasPeer(call.kind) && call.peer >= size_) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s names a rank that the communicator '%s' of %u ranks does not have", describeCall(call).c_str(), id_.c_str(), size_);
  }
  if (isPointToPoint(call.kind) && call.peer == rank_) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s is to itself", describeCall(call).c_str());
  if (call.count > kBytesMax / elementBytes(call.dtype) / size_) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%" PRIu64 " elements are more than any memory holds", call.count);

  const Memory source = sourceOf(call, rank_, size_);
  const Memory target = targetOf(call, rank_, size_);
  if (const muster_code code = checkPointer("source", source, call); code != MUSTER_OK) return code;
  if (const muster_code code = checkPointer("target", target, call); code != MUSTER_OK) return code;
  if (!overlap(source, target) || isInPlace(call, source, target, rank_)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "source and target of %s overlap, and are not the same", describeCall(call).c_str());
}

}  // namespace muster
