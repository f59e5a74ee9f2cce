/** How the ranks of a group find each other's memory, and what an allReduce asks of each kind of group: muster/cuda-collective.h. */
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "collective.h"
#include "kernels/check.h"
#include "launch.h"
#include "nccl.h"

namespace muster::cuda {
namespace {

constexpr std::size_t kRanksMax = MUSTER_CUDA_RANKS_MAX;

/** Tells a process from all others: memory of one's own process is reached as it is, and may not be opened from outside. */
std::uint64_t processToken() {
  static const std::uint64_t token = [] {
    std::random_device random;
    return std::uint64_t{random()} << 32 | random();
  }();
  return token;
}

/** What ranks say first. */
struct Introduction {
  std::uint64_t capacityBytes;
  std::uint32_t size;
  std::uint32_t hasNccl;
  unsigned char uuid[16];
};

/** What ranks open of each other. */
struct Offer {
  std::uint64_t process;
  void* memory;
  cudaEvent_t ready;
  cudaEvent_t done;
  cudaIpcMemHandle_t memoryHandle;
  cudaIpcEventHandle_t readyHandle;
  cudaIpcEventHandle_t doneHandle;
  int device;
  muster_code code;
};

/** What ranks say before each call of a shared group. */
struct Announcement {
  std::uint64_t call;
  std::uint64_t elements;
  std::uint32_t dtype;
  std::uint32_t reduction;
};

constexpr std::uint64_t kSignalBytes = (sizeof(Signal) + 255) / 256 * 256;

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

/** A rank's memory: [signals | buffer | results]. */
struct muster_cuda_group {
  muster_cuda_group_options options;
  muster_cuda_group_kind kind = MUSTER_CUDA_GROUP_SHARED;
  unsigned char* memory = nullptr;
  /** This rank's own, and the others': mapped, or theirs where they are of this process. */
  unsigned char* memories[kRanksMax] = {};
  bool isMapped[kRanksMax] = {};
  /** A rank's numbers are in its buffer; the result of rank 0 is there. */
  cudaEvent_t ready[kRanksMax] = {};
  cudaEvent_t done = nullptr;
  bool isReadyOpened[kRanksMax] = {};
  bool isDoneOpened = false;
  /** The last call's end at this rank, in whichever stream it was. */
  cudaEvent_t idle = nullptr;
  /** Host memory that the device writes to. */
  std::uint32_t* fault = nullptr;
  std::uint32_t step = 0;
  std::uint64_t calls = 0;
  bool hasFailed = false;
  std::unique_ptr<NcclCommunicator> nccl;

  unsigned char* bufferOf(std::uint32_t rank) const { return memories[rank] + kSignalBytes; }
  unsigned char* resultsOf(std::uint32_t rank) const { return bufferOf(rank) + options.capacity_bytes; }

  muster_code allocate();
  Offer offer(muster_code code) const;
  muster_code openAll(const Offer* offers);
  ~muster_cuda_group();

