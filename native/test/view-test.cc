/** Views: read in place, private to their writer, fresh for every reader, and counted. */
#include <algorithm>
#include <cstring>
#include <random>

#include "check.h"

namespace {

using check::inChild;
using check::ScopedArena;

constexpr std::uint64_t kSegment = MUSTER_SEGMENT_BYTES;

/** One within a page, one across pages, one that maps segments, one across segments. */
constexpr std::pair<std::uint64_t, std::uint64_t> kRanges[] = {{100, 50}, {4000, 10'000}, {kSegment / 2, 200'000}, {3000, 3 * kSegment}};

class ScopedView {
 public:
  ScopedView(const muster_arena* arena, std::uint64_t offset, std::uint64_t sizeBytes) {
    CHECK(muster_view_map(arena, offset, sizeBytes, &view_) == MUSTER_OK);
  }
  ScopedView(const ScopedView&) = delete;
  ScopedView& operator=(const ScopedView&) = delete;
  ~ScopedView() { muster_view_unmap(&view_); }
  unsigned char* begin() const { return static_cast<unsigned char*>(view_.data); }
  unsigned char* end() const { return begin() + view_.size_bytes; }
  bool isAll(unsigned char value) const {
    return std::all_of(begin(), end(), [=](unsigned char byte) { return byte == value; });
  }

 private:
  muster_view view_{};
};

void fill(muster_arena* arena, unsigned char value) {
  const std::vector<unsigned char> bytes(muster_arena_size_bytes(arena), value);
  CHECK(muster_arena_write(arena, 0, bytes.data(), bytes.size()) == MUSTER_OK);
}

void showsWhatIsWritten() {
  ScopedArena arena("view-shows", 4);
  CHECK(muster_arena_commit(arena.get(), 0, 4 * kSegment) == MUSTER_OK);
  fill(arena.get(), 1);
  for (const auto& [offset, sizeBytes] : kRanges) {
    ScopedView view(arena.get(), offset, sizeBytes);
    CHECK(view.isAll(1));
    CHECK(muster_arena_write(arena.get(), offset + sizeBytes - 1, "\2", 1) == MUSTER_OK);
    CHECK(view.end()[-1] == 2);
    fill(arena.get(), 1);
  }
}

void keepsAWritersPagesToItself() {
  ScopedArena arena("view-private", 4);
  CHECK(muster_arena_commit(arena.get(), 0, 4 * kSegment) == MUSTER_OK);
  for (const auto& [offset, sizeBytes] : kRanges) {
    fill(arena.get(), 1);
    ScopedView other(arena.get(), offset, sizeBytes);
    CHECK(other.isAll(1));
    const int status = inChild([&, from = offset, size = sizeBytes] {
      ScopedView written(arena.get(), from, size);
      std::fill(written.begin(), written.end(), 9);
      CHECK(written.isAll(9));
      CHECK(other.isAll(1));
    });
    CHECK(status == 0);
    {
      ScopedView written(arena.get(), offset, sizeBytes);
      std::fill(written.begin(), written.end(), 9);
      CHECK(other.isAll(1));
      std::vector<unsigned char> bytes(sizeBytes);
      CHECK(muster_arena_read(arena.get(), offset, bytes.data(), sizeBytes) == MUSTER_OK);
      CHECK(std::all_of(bytes.begin(), bytes.end(), [](unsigned char byte) { return byte == 1; }));
    }
    fill(arena.get(), 3);  // the block is used again, at addresses that had private pages
    ScopedView fresh(arena.get(), offset, sizeBytes);
    CHECK(fresh.isAll(3));
  }
}

void outlivesItsArena() {
  muster_view view{};
  {
    ScopedArena arena("view-outlives", 1);
    CHECK(muster_arena_commit(arena.get(), 0, kSegment) == MUSTER_OK);
    fill(arena.get(), 5);
    CHECK(muster_view_map(arena.get(), 10, 1000, &view) == MUSTER_OK);
  }
  CHECK(static_cast<unsigned char*>(view.data)[999] == 5);
  muster_view_unmap(&view);
}

void refusesWhatIsNotThere() {
  ScopedArena arena("view-refuses", 2);
  CHECK(muster_arena_commit(arena.get(), 0, kSegment) == MUSTER_OK);
  muster_view view{};
  CHECK(muster_view_map(arena.get(), 0, 0, &view) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_view_map(arena.get(), 2 * kSegment, 1, &view) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_view_map(arena.get(), 1, ~std::uint64_t{0}, &view) == MUSTER_OUT_OF_RANGE);
  CHECK(muster_view_map(arena.get(), kSegment - 1, 2, &view) == MUSTER_UNCOMMITTED);
  CHECK(muster_view_count() == 0);
}

/** Many at once, of all sizes, released in any order: mapping near a place just freed must never disturb another view. */
void manyLiveTogether() {
  constexpr std::uint64_t kSegments = 8;
  ScopedArena arena("view-many", kSegments);
  CHECK(muster_arena_commit(arena.get(), 0, kSegments * kSegment) == MUSTER_OK);
  std::mt19937_64 random(11);
  std::vector<unsigned char> bytes(kSegments * kSegment);
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<unsigned char>(random()); });
  CHECK(muster_arena_write(arena.get(), 0, bytes.data(), bytes.size()) == MUSTER_OK);

  struct Live {
    muster_view view;
    std::uint64_t offset;
  };
  std::vector<Live> live;
  const auto check = [&](const Live& one) {
    CHECK(std::memcmp(one.view.data, bytes.data() + one.offset, one.view.size_bytes) == 0);
  };
  for (int step = 0; step < 2000; step++) {
    if (live.size() < 60 && random() % 5 < 3) {
      const std::uint64_t offset = random() % (bytes.size() - 1);
      const std::uint64_t largest = std::min<std::uint64_t>(bytes.size() - offset, random() % 2 ? 9000 : 3 * kSegment);
      Live one{{}, offset};
      CHECK(muster_view_map(arena.get(), offset, 1 + random() % largest, &one.view) == MUSTER_OK);
      live.push_back(one);
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      check(live.back());
      muster_view_unmap(&live.back().view);
      live.pop_back();
    }
    CHECK(muster_view_count() == live.size());
  }
  for (const Live& one : live) {
    check(one);
    muster_view_unmap(&one.view);
  }
}

void stopsAtTheLimit() {
  ScopedArena arena("view-limit", 1);
  CHECK(muster_arena_commit(arena.get(), 0, kSegment) == MUSTER_OK);
  std::vector<muster_view> views(MUSTER_VIEW_LIMIT);
  bool mapped = true;
  for (muster_view& view : views) mapped = mapped && muster_view_map(arena.get(), 0, 1, &view) == MUSTER_OK;
  CHECK(mapped);
  muster_view extra{};
  CHECK(muster_view_map(arena.get(), 0, 1, &extra) == MUSTER_TOO_MANY_VIEWS);
  muster_view_unmap(&views.back());
  CHECK(muster_view_map(arena.get(), 0, 1, &views.back()) == MUSTER_OK);
  for (const muster_view& view : views) muster_view_unmap(&view);
  CHECK(muster_view_count() == 0);
}

}  // namespace

int main() {
  return check::runAll({
      {"shows what is written, in place", showsWhatIsWritten},
      {"keeps a writer's pages to itself, and from later readers of the block", keepsAWritersPagesToItself},
      {"outlives its arena", outlivesItsArena},
      {"refuses ranges without memory", refusesWhatIsNotThere},
      {"many live together and are released in any order", manyLiveTogether},
      {"stops at the limit, and goes on below it", stopsAtTheLimit},
  });
}
