/** Maps, reductions, indexing and random numbers of strided tensors on the GPU, against the CPU's kernels. */
#include "device.h"
#include "dtype.h"

namespace {

using namespace check;

constexpr muster_dtype kDtypes[] = {MUSTER_F32, MUSTER_F16, MUSTER_BF16, MUSTER_I64, MUSTER_I32, MUSTER_U8};

bool isFloat(muster_dtype dtype) { return dtype <= MUSTER_BF16; }

std::mt19937 random(3);
std::uint64_t below(std::uint64_t limit) { return random() % limit; }

using Extents = std::vector<std::uint64_t>;

/** A tensor of a random layout on the host and on the device: dimensions are exchanged, have gaps or repeat. */
class Strided {
 public:
  Strided(muster_dtype dtype, const Extents& shape, bool mayRepeat) : dtype_(dtype), offset_(below(3)), strides_(shape.size()), elements_(layOut(shape, mayRepeat)), bytes_(elements_ * muster::elementBytes(dtype)) {
    std::normal_distribution<float> normal(0, 2);
    for (std::size_t index = 0; index < elements_; index++) set(index, isFloat(dtype) ? normal(random) : std::floor(normal(random) * 3));
    toDevice();
  }

  void set(std::size_t index, double value) {
    switch (dtype_) {
      case MUSTER_I64: static_cast<std::int64_t*>(bytes_.host())[index] = static_cast<std::int64_t>(value); break;
      case MUSTER_I32: static_cast<std::int32_t*>(bytes_.host())[index] = static_cast<std::int32_t>(value); break;
      case MUSTER_U8: static_cast<std::uint8_t*>(bytes_.host())[index] = value > 0; break;
      default: writeAs(dtype_, bytes_.host(), index, static_cast<float>(value));
    }
  }
  double get(const void* data, std::size_t index) const {
    switch (dtype_) {
      case MUSTER_I64: return static_cast<double>(static_cast<const std::int64_t*>(data)[index]);
      case MUSTER_I32: return static_cast<const std::int32_t*>(data)[index];
      case MUSTER_U8: return static_cast<const std::uint8_t*>(data)[index];
      default: return readAs(dtype_, data, index);
    }
  }
  void toDevice() { bytes_.toDevice(); }

  muster_strided host() { return view(bytes_.host()); }
  muster_strided device() { return view(bytes_.device()); }
  std::size_t elements() const { return elements_; }

  /** What was written and what was not: all of it. */
  bool near(double error) {
    const std::vector<unsigned char> found = bytes_.fromDevice();
    const double rounding = dtype_ == MUSTER_F32 ? 0x1p-22 : dtype_ == MUSTER_F16 ? 0x1p-10 : dtype_ == MUSTER_BF16 ? 0x1p-7 : 0;
    for (std::size_t index = 0; index < elements_; index++) {
      const double is = get(found.data(), index), wanted = get(bytes_.host(), index);
      if (is == wanted || (std::isnan(is) && std::isnan(wanted)) || std::fabs(is - wanted) <= rounding * std::fabs(wanted) + (isFloat(dtype_) ? error : 0)) continue;
      std::fprintf(stderr, "  %s %zu of %zu: %.9g on the device, %.9g on the host\n", muster::dtypeName(dtype_), index, elements_, is, wanted);
      return false;
    }
    return true;
  }

 private:
  std::size_t layOut(const Extents& shape, bool mayRepeat) {
    std::uint64_t stride = below(4) == 0 ? 2 : 1;
    const bool isReversed = below(3) == 0;
    for (std::size_t place = 0; place < shape.size(); place++) {
      const std::size_t dimension = isReversed ? place : shape.size() - 1 - place;
      const bool repeats = mayRepeat && below(4) == 0;
      strides_[dimension] = repeats ? 0 : stride;
      if (!repeats) stride *= shape[dimension] + (below(5) == 0 ? 1 : 0);
    }
    return offset_ + stride + 1;
  }
  muster_strided view(void* data) {
    muster_strided tensor{data, elements_, dtype_, offset_, {}};
    std::copy(strides_.begin(), strides_.end(), tensor.strides);
    return tensor;
  }

