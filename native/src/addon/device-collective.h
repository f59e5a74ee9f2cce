/**
 * A communicator's calls of GPU memory, each in its turn among the communicator's others, so that whatever goes wrong ends them as it ends those.
 *
 *   the tensors' stream ──begun──> a stream of its own: the call ──ended──> the tensors' stream
 *
 * The way that allReduce goes is chosen here, by all ranks alike, when the first one comes that a group of GPUs could make:
 *   shared, peer, nccl   by the group: see muster/cuda-collective.h. Its ranks give their word on each call before a GPU hears of it, so that it is known who differs or is gone
 *   staged               through host memory, by the communicator itself. So go all other calls, on any nodes, and allReduce where there is no group; the reason is kept
 *
 * A call has ended when nothing can go wrong with it any more: a shared one when it lies in the stream, one in which GPUs wait for each other when they have met, a staged one when its
 * result is on its way back.
 */
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "muster/collective.h"
#include "muster/cuda-collective.h"

namespace muster::addon {

/** A call, and whether its memory is the GPU's. */
struct PlacedCall {
  muster_call call;
  bool isOnDevice;
};

/** Calls that are made as one, of which the memory of some is a GPU's, all on one. */
struct DeviceSubmission {
  std::vector<PlacedCall> calls;
  std::uint32_t device;
  /** What is in it by `begun` comes before, and what comes into it after the end sees the results. */
  muster_cuda_stream stream;
  muster_cuda_event begun;
};

/** Has this thread's CUDA calls go to a device for a while. */
class DeviceScope {
 public:
  explicit DeviceScope(std::uint32_t device);
  DeviceScope(const DeviceScope&) = delete;
  ~DeviceScope();
  muster_code code() const { return code_; }

 private:
  std::uint32_t before_ = 0;
  muster_code code_;
};

class DeviceCollective {
 public:
  enum class Way { none, shared, peer, nccl, staged };

  struct Place {
    std::uint32_t rank;
    std::uint32_t size;
    std::uint32_t timeoutMs;
    bool isOnOneNode;
  };

  /** @param communicator of which it is a part, for sizes */
  DeviceCollective(const muster_communicator* communicator, const Place& place);
  DeviceCollective(const DeviceCollective&) = delete;
  /** Waits for the device. Not while a call is under way. */
  ~DeviceCollective();

  /** Makes the calls in their turn. Its failure is the communicator's. */
  muster_code run(const DeviceSubmission& submission, muster_turn* turn);

  /** Whether ranks look into each other's memory, and so leave together. */
  bool hasGroup() const { return group_ != nullptr; }
  /** Ends when every rank is done with the others' memory. */
  muster_code leave(muster_turn* turn);

  /** The way of allReduce, and why it is no better one. From any thread. */
  std::pair<Way, std::string> way() const;

 private:
  /** A call on its way through host memory. */
  struct Staged {
    muster_call call;
    bool isOnDevice;
    std::uint64_t sourceBytes;
    std::uint64_t targetBytes;
    /** Where its memory begins in the staging memory, and on the device; source and target that share memory share it there. */
    std::uint64_t sourceAt;
    std::uint64_t targetAt;
  };

  muster_code begin(std::uint32_t device);
  muster_code collective(const muster_call& call);
  bool isForGroup(const muster_call& call) const;
  muster_code copyAlone(const muster_call& call);
  muster_code choose();
  void take(Way way, std::string reason);
  muster_code gather(const void* own, void* all, std::uint64_t sizeBytes);
  muster_code reduceInGroup(const muster_call& call);
  muster_code finish();
  muster_code stage(std::span<const PlacedCall> calls);
  muster_code layOut(std::span<const PlacedCall> calls, std::vector<Staged>& staged);
  muster_code reserve(std::uint64_t sizeBytes);
  /** A failure of the CUDA library, as this thread's; where it names a rank it ends the communicator with that. */
  muster_code failed(muster_code code);

  const muster_communicator* const communicator_;
  const Place place_;
  muster_turn* turn_ = nullptr;
  bool hasBegun_ = false;
  std::uint32_t device_ = 0;
  muster_cuda_stream stream_ = nullptr;
  muster_cuda_event ended_ = nullptr;
  muster_cuda_group* group_ = nullptr;
  unsigned char* staging_ = nullptr;
  std::uint64_t stagingBytes_ = 0;
  mutable std::mutex mutex_;
  Way way_ = Way::none;
  std::string reason_;
};

}  // namespace muster::addon
