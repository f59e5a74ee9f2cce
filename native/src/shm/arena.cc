#include "shm/arena.h"

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "shm/copy.h"
#include "status.h"

namespace muster {
namespace {

constexpr std::uint64_t kBitsPerWord = 64;

/** The header's true size: the rest of its segment is a hole. */
std::uint64_t headerUsedBytes(std::uint64_t sizeBytes) {
  const std::uint64_t segments = sizeBytes / kSegmentBytes;
  return sizeof(ArenaHeader) + (segments + kBitsPerWord - 1) / kBitsPerWord * sizeof(std::uint64_t);
}

bool isSegmented(std::uint64_t bytes) { return bytes % kSegmentBytes == 0; }

muster_code checkArenaSize(std::uint64_t sizeBytes) {
  if (sizeBytes > 0 && sizeBytes <= MUSTER_ARENA_MAX_BYTES && isSegmented(sizeBytes)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0,
                     "an arena of %" PRIu64 " bytes cannot be made: its size must be a positive multiple of %" PRIu64
                     " bytes, and %" PRIu64 " at most",
                     sizeBytes, kSegmentBytes, MUSTER_ARENA_MAX_BYTES);
}

muster_code systemError(const char* verb, const char* path) {
  const int errorNumber = errno;
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, errorNumber, "cannot %s the arena %s: %s", verb, path, std::strerror(errorNumber));
}

/**
 * Refuses a size that the file system could never hold. Later use of it by others may still exhaust it: commit()
 * reports that.
 */
muster_code checkFreeSpace(const char* path, int file, std::uint64_t sizeBytes) {
  struct statvfs info;
  if (::fstatvfs(file, &info) != 0) return systemError("measure the free space for", path);
  if (info.f_blocks == 0) return MUSTER_OK;  // a tmpfs mounted without a limit
  const std::uint64_t freeBytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  const std::uint64_t neededBytes = sizeBytes + headerUsedBytes(sizeBytes);
  if (neededBytes <= freeBytes) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOSPC,
                     "cannot create the arena %s: it needs %" PRIu64 " bytes, and its file system has %" PRIu64
                     " free. Make the arena smaller, or the file system larger (docker: --shm-size)",
                     path, neededBytes, freeBytes);
}

/** Reserves memory or disk space for a range of the file. @returns 0 or an errno. */
int allocate(const FileRange& range) {
#ifdef __linux__
  int result;
  do {
    result = ::fallocate(range.file, 0, static_cast<off_t>(range.offset), static_cast<off_t>(range.sizeBytes));
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
#else
  (void)range;
  return 0;  // a file on disk, whose pages the system can always write back
#endif
}

/** Gives a range of the file back; it reads as zeros afterwards. @returns 0 or an errno. */
int punch(const FileRange& range) {
#ifdef __linux__
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return ::fallocate(range.file, mode, static_cast<off_t>(range.offset), static_cast<off_t>(range.sizeBytes)) == 0 ? 0 : errno;
#else
  (void)range;
  return ENOTSUP;
#endif
}

#ifdef __linux__
/**
 * Turns a range into huge pages. An advice only: a kernel that is too old or a memory too fragmented leave small
 * pages, which are slower and otherwise the same.
 */
void collapse(void* data, std::uint64_t sizeBytes) {
#ifndef MADV_COLLAPSE
  constexpr int MADV_COLLAPSE = 25;  // Linux 6.1; the C library's headers may be older than the kernel
#endif
  ::madvise(data, sizeBytes, MADV_COLLAPSE);
}
#endif

std::atomic_ref<std::uint64_t> committedWord(const muster_arena& arena, std::uint64_t segment) {
  return std::atomic_ref<std::uint64_t>(arena.header().committed[segment / kBitsPerWord]);
}

std::uint64_t committedBit(std::uint64_t segment) { return std::uint64_t{1} << segment % kBitsPerWord; }

bool isCommitted(const muster_arena& arena, std::uint64_t segment) {
  return (committedWord(arena, segment).load(std::memory_order_acquire) & committedBit(segment)) != 0;
}

FileRange fileRange(const muster_arena& arena, Range range) {
  return {arena.file.number(), kHeaderBytes + range.offset, range.sizeBytes};
}

Range segmentRange(std::uint64_t segment) { return {segment * kSegmentBytes, kSegmentBytes}; }

muster_code checkInside(const muster_arena& arena, Range range) {
  if (range.offset <= arena.sizeBytes && range.sizeBytes <= arena.sizeBytes - range.offset) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0,
                     "%" PRIu64 " bytes at offset %" PRIu64 " reach outside the arena %s of %" PRIu64 " bytes",
                     range.sizeBytes, range.offset, arena.path.c_str(), arena.sizeBytes);
}

