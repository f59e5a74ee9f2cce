/**
 * What attention makes of a block of scores. These lie key after key, and a vector has a key's scores with as many queries: each lane finds its own query's largest
 * score and sum, without a step across lanes.
 *
 * About 20 FLOPs a score. A block is gone through twice while it is in the second cache.
 */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace muster::kernels {

/** Scores of keys and queries, that of key k and query q at k * stride + q. */
struct ScoreBlock {
  float* scores;
  std::size_t keys;
  /** Those of whole vectors. */
  std::size_t queries;
  std::size_t stride;
  /** Query q sees the keys k for which k + lag <= q. */
  std::ptrdiff_t lag;
  /** Of the scores. */
  float scale;

  /** How many keys a query sees, which are the first ones. */
  std::size_t seenBy(std::size_t query) const {
    return static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(query) + 1 - lag, 0, static_cast<std::ptrdiff_t>(keys)));
  }
  /** The first query that sees a key. */
  std::size_t firstThatSees(std::size_t key) const { return static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, static_cast<std::ptrdiff_t>(key) + lag)); }
};

/** What is known of each query's softmax, from the first block of keys to this one. */
struct QuerySums {
  float* largest;
  /** Of exp(score - largest). */
  float* sums;
  /** By what this block's largest scores change whatever was summed before. */
  float* corrections;
};

/** What the backward pass knows of each query, and the gradients of its shares. */
struct QueryShares {
  /** The logarithm of the sum of all exponentials. */
  const float* logSums;
  /** The sum of the products of result and gradient. */
  const float* products;
  /** As the scores lie. */
  float* gradients;
};

namespace reference {

/** Scores become exp(scale * score - largest), and 0 where the query does not see the key. */
inline void powers(const ScoreBlock& block, const QuerySums& sums) {
  for (std::size_t query = 0; query < block.queries; query++) {
    const std::size_t seen = block.seenBy(query);
    float largest = sums.largest[query];
    for (std::size_t key = 0; key < seen; key++) largest = std::max(largest, block.scale * block.scores[key * block.stride + query]);
    double sum = 0;
    for (std::size_t key = 0; key < block.keys; key++) {
      float& score = block.scores[key * block.stride + query];
      score = key < seen ? std::exp(block.scale * score - largest) : 0;
      sum += score;
    }
    const float correction = std::exp(sums.largest[query] - largest);
    sums.largest[query] = largest;
    sums.sums[query] = sums.sums[query] * correction + static_cast<float>(sum);
    sums.corrections[query] = correction;
  }
}

/** Scores become the shares exp(scale * score - logSum), and gradients of the shares those of the scores; both 0 where the query does not see the key. */
inline void slopes(const ScoreBlock& block, const QueryShares& shares) {
  for (std::size_t query = 0; query < block.queries; query++) {
    const std::size_t seen = block.seenBy(query);
    for (std::size_t key = 0; key < block.keys; key++) {
      float& score = block.scores[key * block.stride + query];
      float& gradient = shares.gradients[key * block.stride + query];
      score = key < seen ? std::exp(block.scale * score - shares.logSums[query]) : 0;
      gradient = key < seen ? score * (gradient - shares.products[query]) * block.scale : 0;
    }
  }
}

/** Multiplies each row by a factor of its own. */
inline void scaleRows(float* rows, std::size_t stride, std::size_t columns, const float* factors, std::size_t count) {
  for (std::size_t row = 0; row < count; row++) {
    for (std::size_t column = 0; column < columns; column++) rows[row * stride + column] *= factors[row];
  }
}

}  // namespace reference
}  // namespace muster::kernels
