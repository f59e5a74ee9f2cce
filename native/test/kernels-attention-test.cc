/** Attention of random shapes against f64, with all scores at once, on every instruction set. */
#include "muster/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "check.h"
#include "levels.h"
#include "numbers.h"

namespace {

using namespace check;

/** Where the vectors of a tensor lie: head after head with something of nobody's behind each, or queries, keys and values of all heads in one row. */
struct Layout {
  std::uint64_t batchStride, headStride, rowStride, first;
};

constexpr std::uint64_t kGap = 3;

enum Part { kQuery, kKey, kValue };

Layout layoutOf(const muster_attention_shape& shape, std::uint64_t rows, bool isPacked, Part part) {
  const std::uint64_t apart = shape.width + kGap;
  if (!isPacked) return {shape.heads * rows * apart, rows * apart, apart, 0};
  const std::uint64_t row = shape.heads * shape.width;
  return {rows * 3 * row, shape.width, 3 * row, part * row};
}

muster_heads headsOf(Numbers& numbers, const Layout& layout) {
  muster_tensor tensor = numbers.tensor();
  tensor.data = static_cast<std::byte*>(tensor.data) + layout.first * (tensor.dtype == MUSTER_F32 ? 4 : 2);
  tensor.elements -= layout.first;
  return {tensor, layout.batchStride, layout.headStride, layout.rowStride};
}

/** The vectors of one head, in f64. */
class Head {
 public:
  Head(Values& values, const Layout& layout, const muster_attention_shape& shape, std::uint64_t head)
      : values_(values), first_(layout.first + head / shape.heads * layout.batchStride + head % shape.heads * layout.headStride), rowStride_(layout.rowStride) {}
  double& at(std::uint64_t row, std::uint64_t column) const { return values_[first_ + row * rowStride_ + column]; }