muster_code checkSegments(const muster_arena& arena, Range range) {
  if (!isSegmented(range.offset) || !isSegmented(range.sizeBytes)) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0,
                       "%" PRIu64 " bytes at offset %" PRIu64 " are not whole segments of %" PRIu64 " bytes",
                       range.sizeBytes, range.offset, kSegmentBytes);
  }
  return checkInside(arena, range);
}

/** Memory for every segment of the range, as huge pages where possible. @returns 0 or an errno. */
int supplyMemory(const muster_arena& arena, Range range) {
#ifdef __linux__
  // MADV_COLLAPSE leaves an extent without any page alone, so each segment gets its first page before it. Small pages
  // for everything first would be simpler, and take 13 times as long: a fault and a copy for each.
  const std::uint64_t pageBytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (std::uint64_t at = range.offset; at < range.offset + range.sizeBytes; at += kSegmentBytes) {
    if (const int errorNumber = allocate(fileRange(arena, {at, pageBytes})); errorNumber != 0) return errorNumber;
  }
  collapse(arena.at(range.offset), range.sizeBytes);
#endif
  return allocate(fileRange(arena, range));
}

/** Maps the whole file, header first. */
muster_code mapArena(const char* path, FileDescriptor file, std::uint64_t sizeBytes, std::unique_ptr<muster_arena>& arena) {
  const std::uint64_t fileBytes = kHeaderBytes + sizeBytes;
  void* data = mapSegments({file.number(), 0, fileBytes}, MAP_SHARED);
  if (data == MAP_FAILED) return systemError("map", path);
  arena.reset(new muster_arena{path, std::move(file), Mapping(data, fileBytes), sizeBytes});
  return MUSTER_OK;
}

/** Makes the empty file into an arena. */
muster_code formatArena(const char* path, FileDescriptor file, std::uint64_t sizeBytes, std::unique_ptr<muster_arena>& arena) {
  if (const muster_code code = checkFreeSpace(path, file.number(), sizeBytes); code != MUSTER_OK) return code;
  if (::ftruncate(file.number(), static_cast<off_t>(kHeaderBytes + sizeBytes)) != 0) return systemError("size", path);
  if (const int errorNumber = allocate({file.number(), 0, headerUsedBytes(sizeBytes)}); errorNumber != 0) {
    errno = errorNumber;
    return systemError("reserve the header of", path);
  }
  if (const muster_code code = mapArena(path, std::move(file), sizeBytes, arena); code != MUSTER_OK) return code;
  arena->header().sizeBytes = sizeBytes;
  std::atomic_ref(arena->header().magic).store(kMagic, std::memory_order_release);  // last: now it may be opened
  return MUSTER_OK;
}

muster_code notAnArena(const char* path, const char* why) {
  return MUSTER_FAIL(MUSTER_NOT_AN_ARENA, 0, "%s is not an arena of this version: %s", path, why);
}

/** Reads the header with pread, which answers instead of faulting whatever the file is. */
muster_code readHeader(const char* path, int file, std::uint64_t& sizeBytes) {
  ArenaHeader header;
  if (::pread(file, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return notAnArena(path, "it is too short");
  }
  if (header.magic != kMagic) return notAnArena(path, "its first bytes differ");
  struct stat info;
  if (::fstat(file, &info) != 0) return systemError("measure", path);
  if (checkArenaSize(header.sizeBytes) != MUSTER_OK ||
      static_cast<std::uint64_t>(info.st_size) != kHeaderBytes + header.sizeBytes) {
    return notAnArena(path, "its size differs from what its header says");
  }
  sizeBytes = header.sizeBytes;
  return MUSTER_OK;
}

}  // namespace

muster_code checkCommitted(const muster_arena& arena, Range range) {
  if (const muster_code code = checkInside(arena, range); code != MUSTER_OK) return code;
  if (range.sizeBytes == 0) return MUSTER_OK;
  const std::uint64_t last = (range.offset + range.sizeBytes - 1) / kSegmentBytes;
  for (std::uint64_t segment = range.offset / kSegmentBytes; segment <= last; segment++) {
    if (!isCommitted(arena, segment)) {
      return MUSTER_FAIL(MUSTER_UNCOMMITTED, 0,
                         "%" PRIu64 " bytes at offset %" PRIu64 " of the arena %s are not all committed: segment %" PRIu64
                         " is not",
                         range.sizeBytes, range.offset, arena.path.c_str(), segment);
    }
  }
  return MUSTER_OK;
}

}  // namespace muster

