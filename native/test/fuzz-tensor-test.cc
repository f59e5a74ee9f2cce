/** Calls of what tensors and images are computed with, with arguments drawn at random (fuzz.h). */
#include <memory>

#include "fuzz.h"
#include "muster/attention.h"
#include "muster/convolution.h"
#include "muster/layers.h"
#include "muster/strided.h"

namespace {

using fuzz::Round;

constexpr muster_dtype kDtypes[] = {MUSTER_F32, MUSTER_F16, MUSTER_BF16, MUSTER_I64, MUSTER_I32, MUSTER_U8};

/** What tensors come in; now and then what they do not. */
muster_dtype anyDtype(Round& round) { return round.oneIn(40) ? round.dtype() : kDtypes[round.below(6)]; }

struct Shape {
  std::uint32_t rank;
  std::uint64_t extents[MUSTER_RANK_MAX];
};

Shape shapeOf(Round& round) {
  Shape shape{static_cast<std::uint32_t>(round.oneIn(60) ? round.below(12) : round.below(5)), {}};
  for (std::uint64_t& extent : shape.extents) extent = round.oneIn(200) ? round.size() : round.oneIn(30) ? 0 : 1 + round.below(3);
  return shape;
}

muster_tensor memoryOf(const muster_strided& tensor) { return {tensor.data, tensor.elements, tensor.dtype}; }

/** Dense, exchanged, with gaps or repeated; now and then anything. */
muster_strided stridedOf(Round& round, muster_dtype dtype, const Shape& shape, bool mayRepeat) {
  muster_strided tensor{nullptr, 0, dtype, round.oneIn(3) ? round.below(3) : 0, {}};
  const std::uint32_t rank = std::min<std::uint32_t>(shape.rank, MUSTER_RANK_MAX);
  const bool isReversed = round.oneIn(4);
  std::uint64_t stride = round.oneIn(6) ? 2 : 1;
  std::uint64_t last = tensor.offset;
  for (std::uint32_t place = 0; place < rank; place++) {
    const std::uint32_t dimension = isReversed ? place : rank - 1 - place;
    const std::uint64_t extent = shape.extents[dimension];
    const bool repeats = mayRepeat && round.oneIn(6);
    tensor.strides[dimension] = repeats ? 0 : stride;
    if (repeats || extent == 0) continue;
    last += (extent - 1) * stride;
    stride *= extent + (round.oneIn(10) ? 1 : 0);
  }
  const muster_tensor memory = round.tensor(dtype, last + 1);
  tensor.data = memory.data;
  tensor.elements = memory.elements;
  tensor.dtype = memory.dtype;
  if (round.oneIn(60)) tensor.offset = round.size();
  if (round.oneIn(60)) tensor.strides[round.below(MUSTER_RANK_MAX)] = round.size();
  return tensor;
}

muster_code map(Round& round) {
  const Shape shape = shapeOf(round);
  muster_map_call call{};
  call.operation = round.oneOf<muster_map_operation>(MUSTER_MAP_OPERATIONS);
  call.rank = shape.rank;
  std::copy(std::begin(shape.extents), std::end(shape.extents), call.shape);
  for (muster_strided& input : call.inputs) input = stridedOf(round, anyDtype(round), shape, true);
  call.result = round.oneIn(4) ? call.inputs[round.below(3)] : stridedOf(round, round.oneIn(2) ? call.inputs[0].dtype : anyDtype(round), shape, false);
  round.writes(memoryOf(call.result));
  return muster_map(&call, round.threads());
}

muster_code reduce(Round& round) {
  const Shape shape = shapeOf(round);
  muster_reduce_call call{};
  call.operation = round.oneOf<muster_reduce_operation>(MUSTER_REDUCE_OPERATIONS);
  call.rank = shape.rank;
  call.kept = static_cast<std::uint32_t>(round.below(shape.rank + 1 + (round.oneIn(30) ? 3 : 0)));
  std::copy(std::begin(shape.extents), std::end(shape.extents), call.shape);
  const muster_dtype dtype = anyDtype(round);
  const bool isFloat = dtype <= MUSTER_BF16;
  call.input = stridedOf(round, dtype, shape, true);
  const bool wantsIndex = call.operation == MUSTER_REDUCE_ARG_LARGEST && !round.oneIn(10);
  call.result = stridedOf(round, wantsIndex ? MUSTER_I64 : isFloat ? kDtypes[round.below(3)] : anyDtype(round), {std::min(call.kept, shape.rank), {shape.extents[0], shape.extents[1], shape.extents[2], shape.extents[3]}}, false);
  call.factor = round.oneIn(2) ? 1 : 0.25;
  round.writes(memoryOf(call.result));
  return muster_reduce(&call, round.threads());
}

/** Gathers, or adds. */
muster_code index(Round& round) {
  const bool adds = round.oneIn(2);
  muster_index_call call{};
  for (std::uint64_t& extent : call.shape) extent = round.oneIn(200) ? round.size() : round.below(4);
  call.extent = round.oneIn(60) ? round.size() : 1 + round.below(4);
  const Shape own{3, {call.shape[0], call.shape[1], call.shape[2]}};
  const Shape whole{3, {call.shape[0], call.extent, call.shape[2]}};
  const muster_dtype dtype = adds && !round.oneIn(10) ? MUSTER_F32 : anyDtype(round);
  call.index = stridedOf(round, round.oneIn(2) ? MUSTER_I64 : MUSTER_I32, own, true);
  round.fill(memoryOf(call.index), [&] { return static_cast<double>(round.oneIn(200) ? round.below(20) : round.below(std::max<std::uint64_t>(1, call.extent))); });
  call.indexed = stridedOf(round, dtype, whole, !adds);
  call.picked = stridedOf(round, dtype, own, adds);
  round.writes(memoryOf(adds ? call.indexed : call.picked));
  return adds ? muster_scatter_add(&call, round.threads()) : muster_gather(&call, round.threads());
}

muster_code random(Round& round) {
  muster_random_call call{};
  call.kind = round.oneOf<muster_random_kind>(MUSTER_RANDOM_KINDS);
  call.seed = round.below(1000);
  call.counter = round.oneIn(20) ? ~std::uint64_t{0} : round.below(1000);
  call.first = round.number();
  call.second = round.number();
  call.count = round.oneIn(30) ? round.size() : round.below(40);
  call.result = stridedOf(round, call.kind == MUSTER_RANDOM_BITS ? MUSTER_I32 : round.dtype(), {1, {std::min<std::uint64_t>(call.count, 100)}}, false);
  round.writes(memoryOf(call.result));
  return muster_random(&call, round.threads());
}

muster_window windowOf(Round& round) {
  const auto draw = [&](std::uint64_t least, std::uint64_t limit) { return round.oneIn(100) ? (round.oneIn(2) ? (std::uint64_t{1} << 31) - 1 : round.size()) : least + round.below(limit); };
  return {draw(1, 3), draw(1, 2), draw(0, 2), draw(1, 2), draw(0, 2)};
}

muster_images imagesOf(Round& round, bool isPooling) {
  const auto draw = [&](std::uint64_t least, std::uint64_t limit) { return round.oneIn(200) ? (std::uint64_t{1} << 31) - 1 - round.below(2) : least + round.below(limit); };
  muster_images images{draw(0, 3), draw(isPooling ? 0 : 1, 2), draw(1, 5), draw(1, 5), windowOf(round), windowOf(round)};
  for (muster_window* window : {&images.vertical, &images.horizontal}) {
    if (isPooling && !round.oneIn(4)) window->dilation = 1, window->padding = std::min(window->padding, window->kernel / 2);
  }
  return images;
}

/** As many elements as a tensor of these extents has, or none where the block does not hold them: it must not be said that it does. */
std::uint64_t elementsOf(std::initializer_list<std::uint64_t> extents) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : extents) {
    if (__builtin_mul_overflow(elements, extent, &elements)) return 0;
  }
  return elements <= fuzz::kBlockBytes ? elements : 0;
}