 private:
  Values& values_;
  std::uint64_t first_, rowStride_;
};

constexpr double kUnwritten = std::numeric_limits<double>::quiet_NaN();

/** What is to be found: sums of nothing so far, and what nobody writes. */
Values sums(const muster_attention_shape& shape, std::uint64_t rows, bool isPacked) {
  Values all(shape.batches * shape.heads * rows * (isPacked ? 3 * shape.width : shape.width + kGap));
  for (std::size_t index = 0; !isPacked && index < all.size(); index++) all[index] = index % (shape.width + kGap) < shape.width ? 0 : kUnwritten;
  return all;
}

Numbers unwritten(muster_dtype dtype, std::size_t count) { return Numbers(dtype, Values(count, kUnwritten)); }

/** One head by the book: forward, then backward. */
void attendHead(const muster_attention_shape& shape, Head query, Head key, Head value, Head result, Head gradient, Head toQuery, Head toKey, Head toValue, double* logSums) {
  for (std::uint64_t row = 0; row < shape.queries; row++) {
    const std::uint64_t visible = shape.causal != 0 ? row + 1 + shape.keys - shape.queries : shape.keys;
    Values shares(visible), slopes(visible);
    double largest = -std::numeric_limits<double>::infinity(), sum = 0, product = 0;
    for (std::uint64_t other = 0; other < visible; other++) {
      for (std::uint64_t at = 0; at < shape.width; at++) shares[other] += query.at(row, at) * key.at(other, at) * static_cast<double>(shape.scale);
      largest = std::max(largest, shares[other]);
    }
    for (double& share : shares) sum += share = std::exp(share - largest);
    logSums[row] = largest + std::log(sum);
    for (std::uint64_t other = 0; other < visible; other++) {
      shares[other] /= sum;
      for (std::uint64_t at = 0; at < shape.width; at++) {
        result.at(row, at) += shares[other] * value.at(other, at);
        slopes[other] += gradient.at(row, at) * value.at(other, at);
        toValue.at(other, at) += shares[other] * gradient.at(row, at);
      }
      product += slopes[other] * shares[other];
    }
    for (std::uint64_t other = 0; other < visible; other++) {
      const double slope = shares[other] * (slopes[other] - product) * static_cast<double>(shape.scale);
      for (std::uint64_t at = 0; at < shape.width; at++) {
        toQuery.at(row, at) += slope * key.at(other, at);
        toKey.at(other, at) += slope * query.at(row, at);
      }
    }
  }
}

void attendAndCompare(muster_dtype dtype, const muster_attention_shape& shape, bool isPacked, unsigned seed) {
  Values result = sums(shape, shape.queries, false), toQuery = sums(shape, shape.queries, isPacked), toKey = sums(shape, isPacked ? 0 : shape.keys, false), toValue = toKey;
  const Layout own = layoutOf(shape, shape.queries, false, kQuery);
  const Layout query = layoutOf(shape, shape.queries, isPacked, kQuery), key = layoutOf(shape, shape.keys, isPacked, kKey), value = layoutOf(shape, shape.keys, isPacked, kValue);
  // Packed, the three are one tensor, and there are as many queries as keys.
  Numbers queries = normal(dtype, toQuery.size(), seed), keys = normal(dtype, toKey.size(), seed + 1), values = normal(dtype, toValue.size(), seed + 2);
  Numbers gradient = normal(dtype, result.size(), seed + 3);
  const auto partOf = [&](Numbers& apart) -> Numbers& { return isPacked ? queries : apart; };
  Values q = queries.values(), k = partOf(keys).values(), v = partOf(values).values(), g = gradient.values();
  Values logSums(shape.batches * shape.heads * shape.queries);
  for (std::uint64_t head = 0; head < shape.batches * shape.heads; head++) {
    const auto of = [&](Values& all, const Layout& layout) { return Head(all, layout, shape, head); };
    attendHead(shape, of(q, query), of(k, key), of(v, value), of(result, own), of(g, own), of(toQuery, query), of(isPacked ? toQuery : toKey, key), of(isPacked ? toQuery : toValue, value),
               logSums.data() + head * shape.queries);
  }
  Numbers found = unwritten(dtype, result.size()), foundSums = unwritten(MUSTER_F32, logSums.size());
  const muster_attention_call call{shape, headsOf(queries, query), headsOf(partOf(keys), key), headsOf(partOf(values), value), headsOf(found, own), foundSums.tensor()};
  CHECK(muster_attention(&call, 1 + seed % 3) == MUSTER_OK && near(found, result, 2e-6) && near(foundSums, logSums, 1e-5));
  Numbers belowQuery = unwritten(dtype, toQuery.size()), belowKey = unwritten(dtype, toKey.size()), belowValue = unwritten(dtype, toValue.size());
  const auto below = [&](Numbers& apart) -> Numbers& { return isPacked ? belowQuery : apart; };
  const muster_attention_backward_call backward{shape, call.query, call.key, call.value, call.result, call.log_sums, headsOf(gradient, own),
                                                headsOf(belowQuery, query), headsOf(below(belowKey), key), headsOf(below(belowValue), value)};
  // Sums of a row of products, which know the results as they were rounded.
  const double backwardError = dtype == MUSTER_BF16 ? 0.05 : dtype == MUSTER_F16 ? 0.01 : 4e-5;
  CHECK(muster_attention_backward(&backward, 1 + seed % 3) == MUSTER_OK && near(belowQuery, toQuery, backwardError));
  CHECK(isPacked || (near(belowKey, toKey, backwardError) && near(belowValue, toValue, backwardError)));
}

void attendsRandomShapes() {
  std::mt19937 random(41);
  for (unsigned round = 0; round < 24; round++) {
    muster_attention_shape shape{random() % 3, 1 + random() % 3, random() % 90, 1 + random() % 90, 1 + random() % 40, 0.3f, static_cast<int>(random() % 2)};
    const bool isPacked = random() % 2 == 0;
    if (isPacked) shape.queries = shape.keys;
    if (shape.causal != 0) shape.keys = std::max(shape.keys, shape.queries);
    attendAndCompare(kTraining[round % 3], shape, isPacked && shape.queries == shape.keys, round);
  }
}

/** Several blocks of queries and of keys, some of which are seen in part. */
void attendsWhatNeedsSeveralBlocks() {
  unsigned seed = 100;
  for (const muster_dtype dtype : kTraining) {
    attendAndCompare(dtype, {1, 2, 300, 300, 16, 0.25f, 1}, true, seed++);
    attendAndCompare(dtype, {1, 1, 100, 600, 8, 0.3f, 1}, false, seed++);
    attendAndCompare(dtype, {1, 1, 70, 530, 24, 0.2f, 0}, false, seed++);
  }
}

/** Where blocks, tiles and vectors end: a number less or more than a block or a panel has, a single query, and widths of several panels. */
void attendsAtEdges() {
  unsigned seed = 200;
  for (const muster_dtype dtype : kTraining) {
    attendAndCompare(dtype, {1, 1, 1, 259, 17, 0.3f, 1}, false, seed++);
    attendAndCompare(dtype, {1, 2, 95, 96, 50, 0.2f, 1}, false, seed++);
    attendAndCompare(dtype, {1, 1, 97, 257, 64, 0.2f, 1}, false, seed++);
    attendAndCompare(dtype, {2, 1, 96, 256, 32, 0.2f, 0}, false, seed++);
    attendAndCompare(dtype, {1, 1, 193, 255, 34, 0.2f, 1}, false, seed++);
    attendAndCompare(dtype, {1, 2, 97, 97, 100, 0.1f, 1}, true, seed++);
    attendAndCompare(dtype, {1, 1, 0, 9, 16, 1, 1}, false, seed++);
  }
}

/** Scores far apart: what was summed before a larger one counts for nothing, and nothing overflows. */
void attendsWhatIsExtreme() {
  Values keys(600), queries{1};
  keys[0] = 50;
  keys[599] = 3e4;
  Numbers query(MUSTER_F32, queries), key(MUSTER_F32, keys), value(MUSTER_F32, keys), result = zeros(MUSTER_F32, 1), sums = zeros(MUSTER_F32, 1);
  const auto heads = [](Numbers& numbers) { return muster_heads{numbers.tensor(), 0, 0, 1}; };
  const muster_attention_call call{{1, 1, 1, 600, 1, 1, 0}, heads(query), heads(key), heads(value), heads(result), sums.tensor()};
  CHECK(muster_attention(&call, 1) == MUSTER_OK && near(result, {3e4}, 0) && near(sums, {3e4}, 0));
  // Of scores as far from 0 as these, the places that a rounding leaves are more than an exponential can take.
  constexpr float scale = 0.02f, far = 1.2345678e34f;
  Numbers two(MUSTER_F32, {1, far}), others(MUSTER_F32, {5, 7});
  const muster_attention_call farApart{{1, 1, 1, 2, 1, scale, 0}, heads(query), heads(two), heads(others), heads(result), sums.tensor()};
  CHECK(muster_attention(&farApart, 1) == MUSTER_OK && near(result, {7}, 0) && near(sums, {scale * far}, 0));
}

void refusesWhatDoesNotFit() {
  std::vector<float> memory(1000);
  const auto heads = [&](std::size_t first, std::uint64_t rowStride) { return muster_heads{{memory.data() + first, 100, MUSTER_F32}, 0, 10, rowStride}; };
  const muster_attention_call right{{1, 2, 5, 5, 10, 1, 1}, heads(0, 20), heads(100, 20), heads(200, 20), heads(300, 20), {memory.data() + 400, 10, MUSTER_F32}};
  CHECK(muster_attention(&right, 1) == MUSTER_OK);
  const auto refuses = [&](const char* why, const auto& spoil) {
    muster_attention_call call = right;
    spoil(call);
    CHECK(muster_attention(&call, 1) == MUSTER_OUT_OF_RANGE && std::strstr(muster_last_failure()->message, why) != nullptr);
  };
  refuses("key has 100 elements, too few", [](auto& call) { call.key.row_stride = 21; });
  refuses("value has 100 elements, too few", [](auto& call) { call.shape.keys = 6; call.key.row_stride = 10; });
  refuses("query has 100 elements, too few", [](auto& call) { call.query.head_stride = UINT64_MAX; });
  refuses("vectors of the result overlap", [](auto& call) { call.result.row_stride = 10; });
  refuses("overlap", [](auto& call) { call.result.tensor.data = call.value.tensor.data; });
  refuses("has the dtype", [](auto& call) { call.key.tensor.dtype = MUSTER_BF16; });
  refuses("5 queries cannot see", [](auto& call) { call.shape.keys = 4; });
  refuses("must be finite", [](auto& call) { call.shape.scale = std::numeric_limits<float>::infinity(); });
  refuses("log sums 0 has 9 elements", [](auto& call) { call.log_sums.elements = 9; });
  refuses("each must be 1 or more", [](auto& call) { call.shape.width = 0; });
}

}  // namespace

int main() {
  return check::runAll({
      {"attention of random shapes, forward and backward", [] { check::atEveryLevel(attendsRandomShapes); }},
      {"several blocks of queries and keys", [] { check::atEveryLevel(attendsWhatNeedsSeveralBlocks); }},
      {"edges of blocks, tiles and vectors", [] { check::atEveryLevel(attendsAtEdges); }},
      {"scores far apart", [] { check::atEveryLevel(attendsWhatIsExtreme); }},
      {"refuses what does not fit", refusesWhatDoesNotFit},
  });
}