  muster_dtype dtype_;
  std::uint64_t offset_;
  Extents strides_;
  std::size_t elements_;
  Bytes bytes_;
};

Extents randomShape() {
  Extents shape(below(5));
  for (std::uint64_t& extent : shape) extent = below(8) == 0 ? 1 : below(8) == 0 ? 40 + below(40) : 1 + below(6);
  return shape;
}

void mapsAnyLayoutAndDtype() {
  for (int round = 0; round < 300; round++) {
    const Extents shape = randomShape();
    Strided first(kDtypes[below(6)], shape, true), second(kDtypes[below(6)], shape, true), third(kDtypes[below(6)], shape, true);
    Strided result(kDtypes[below(6)], shape, false);
    muster_map_call host{static_cast<muster_map_operation>(round % MUSTER_MAP_OPERATIONS), static_cast<std::uint32_t>(shape.size()), {}, {first.host(), second.host(), third.host()}, result.host()};
    std::copy(shape.begin(), shape.end(), host.shape);
    muster_map_call device = host;
    device.inputs[0] = first.device(), device.inputs[1] = second.device(), device.inputs[2] = third.device(), device.result = result.device();
    const muster_code code = muster_map(&host, 1);
    CHECK(muster_cuda_map(&device, nullptr) == code);
    const bool same = result.near(2e-6);
    if (!same) std::fprintf(stderr, "  (map %d)\n", host.operation);
    CHECK(same);
  }
}

void reduce(const Extents& shape, std::size_t kept, muster_dtype dtype, muster_reduce_operation operation) {
  Strided input(dtype, shape, true);
  const muster_dtype to = operation == MUSTER_REDUCE_ARG_LARGEST || !isFloat(dtype) ? MUSTER_I64 : kDtypes[below(3)];
  Strided result(to, Extents(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(kept)), false);
  muster_reduce_call host{operation, static_cast<std::uint32_t>(shape.size()), static_cast<std::uint32_t>(kept), {}, input.host(), result.host(), isFloat(dtype) ? 0.25 : 1};
  std::copy(shape.begin(), shape.end(), host.shape);
  muster_reduce_call device = host;
  device.input = input.device(), device.result = result.device();
  must(muster_reduce(&host, 1));
  must(muster_cuda_reduce(&device, nullptr));
  CHECK(result.near(1e-3));
}

void reducesAnyDimensions() {
  for (int round = 0; round < 150; round++) {
    const Extents shape = randomShape();
    const muster_dtype dtype = kDtypes[below(6)];
    auto operation = static_cast<muster_reduce_operation>(round % MUSTER_REDUCE_OPERATIONS);
    if (operation == MUSTER_REDUCE_SQUARES && !isFloat(dtype)) operation = MUSTER_REDUCE_SUM;
    reduce(shape, below(shape.size() + 1), dtype, operation);
  }
  reduce({3, 40'000}, 1, MUSTER_F32, MUSTER_REDUCE_SUM);  // several chunks of blocks
  reduce({40'000}, 0, MUSTER_BF16, MUSTER_REDUCE_ARG_LARGEST);
  reduce({70, 600}, 1, MUSTER_F16, MUSTER_REDUCE_SQUARES);
  reduce({0, 4}, 1, MUSTER_F32, MUSTER_REDUCE_SUM);
  reduce({4, 0}, 1, MUSTER_F32, MUSTER_REDUCE_SUM);
}

/** Columns of a matrix, in several chunks of threads; NaN and equal numbers. */
void reducesColumnsAndNan() {
  Both input(MUSTER_F32, 900 * 40), result(MUSTER_F32, 40);
  input.fillNormal(5);
  const auto call = [&](const muster_tensor& from, const muster_tensor& to) { return muster_reduce_call{MUSTER_REDUCE_SUM, 2, 1, {40, 900}, {from.data, from.elements, from.dtype, 0, {1, 40}}, {to.data, to.elements, to.dtype, 0, {1}}, 1}; };
  const muster_reduce_call host = call(input.host(), result.host()), device = call(input.device(), result.device());
  must(muster_reduce(&host, 1));
  must(muster_cuda_reduce(&device, nullptr));
  CHECK(result.near(1e-4));
  Both row(MUSTER_F32, 500);
  for (std::size_t index = 0; index < 500; index++) row.set(index, static_cast<float>(index % 7));
  for (const bool hasNan : {false, true}) {
    if (hasNan) row.set(300, NAN), row.set(400, NAN);
    row.toDevice();
    DeviceNumber<std::int64_t> where(-1);
    DeviceNumber<float> least(0);
    const muster_tensor from = row.device();
    const muster_strided input2{from.data, 500, MUSTER_F32, 0, {1}};
    const muster_reduce_call place{MUSTER_REDUCE_ARG_LARGEST, 1, 0, {500}, input2, {where.address(), 1, MUSTER_I64, 0, {}}, 1};
    const muster_reduce_call smallest{MUSTER_REDUCE_SMALLEST, 1, 0, {500}, input2, {least.address(), 1, MUSTER_F32, 0, {}}, 1};
    must(muster_cuda_reduce(&place, nullptr));
    must(muster_cuda_reduce(&smallest, nullptr));
    CHECK(where.get() == (hasNan ? 300 : 6));
    CHECK(hasNan ? std::isnan(least.get()) : least.get() == 0);
  }
}

void picksAndAddsByIndex() {
  for (const muster_dtype dtype : kDtypes) {
    const Extents whole{3, 7, 11}, own{3, 9, 11};
    Strided table(dtype, whole, true), index(below(2) == 0 ? MUSTER_I64 : MUSTER_I32, own, true), picked(dtype, own, false), sums(MUSTER_F32, whole, false), addends(MUSTER_F32, own, true);
    for (std::size_t at = 0; at < index.elements(); at++) index.set(at, static_cast<double>(below(7)));
    index.toDevice();
    const muster_index_call gather{{3, 9, 11}, 7, table.host(), index.host(), picked.host()}, onDevice{{3, 9, 11}, 7, table.device(), index.device(), picked.device()};
    must(muster_gather(&gather, 1));
    must(muster_cuda_gather(&onDevice, nullptr));
    CHECK(picked.near(0));
    const muster_index_call scatter{{3, 9, 11}, 7, sums.host(), index.host(), addends.host()}, addsOnDevice{{3, 9, 11}, 7, sums.device(), index.device(), addends.device()};
    must(muster_scatter_add(&scatter, 1));
    must(muster_cuda_scatter_add(&addsOnDevice, nullptr));
    CHECK(sums.near(0));  // added in the order of the index
  }
  Both table(MUSTER_F32, 2), picked(MUSTER_F32, 1);
  DeviceNumber<std::int32_t> outside(2);
  const muster_index_call call{{1, 1, 1}, 2, {table.device().data, 2, MUSTER_F32, 0, {2, 1, 1}}, {outside.address(), 1, MUSTER_I32, 0, {}}, {picked.device().data, 1, MUSTER_F32, 0, {}}};
  must(muster_cuda_gather(&call, nullptr));
  picked.set(0, NAN);
  CHECK(picked.near(0));
}

void drawsTheCpusNumbers() {
  for (const muster_dtype dtype : kTraining) {
    for (const muster_random_kind kind : {MUSTER_RANDOM_UNIFORM, MUSTER_RANDOM_NORMAL, MUSTER_RANDOM_BERNOULLI}) {
      Both result(dtype, 1003);
      const auto call = [&](const muster_tensor& to) { return muster_random_call{kind, 0x123456789, 0xfffffff0, kind == MUSTER_RANDOM_BERNOULLI ? 0.3 : -1.0, 2.0, {to.data, to.elements, dtype, 1, {}}, 1002}; };
      result.set(0, 5), result.toDevice();
      const muster_random_call host = call(result.host()), device = call(result.device());
      must(muster_random(&host, 1));
      must(muster_cuda_random(&device, nullptr));
      CHECK(result.near(1e-6));
    }
  }
  DeviceNumber<std::uint32_t> bits(0);
  const muster_random_call call{MUSTER_RANDOM_BITS, 0, 0, 0, 0, {bits.address(), 1, MUSTER_I32, 0, {}}, 1};
  must(muster_cuda_random(&call, nullptr));
  CHECK(bits.get() == 0x6627e8d5u);  // Random123's kat_vectors
}

void refusesWhatTheCpuRefuses() {
  Both ten(MUSTER_F32, 10), other(MUSTER_F32, 10);
  const muster_strided from{ten.device().data, 10, MUSTER_F32, 0, {1}}, to{other.device().data, 10, MUSTER_F32, 0, {1}}, shifted{ten.device().data, 10, MUSTER_F32, 1, {1}};
  const muster_map_call beyond{MUSTER_MAP_COPY, 1, {11}, {from}, to}, overlapping{MUSTER_MAP_COPY, 1, {9}, {from}, shifted};
  CHECK(muster_cuda_map(&beyond, nullptr) == MUSTER_OUT_OF_RANGE && muster_cuda_map(&overlapping, nullptr) == MUSTER_OUT_OF_RANGE);
  const muster_reduce_call nothing{MUSTER_REDUCE_LARGEST, 1, 0, {0}, from, to, 1};
  CHECK(muster_cuda_reduce(&nothing, nullptr) == MUSTER_OUT_OF_RANGE);
}

}  // namespace

int main() {
  return check::runOnDevice({
      {"maps of any layout and dtype", mapsAnyLayoutAndDtype},
      {"reductions along any dimensions", reducesAnyDimensions},
      {"columns, equal numbers and NaN", reducesColumnsAndNan},
      {"picks and adds by index", picksAndAddsByIndex},
      {"draws the CPU's random numbers", drawsTheCpusNumbers},
      {"refuses what the CPU refuses", refusesWhatTheCpuRefuses},
  });
}