std::uint64_t positionsOf(const muster_window& window, std::uint64_t size) { return window.kernel == 0 || window.stride == 0 ? 0 : muster_window_positions(&window, size); }

muster_code convolve(Round& round) {
  muster_convolution shape{imagesOf(round, false), 0, round.oneIn(3) ? 2u : 1u};
  const muster_images& images = shape.images;
  shape.images.channels *= shape.groups;
  shape.result_channels = round.oneIn(60) ? round.size() : shape.groups * (1 + round.below(2));
  const muster_dtype dtype = round.dtype();
  const muster_tensor input = round.tensor(dtype, elementsOf({images.batches, images.channels, images.rows, images.columns}));
  const muster_tensor result = round.tensor(dtype, elementsOf({images.batches, shape.result_channels, positionsOf(images.vertical, images.rows), positionsOf(images.horizontal, images.columns)}));
  const bool isWeightWritten = round.oneIn(3);
  const muster_tensor weight = round.tensor(isWeightWritten ? MUSTER_F32 : dtype, elementsOf({shape.result_channels, images.channels / shape.groups, images.vertical.kernel, images.horizontal.kernel}));
  const muster_tensor bias = round.tensor(MUSTER_F32, round.oneIn(2) ? elementsOf({shape.result_channels}) : 0);
  if (isWeightWritten) {
    round.writes(weight);
    round.writes(bias);
    return muster_convolve_backward_weight(&shape, &input, &result, &weight, &bias, round.threads());
  }
  const bool isBackward = round.oneIn(2);
  round.writes(isBackward ? input : result);
  if (isBackward) return muster_convolve_backward_input(&shape, &result, &weight, &input, round.threads());
  return muster_convolve(&shape, &input, &weight, &bias, &result, round.threads());
}

