/** Every kernel of every table equals the reference to the bit, on any numbers, lengths and alignments. */
#include "collective/reduce.h"

#include <cmath>
#include <cstring>
#include <random>

#include "check.h"
#include "dtype.h"
#include "kernels/formats.h"

namespace {

using namespace muster::kernels;

using Bytes = std::vector<unsigned char>;

/** Not a number, in the dtype's bits: its sign and payload may be any. */
bool isNan(muster_dtype dtype, const unsigned char* at) {
  if (dtype > MUSTER_F64) return false;
  double wide;
  if (dtype == MUSTER_F64) return std::memcpy(&wide, at, sizeof wide), std::isnan(wide);
  return withFormat(dtype, [&](auto format) {
    typename decltype(format)::Element element;
    std::memcpy(&element, at, sizeof element);
    return std::isnan(reference::read<decltype(format)>(&element, 0));
  });
}

bool isSame(muster_dtype dtype, const Bytes& expected, const Bytes& found) {
  const std::size_t step = muster::elementBytes(dtype);
  for (std::size_t at = 0; at < expected.size(); at += step) {
    if (std::memcmp(&expected[at], &found[at], step) == 0) continue;
    if (isNan(dtype, &expected[at]) && isNan(dtype, &found[at])) continue;
    std::fprintf(stderr, "element %zu differs\n", at / step);
    return false;
  }
  return true;
}

/** Random bits: with NaN, infinities and denormals among them. */
Bytes randomBytes(std::mt19937& random, std::size_t sizeBytes) {
  Bytes bytes(sizeBytes);
  for (auto& byte : bytes) byte = static_cast<unsigned char>(random());
  return bytes;
}

struct Shape {
  std::uint32_t sourceCount;
  std::size_t count;
  std::size_t offset;
  bool inPlace;
};

bool equalsReference(const muster::ReduceTable& table, muster_dtype dtype, muster_reduction reduction, const Shape& shape, std::mt19937& random) {
  const std::size_t step = muster::elementBytes(dtype);
  const std::size_t bytes = shape.count * step;
  const std::size_t start = shape.offset * step;
  std::vector<Bytes> memory;
  std::vector<const void*> sources;
  for (std::uint32_t source = 0; source < shape.sourceCount; source++) memory.push_back(randomBytes(random, start + bytes));
  for (const Bytes& each : memory) sources.push_back(each.data() + start);
  Bytes expected(bytes);
  Bytes found(bytes);
  muster::reduceReference(dtype, reduction, sources.data(), shape.sourceCount, expected.data(), shape.count);
  unsigned char* target = shape.inPlace ? memory[shape.sourceCount - 1].data() + start : found.data();
  table.kernels[dtype][reduction](sources.data(), shape.sourceCount, target, shape.count);
  if (shape.inPlace && bytes > 0) std::memcpy(found.data(), target, bytes);
  if (isSame(dtype, expected, found)) return true;
  std::fprintf(stderr, "  in %s: dtype %d, reduction %d, %u sources, %zu elements\n", table.name, dtype, reduction, shape.sourceCount, shape.count);
  return false;
}

void kernelsEqualTheReference() {
  std::mt19937 random(11);
  const muster::ReduceTable* tables[muster::kReduceTablesMax];
  const std::size_t tableCount = muster::reduceTables(tables);
  for (std::size_t table = 0; table < tableCount; table++) {
    for (unsigned dtype = 0; dtype < MUSTER_DTYPE_COUNT; dtype++) {
      for (unsigned reduction = 0; reduction < MUSTER_REDUCTION_COUNT; reduction++) {
        for (int round = 0; round < 24; round++) {
          const Shape shape{1 + static_cast<std::uint32_t>(random() % 5), round < 8 ? random() % 40 : random() % 1400, random() % 9, random() % 2 == 0};
          CHECK(equalsReference(*tables[table], static_cast<muster_dtype>(dtype), static_cast<muster_reduction>(reduction), shape, random));
        }
      }
    }
  }
}

/** What the header promises of 16-bit sums and of averages. */
void sumsAreRoundedOnceAndAveragesDoNotOverflow() {
  const muster::ReduceTable& table = muster::reduceTable();
  const std::uint16_t one = reference::narrow<Bf16>(1);
  const std::uint16_t tiny = reference::narrow<Bf16>(0x1p-8f);
  const void* three[] = {&one, &tiny, &tiny};
  std::uint16_t sum = 0;
  table.kernels[MUSTER_BF16][MUSTER_SUM](three, 3, &sum, 1);
  CHECK(reference::widen<Bf16>(sum) == 1 + 0x1p-7f);  // rounding after each would lose both
  const std::uint16_t large = reference::narrow<F16>(60000);
  const void* two[] = {&large, &large};
  std::uint16_t average = 0;
  table.kernels[MUSTER_F16][MUSTER_AVERAGE](two, 2, &average, 1);
  CHECK(average == large);
  const std::uint8_t bytes[] = {200, 255};
  const void* byteSources[] = {&bytes[0], &bytes[1]};
  std::uint8_t byteAverage = 0;
  table.kernels[MUSTER_U8][MUSTER_AVERAGE](byteSources, 2, &byteAverage, 1);
  CHECK(byteAverage == 227);
  const std::int32_t integers[] = {-5, -2};
  const void* integerSources[] = {&integers[0], &integers[1]};
  std::int32_t integerAverage = 0;
  table.kernels[MUSTER_I32][MUSTER_AVERAGE](integerSources, 2, &integerAverage, 1);
  CHECK(integerAverage == -3);
}

}  // namespace

int main() {
  return check::runAll({
      {"every kernel equals the reference on random bits", kernelsEqualTheReference},
      {"16-bit sums are rounded once, and averages do not overflow", sumsAreRoundedOnceAndAveragesDoNotOverflow},
  });
}
