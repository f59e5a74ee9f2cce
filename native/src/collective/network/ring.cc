#include "collective/network/ring.h"

#include <algorithm>

namespace muster {
namespace {

/** A block's segment, in elements: some pieces, so that lines stay busy while one is added. */
constexpr std::size_t kSegmentElements = std::size_t{256} << 10;
/** Segments begin at whole lines of any type. */
constexpr std::size_t kLineElements = 64;

/** Calls visit(start, count) for the pieces of so many elements, and stops at a failure. */
template <class Visit>
muster_code eachPiece(std::size_t elements, std::size_t elementBytes, const Visit& visit) {
  const std::size_t whole = kPieceBytes / elementBytes;
  for (std::size_t start = 0; start < elements; start += whole) {
    if (const muster_code code = visit(start, std::min(whole, elements - start)); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

}  // namespace

Segments Segments::shared(std::size_t count, std::uint32_t places) {
  Segments segments;
  segments.places_ = places;
  segments.count_ = count;
  segments.blocks_ = (count + kSegmentElements * places - 1) / (kSegmentElements * places);
  return segments;
}

Segments Segments::owned(std::vector<std::size_t> starts, bool gathers) {
  Segments segments;
  segments.places_ = static_cast<std::uint32_t>(starts.size() - 1);
  for (std::size_t each = 0; each + 1 < starts.size(); each++) {
    segments.blocks_ = std::max(segments.blocks_, (starts[each + 1] - starts[each] + kSegmentElements - 1) / kSegmentElements);
  }
  segments.starts_ = std::move(starts);
  segments.gathers_ = gathers;
  return segments;
}

Segments::Range Segments::at(std::size_t block, std::uint32_t segment) const {
  if (starts_.empty()) {
    const std::size_t start = block * kSegmentElements * places_;
    const std::size_t inBlock = std::min(kSegmentElements * places_, count_ - start);
    const std::size_t share = ((inBlock + places_ - 1) / places_ + kLineElements - 1) / kLineElements * kLineElements;
    const std::size_t from = std::min(segment * share, inBlock);
    return {start + from, start + from, std::min(share, inBlock - from)};
  }
  const std::size_t part = starts_[segment + 1] - starts_[segment];
  const std::size_t from = std::min(block * kSegmentElements, part);
  return {starts_[segment] + from, gathers_ ? starts_[segment] + from : from, std::min(kSegmentElements, part - from)};
}

muster_code Ring::allReduce(const Accumulation& accumulation, const void* source, void* target, std::size_t count) {
  const Segments segments = Segments::shared(count, circle_.size());
  return run({accumulation, segments, static_cast<const std::byte*>(source), static_cast<std::byte*>(target), Then::gather, 0});
}

muster_code Ring::reduce(const Accumulation& accumulation, const void* source, void* target, std::size_t count, std::uint32_t root) {
  const Segments segments = Segments::shared(count, circle_.size());
  return run({accumulation, segments, static_cast<const std::byte*>(source), static_cast<std::byte*>(target), Then::collect, root});
}

muster_code Ring::reduceScatter(const Accumulation& accumulation, const void* source, void* target, const std::vector<std::size_t>& starts) {
  const Segments segments = Segments::owned(starts, false);
  return run({accumulation, segments, static_cast<const std::byte*>(source), static_cast<std::byte*>(target), Then::nothing, 0});
}

muster_code Ring::allGather(void* target, const std::vector<std::size_t>& starts, std::size_t elementBytes) {
  const Segments segments = Segments::owned(starts, true);
  auto* bytes = static_cast<std::byte*>(target);
  for (std::size_t block = 0; block < segments.blocks(); block++) {
    const Segments::Range own = segments.at(block, circle_.place());
    eachPiece(own.count, elementBytes, [&](std::size_t start, std::size_t count) {
      circle_.send(circle_.ahead(1), bytes + (own.target + start) * elementBytes, count * elementBytes);
      return MUSTER_OK;
    });
    if (const muster_code code = gatherBlock({segments, bytes, elementBytes, elementBytes}, block, nullptr); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code Ring::run(const Work& work) {
  beginReduce(work, 0);
  for (std::size_t block = 0; block < work.segments.blocks(); block++) {
    const bool isLast = block + 1 == work.segments.blocks();
    if (const muster_code code = reduceBlock(work, block); code != MUSTER_OK) return code;
    if (work.then == Then::gather) {
      const Gathering gathering{work.segments, work.target, work.accumulation.resultBytes(), work.accumulation.bytes()};
      if (const muster_code code = gatherBlock(gathering, block, isLast ? nullptr : &work); code != MUSTER_OK) return code;
    } else if (!isLast) {
      beginReduce(work, block + 1);
    }
  }
  return MUSTER_OK;
}

/** This place's part of the segment that begins here. */
void Ring::beginReduce(const Work& work, std::size_t block) {
  const Accumulation& accumulation = work.accumulation;
  const Segments::Range first = work.segments.at(block, circle_.behind(1));
  eachPiece(first.count, accumulation.bytes(), [&](std::size_t start, std::size_t count) {
    const std::byte* source = work.source + (first.source + start) * accumulation.sourceBytes();
    if (accumulation.isSourceAccumulator()) {
      circle_.send(circle_.ahead(1), source, count * accumulation.bytes());
    } else {
      std::byte* piece = pieces_.take();
      accumulation.load(piece, source, count);
      pieces_.release(piece, circle_.send(circle_.ahead(1), piece, count * accumulation.bytes()));
    }
    return MUSTER_OK;
  });
}

muster_code Ring::reduceBlock(const Work& work, std::size_t block) {
  const Accumulation& accumulation = work.accumulation;
  const bool collects = work.then == Then::collect && work.root == circle_.place();
  std::vector<Transfer> collected;
  for (std::uint32_t steps = 2; collects && steps < circle_.size(); steps++) expectSegment(work, block, circle_.behind(steps), collected);
  for (std::uint32_t step = 0; step + 1 < circle_.size(); step++) {
    const Segments::Range range = work.segments.at(block, circle_.behind(step + 2));
    const bool isOwn = step + 2 == circle_.size();
    const muster_code code = eachPiece(range.count, accumulation.bytes(), [&](std::size_t start, std::size_t count) {
      std::byte* piece = pieces_.take();
      const muster_code received = circle_.wait(circle_.receive(circle_.behind(1), piece, count * accumulation.bytes()));
      if (received != MUSTER_OK) return received;
      accumulation.add(piece, work.source + (range.source + start) * accumulation.sourceBytes(), count);
      if (isOwn) {
        keepPiece(work, piece, range.target + start, count);
      } else {
        pieces_.release(piece, circle_.send(circle_.ahead(1), piece, count * accumulation.bytes()));
      }
      return MUSTER_OK;
    });
    if (code != MUSTER_OK) return code;
  }
  if (!collects) return MUSTER_OK;
  expectSegment(work, block, circle_.behind(1), collected);  // which sends its own after what it passes on
  for (const Transfer& each : collected) {
    if (const muster_code code = circle_.wait(each); code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

/** At the root: a place's segment of the block, complete. */
void Ring::expectSegment(const Work& work, std::size_t block, std::uint32_t place, std::vector<Transfer>& expected) {
  const std::size_t bytes = work.accumulation.resultBytes();
  const Segments::Range range = work.segments.at(block, place);
  eachPiece(range.count, work.accumulation.bytes(), [&](std::size_t start, std::size_t count) {
    expected.push_back(circle_.receive(place, work.target + (range.target + start) * bytes, count * bytes));
    return MUSTER_OK;
  });
}

/** What of this place's own segment is complete: to the target, and on to whoever wants it. */
void Ring::keepPiece(const Work& work, std::byte* piece, std::size_t target, std::size_t count) {
  const Accumulation& accumulation = work.accumulation;
  const std::size_t bytes = count * accumulation.resultBytes();
  if (work.then == Then::collect && work.root != circle_.place()) {
    std::byte* result = pieces_.take();
    accumulation.finish(result, piece, count);
    pieces_.release(piece);
    pieces_.release(result, circle_.send(work.root, result, bytes));
    return;
  }
  std::byte* kept = work.target + target * accumulation.resultBytes();
  accumulation.finish(kept, piece, count);
  pieces_.release(piece);
  if (work.then == Then::gather) circle_.send(circle_.ahead(1), kept, bytes);
}

/** This place's own segment is on its way already. Before the last step, nothing of the block is left to be sent: `next` begins its next one. */
muster_code Ring::gatherBlock(const Gathering& gathering, std::size_t block, const Work* next) {
  const std::size_t bytes = gathering.elementBytes;
  for (std::uint32_t step = 0; step + 1 < circle_.size(); step++) {
    const Segments::Range range = gathering.segments.at(block, circle_.behind(step + 1));
    const bool isLastStep = step + 2 == circle_.size();
    if (isLastStep && next != nullptr) beginReduce(*next, block + 1);
    const muster_code code = eachPiece(range.count, gathering.cutBytes, [&](std::size_t start, std::size_t count) {
      std::byte* at = gathering.target + (range.target + start) * bytes;
      const muster_code received = circle_.wait(circle_.receive(circle_.behind(1), at, count * bytes));
      if (received == MUSTER_OK && !isLastStep) circle_.send(circle_.ahead(1), at, count * bytes);
      return received;
    });
    if (code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

}  // namespace muster