muster_code pool(Round& round) {
  const muster_images images = imagesOf(round, true);
  const auto pooling = round.oneOf<muster_pooling>(MUSTER_POOLINGS);
  const muster_dtype dtype = round.dtype();
  const muster_tensor whole = round.tensor(dtype, elementsOf({images.batches, images.channels, images.rows, images.columns}));
  const muster_tensor pooled = round.tensor(dtype, elementsOf({images.batches, images.channels, positionsOf(images.vertical, images.rows), positionsOf(images.horizontal, images.columns)}));
  muster_tensor places = round.tensor(MUSTER_I32, pooling == MUSTER_POOL_LARGEST ? pooled.elements : 0);
  if (places.dtype != MUSTER_I32 || places.elements < pooled.elements) places = {nullptr, 0, MUSTER_I32};  // it is said to be as long as what is pooled
  if (pooling != MUSTER_POOL_LARGEST && !round.oneIn(10)) places.data = nullptr;
  round.fill(places, [&] { return static_cast<double>(round.oneIn(100) ? round.below(100) : round.below(std::clamp<std::uint64_t>(images.rows * images.columns, 1, 25))); });
  auto* const placed = static_cast<std::int32_t*>(places.data);
  if (round.oneIn(2)) {
    round.writes(whole);
    return muster_pool_backward(&images, pooling, &pooled, placed, &whole, round.threads());
  }
  round.writes(pooled);
  round.writes(places);
  return muster_pool(&images, pooling, &whole, &pooled, placed, round.threads());
}

/** Batch by head by row, or batch by row by head. */
muster_heads headsOf(Round& round, muster_dtype dtype, const muster_attention_shape& shape, std::uint64_t rows) {
  muster_heads heads{{}, shape.heads * rows * shape.width, rows * shape.width, shape.width};
  if (round.oneIn(3)) heads.head_stride = shape.width, heads.row_stride = shape.heads * shape.width;
  heads.tensor = round.tensor(dtype, elementsOf({shape.batches, shape.heads, rows, shape.width}));
  for (std::uint64_t* stride : {&heads.batch_stride, &heads.head_stride, &heads.row_stride}) {
    if (round.oneIn(60)) *stride = round.size();
  }
  return heads;
}

muster_attention_shape attentionShapeOf(Round& round) {
  const auto draw = [&](std::uint64_t least, std::uint64_t limit) { return round.oneIn(200) ? std::uint64_t{1} << 32 : least + round.below(limit); };
  muster_attention_shape shape{draw(0, 3), draw(0, 3), draw(0, 4), draw(1, 4), draw(1, 4), 0.02f, round.oneIn(2)};
  if (round.oneIn(2)) shape.keys = std::max(shape.keys, shape.queries);
  if (round.oneIn(60)) shape.scale = std::numeric_limits<float>::infinity();
  return shape;
}

muster_code attention(Round& round) {
  const muster_attention_shape shape = attentionShapeOf(round);
  const muster_dtype dtype = round.dtype();
  const auto queries = [&] { return headsOf(round, dtype, shape, shape.queries); };
  const auto keys = [&] { return headsOf(round, dtype, shape, shape.keys); };
  const muster_attention_call call{shape, queries(), keys(), keys(), queries(), round.tensor(MUSTER_F32, elementsOf({shape.batches, shape.heads, shape.queries}))};
  round.writes(call.result.tensor);
  round.writes(call.log_sums);
  return muster_attention(&call, round.threads());
}

muster_code attentionBackward(Round& round) {
  const muster_attention_shape shape = attentionShapeOf(round);
  const muster_dtype dtype = round.dtype();
  const auto queries = [&] { return headsOf(round, dtype, shape, shape.queries); };
  const auto keys = [&] { return headsOf(round, dtype, shape, shape.keys); };
  const muster_attention_backward_call call{shape, queries(), keys(), keys(), queries(), round.tensor(MUSTER_F32, elementsOf({shape.batches, shape.heads, shape.queries})), queries(), queries(), keys(), keys()};
  for (const muster_heads* heads : {&call.query_gradient, &call.key_gradient, &call.value_gradient}) round.writes(heads->tensor);
  return muster_attention_backward(&call, round.threads());
}

muster_code activate(Round& round) {
  const std::uint64_t elements = round.below(80);
  const muster_dtype dtype = round.dtype();
  const muster_tensor input = round.tensor(dtype, elements);
  const muster_tensor result = round.oneIn(4) ? input : round.tensor(dtype, elements);
  round.writes(result);
  return muster_activate(round.oneOf<muster_activation>(MUSTER_ACTIVATIONS), &input, &result, round.threads());
}

}  // namespace

int main() {
  return check::runAll({
      {"maps", [] { fuzz::run("map", map); }},
      {"reductions", [] { fuzz::run("reduce", reduce); }},
      {"indexing", [] { fuzz::run("index", index); }},
      {"random numbers", [] { fuzz::run("random", random); }},
      {"convolutions", [] { fuzz::run("convolve", convolve); }},
      {"pooling", [] { fuzz::run("pool", pool); }},
      {"attention", [] { fuzz::run("attention", attention), fuzz::run("attention backward", attentionBackward); }},
      {"activations", [] { fuzz::run("activate", activate); }},
  });
}