  template <class Value>
  muster_code meet(const Value& own, std::vector<Value>& all) const {
    all.resize(options.size);
    const muster_code code = options.meet(options.context, &own, all.data(), sizeof own);
    return code == MUSTER_OK ? MUSTER_OK : MUSTER_FAIL(code, 0, "the ranks of a group of GPUs could not meet: whoever brings them together says why");
  }
  muster_code faultFound() const;
  muster_code sharedReduce(const muster_cuda_all_reduce_call& call, cudaStream_t stream);
  muster_code peerReduce(const muster_cuda_all_reduce_call& call, cudaStream_t stream);
  muster_code ncclReduce(const muster_cuda_all_reduce_call& call, cudaStream_t stream);
};

muster_code muster_cuda_group::allocate() {
  MUSTER_CUDA_TRY(cudaMalloc(reinterpret_cast<void**>(&memory), kSignalBytes + 2 * options.capacity_bytes));
  memories[options.rank] = memory;
  MUSTER_CUDA_TRY(cudaMemsetAsync(memory, 0, kSignalBytes, nullptr));
  MUSTER_CUDA_TRY(cudaStreamSynchronize(nullptr));  // before the others learn of it
  MUSTER_CUDA_TRY(cudaEventCreateWithFlags(&ready[options.rank], cudaEventDisableTiming | cudaEventInterprocess));
  if (options.rank == 0) MUSTER_CUDA_TRY(cudaEventCreateWithFlags(&done, cudaEventDisableTiming | cudaEventInterprocess));
  MUSTER_CUDA_TRY(cudaEventCreateWithFlags(&idle, cudaEventDisableTiming));
  MUSTER_CUDA_TRY(cudaHostAlloc(reinterpret_cast<void**>(&fault), sizeof *fault, cudaHostAllocMapped));
  *fault = 0;
  return MUSTER_OK;
}

Offer muster_cuda_group::offer(muster_code code) const {
  Offer own{};
  own.process = processToken();
  own.memory = memory;
  own.ready = ready[options.rank];
  own.done = done;
  own.code = code;
  cudaGetDevice(&own.device);
  if (code != MUSTER_OK) return own;
  const bool isExported = cudaIpcGetMemHandle(&own.memoryHandle, memory) == cudaSuccess && cudaIpcGetEventHandle(&own.readyHandle, own.ready) == cudaSuccess &&
                          (options.rank != 0 || cudaIpcGetEventHandle(&own.doneHandle, done) == cudaSuccess);
  if (!isExported) cudaGetLastError();  // ranks of this process do not need it, and others will say what they cannot open
  return own;
}

muster_code muster_cuda_group::openAll(const Offer* offers) {
  for (std::uint32_t rank = 0; rank < options.size; rank++) {
    const Offer& offer = offers[rank];
    const bool isOfThisProcess = offer.process == processToken();
    if (rank != options.rank && isOfThisProcess) {
      memories[rank] = static_cast<unsigned char*>(offer.memory);
      ready[rank] = offer.ready;
      int own = 0;
      MUSTER_CUDA_TRY(cudaGetDevice(&own));
      if (offer.device != own) {
        int isReachable = 0;
        MUSTER_CUDA_TRY(cudaDeviceCanAccessPeer(&isReachable, own, offer.device));
        if (isReachable == 0) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "device %d does not reach the memory of device %d", own, offer.device);
        const cudaError_t enabled = cudaDeviceEnablePeerAccess(offer.device, 0);
        if (enabled == cudaErrorPeerAccessAlreadyEnabled) {
          cudaGetLastError();
        } else if (enabled != cudaSuccess) {
          return deviceFailure(enabled, "cudaDeviceEnablePeerAccess", __FILE__, __LINE__);
        }
      }
    } else if (rank != options.rank) {
      MUSTER_CUDA_TRY(cudaIpcOpenMemHandle(reinterpret_cast<void**>(&memories[rank]), offer.memoryHandle, cudaIpcMemLazyEnablePeerAccess));
      isMapped[rank] = true;
      if (kind == MUSTER_CUDA_GROUP_SHARED && options.rank == 0) {
        MUSTER_CUDA_TRY(cudaIpcOpenEventHandle(&ready[rank], offer.readyHandle));
        isReadyOpened[rank] = true;
      }
    }
  }
  if (options.rank != 0 && kind == MUSTER_CUDA_GROUP_SHARED) {
    if (offers[0].process == processToken()) {
      done = offers[0].done;
    } else {
      MUSTER_CUDA_TRY(cudaIpcOpenEventHandle(&done, offers[0].doneHandle));
      isDoneOpened = true;
    }
  }
  return MUSTER_OK;
}

muster_cuda_group::~muster_cuda_group() {
  nccl.reset();
  for (std::uint32_t rank = 0; rank < options.size; rank++) {
    if (isMapped[rank]) cudaIpcCloseMemHandle(memories[rank]);
    if (rank == options.rank || isReadyOpened[rank]) {
      if (ready[rank] != nullptr) cudaEventDestroy(ready[rank]);
    }
  }
  if (done != nullptr && (options.rank == 0 || isDoneOpened)) cudaEventDestroy(done);
  if (idle != nullptr) cudaEventDestroy(idle);
  if (fault != nullptr) cudaFreeHost(fault);
  if (memory != nullptr) cudaFree(memory);
}

muster_code muster_cuda_group::faultFound() const {
  const std::uint32_t found = fault == nullptr ? 0 : __atomic_load_n(fault, __ATOMIC_ACQUIRE);
  if (found == 0) return MUSTER_OK;
  const unsigned peer = found & 0xff;
  const muster_code code = (found & kPeerTimedOut) != 0 ? MUSTER_FAIL(MUSTER_TIMED_OUT, 0, "the GPU of rank %u did not come to an allReduce within %u ms", peer, options.timeout_ms)
                                                        : MUSTER_FAIL(MUSTER_MISMATCH, 0, "rank %u makes another call than rank %u", peer, options.rank);
  muster::blameRank(static_cast<int>(peer));
  return code;
}

muster_code muster_cuda_group::sharedReduce(const muster_cuda_all_reduce_call& call, cudaStream_t stream) {
  const std::uint64_t sizeBytes = call.source.elements * muster::elementBytes(call.source.dtype);
  MUSTER_CUDA_TRY(cudaStreamWaitEvent(stream, idle, 0));
  if (call.source.data != bufferOf(options.rank)) MUSTER_CUDA_TRY(cudaMemcpyAsync(bufferOf(options.rank), call.source.data, sizeBytes, cudaMemcpyDefault, stream));
  MUSTER_CUDA_TRY(cudaEventRecord(ready[options.rank], stream));
  const Announcement own{calls, call.source.elements, static_cast<std::uint32_t>(call.source.dtype), static_cast<std::uint32_t>(call.reduction)};
  std::vector<Announcement> all;
  if (const muster_code code = meet(own, all); code != MUSTER_OK) return code;
  for (std::uint32_t rank = 0; rank < options.size; rank++) {
    if (std::memcmp(&all[rank], &own, sizeof own) == 0) continue;
    const muster_code code = MUSTER_FAIL(MUSTER_MISMATCH, 0, "call %llu of rank %u reduces %llu elements of %s (reduction %u), and call %llu of rank %u reduces %llu of %s (reduction %u)",
                                         static_cast<unsigned long long>(own.call), options.rank, static_cast<unsigned long long>(own.elements), muster::dtypeName(call.source.dtype), own.reduction,
                                         static_cast<unsigned long long>(all[rank].call), rank, static_cast<unsigned long long>(all[rank].elements),
                                         muster::dtypeName(static_cast<muster_dtype>(all[rank].dtype)), all[rank].reduction);
    muster::blameRank(static_cast<int>(rank));
    return code;
  }
  // All events are recorded by now: a stream waits only for what was recorded before it is told to.
  muster_code started = MUSTER_OK;
  if (options.rank == 0) {
    started = [&]() -> muster_code {
      for (std::uint32_t rank = 1; rank < options.size; rank++) MUSTER_CUDA_TRY(cudaStreamWaitEvent(stream, ready[rank], 0));
      ReduceCall reduce{call.source.dtype, call.reduction, options.size, call.source.elements, {}, resultsOf(0), nullptr};
      for (std::uint32_t rank = 0; rank < options.size; rank++) reduce.inputs[rank] = bufferOf(rank);
      if (const muster_code code = startReduce(reduce, stream); code != MUSTER_OK) return code;
      MUSTER_CUDA_TRY(cudaEventRecord(done, stream));
      return MUSTER_OK;
    }();
  }
  std::vector<muster_code> codes;
  if (const muster_code code = meet(started, codes); code != MUSTER_OK) return code;
  if (started != MUSTER_OK) return started;
  if (codes[0] != MUSTER_OK) return MUSTER_FAIL(MUSTER_ABORTED, 0, "rank 0 could not start the kernel of the group");
  if (options.rank != 0) MUSTER_CUDA_TRY(cudaStreamWaitEvent(stream, done, 0));
  if (call.target.elements != 0) MUSTER_CUDA_TRY(cudaMemcpyAsync(call.target.data, resultsOf(0), sizeBytes, cudaMemcpyDefault, stream));
  MUSTER_CUDA_TRY(cudaEventRecord(idle, stream));
  if (call.found_inf == nullptr) return MUSTER_OK;
  return startFiniteCheck({call.source.dtype, call.reduction, options.size, call.source.elements, {}, resultsOf(0), call.found_inf}, stream);
}

muster_code muster_cuda_group::peerReduce(const muster_cuda_all_reduce_call& call, cudaStream_t stream) {
  const std::uint64_t sizeBytes = call.source.elements * muster::elementBytes(call.source.dtype);
  void* const buffer = bufferOf(options.rank);
  MUSTER_CUDA_TRY(cudaStreamWaitEvent(stream, idle, 0));
  if (call.source.data != buffer) MUSTER_CUDA_TRY(cudaMemcpyAsync(buffer, call.source.data, sizeBytes, cudaMemcpyDefault, stream));
  PeerCall peer{};
  // In one shot the others read the buffer while the result is written: it cannot lie there.
  const bool isApart = call.target.data == buffer && isOneShot(options.size, sizeBytes);
  peer.reduce = {call.source.dtype, call.reduction, options.size, call.source.elements, {}, isApart ? resultsOf(options.rank) : call.target.data, call.found_inf};
  peer.rank = options.rank;
  for (std::uint32_t rank = 0; rank < options.size; rank++) {
    peer.reduce.inputs[rank] = bufferOf(rank);
    peer.signals[rank] = reinterpret_cast<Signal*>(memories[rank]);
    peer.parts[rank] = resultsOf(rank);
  }
  peer.step = step;
  // Of what all must agree on; Fibonacci hashing, so that small differences change all of it.
  peer.fingerprint = static_cast<std::uint32_t>(((call.source.elements * 8 + static_cast<unsigned>(call.source.dtype)) * 8 + static_cast<unsigned>(call.reduction)) * 0x9e3779b97f4a7c15u >> 32);
  peer.timeoutNs = std::uint64_t{options.timeout_ms} * 1'000'000;
  void* faultOfDevice = nullptr;
  MUSTER_CUDA_TRY(cudaHostGetDevicePointer(&faultOfDevice, fault, 0));
  peer.fault = static_cast<std::uint32_t*>(faultOfDevice);
  step += kPeerSteps;
  if (const muster_code code = startPeerReduce(peer, stream); code != MUSTER_OK) return code;
  if (isApart) MUSTER_CUDA_TRY(cudaMemcpyAsync(buffer, resultsOf(options.rank), sizeBytes, cudaMemcpyDefault, stream));
  MUSTER_CUDA_TRY(cudaEventRecord(idle, stream));
  return MUSTER_OK;
}

muster_code muster_cuda_group::ncclReduce(const muster_cuda_all_reduce_call& call, cudaStream_t stream) {
  if (const muster_code code = nccl->allReduce(call.source.data, call.target.data, call.source.elements, call.source.dtype, call.reduction, stream); code != MUSTER_OK) return code;
  if (call.found_inf == nullptr) return MUSTER_OK;
  return startFiniteCheck({call.source.dtype, call.reduction, options.size, call.source.elements, {}, call.target.data, call.found_inf}, stream);
}

namespace muster::cuda {
namespace {

muster_code checkOptions(const muster_cuda_group_options& options) {
  const bool isFine = options.size >= 1 && options.size <= MUSTER_CUDA_RANKS_MAX && options.rank < options.size && options.timeout_ms > 0 && options.capacity_bytes > 0 && options.capacity_bytes % 16 == 0 &&
                      options.capacity_bytes < std::uint64_t{1} << 40 && options.meet != nullptr;
  if (isFine) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a group has 1 to %u ranks, a time above 0, a way to meet and a capacity that is a multiple of 16 bytes: not rank %u of %u, %u ms, %llu bytes", MUSTER_CUDA_RANKS_MAX,
                     options.rank, options.size, options.timeout_ms, static_cast<unsigned long long>(options.capacity_bytes));
}

muster_code introduce(muster_cuda_group& group, std::vector<Introduction>& all) {
  Introduction own{group.options.capacity_bytes, group.options.size, ncclFound() == MUSTER_OK ? 1u : 0u, {}};
  int device = 0;
  MUSTER_CUDA_TRY(cudaGetDevice(&device));
  cudaDeviceProp properties;
  MUSTER_CUDA_TRY(cudaGetDeviceProperties(&properties, device));
  std::memcpy(own.uuid, properties.uuid.bytes, sizeof own.uuid);
  if (const muster_code code = group.meet(own, all); code != MUSTER_OK) return code;
  for (std::uint32_t rank = 0; rank < group.options.size; rank++) {
    if (all[rank].capacityBytes == own.capacityBytes && all[rank].size == own.size) continue;
    return MUSTER_FAIL(MUSTER_MISMATCH, 0, "rank %u opens a group of %u ranks and %llu bytes, and rank %u one of %u and %llu", group.options.rank, own.size, static_cast<unsigned long long>(own.capacityBytes), rank,
                       all[rank].size, static_cast<unsigned long long>(all[rank].capacityBytes));
  }
  return MUSTER_OK;
}

/** Where the ranks are. @returns false when some but not all share a GPU. */
bool findKind(const std::vector<Introduction>& all, muster_cuda_group_kind& kind) {
  std::size_t pairs = 0;
  std::size_t equal = 0;
  for (std::size_t one = 0; one < all.size(); one++) {
    for (std::size_t other = 0; other < one; other++) {
      pairs++;
      equal += std::memcmp(all[one].uuid, all[other].uuid, sizeof all[one].uuid) == 0;
    }
  }
  kind = equal == pairs ? MUSTER_CUDA_GROUP_SHARED : MUSTER_CUDA_GROUP_PEER;
  return equal == pairs || equal == 0;
}

muster_code openNccl(muster_cuda_group& group, const std::vector<Introduction>& all) {
  const auto lacking = std::find_if(all.begin(), all.end(), [](const Introduction& one) { return one.hasNccl == 0; });
  if (lacking != all.end()) {
    return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "the ranks' GPUs do not reach each other's memory, and rank %td has no NCCL: libnccl.so.2 would do", lacking - all.begin());
  }
  struct Given {
    NcclId id;
    muster_code code;
  };
  Given own{};
  if (group.options.rank == 0) own.code = makeNcclId(own.id);
  std::vector<Given> given;
  if (const muster_code code = group.meet(own, given); code != MUSTER_OK) return code;
  if (own.code != MUSTER_OK) return own.code;
  if (given[0].code != MUSTER_OK) return MUSTER_FAIL(MUSTER_ABORTED, 0, "rank 0 could not begin a communicator of NCCL");
  return NcclCommunicator::open(given[0].id, group.options.rank, group.options.size, group.nccl);
}

muster_code openGroup(muster_cuda_group& group) {
  std::vector<Introduction> all;
  if (const muster_code code = introduce(group, all); code != MUSTER_OK) return code;
  if (!findKind(all, group.kind)) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "some ranks of the group share a GPU and others do not: all must, or none");
  const muster_code allocated = group.allocate();
  std::vector<Offer> offers;
  if (const muster_code code = group.meet(group.offer(allocated), offers); code != MUSTER_OK) return code;
  if (allocated != MUSTER_OK) return allocated;
  for (std::uint32_t rank = 0; rank < group.options.size; rank++) {
    if (offers[rank].code != MUSTER_OK) return MUSTER_FAIL(MUSTER_ABORTED, 0, "rank %u could not make its buffers", rank);
  }
  const muster_code opened = group.openAll(offers.data());
  std::vector<muster_code> outcomes;
  if (const muster_code code = group.meet(opened, outcomes); code != MUSTER_OK) return code;
  const auto refused = std::find_if(outcomes.begin(), outcomes.end(), [](muster_code code) { return code != MUSTER_OK; });
  if (refused == outcomes.end()) return MUSTER_OK;
  if (group.kind == MUSTER_CUDA_GROUP_PEER) {
    group.kind = MUSTER_CUDA_GROUP_NCCL;
    return openNccl(group, all);
  }
  return opened != MUSTER_OK ? opened : MUSTER_FAIL(MUSTER_ABORTED, 0, "rank %td could not open the others' buffers", refused - outcomes.begin());
}

