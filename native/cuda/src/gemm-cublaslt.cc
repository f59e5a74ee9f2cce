/**
 * Matrix products by cublasLt, of whose interface the small part that is needed is declared here: its headers are not needed to build, nor is it to run.
 * Source: cuBLAS 13.0, "Using the cuBLASLt API"; the numbers are those of its enumerations, which are fixed since version 11.
 *
 * It counts columns first: what is asked of it is result^T = right^T * left^T, where a row of ours is a column of its own.
 */
#include <array>
#include <memory>
#include <mutex>

#include "dynamic-library.h"
#include "gemm.h"
#include "launch.h"

namespace muster::cuda {
namespace {

using Status = int;
using Handle = struct HandleOpaque*;
using Operation = struct OperationOpaque*;
using Layout = struct LayoutOpaque*;
using Preference = struct PreferenceOpaque*;

struct Algorithm {
  std::uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  std::size_t workspaceBytes;
  Status state;
  float waves;
  int reserved[4];
};

enum : int { kComputeF32 = 68, kTypeF32 = 0, kTypeF16 = 2, kTypeBf16 = 14 };
enum : int { kOperationTransposeA = 3, kOperationTransposeB = 4, kOperationEpilogue = 7, kOperationBias = 8 };
enum : int { kLayoutBatches = 5, kLayoutBatchStride = 6 };
enum : int { kPreferenceWorkspaceBytes = 1 };
enum : int { kTransposed = 1 };
enum : std::uint32_t { kEpilogueNone = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32 };

struct CublasLt {
  DynamicLibrary library{"libcublasLt.so.13", "libcublasLt.so.12"};
  Status (*create)(Handle*);
  Status (*operationCreate)(Operation*, int computeType, int scaleType);
  Status (*operationDestroy)(Operation);
  Status (*operationSet)(Operation, int attribute, const void* value, std::size_t sizeBytes);
  Status (*layoutCreate)(Layout*, int type, std::uint64_t rows, std::uint64_t columns, std::int64_t leadingDimension);
  Status (*layoutDestroy)(Layout);
  Status (*layoutSet)(Layout, int attribute, const void* value, std::size_t sizeBytes);
  Status (*preferenceCreate)(Preference*);
  Status (*preferenceDestroy)(Preference);
  Status (*preferenceSet)(Preference, int attribute, const void* value, std::size_t sizeBytes);
  Status (*heuristic)(Handle, Operation, Layout, Layout, Layout, Layout, Preference, int wanted, Heuristic* results, int* found);
  Status (*multiply)(Handle, Operation, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace,
                     std::size_t workspaceBytes, cudaStream_t);

  CublasLt() {
    library.take(create, "cublasLtCreate");
    library.take(operationCreate, "cublasLtMatmulDescCreate");
    library.take(operationDestroy, "cublasLtMatmulDescDestroy");
    library.take(operationSet, "cublasLtMatmulDescSetAttribute");
    library.take(layoutCreate, "cublasLtMatrixLayoutCreate");
    library.take(layoutDestroy, "cublasLtMatrixLayoutDestroy");
    library.take(layoutSet, "cublasLtMatrixLayoutSetAttribute");
    library.take(preferenceCreate, "cublasLtMatmulPreferenceCreate");
    library.take(preferenceDestroy, "cublasLtMatmulPreferenceDestroy");
    library.take(preferenceSet, "cublasLtMatmulPreferenceSetAttribute");
    library.take(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    library.take(multiply, "cublasLtMatmul");
  }
};

const CublasLt& cublasLt() {
  static const CublasLt loaded;
  return loaded;
}

/** Devices of a process, at most: what one machine has. */
constexpr std::size_t kDevicesMax = 64;

/** Made at the first product on each device, which may wait for it; kept until the process ends. */
muster_code handleOf(Handle& handle) {
  static std::array<Handle, kDevicesMax> handles{};
  static std::mutex mutex;
  int device = 0;
  MUSTER_CUDA_TRY(cudaGetDevice(&device));
  if (static_cast<std::size_t>(device) >= kDevicesMax) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "device %d is beyond the first %zu", device, kDevicesMax);
  const std::lock_guard lock(mutex);
  Handle& own = handles[static_cast<std::size_t>(device)];
  if (own == nullptr) {
    if (const Status status = cublasLt().create(&own); status != 0) {
      own = nullptr;
      return MUSTER_FAIL(MUSTER_DEVICE_FAILED, 0, "cublasLtCreate: status %d", status);
    }
  }
  handle = own;
  return MUSTER_OK;
}

/** An object of the library's, destroyed at the end of the scope. */
template <class Object>
class Owned {
 public:
  explicit Owned(Status (*destroy)(Object)) : destroy_(destroy) {}
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (object_ != nullptr) destroy_(object_);
  }
  Object* address() { return &object_; }
  Object get() const { return object_; }

