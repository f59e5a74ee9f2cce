/** The arena: its file, what is committed, and that nothing outside of that can be touched. */
#include "muster/arena.h"

#include <algorithm>
#include <fstream>
#include <random>

#include <fcntl.h>
#include <sys/stat.h>

#include "check.h"

namespace {

using check::arenaPath;
using check::inChild;
using check::ScopedArena;

constexpr std::uint64_t kSegment = MUSTER_SEGMENT_BYTES;

std::uint64_t heldBytes(const char* path) {
  struct stat info;
  return ::stat(path, &info) == 0 ? static_cast<std::uint64_t>(info.st_blocks) * 512 : 0;
}

void refusesWhatIsNoArena() {
  muster_arena* arena = nullptr;
  CHECK(muster_arena_open(arenaPath("absent").c_str(), &arena) == MUSTER_SYSTEM_ERROR);
  CHECK(muster_last_failure()->error_number == ENOENT);

  const std::string path = arenaPath("foreign");
  std::ofstream(path) << "something else";
  CHECK(muster_arena_open(path.c_str(), &arena) == MUSTER_NOT_AN_ARENA);
  std::ofstream(path) << std::string(4096, 'x');
  CHECK(muster_arena_open(path.c_str(), &arena) == MUSTER_NOT_AN_ARENA);
  CHECK(muster_arena_create(path.c_str(), kSegment, &arena) == MUSTER_SYSTEM_ERROR);
  CHECK(muster_last_failure()->error_number == EEXIST);
  ::unlink(path.c_str());
}

void refusesAnArenaThatWasCutShort() {
  ScopedArena arena("cut", 4);
  CHECK(::truncate(arena.path(), static_cast<off_t>(3 * kSegment)) == 0);
  muster_arena* opened = nullptr;
  CHECK(muster_arena_open(arena.path(), &opened) == MUSTER_NOT_AN_ARENA);
  CHECK(opened == nullptr);
}

void refusesImpossibleSizes() {
  const std::string path = arenaPath("size");
  muster_arena* arena = nullptr;
  for (const std::uint64_t size : {std::uint64_t{0}, kSegment - 1, kSegment + 4096, MUSTER_ARENA_MAX_BYTES + kSegment, ~std::uint64_t{0}}) {
    CHECK(muster_arena_create(path.c_str(), size, &arena) == MUSTER_OUT_OF_RANGE);
  }
  CHECK(muster_arena_create(path.c_str(), MUSTER_ARENA_MAX_BYTES, &arena) == MUSTER_SYSTEM_ERROR);
  CHECK(muster_last_failure()->error_number == ENOSPC);
  CHECK(::access(path.c_str(), F_OK) != 0);
}

void holdsMemoryOnlyWhileCommitted() {
  ScopedArena arena("memory", 64);
  CHECK(heldBytes(arena.path()) < kSegment);
  CHECK(muster_arena_commit(arena.get(), 4 * kSegment, 8 * kSegment) == MUSTER_OK);
  CHECK(heldBytes(arena.path()) >= 8 * kSegment);
  CHECK(heldBytes(arena.path()) < 9 * kSegment);
  CHECK(muster_arena_commit(arena.get(), 0, 12 * kSegment) == MUSTER_OK);
  CHECK(muster_arena_decommit(arena.get(), 2 * kSegment, 10 * kSegment) == MUSTER_OK);
  CHECK(heldBytes(arena.path()) < 3 * kSegment);
}

void keepsWhatWasThereWhenCommittedAgainAndZerosWhatWasGivenBack() {
  ScopedArena arena("again", 4);
  const std::string text = "kept";
  std::string seen(text.size(), '?');
  CHECK(muster_arena_commit(arena.get(), 0, kSegment) == MUSTER_OK);
  CHECK(muster_arena_write(arena.get(), 5000, text.data(), text.size()) == MUSTER_OK);
  CHECK(muster_arena_commit(arena.get(), 0, 4 * kSegment) == MUSTER_OK);
  CHECK(muster_arena_read(arena.get(), 5000, seen.data(), seen.size()) == MUSTER_OK);
  CHECK(seen == text);
  CHECK(muster_arena_decommit(arena.get(), 0, kSegment) == MUSTER_OK);
  CHECK(muster_arena_read(arena.get(), 5000, seen.data(), seen.size()) == MUSTER_UNCOMMITTED);
  CHECK(muster_arena_commit(arena.get(), 0, kSegment) == MUSTER_OK);
  CHECK(muster_arena_read(arena.get(), 5000, seen.data(), seen.size()) == MUSTER_OK);
  CHECK(seen == std::string(text.size(), '\0'));
}

void sharesBytesAndCommitsBetweenProcesses() {
  ScopedArena arena("shared", 2);
  CHECK(muster_arena_commit(arena.get(), 0, kSegment) == MUSTER_OK);
  const std::string there = "from the other process";
  const int status = inChild([&] {
    muster_arena* opened = nullptr;
    CHECK(muster_arena_open(arena.path(), &opened) == MUSTER_OK);
    CHECK(muster_arena_size_bytes(opened) == 2 * kSegment);
    CHECK(muster_arena_write(opened, 100, there.data(), there.size()) == MUSTER_OK);
    CHECK(muster_arena_write(opened, kSegment, there.data(), there.size()) == MUSTER_UNCOMMITTED);
    CHECK(muster_arena_commit(opened, kSegment, kSegment) == MUSTER_OK);
    muster_arena_close(opened);
  });
  CHECK(status == 0);
  std::string here(there.size(), '?');
  CHECK(muster_arena_read(arena.get(), 100, here.data(), here.size()) == MUSTER_OK);
  CHECK(here == there);
  CHECK(muster_arena_write(arena.get(), kSegment, here.data(), here.size()) == MUSTER_OK);
}

/** Random calls against a plain array of bytes and one of flags. */
void agreesWithAnOracle() {
  constexpr std::uint64_t kSegments = 5;
  constexpr std::uint64_t kBytes = kSegments * kSegment;
  ScopedArena arena("oracle", kSegments);
  std::vector<unsigned char> bytes(kBytes, 0);
  std::vector<bool> committed(kSegments, false);
  std::mt19937_64 random(20240607);
  const auto upTo = [&](std::uint64_t limit) { return random() % (limit + 1); };
  std::vector<unsigned char> buffer(3 * kSegment);

  for (int step = 0; step < 3000; step++) {
    const std::uint64_t offset = random() % 16 == 0 ? random() : upTo(kBytes + 100);
    const std::uint64_t size = random() % 4 == 0 ? upTo(buffer.size()) : upTo(10000);
    const bool inside = offset <= kBytes && size <= kBytes - offset;
    bool backed = inside;
    for (std::uint64_t at = offset; backed && at < offset + size; at = (at / kSegment + 1) * kSegment) backed = committed[at / kSegment];
    const muster_code expected = !inside ? MUSTER_OUT_OF_RANGE : backed ? MUSTER_OK : MUSTER_UNCOMMITTED;
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(backed ? offset : 0);
    const std::uint64_t first = upTo(kSegments - 1);
    const std::uint64_t count = 1 + upTo(kSegments - first - 1);
    switch (random() % 8) {
      case 0:
        CHECK(muster_arena_commit(arena.get(), first * kSegment, count * kSegment) == MUSTER_OK);
        std::fill_n(committed.begin() + static_cast<std::ptrdiff_t>(first), count, true);
        break;
      case 1:
        CHECK(muster_arena_decommit(arena.get(), first * kSegment, kSegment) == MUSTER_OK);
        committed[first] = false;
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(first * kSegment), kSegment, 0);
        break;
      case 2:
        CHECK(muster_arena_commit(arena.get(), first * kSegment + 1 + upTo(kSegment - 2), kSegment) == MUSTER_OUT_OF_RANGE);
        CHECK(muster_arena_commit(arena.get(), first * kSegment, (kSegments - first + 1) * kSegment) == MUSTER_OUT_OF_RANGE);
        break;
      case 3: case 4:
        std::fill_n(buffer.begin(), size, static_cast<unsigned char>(random()));
        CHECK(muster_arena_write(arena.get(), offset, buffer.data(), size) == expected);
        if (expected == MUSTER_OK) std::copy_n(buffer.begin(), size, at);
        break;
      default:
        CHECK(muster_arena_read(arena.get(), offset, buffer.data(), size) == expected);
        if (expected == MUSTER_OK) CHECK(std::equal(at, at + static_cast<std::ptrdiff_t>(size), buffer.begin()));
    }
  }
}

}  // namespace

int main() {
  return check::runAll({
      {"refuses files that are absent, foreign or in the way", refusesWhatIsNoArena},
      {"refuses an arena whose file was cut short", refusesAnArenaThatWasCutShort},
      {"refuses sizes that cannot be, and leaves no file", refusesImpossibleSizes},
      {"holds memory only while it is committed", holdsMemoryOnlyWhileCommitted},
      {"keeps bytes over a second commit, and zeros them over a decommit", keepsWhatWasThereWhenCommittedAgainAndZerosWhatWasGivenBack},
      {"shares bytes and commits between processes", sharesBytesAndCommitsBetweenProcesses},
      {"agrees with an oracle over 3000 random calls", agreesWithAnOracle},
  });
}
