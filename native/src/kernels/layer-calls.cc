#include "kernels/layer-calls.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <utility>
#include <vector>

#include "dtype.h"
#include "kernels/check.h"
#include "kernels/images.h"
#include "status.h"

namespace muster::kernels {
namespace {

muster_code checkConvolution(const muster_convolution& convolution) {
  if (const muster_code code = checkImages(convolution.images); code != MUSTER_OK) return code;
  const std::uint64_t channels = convolution.images.channels;
  if (channels == 0 || convolution.result_channels == 0 || convolution.groups == 0 || channels % convolution.groups != 0 || convolution.result_channels % convolution.groups != 0) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%" PRIu64 " channels cannot be convolved into %" PRIu64 " in %" PRIu64 " groups: each must be 1 or more, and both whole groups", channels,
                       convolution.result_channels, convolution.groups);
  }
  const Positions positions(convolution.images);
  std::uint64_t elements;
  const std::uint64_t window = convolution.images.vertical.kernel * convolution.images.horizontal.kernel;
  if (productOf(elements, convolution.result_channels, channels / convolution.groups, window) &&
      productOf(elements, convolution.images.batches, convolution.result_channels, positions.rows, positions.columns)) {
    return MUSTER_OK;
  }
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a convolution into %" PRIu64 " channels is too large", convolution.result_channels);
}

/** What a tensor of a convolution, or its gradient, is to it: which says how many elements it has. */
struct Part {
  std::uint64_t elements;
  const char* source;
};

/** Collects the tensors of a convolution, which have one dtype, but for biases and the gradients of weights, which are f32. */
class ConvolutionCheck {
 public:
  ConvolutionCheck(const muster_convolution& convolution, muster_dtype dtype)
      : input{convolution.images.batches * convolution.images.channels * convolution.images.rows * convolution.images.columns, "the images"},
        weight{convolution.result_channels * (convolution.images.channels / convolution.groups) * convolution.images.vertical.kernel * convolution.images.horizontal.kernel,
               "the windows have for all result channels"},
        result{convolution.images.batches * convolution.result_channels * Positions(convolution.images).count(), "the windows have positions"},
        bias{convolution.result_channels, "the result has channels"},
        dtype_(dtype) {}

  const Part input, weight, result, bias;

  void reads(const Part& part, const muster_tensor& tensor, const char* name) {
    check_.reads(tensor, name, kTrainingDtypes);
    check_.hasDtype(tensor, name, dtype_);
    check_.hasElements(tensor, name, part.elements, part.source);
  }
  void writes(const Part& part, const muster_tensor& tensor, const char* name) {
    check_.writes(tensor, name, kTrainingDtypes);
    check_.hasDtype(tensor, name, dtype_);
    check_.hasElements(tensor, name, part.elements, part.source);
  }
  void readsF32(const Part& part, const muster_tensor& tensor, const char* name) {
    check_.reads(tensor, name, setOf(MUSTER_F32));
    check_.hasElements(tensor, name, part.elements, part.source);
  }
  void writesF32(const Part& part, const muster_tensor& tensor, const char* name) {
    check_.writes(tensor, name, setOf(MUSTER_F32));
    check_.hasElements(tensor, name, part.elements, part.source);
  }
  muster_code code() { return check_.code(); }

 private:
  TensorCheck check_;
  const muster_dtype dtype_;
};

/** Whether the window has a number inside a side of `size` at every position: the last starts before the end, and those that start in the padding reach the side and do not step over it. */
bool holdsNumbers(const muster_window& window, std::uint64_t size) {
  const std::uint64_t last = (muster_window_positions(&window, size) - 1) * window.stride;
  return last < size + window.padding && (window.padding == 0 || (window.dilation <= size && window.padding <= window.dilation * (window.kernel - 1)));
}

