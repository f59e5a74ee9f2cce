#include "collective/network/exchange.h"

#include <bit>

namespace muster {

Exchange::Exchange(Circle& circle, const Accumulation& accumulation, std::byte* accumulators, std::byte* theirs, std::size_t count)
    : circle_(circle),
      accumulation_(accumulation),
      accumulators_(accumulators),
      theirs_(theirs),
      count_(count),
      place_(circle.place()),
      power_(std::bit_floor(circle.size())),
      extra_(circle.size() - power_) {}

muster_code Exchange::doubling() {
  muster_code code = fold();
  for (std::uint32_t distance = 1; code == MUSTER_OK && isActive() && distance < power_; distance *= 2) {
    const std::uint32_t partner = activeNumber() ^ distance;
    code = swap(partner, {0, count_}, {0, count_}, theirs_);
    if (code == MUSTER_OK) combine({0, count_}, partner < activeNumber());
  }
  return code == MUSTER_OK ? unfold() : code;
}

muster_code Exchange::halving() {
  muster_code code = fold();
  std::vector<Range> ranges{{0, count_}};
  for (std::uint32_t distance = power_ / 2; code == MUSTER_OK && isActive() && distance > 0; distance /= 2) {
    const Range whole = ranges.back();
    const std::size_t middle = whole.start + (whole.end - whole.start) / 2;
    const std::uint32_t partner = activeNumber() ^ distance;
    const bool isUpper = partner < activeNumber();
    const Range lower{whole.start, middle};
    const Range upper{middle, whole.end};
    const Range kept = isUpper ? upper : lower;
    code = swap(partner, isUpper ? lower : upper, kept, theirs_);
    if (code == MUSTER_OK) combine(kept, isUpper);
    ranges.push_back(kept);
  }
  for (std::uint32_t distance = 1; code == MUSTER_OK && isActive() && distance < power_; distance *= 2) {
    const Range kept = ranges.back();
    ranges.pop_back();
    const Range whole = ranges.back();
    const Range missing = kept.start == whole.start ? Range{kept.end, whole.end} : Range{whole.start, kept.start};
    code = swap(activeNumber() ^ distance, kept, missing, accumulators_);
  }
  return code == MUSTER_OK ? unfold() : code;
}

muster_code Exchange::fold() {
  if (place_ >= 2 * extra_) return MUSTER_OK;
  const std::size_t bytes = count_ * accumulation_.bytes();
  if (!isActive()) return circle_.wait(circle_.send(place_ + 1, accumulators_, bytes));
  const muster_code code = circle_.wait(circle_.receive(place_ - 1, theirs_, bytes));
  if (code == MUSTER_OK) combine({0, count_}, true);
  return code;
}

muster_code Exchange::unfold() {
  if (place_ >= 2 * extra_) return MUSTER_OK;
  const std::size_t bytes = count_ * accumulation_.bytes();
  return circle_.wait(isActive() ? circle_.send(place_ - 1, accumulators_, bytes) : circle_.receive(place_ + 1, accumulators_, bytes));
}

muster_code Exchange::swap(std::uint32_t active, Range mine, Range yours, std::byte* to) {
  const std::size_t bytes = accumulation_.bytes();
  const std::uint32_t partner = placeOf(active);
  const Transfer sent = circle_.send(partner, accumulators_ + mine.start * bytes, (mine.end - mine.start) * bytes);
  const muster_code code = circle_.wait(circle_.receive(partner, to + yours.start * bytes, (yours.end - yours.start) * bytes));
  return code == MUSTER_OK ? circle_.wait(sent) : code;
}

void Exchange::combine(Range range, bool areTheirsFirst) {
  std::byte* own = accumulators_ + range.start * accumulation_.bytes();
  const std::byte* other = theirs_ + range.start * accumulation_.bytes();
  accumulation_.combine(areTheirsFirst ? other : own, areTheirsFirst ? own : other, own, range.end - range.start);
}

}  // namespace muster
