/** Source: NCCL 2.27, "API"; its numbers are fixed. */
#include "nccl.h"

#include "dynamic-library.h"
#include "launch.h"

namespace muster::cuda {
namespace {

using Result = int;
using Handle = void*;

enum : int { kF16 = 6, kF32 = 7, kBf16 = 9 };
enum : int { kSum = 0, kMax = 2, kMin = 3, kAverage = 4 };
enum : Result { kInProgress = 7 };

struct Nccl {
  DynamicLibrary library{"libnccl.so.2"};
  Result (*getUniqueId)(NcclId*);
  Result (*initRank)(Handle*, int size, NcclId, int rank);
  Result (*reduce)(const void*, void*, std::size_t, int type, int operation, Handle, cudaStream_t);
  Result (*asyncError)(Handle, Result*);
  Result (*destroy)(Handle);
  Result (*abort)(Handle);
  const char* (*errorString)(Result);

  Nccl() {
    library.take(getUniqueId, "ncclGetUniqueId");
    library.take(initRank, "ncclCommInitRank");
    library.take(reduce, "ncclAllReduce");
    library.take(asyncError, "ncclCommGetAsyncError");
    library.take(destroy, "ncclCommDestroy");
    library.take(abort, "ncclCommAbort");
    library.take(errorString, "ncclGetErrorString");
  }
};

const Nccl& nccl() {
  static const Nccl loaded;
  return loaded;
}

#define MUSTER_NCCL_TRY(call)                                                                                                                    \
  do {                                                                                                                                           \
    if (const Result result = (call); result != 0) return MUSTER_FAIL(MUSTER_DEVICE_FAILED, 0, "NCCL: %s: %s", #call, nccl().errorString(result)); \
  } while (false)

int operationOf(muster_reduction reduction) {
  switch (reduction) {
    case MUSTER_MIN: return kMin;
    case MUSTER_MAX: return kMax;
    case MUSTER_AVERAGE: return kAverage;
    default: return kSum;
  }
}

}  // namespace

muster_code ncclFound() {
  if (nccl().library.isThere()) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "libnccl.so.2 cannot be loaded: %s", nccl().library.reason());
}

muster_code makeNcclId(NcclId& id) {
  MUSTER_NCCL_TRY(nccl().getUniqueId(&id));
  return MUSTER_OK;
}

muster_code NcclCommunicator::open(const NcclId& id, std::uint32_t rank, std::uint32_t size, std::unique_ptr<NcclCommunicator>& communicator) {
  auto opened = std::make_unique<NcclCommunicator>();
  MUSTER_NCCL_TRY(nccl().initRank(&opened->handle_, static_cast<int>(size), id, static_cast<int>(rank)));
  communicator = std::move(opened);
  return MUSTER_OK;
}

NcclCommunicator::~NcclCommunicator() {
  if (handle_ != nullptr) nccl().destroy(handle_);
}

muster_code NcclCommunicator::allReduce(const void* source, void* target, std::uint64_t elements, muster_dtype dtype, muster_reduction reduction, cudaStream_t stream) {
  if (handle_ == nullptr) return MUSTER_FAIL(MUSTER_ABORTED, 0, "the group was aborted");
  const int type = dtype == MUSTER_F32 ? kF32 : dtype == MUSTER_F16 ? kF16 : kBf16;
  MUSTER_NCCL_TRY(nccl().reduce(source, target, elements, type, operationOf(reduction), handle_, stream));
  return MUSTER_OK;
}

muster_code NcclCommunicator::failure() {
  if (handle_ == nullptr) return MUSTER_FAIL(MUSTER_ABORTED, 0, "the group was aborted");
  Result state = 0;
  MUSTER_NCCL_TRY(nccl().asyncError(handle_, &state));
  if (state == 0 || state == kInProgress) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_DEVICE_FAILED, 0, "NCCL: %s", nccl().errorString(state));
}

void NcclCommunicator::abort() {
  if (handle_ != nullptr) nccl().abort(handle_);
  handle_ = nullptr;
}

}  // namespace muster::cuda
