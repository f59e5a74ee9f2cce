/**
 * Trees: from one place to all, or from all to one.
 *
 * binomial   log2 n rounds: what is small
 * chain      each place passes on to the next what arrives, piece by piece: what is large, S bytes over every line
 *
 * Source: Thakur, Rabenseifner and Gropp, IJHPCA 2005; the barrier is Hensgen, Finkel and Manber's dissemination, IJPP 1988.
 */
#pragma once

#include "collective/network/accumulation.h"
#include "collective/network/circle.h"

namespace muster {

enum class TreeShape { binomial, chain };

/** Every place's `data` gets that of the root. */
muster_code broadcastTree(Circle& circle, std::uint32_t root, TreeShape shape, void* data, std::size_t bytes);

/** The root's accumulators get the reduction of all; those of others are used up. `theirs` is memory of the same size. Binomial. */
muster_code reduceTree(Circle& circle, std::uint32_t root, const Accumulation& accumulation, std::byte* accumulators, std::byte* theirs, std::size_t count);

/** Ends when every place has begun it: log2 n rounds. */
muster_code disseminate(Circle& circle);

}  // namespace muster
