/** Cuts tensors into pieces that threads take one by one. */
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "dtype.h"
#include "kernels/threads.h"
#include "muster/tensor.h"

namespace muster::kernels {

/**
 * A piece's elements: enough that taking one costs nothing, few enough that it stays in a core's cache from its first use to its last.
 * Sums are made piece by piece, so that they do not depend on the number of threads.
 */
inline constexpr std::size_t kPieceElements = std::size_t{1} << 15;

/** Results above this are written past the caches: no cache would keep them until they are read. Half of a small server's last cache. */
inline constexpr std::size_t kPastCachesMinBytes = std::size_t{4} << 20;

struct Piece {
  /** Of which tensor of the list. */
  std::size_t tensor;
  std::size_t offset;
  std::size_t elements;
};

/** The pieces of tensors of these sizes, in order. */
template <class ElementsOf>
std::vector<Piece> piecesOf(std::size_t tensors, ElementsOf elementsOf) {
  std::vector<Piece> pieces;
  for (std::size_t tensor = 0; tensor < tensors; tensor++) {
    const std::size_t elements = elementsOf(tensor);
    for (std::size_t offset = 0; offset < elements; offset += kPieceElements) {
      pieces.push_back({tensor, offset, std::min(kPieceElements, elements - offset)});
    }
  }
  return pieces;
}

/** The address of an element. */
inline void* elementAt(const muster_tensor& tensor, std::size_t index) {
  return static_cast<std::byte*>(tensor.data) + index * elementBytes(tensor.dtype);
}

}  // namespace muster::kernels