 private:
  Status (*destroy_)(Object);
  Object object_ = nullptr;
};

int typeOf(muster_dtype dtype) { return dtype == MUSTER_F32 ? kTypeF32 : dtype == MUSTER_F16 ? kTypeF16 : kTypeBf16; }

/** The scratch memory that NVIDIA recommends for Hopper; more than enough for others. */
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

#define MUSTER_CUBLASLT_TRY(call)                                                                                                       \
  do {                                                                                                                                  \
    if (const Status status = (call); status != 0) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "cublasLt refuses: %s: status %d", #call, status); \
  } while (false)

/**
 * Describes `lines` vectors of `depth` elements: columns of its matrix where depth is contiguous. @param isTransposed whether its matrix is the transpose.
 */
muster_code describe(const CublasLt& library, Owned<Layout>& layout, const muster_matrices& matrices, std::uint64_t batches, std::uint64_t lines, std::uint64_t depth, std::uint64_t lineStride,
                     std::uint64_t depthStride, bool isTransposed) {
  // A dimension of one element may have any stride; the library wants one that could be.
  const std::uint64_t inner = isTransposed ? lines : depth;
  const std::uint64_t outer = isTransposed ? depth : lines;
  const std::uint64_t stride = isTransposed ? depthStride : lineStride;
  const std::uint64_t leading = outer == 1 && stride < inner ? inner : stride;
  MUSTER_CUBLASLT_TRY(library.layoutCreate(layout.address(), typeOf(matrices.tensor.dtype), inner, outer, static_cast<std::int64_t>(leading)));
  const auto count = static_cast<std::int32_t>(batches);
  const auto batchStride = static_cast<std::int64_t>(matrices.batch_stride);
  MUSTER_CUBLASLT_TRY(library.layoutSet(layout.get(), kLayoutBatches, &count, sizeof count));
  MUSTER_CUBLASLT_TRY(library.layoutSet(layout.get(), kLayoutBatchStride, &batchStride, sizeof batchStride));
  return MUSTER_OK;
}

muster_code describeOperation(const CublasLt& library, Owned<Operation>& operation, const GemmCall& call, bool isRightTransposed, bool isLeftTransposed) {
  MUSTER_CUBLASLT_TRY(library.operationCreate(operation.address(), kComputeF32, kTypeF32));
  // Its first matrix has to come as columns x depth, its second one as depth x rows.
  const int first = isRightTransposed ? 0 : kTransposed;
  const int second = isLeftTransposed ? kTransposed : 0;
  MUSTER_CUBLASLT_TRY(library.operationSet(operation.get(), kOperationTransposeA, &first, sizeof first));
  MUSTER_CUBLASLT_TRY(library.operationSet(operation.get(), kOperationTransposeB, &second, sizeof second));
  std::uint32_t epilogue = 0;
  if (call.activation == MUSTER_RELU) epilogue = kEpilogueRelu;
  if (call.activation == MUSTER_GELU_TANH) epilogue = kEpilogueGelu;
  if (call.bias.elements != 0) {
    epilogue |= kEpilogueBias;
    MUSTER_CUBLASLT_TRY(library.operationSet(operation.get(), kOperationBias, &call.bias.data, sizeof call.bias.data));
  }
  if (epilogue == 0) epilogue = kEpilogueNone;
  MUSTER_CUBLASLT_TRY(library.operationSet(operation.get(), kOperationEpilogue, &epilogue, sizeof epilogue));
  return MUSTER_OK;
}

}  // namespace

muster_code cublasLtFound() {
  if (cublasLt().library.isThere()) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "libcublasLt.so.13 and libcublasLt.so.12 cannot be loaded: %s", cublasLt().library.reason());
}

muster_code cublasLtGemm(const GemmCall& call, cudaStream_t stream) {
  const CublasLt& library = cublasLt();
  Handle handle = nullptr;
  if (const muster_code code = handleOf(handle); code != MUSTER_OK) return code;
  // Lines of left are rows, of right columns. "Transposed": lines are contiguous, not depth.
  const bool isLeftTransposed = call.left.column_stride != 1;
  const bool isRightTransposed = call.right.row_stride != 1;
  Owned<Operation> operation(library.operationDestroy);
  Owned<Layout> left(library.layoutDestroy), right(library.layoutDestroy), result(library.layoutDestroy);
  Owned<Preference> preference(library.preferenceDestroy);
  if (const muster_code code = describeOperation(library, operation, call, isRightTransposed, isLeftTransposed); code != MUSTER_OK) return code;
  if (const muster_code code = describe(library, right, call.right, call.batches, call.columns, call.depth, call.right.column_stride, call.right.row_stride, isRightTransposed); code != MUSTER_OK) return code;
  if (const muster_code code = describe(library, left, call.left, call.batches, call.rows, call.depth, call.left.row_stride, call.left.column_stride, isLeftTransposed); code != MUSTER_OK) return code;
  if (const muster_code code = describe(library, result, call.result, call.batches, call.rows, call.columns, call.result.row_stride, 1, false); code != MUSTER_OK) return code;
  MUSTER_CUBLASLT_TRY(library.preferenceCreate(preference.address()));
  MUSTER_CUBLASLT_TRY(library.preferenceSet(preference.get(), kPreferenceWorkspaceBytes, &kWorkspaceBytes, sizeof kWorkspaceBytes));
  Heuristic best{};
  int found = 0;
  MUSTER_CUBLASLT_TRY(library.heuristic(handle, operation.get(), right.get(), left.get(), result.get(), result.get(), preference.get(), 1, &best, &found));
  if (found == 0) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "cublasLt has no kernel for this product");
  StreamMemory workspace(stream);
  if (best.workspaceBytes > 0) {
    if (const muster_code code = workspace.reserve(best.workspaceBytes); code != MUSTER_OK) return code;
  }
  const Status status = library.multiply(handle, operation.get(), &call.alpha, call.right.tensor.data, right.get(), call.left.tensor.data, left.get(), &call.beta, call.result.tensor.data, result.get(),
                                         call.result.tensor.data, result.get(), &best.algorithm, workspace.data(), best.workspaceBytes, stream);
  if (status != 0) return MUSTER_FAIL(MUSTER_DEVICE_FAILED, 0, "cublasLtMatmul: status %d", status);
  return MUSTER_OK;
}

}  // namespace muster::cuda