muster_code checkPooling(const muster_images& images, muster_pooling pooling, const std::int32_t* places) {
  if (static_cast<std::uint32_t>(pooling) >= MUSTER_POOLINGS) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no pooling %d", static_cast<int>(pooling));
  if (const muster_code code = checkImages(images); code != MUSTER_OK) return code;
  const bool hasResults = images.batches > 0 && images.channels > 0;
  if (pooling == MUSTER_POOL_LARGEST ? hasResults && places == nullptr : places != nullptr) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "places belong to the largest numbers of windows, and to nothing else");
  }
  for (const auto& [window, size] : {std::pair{images.vertical, images.rows}, std::pair{images.horizontal, images.columns}}) {
    if (holdsNumbers(window, size)) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a padding of %" PRIu64 " and an overhang of %" PRIu64 " are too much for a window of %" PRIu64 " numbers, %" PRIu64 " apart: one lies outside of the image",
                       window.padding, window.overhang, window.kernel, window.dilation);
  }
  return MUSTER_OK;
}

/** One for each result. */
muster_tensor placesOf(const std::int32_t* places, const muster_tensor& results) { return {const_cast<std::int32_t*>(places), results.elements, MUSTER_I32}; }

/** Of the tensor with the size of the images, and the one with that of the windows' positions. */
muster_code checkPooled(TensorCheck& check, const muster_images& images, const muster_tensor& whole, const char* wholeName, const muster_tensor& pooled, const char* pooledName) {
  check.hasDtype(pooled, pooledName, whole.dtype);
  check.hasElements(whole, wholeName, images.batches * images.channels * images.rows * images.columns, "the images");
  check.hasElements(pooled, pooledName, images.batches * images.channels * Positions(images).count(), "the windows have positions");
  return check.code();
}

