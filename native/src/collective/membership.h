/** A rank's place in the memory that a communicator shares: how it comes to be, and who of the others is still there. */
#pragma once

#include <memory>
#include <string>

#include "collective/layout.h"
#include "collective/wakeup.h"
#include "muster/collective.h"
#include "shm/mapping.h"

namespace muster {

/**
 * While it exists, this rank holds a lock on the byte of its number in the shared file. The kernel gives the lock up when the
 * process ends, however it ends, and at once: whoever can get a rank's lock knows that the rank is gone. Unlike a look at
 * process ids this needs no reaping by a parent, mistakes no new process for an old one and sees through containers. A child that
 * was forked without exec holds the lock of its parent.
 */
class Membership {
 public:
  /** Rank 0 makes the file, complete before it has a name; the others find it. Does not wait for further ranks. */
  static muster_code join(const muster_communicator_options& options, Clock::time_point deadline, std::unique_ptr<Membership>* membership);
  ~Membership();
  Membership(const Membership&) = delete;

  const Layout& layout() const { return layout_; }
  SharedHeader& header() const { return *reinterpret_cast<SharedHeader*>(mapping_.data()); }
  RankControl& control(std::uint32_t rank) const { return *reinterpret_cast<RankControl*>(mapping_.data() + layout_.control(rank)); }
  std::byte* at(std::size_t offset) const { return mapping_.data() + offset; }

  /** Whether a rank that joined still holds its lock. */
  bool isAlive(std::uint32_t rank) const;

  /** Removes the file's name, unless it names another file by now. */
  void unlink() const;

 private:
  Membership(std::string path, FileDescriptor file, Mapping mapping, const Layout& layout)
      : path_(std::move(path)), file_(std::move(file)), mapping_(std::move(mapping)), layout_(layout) {}

  std::string path_;
  FileDescriptor file_;
  Mapping mapping_;
  Layout layout_;
};

}  // namespace muster
