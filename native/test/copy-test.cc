/** The copy past the caches does what memcpy does, to the byte, at every size and alignment. */
#include "shm/copy.h"

#include <algorithm>
#include <cstdint>
#include <random>

#include "check.h"

namespace {

constexpr std::size_t kStreamMinBytes = std::size_t{1} << 20;
constexpr unsigned char kUntouched = 0xee;

void copyAndCompare(const std::vector<unsigned char>& source, std::size_t from, std::size_t to, std::size_t sizeBytes) {
  std::vector<unsigned char> target(to + sizeBytes + 64, kUntouched);
  muster::copyPastCaches(target.data() + to, source.data() + from, sizeBytes);
  const auto untouched = [](unsigned char byte) { return byte == kUntouched; };
  const auto start = target.begin() + static_cast<std::ptrdiff_t>(to);
  const auto end = start + static_cast<std::ptrdiff_t>(sizeBytes);
  CHECK(std::all_of(target.begin(), start, untouched));
  CHECK(std::equal(start, end, source.begin() + static_cast<std::ptrdiff_t>(from)));
  CHECK(std::all_of(end, target.end(), untouched));
}

void copiesEverySizeAndAlignment() {
  std::mt19937 random(7);
  std::vector<unsigned char> source(3 * kStreamMinBytes);
  std::generate(source.begin(), source.end(), [&] { return static_cast<unsigned char>(random()); });
  for (const std::size_t sizeBytes : {std::size_t{0}, std::size_t{1}, std::size_t{100}, kStreamMinBytes - 1, kStreamMinBytes}) {
    copyAndCompare(source, 0, 0, sizeBytes);
  }
  for (int round = 0; round < 100; round++) {
    copyAndCompare(source, random() % 128, random() % 128, kStreamMinBytes - 64 + random() % (kStreamMinBytes / 4));
  }
}

}  // namespace

int main() { return check::runAll({{"copies every size and alignment, and not a byte more", copiesEverySizeAndAlignment}}); }