muster_code checkShape(const muster_attention_shape& shape) {
  if (!std::isfinite(shape.scale)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a scale of %g for scores: it must be finite", static_cast<double>(shape.scale));
  if (shape.width == 0 || shape.keys == 0) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there are %" PRIu64 " keys of %" PRIu64 " numbers: each must be 1 or more", shape.keys, shape.width);
  if (shape.causal == 0 || shape.keys >= shape.queries) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%" PRIu64 " queries cannot see up to their own place among %" PRIu64 " keys", shape.queries, shape.keys);
}

/** The elements from the first to the last that the heads use. @returns false when that overflows. */
bool reachOf(const muster_heads& heads, const muster_attention_shape& shape, std::uint64_t rows, std::uint64_t& elements) {
  elements = shape.width;
  if (shape.batches == 0 || shape.heads == 0 || rows == 0) {
    elements = 0;
    return true;
  }
  const auto reach = [&](std::uint64_t count, std::uint64_t stride) {
    std::uint64_t steps;
    return !__builtin_mul_overflow(count - 1, stride, &steps) && !__builtin_add_overflow(elements, steps, &elements);
  };
  return reach(shape.batches, heads.batch_stride) && reach(shape.heads, heads.head_stride) && reach(rows, heads.row_stride);
}

/** Whether the vectors of written heads are apart from each other: each stride, from the smallest on, leaps over all that the ones before reach. */
bool areApart(const muster_heads& heads, const muster_attention_shape& shape, std::uint64_t rows) {
  std::pair<std::uint64_t, std::uint64_t> steps[] = {{heads.batch_stride, shape.batches}, {heads.head_stride, shape.heads}, {heads.row_stride, rows}};
  std::sort(std::begin(steps), std::end(steps));
  std::uint64_t reach = shape.width;
  for (const auto& [stride, count] : steps) {
    if (count <= 1) continue;
    if (stride < reach) return false;
    reach += (count - 1) * stride;
  }
  return true;
}

/** Whether the vectors of one lie between those of the other, as queries, keys and values do that one product has made. */
bool interleave(const muster_heads& first, const muster_heads& second, const muster_attention_shape& shape) {
  if (first.batch_stride != second.batch_stride || first.head_stride != second.head_stride || first.row_stride != second.row_stride) return false;
  const auto a = reinterpret_cast<std::uintptr_t>(first.tensor.data);
  const auto b = reinterpret_cast<std::uintptr_t>(second.tensor.data);
  const std::uint64_t bytes = elementBytes(first.tensor.dtype);
  const std::uint64_t distance = (a < b ? b - a : a - b) / bytes;
  const std::uint64_t rowReach = (shape.heads - 1) * first.head_stride + shape.width;
  return distance >= rowReach && distance + rowReach <= first.row_stride;
}

/** Collects what a call reads and writes. */
class HeadsCheck {
 public:
  explicit HeadsCheck(const muster_attention_shape& shape) : shape_(shape) {}

  void reads(const muster_heads& heads, const char* name, std::uint64_t rows) {
    if (add(heads, name, rows)) check_.reads(used(heads, rows), name, kTrainingDtypes);
  }

  void writes(const muster_heads& heads, const char* name, std::uint64_t rows) {
    if (!add(heads, name, rows)) return;
    if (!areApart(heads, shape_, rows)) {
      code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the strides of %" PRIu64 ", %" PRIu64 " and %" PRIu64 " make the vectors of the %s overlap", heads.batch_stride, heads.head_stride,
                          heads.row_stride, name);
      return;
    }
    written_.push_back({heads, name, rows});
  }

  void logSums(const muster_tensor& tensor, bool isWritten) {
    if (isWritten) {
      check_.writes(tensor, "log sums", setOf(MUSTER_F32));
    } else {
      check_.reads(tensor, "log sums", setOf(MUSTER_F32));
    }
    check_.hasElements(tensor, "log sums", shape_.batches * shape_.heads * shape_.queries, "the heads have queries");
  }

  muster_code code() {
    if (code_ == MUSTER_OK) code_ = check_.code();
    if (code_ != MUSTER_OK) return code_;
    // Written vectors that lie between each other are one piece of memory to the others.
    for (std::size_t index = 0; index < written_.size(); index++) {
      muster_tensor whole = used(written_[index].heads, written_[index].rows);
      bool isPart = false;
      for (std::size_t other = 0; other < written_.size(); other++) {
        if (other == index || !interleave(written_[index].heads, written_[other].heads, shape_)) continue;
        isPart = isPart || other < index;
        whole = joined(whole, used(written_[other].heads, written_[other].rows));
      }
      if (!isPart) check_.writes(whole, written_[index].name, kTrainingDtypes);
    }
    return check_.code();
  }

 private:
  struct Written {
    muster_heads heads;
    const char* name;
    std::uint64_t rows;
  };

  bool add(const muster_heads& heads, const char* name, std::uint64_t rows) {
    if (code_ != MUSTER_OK) return false;
    if (dtype_ == MUSTER_DTYPE_COUNT) dtype_ = heads.tensor.dtype;
    check_.hasDtype(heads.tensor, name, static_cast<muster_dtype>(dtype_));
    if (!isDtype(static_cast<muster_dtype>(dtype_)) || (kTrainingDtypes & setOf(static_cast<muster_dtype>(dtype_))) == 0) return true;  // which `check_` says
    std::uint64_t elements;
    if (reachOf(heads, shape_, rows, elements) && elements <= heads.tensor.elements) return true;
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s has %" PRIu64 " elements, too few for %" PRIu64 " x %" PRIu64 " x %" PRIu64 " vectors of %" PRIu64 " with strides of %" PRIu64 ", %" PRIu64 " and %" PRIu64,
                        name, heads.tensor.elements, shape_.batches, shape_.heads, rows, shape_.width, heads.batch_stride, heads.head_stride, heads.row_stride);
    return false;
  }

  muster_tensor used(const muster_heads& heads, std::uint64_t rows) const {
    std::uint64_t elements = 0;
    reachOf(heads, shape_, rows, elements);
    return {heads.tensor.data, elements, heads.tensor.dtype};
  }

  static muster_tensor joined(const muster_tensor& first, const muster_tensor& second) {
    const muster_tensor& low = first.data < second.data ? first : second;
    const muster_tensor& high = first.data < second.data ? second : first;
    const auto distance = static_cast<std::uint64_t>(static_cast<const std::byte*>(high.data) - static_cast<const std::byte*>(low.data)) / elementBytes(low.dtype);
    return {low.data, std::max(low.elements, distance + high.elements), low.dtype};
  }

  const muster_attention_shape& shape_;
  TensorCheck check_;
  std::vector<Written> written_;
  std::uint32_t dtype_ = MUSTER_DTYPE_COUNT;
  muster_code code_ = MUSTER_OK;
};

}  // namespace

