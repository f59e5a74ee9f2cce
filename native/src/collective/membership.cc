#include "collective/membership.h"

#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "process/cores.h"
#include "status.h"

namespace muster {
namespace {

constexpr const char* kFolder = "/dev/shm";
/** How often a rank looks whether rank 0 has made the file. */
constexpr std::chrono::microseconds kLookAgain{500};

/** Locks belong to the open file, not to the process, where the system can do that: ranks may be threads. */
#ifdef F_OFD_SETLK
constexpr int kSetLock = F_OFD_SETLK;
constexpr int kGetLock = F_OFD_GETLK;
#else
constexpr int kSetLock = F_SETLK;
constexpr int kGetLock = F_GETLK;
#endif

struct flock byteLock(std::uint32_t rank) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

bool lockRank(int file, std::uint32_t rank) {
  struct flock lock = byteLock(rank);
  return ::fcntl(file, kSetLock, &lock) == 0;
}

bool isLocked(int file, std::uint32_t rank) {
  struct flock lock = byteLock(rank);
  return ::fcntl(file, kGetLock, &lock) != 0 || lock.l_type != F_UNLCK;
}

muster_code systemError(const char* verb, const std::string& path) {
  const int errorNumber = errno;
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, errorNumber, "cannot %s the communicator's memory %s: %s", verb, path.c_str(), std::strerror(errorNumber));
}

muster_code mapFile(int file, std::size_t sizeBytes, const std::string& path, Mapping* mapping) {
  void* data = ::mmap(nullptr, sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return systemError("map", path);
  *mapping = Mapping(data, sizeBytes);
  return MUSTER_OK;
}

/** A file without a name: if this process dies now, it is gone. */
int openNameless() {
#ifdef O_TMPFILE
  return ::open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
#else
  errno = ENOTSUP;
  return -1;
#endif
}

/** Gives the file its name, also over one whose ranks are all gone. */
muster_code giveName(int file, const std::string& path) {
  const std::string self = "/proc/self/fd/" + std::to_string(file);
  for (int attempt = 0;; attempt++) {
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) return MUSTER_OK;
    if (errno != EEXIST || attempt > 0) return systemError("name", path);
    const FileDescriptor other(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (other.number() >= 0 && isLocked(other.number(), 0)) {
      return MUSTER_FAIL(MUSTER_MISMATCH, 0, "rank 0 of the communicator %s is there already: each rank joins once, and each communicator has an id of its own",
                         path.c_str());
    }
    ::unlink(path.c_str());
  }
}

muster_code createFile(const Layout& layout, std::uint32_t rankCount, const std::string& path, FileDescriptor* opened, Mapping* mapped) {
  FileDescriptor file(openNameless());
  if (file.number() < 0) return systemError("create", path);
  const int errorNumber = ::posix_fallocate(file.number(), 0, static_cast<off_t>(layout.sizeBytes()));
  if (errorNumber != 0) {
    return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, errorNumber, "cannot create a communicator of %u ranks: it needs %zu bytes under %s: %s. Make that file system larger (docker: --shm-size)",
                       rankCount, layout.sizeBytes(), kFolder, std::strerror(errorNumber));
  }
  Mapping mapping;
  if (const muster_code code = mapFile(file.number(), layout.sizeBytes(), path, &mapping); code != MUSTER_OK) return code;
  auto* header = new (mapping.data()) SharedHeader{};
  header->preamble = {kCommunicatorMagic, layout.sizeBytes(), rankCount};
  header->failure.rank = -1;
  if (!lockRank(file.number(), 0)) return systemError("lock", path);
  if (const muster_code code = giveName(file.number(), path); code != MUSTER_OK) return code;
  *opened = std::move(file);
  *mapped = std::move(mapping);
  return MUSTER_OK;
}

muster_code waitForFile(const muster_communicator_options& options, Clock::time_point deadline, const std::string& path, FileDescriptor* opened) {
  for (;;) {
    const int number = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (number >= 0) {
      *opened = FileDescriptor(number);
      return MUSTER_OK;
    }
    if (errno != ENOENT) return systemError("open", path);
    if (Clock::now() > deadline) {
      return MUSTER_FAIL(MUSTER_TIMED_OUT, 0, "rank 0 has not opened the communicator '%s' within %u ms, for which rank %u waits", options.id, options.timeout_ms, options.rank);
    }
    if (options.is_cancelled != nullptr && options.is_cancelled(options.context)) {
      return MUSTER_FAIL(MUSTER_ABORTED, 0, "rank %u gave up waiting for the communicator '%s'", options.rank, options.id);
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

/** Checks that the file is what rank 0 of this communicator made, by this user, and takes this rank's lock in it. */
muster_code enterFile(const muster_communicator_options& options, int file, const Layout& layout, const std::string& path, Mapping* mapped) {
  struct stat info;
  if (::fstat(file, &info) != 0) return systemError("look at", path);
  if (info.st_uid != ::geteuid()) return MUSTER_FAIL(MUSTER_MISMATCH, 0, "the communicator's memory %s belongs to another user", path.c_str());
  Preamble preamble;
  const bool isRead = ::pread(file, &preamble, sizeof preamble, 0) == static_cast<ssize_t>(sizeof preamble);
  if (!isRead || preamble.magic != kCommunicatorMagic) {
    return MUSTER_FAIL(MUSTER_MISMATCH, 0, "%s is not the memory of a communicator of this version", path.c_str());
  }
  if (preamble.rankCount != options.size || preamble.sizeBytes != layout.sizeBytes()) {
    return MUSTER_FAIL(MUSTER_MISMATCH, 0, "rank %u opens the communicator '%s' for %u ranks, and rank 0 for %u", options.rank, options.id, options.size, preamble.rankCount);
  }
  if (!lockRank(file, options.rank)) {
    return MUSTER_FAIL(MUSTER_MISMATCH, 0, "rank %u of the communicator '%s' is there already: each rank joins once", options.rank, options.id);
  }
  return mapFile(file, layout.sizeBytes(), path, mapped);
}

}  // namespace

muster_code Membership::join(const muster_communicator_options& options, Clock::time_point deadline, std::unique_ptr<Membership>* membership) {
  const Layout layout(options.size);
  const std::string path = std::string(kFolder) + "/muster-collective-" + options.id;
  FileDescriptor file;
  Mapping mapping;
  muster_code code;
  if (options.rank == 0) {
    code = createFile(layout, options.size, path, &file, &mapping);
  } else {
    code = waitForFile(options, deadline, path, &file);
    if (code == MUSTER_OK) code = enterFile(options, file.number(), layout, path, &mapping);
  }
  if (code != MUSTER_OK) return code;
  membership->reset(new Membership(path, std::move(file), std::move(mapping), layout));
  RankControl& control = (*membership)->control(options.rank);
  control.processId = static_cast<std::int32_t>(::getpid());
  control.cores = ownCores();
  control.presence.store(Presence::present);
  (*membership)->header().joined.fetch_add(1);
  return MUSTER_OK;
}

Membership::~Membership() = default;

bool Membership::isAlive(std::uint32_t rank) const { return isLocked(file_.number(), rank); }

void Membership::unlink() const {
  struct stat mine;
  struct stat named;
  if (::fstat(file_.number(), &mine) != 0 || ::stat(path_.c_str(), &named) != 0) return;
  if (mine.st_ino == named.st_ino && mine.st_dev == named.st_dev) ::unlink(path_.c_str());
}

}  // namespace muster