muster_code checkCall(const muster_cuda_group& group, const muster_cuda_all_reduce_call& call) {
  if (call.reduction == MUSTER_PRODUCT || static_cast<std::uint32_t>(call.reduction) >= MUSTER_REDUCTION_COUNT) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "an allReduce of GPUs makes a sum, an average, a minimum or a maximum, not reduction %d", static_cast<int>(call.reduction));
  }
  muster::kernels::TensorCheck check;
  check.reads(call.source, "source", muster::kernels::kTrainingDtypes);
  const std::uint64_t sizeBytes = call.source.elements * (call.source.dtype == MUSTER_F32 ? 4 : 2);
  if (call.target.elements != 0 || group.kind != MUSTER_CUDA_GROUP_SHARED || sizeBytes > group.options.capacity_bytes) {
    check.hasDtype(call.target, "target", call.source.dtype);
    check.hasElements(call.target, "target", call.source.elements, "the source");
    check.writesOver(call.target, "target", call.source, muster::kernels::kTrainingDtypes);
  }
  return check.code();
}

muster_tensor partOf(const muster_tensor& tensor, std::uint64_t at, std::uint64_t elements) {
  if (tensor.elements == 0) return tensor;
  return {static_cast<unsigned char*>(tensor.data) + at * muster::elementBytes(tensor.dtype), elements, tensor.dtype};
}

}  // namespace
}  // namespace muster::cuda

