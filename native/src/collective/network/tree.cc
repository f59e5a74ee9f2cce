#include "collective/network/tree.h"

#include <algorithm>

namespace muster {
namespace {

/** Places counted from the root, in which a node's parent is its number without its lowest set bit. */
struct Tree {
  std::uint32_t parent;
  std::vector<std::uint32_t> children;
};

Tree treeOf(const Circle& circle, std::uint32_t root, TreeShape shape) {
  const std::uint32_t size = circle.size();
  const std::uint32_t own = (circle.place() + size - root) % size;
  const auto placeOf = [&](std::uint32_t number) { return (number + root) % size; };
  if (shape == TreeShape::chain) {
    Tree chain{placeOf(own + size - 1), {}};
    if (own + 1 < size) chain.children.push_back(placeOf(own + 1));
    return chain;
  }
  Tree tree{placeOf(own & (own - 1)), {}};
  for (std::uint32_t step = 1; own + step < size && (own & step) == 0; step *= 2) tree.children.push_back(placeOf(own + step));
  return tree;
}

}  // namespace

muster_code broadcastTree(Circle& circle, std::uint32_t root, TreeShape shape, void* data, std::size_t bytes) {
  Tree tree = treeOf(circle, root, shape);
  std::reverse(tree.children.begin(), tree.children.end());  // those with the most below them first
  for (std::size_t done = 0; done < bytes; done += kPieceBytes) {
    std::byte* piece = static_cast<std::byte*>(data) + done;
    const std::size_t pieceBytes = std::min(kPieceBytes, bytes - done);
    if (circle.place() != root) {
      if (const muster_code code = circle.wait(circle.receive(tree.parent, piece, pieceBytes)); code != MUSTER_OK) return code;
    }
    for (const std::uint32_t child : tree.children) circle.send(child, piece, pieceBytes);
  }
  return MUSTER_OK;
}

muster_code reduceTree(Circle& circle, std::uint32_t root, const Accumulation& accumulation, std::byte* accumulators, std::byte* theirs, std::size_t count) {
  const Tree tree = treeOf(circle, root, TreeShape::binomial);
  const std::size_t bytes = count * accumulation.bytes();
  for (const std::uint32_t child : tree.children) {
    if (const muster_code code = circle.wait(circle.receive(child, theirs, bytes)); code != MUSTER_OK) return code;
    accumulation.combine(accumulators, theirs, accumulators, count);
  }
  return circle.place() == root ? MUSTER_OK : circle.wait(circle.send(tree.parent, accumulators, bytes));
}

muster_code disseminate(Circle& circle) {
  for (std::uint32_t distance = 1; distance < circle.size(); distance *= 2) {
    circle.send(circle.ahead(distance), nullptr, 0);
    if (const muster_code code = circle.wait(circle.receive(circle.behind(distance), nullptr, 0)); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

}  // namespace muster