using namespace muster;

muster_code muster_arena_create(const char* path, uint64_t size_bytes, muster_arena** arena) {
  if (const muster_code code = checkArenaSize(size_bytes); code != MUSTER_OK) return code;
  FileDescriptor file(::open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  if (file.number() < 0) return systemError("create", path);
  std::unique_ptr<muster_arena> made;
  const muster_code code = formatArena(path, std::move(file), size_bytes, made);
  if (code != MUSTER_OK) ::unlink(path);
  *arena = made.release();
  return code;
}

muster_code muster_arena_open(const char* path, muster_arena** arena) {
  FileDescriptor file(::open(path, O_RDWR | O_CLOEXEC));
  if (file.number() < 0) return systemError("open", path);
  std::uint64_t sizeBytes = 0;
  if (const muster_code code = readHeader(path, file.number(), sizeBytes); code != MUSTER_OK) return code;
  std::unique_ptr<muster_arena> made;
  const muster_code code = mapArena(path, std::move(file), sizeBytes, made);
  *arena = made.release();
  return code;
}

void muster_arena_close(muster_arena* arena) { delete arena; }

muster_code muster_arena_unlink(const char* path) {
  return ::unlink(path) == 0 || errno == ENOENT ? MUSTER_OK : systemError("unlink", path);
}

uint64_t muster_arena_size_bytes(const muster_arena* arena) { return arena->sizeBytes; }

muster_code muster_arena_commit(muster_arena* arena, uint64_t offset, uint64_t size_bytes) {
  const Range range{offset, size_bytes};
  if (const muster_code code = checkSegments(*arena, range); code != MUSTER_OK) return code;
  if (size_bytes == 0) return MUSTER_OK;
  const int errorNumber = supplyMemory(*arena, range);
  const std::uint64_t end = (offset + size_bytes) / kSegmentBytes;
  for (std::uint64_t segment = offset / kSegmentBytes; segment < end; segment++) {
    if (errorNumber == 0) {
      committedWord(*arena, segment).fetch_or(committedBit(segment), std::memory_order_release);
    } else if (!isCommitted(*arena, segment)) {
      punch(fileRange(*arena, segmentRange(segment)));
    }
  }
  if (errorNumber == 0) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, errorNumber, "cannot commit %" PRIu64 " bytes of the arena %s: %s", size_bytes,
                     arena->path.c_str(), std::strerror(errorNumber));
}

muster_code muster_arena_decommit(muster_arena* arena, uint64_t offset, uint64_t size_bytes) {
  const Range range{offset, size_bytes};
  if (const muster_code code = checkSegments(*arena, range); code != MUSTER_OK) return code;
  if (size_bytes == 0) return MUSTER_OK;
  const std::uint64_t end = (offset + size_bytes) / kSegmentBytes;
  for (std::uint64_t segment = offset / kSegmentBytes; segment < end; segment++) {
    committedWord(*arena, segment).fetch_and(~committedBit(segment), std::memory_order_release);
  }
  if (const int errorNumber = punch(fileRange(*arena, range)); errorNumber != 0) {
    errno = errorNumber;
    return systemError("give back memory of", arena->path.c_str());
  }
  return MUSTER_OK;
}

muster_code muster_arena_write(muster_arena* arena, uint64_t offset, const void* source, uint64_t size_bytes) {
  if (const muster_code code = checkCommitted(*arena, {offset, size_bytes}); code != MUSTER_OK) return code;
  if (size_bytes > 0) copyPastCaches(arena->at(offset), source, size_bytes);
  return MUSTER_OK;
}

muster_code muster_arena_share(muster_arena* arena, uint64_t offset, uint64_t size_bytes, void** data) {
  if (const muster_code code = checkCommitted(*arena, {offset, size_bytes}); code != MUSTER_OK) return code;
  *data = arena->at(offset);
  return MUSTER_OK;
}

muster_code muster_arena_read(const muster_arena* arena, uint64_t offset, void* target, uint64_t size_bytes) {
  if (const muster_code code = checkCommitted(*arena, {offset, size_bytes}); code != MUSTER_OK) return code;
  if (size_bytes > 0) std::memcpy(target, arena->at(offset), size_bytes);
  return MUSTER_OK;
}