muster_code muster_cuda_group_open(const muster_cuda_group_options* options, muster_cuda_group** group) {
  if (const muster_code code = checkOptions(*options); code != MUSTER_OK) return code;
  auto opened = std::make_unique<muster_cuda_group>();
  opened->options = *options;
  if (const muster_code code = openGroup(*opened); code != MUSTER_OK) {
    const muster_failure failure = *muster_last_failure();  // closing may overwrite it
    opened.reset();
    muster::recordFailure(code, failure.error_number, failure.file, failure.line, "%s", failure.message);
    muster::blameRank(failure.rank);
    return code;
  }
  *group = opened.release();
  return MUSTER_OK;
}

muster_code muster_cuda_group_describe(const muster_cuda_group* group, muster_cuda_group_view* view) {
  *view = {group->kind, group->bufferOf(group->options.rank), group->kind == MUSTER_CUDA_GROUP_SHARED ? group->resultsOf(0) : nullptr};
  return MUSTER_OK;
}

muster_code muster_cuda_all_reduce(muster_cuda_group* group, const muster_cuda_all_reduce_call* call, muster_cuda_stream stream) {
  if (group->hasFailed) return MUSTER_FAIL(MUSTER_ABORTED, 0, "a call of this group has failed before");
  if (const muster_code code = checkCall(*group, *call); code != MUSTER_OK) return code;
  if (call->source.elements == 0) return MUSTER_OK;
  const std::uint64_t whole = group->options.capacity_bytes / muster::elementBytes(call->source.dtype);
  muster_code code = group->faultFound();
  for (std::uint64_t at = 0; at < call->source.elements && code == MUSTER_OK; at += whole) {
    const std::uint64_t elements = std::min(whole, call->source.elements - at);
    const muster_cuda_all_reduce_call part{call->reduction, partOf(call->source, at, elements), partOf(call->target, at, elements), call->found_inf};
    switch (group->kind) {
      case MUSTER_CUDA_GROUP_SHARED: code = group->sharedReduce(part, stream); break;
      case MUSTER_CUDA_GROUP_PEER: code = group->peerReduce(part, stream); break;
      case MUSTER_CUDA_GROUP_NCCL: code = group->ncclReduce(part, stream); break;
    }
  }
  group->calls++;
  group->hasFailed = code != MUSTER_OK;
  return code;
}

muster_code muster_cuda_group_wait(muster_cuda_group* group, muster_cuda_stream stream, uint32_t timeout_ms) {
  const muster_code waited = muster_cuda_stream_wait(stream, timeout_ms);
  const muster_code found = waited != MUSTER_OK ? waited : group->kind == MUSTER_CUDA_GROUP_NCCL ? group->nccl->failure() : group->faultFound();
  if (found == MUSTER_OK) return MUSTER_OK;
  group->hasFailed = true;
  if (group->nccl != nullptr) group->nccl->abort();
  return found;
}

muster_code muster_cuda_group_close(muster_cuda_group* group) {
  delete group;
  return MUSTER_OK;
}
