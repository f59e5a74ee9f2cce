/** What the algorithms see of the network: places in a circle, one rank of each node, and frames between them. */
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "collective/network/transport.h"

namespace muster {

/** What large transfers are cut into: small enough that one is computed on in the caches while the next is on its way. */
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;

/** All frames of a circle are part of one call. */
class Circle {
 public:
  /** `ranks`: one of each node, by node; `place`: which of them is this one. */
  Circle(Transport& transport, const FrameLabel& label, std::vector<std::uint32_t> ranks, std::uint32_t place)
      : transport_(transport), label_(label), ranks_(std::move(ranks)), place_(place) {}

  std::uint32_t size() const { return static_cast<std::uint32_t>(ranks_.size()); }
  std::uint32_t place() const { return place_; }
  /** The place so many steps behind this one. */
  std::uint32_t behind(std::uint32_t steps) const { return (place_ + size() - steps % size()) % size(); }
  std::uint32_t ahead(std::uint32_t steps) const { return (place_ + steps) % size(); }

  /** The memory must stay as it is until the send has ended. */
  Transfer send(std::uint32_t place, const void* data, std::size_t bytes) { return transport_.send(ranks_[place], Lane::collective, label_, data, bytes); }
  Transfer receive(std::uint32_t place, void* data, std::size_t bytes) { return transport_.receive(ranks_[place], Lane::collective, label_, data, bytes); }
  muster_code wait(const Transfer& transfer) { return transport_.wait(transfer); }
  bool isDone(const Transfer& transfer) const { return transport_.isDone(transfer); }

 private:
  Transport& transport_;
  FrameLabel label_;
  std::vector<std::uint32_t> ranks_;
  std::uint32_t place_;
};

/** Memory for pieces on their way: kept over all calls, as many as were ever under way at once. */
class Pieces {
 public:
  explicit Pieces(const Transport& transport) : transport_(transport) {}

  /** A piece that no transfer needs any more. */
  std::byte* take() {
    for (Piece& piece : pieces_) {
      if (piece.isTaken || !transport_.isDone(piece.neededBy)) continue;
      piece.isTaken = true;
      return piece.memory.get();
    }
    pieces_.push_back({std::make_unique_for_overwrite<std::byte[]>(kPieceBytes), {}, true});
    return pieces_.back().memory.get();
  }

  /** Gives one back: it is free when the transfer has ended. */
  void release(const std::byte* memory, const Transfer& neededBy = {}) {
    for (Piece& piece : pieces_) {
      if (piece.memory.get() != memory) continue;
      piece.neededBy = neededBy;
      piece.isTaken = false;
    }
  }

 private:
  struct Piece {
    std::unique_ptr<std::byte[]> memory;
    Transfer neededBy;
    bool isTaken;
  };
  const Transport& transport_;
  std::vector<Piece> pieces_;
};

}  // namespace muster