muster_code checkConvolve(const muster_convolution& convolution, const muster_tensor& input, const muster_tensor& weight, const muster_tensor& bias, const muster_tensor& result) {
  if (const muster_code code = checkConvolution(convolution); code != MUSTER_OK) return code;
  ConvolutionCheck check(convolution, input.dtype);
  check.reads(check.input, input, "input");
  check.reads(check.weight, weight, "weight");
  check.writes(check.result, result, "result");
  if (bias.elements != 0) check.readsF32(check.bias, bias, "bias");
  return check.code();
}

muster_code checkConvolveBackwardInput(const muster_convolution& convolution, const muster_tensor& gradient, const muster_tensor& weight, const muster_tensor& inputGradient) {
  if (const muster_code code = checkConvolution(convolution); code != MUSTER_OK) return code;
  ConvolutionCheck check(convolution, gradient.dtype);
  check.reads(check.result, gradient, "gradient");
  check.reads(check.weight, weight, "weight");
  check.writes(check.input, inputGradient, "input gradient");
  return check.code();
}

muster_code checkConvolveBackwardWeight(const muster_convolution& convolution, const muster_tensor& input, const muster_tensor& gradient, const muster_tensor& weightGradient, const muster_tensor& biasGradient) {
  if (const muster_code code = checkConvolution(convolution); code != MUSTER_OK) return code;
  ConvolutionCheck check(convolution, input.dtype);
  check.reads(check.input, input, "input");
  check.reads(check.result, gradient, "gradient");
  check.writesF32(check.weight, weightGradient, "weight gradient");
  if (biasGradient.elements != 0) check.writesF32(check.bias, biasGradient, "bias gradient");
  return check.code();
}

muster_code checkPool(const muster_images& images, muster_pooling pooling, const muster_tensor& input, const muster_tensor& result, const std::int32_t* places) {
  if (const muster_code code = checkPooling(images, pooling, places); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(input, "input", kTrainingDtypes);
  check.writes(result, "result", kTrainingDtypes);
  if (places != nullptr) check.writes(placesOf(places, result), "places", setOf(MUSTER_I32));
  return checkPooled(check, images, input, "input", result, "result");
}

muster_code checkPoolBackward(const muster_images& images, muster_pooling pooling, const muster_tensor& gradient, const std::int32_t* places, const muster_tensor& inputGradient) {
  if (const muster_code code = checkPooling(images, pooling, places); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(gradient, "gradient", kTrainingDtypes);
  check.writes(inputGradient, "input gradient", kTrainingDtypes);
  if (places != nullptr) check.reads(placesOf(places, gradient), "places", setOf(MUSTER_I32));
  return checkPooled(check, images, inputGradient, "input gradient", gradient, "gradient");
}

muster_code checkAttention(const muster_attention_call& call) {
  const muster_attention_shape& shape = call.shape;
  if (const muster_code code = checkShape(shape); code != MUSTER_OK) return code;
  HeadsCheck check(shape);
  check.reads(call.query, "query", shape.queries);
  check.reads(call.key, "key", shape.keys);
  check.reads(call.value, "value", shape.keys);
  check.writes(call.result, "result", shape.queries);
  check.logSums(call.log_sums, true);
  return check.code();
}

muster_code checkAttentionBackward(const muster_attention_backward_call& call) {
  const muster_attention_shape& shape = call.shape;
  if (const muster_code code = checkShape(shape); code != MUSTER_OK) return code;
  HeadsCheck check(shape);
  check.reads(call.query, "query", shape.queries);
  check.reads(call.key, "key", shape.keys);
  check.reads(call.value, "value", shape.keys);
  check.reads(call.result, "result", shape.queries);
  check.reads(call.gradient, "gradient", shape.queries);
  check.logSums(call.log_sums, false);
  check.writes(call.query_gradient, "query gradient", shape.queries);
  check.writes(call.key_gradient, "key gradient", shape.keys);
  check.writes(call.value_gradient, "value gradient", shape.keys);
  return check.code();
}

}  // namespace muster::kernels
