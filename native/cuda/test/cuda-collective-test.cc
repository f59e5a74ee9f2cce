/** allReduce among ranks of one GPU, as threads and as processes, among GPUs that reach each other, and what happens when ranks disagree or do not come. */
#include <atomic>
#include <barrier>
#include <thread>

#include "collective.h"
#include "collective/reduce.h"
#include "device.h"
#include "muster/cuda-collective.h"
#include "ranks.h"

namespace {

using namespace check;

constexpr std::uint64_t kCapacity = 1 << 20;

/** Where threads meet. */
class Hall {
 public:
  explicit Hall(std::uint32_t size) : size_(size), all_(size * 512), barrier_(size) {}

  struct Seat {
    Hall* hall;
    std::uint32_t rank;
  };

  static muster_code meet(void* context, const void* own, void* all, std::uint64_t sizeBytes) {
    const Seat& seat = *static_cast<Seat*>(context);
    Hall& hall = *seat.hall;
    std::memcpy(hall.all_.data() + seat.rank * sizeBytes, own, sizeBytes);
    hall.barrier_.arrive_and_wait();
    std::memcpy(all, hall.all_.data(), hall.size_ * sizeBytes);
    hall.barrier_.arrive_and_wait();
    return MUSTER_OK;
  }

 private:
  std::uint32_t size_;
  std::vector<unsigned char> all_;
  std::barrier<> barrier_;
};

/** Where processes meet. */
muster_code meetByCommunicator(void* context, const void* own, void* all, std::uint64_t sizeBytes) {
  const muster_call call{MUSTER_ALL_GATHER, MUSTER_U8, MUSTER_SUM, 0, own, all, sizeBytes, nullptr};
  return muster_communicator_run(static_cast<muster_communicator*>(context), &call, 1);
}

/** The numbers of a rank, which every rank can make again. */
std::vector<unsigned char> numbersOf(std::uint32_t rank, muster_dtype dtype, std::size_t elements) {
  std::vector<unsigned char> bytes(elements * bytesOf(dtype));
  std::mt19937 random(rank + 1);
  std::normal_distribution<float> normal;
  for (std::size_t index = 0; index < elements; index++) writeAs(dtype, bytes.data(), index, normal(random));
  return bytes;
}

/** One rank's work: all formats, reductions and some sizes, in place and apart, compared with the CPU's reduction bit by bit. */
void reduceAll(muster_cuda_group* group, std::uint32_t rank, std::uint32_t size, muster_cuda_group_kind kind) {
  muster_cuda_group_view view;
  must(muster_cuda_group_describe(group, &view));
  CHECK(view.kind == kind && (view.result != nullptr) == (kind == MUSTER_CUDA_GROUP_SHARED));
  unsigned turn = 0;
  for (const std::size_t elements : {std::size_t{1}, std::size_t{1000}, std::size_t{70'001}, std::size_t{kCapacity / 2 + 5000}}) {
    for (const muster_dtype dtype : kTraining) {
      const muster_reduction reductions[] = {MUSTER_SUM, MUSTER_AVERAGE, MUSTER_MIN, MUSTER_MAX};
      const muster_reduction reduction = reductions[turn % 4];
      std::vector<std::vector<unsigned char>> inputs;
      std::vector<const void*> sources;
      for (std::uint32_t other = 0; other < size; other++) {
        inputs.push_back(numbersOf(other, dtype, elements));
        sources.push_back(inputs.back().data());
      }
      Both source(dtype, elements, turn % 2), target(dtype, elements, turn % 3 == 0 ? 1 : 0);
      std::memcpy(source.host().data, inputs[rank].data(), inputs[rank].size());
      source.toDevice();
      const bool usesBuffer = elements * bytesOf(dtype) <= kCapacity && turn % 4 == 3;
      muster_tensor from = source.device();
      if (usesBuffer) {
        must(muster_cuda_copy(view.buffer, from.data, inputs[rank].size(), nullptr));
        from.data = view.buffer;
      }
      Both& result = turn % 5 == 4 ? source : target;
      muster_tensor to = usesBuffer && turn % 8 == 7 ? from : result.device();
      const muster_cuda_all_reduce_call call{reduction, from, to, nullptr};
      must(muster_cuda_all_reduce(group, &call, nullptr));
      must(muster_cuda_group_wait(group, nullptr, 20'000));
      if (to.data == view.buffer) must(muster_cuda_copy(result.device().data, view.buffer, inputs[rank].size(), nullptr));
      muster::reduceReference(dtype, reduction, sources.data(), size, result.host().data, elements);
      CHECK(result.same());
      turn++;
    }
  }
}

/** The finiteness check, and a result that is left where it is. */
void findsInfinities(muster_cuda_group* group, std::uint32_t rank, muster_cuda_group_kind kind) {
  DeviceNumber<float> found(0);
  Both numbers(MUSTER_F16, 5000);
  numbers.fillNormal(rank);
  for (const bool hasInfinity : {false, true}) {
    if (hasInfinity && rank == 1) {
      numbers.set(4321, 65504);
      numbers.toDevice();
    }
    if (hasInfinity && rank == 0) {
      numbers.set(4321, 65504);  // the sum is too large for f16
      numbers.toDevice();
    }
    Both target(MUSTER_F16, 5000);
    const bool isLeft = kind == MUSTER_CUDA_GROUP_SHARED;
    const muster_cuda_all_reduce_call call{MUSTER_SUM, numbers.device(), isLeft ? muster_tensor{nullptr, 0, MUSTER_F16} : target.device(), found.address()};
    must(muster_cuda_all_reduce(group, &call, nullptr));
    must(muster_cuda_group_wait(group, nullptr, 20'000));
    CHECK(found.get() == (hasInfinity ? 1 : 0));
  }
}

void inGroup(std::uint32_t size, bool haveOwnDevices, const std::function<void(muster_cuda_group*, std::uint32_t)>& body, std::uint32_t timeoutMs = 20'000) {
  Hall hall(size);
  std::atomic<int> failed = 0;
  inThreads(size, [&](std::uint32_t rank) {
#ifdef MUSTER_EMULATED
    emulatedDevice = haveOwnDevices ? static_cast<int>(rank) : 0;
#else
    must(muster_cuda_device_use(haveOwnDevices ? rank : 0));
#endif
    Hall::Seat seat{&hall, rank};
    const muster_cuda_group_options options{rank, size, timeoutMs, kCapacity, Hall::meet, &seat};
    muster_cuda_group* group = nullptr;
    must(muster_cuda_group_open(&options, &group));
    body(group, rank);
    unsigned char nothing = 0, all[MUSTER_CUDA_RANKS_MAX];
    must(Hall::meet(&seat, &nothing, all, 1));  // nobody's memory goes while another uses it
    must(muster_cuda_group_close(group));
  });
}

void sharesOneGpu() {
  for (const std::uint32_t size : {1u, 2u, 5u}) {
    inGroup(size, false, [&](muster_cuda_group* group, std::uint32_t rank) {
      reduceAll(group, rank, size, MUSTER_CUDA_GROUP_SHARED);
      if (size == 2) findsInfinities(group, rank, MUSTER_CUDA_GROUP_SHARED);
    });
  }
}

/** As many ranks as there are GPUs; in the emulator some. */
std::vector<std::uint32_t> peerSizes() {
#ifdef MUSTER_EMULATED
  return {2, 3};
#else
  std::uint32_t devices = 0;
  must(muster_cuda_device_count(&devices));
  if (devices < 2) return std::printf("peers: not run: there is one GPU\n"), std::vector<std::uint32_t>();
  return devices >= 4 ? std::vector<std::uint32_t>{2, 4} : std::vector<std::uint32_t>{2};
#endif
}

void reachesPeers() {
  for (const std::uint32_t size : peerSizes()) {
    inGroup(size, true, [&](muster_cuda_group* group, std::uint32_t rank) {
      reduceAll(group, rank, size, MUSTER_CUDA_GROUP_PEER);
      if (size == 2) findsInfinities(group, rank, MUSTER_CUDA_GROUP_PEER);
    });
  }
}

void noticesPeersThatDiffer() {
  for (const std::uint32_t size : peerSizes()) {
    inGroup(size, true, [&](muster_cuda_group* group, std::uint32_t rank) {
      Both numbers(MUSTER_F32, 100);
      const muster_cuda_all_reduce_call call{rank == 0 ? MUSTER_MAX : MUSTER_SUM, numbers.device(), numbers.device(), nullptr};
      must(muster_cuda_all_reduce(group, &call, nullptr));
      CHECK(muster_cuda_group_wait(group, nullptr, 20'000) == MUSTER_MISMATCH);
      CHECK(muster_cuda_all_reduce(group, &call, nullptr) == MUSTER_ABORTED);
    });
  }
}

void noticesPeersThatDoNotCome() {
  for (const std::uint32_t size : peerSizes()) {
    inGroup(size, true, [&](muster_cuda_group* group, std::uint32_t rank) {
      if (rank == 1) return;
      Both numbers(MUSTER_F32, 100);
      const muster_cuda_all_reduce_call call{MUSTER_SUM, numbers.device(), numbers.device(), nullptr};
      must(muster_cuda_all_reduce(group, &call, nullptr));
      CHECK(muster_cuda_group_wait(group, nullptr, 20'000) == MUSTER_TIMED_OUT && muster_cuda_last_failure()->rank >= 0);
    }, 100);
  }
}

void noticesSharersThatDiffer() {
  inGroup(2, false, [&](muster_cuda_group* group, std::uint32_t rank) {
    Both numbers(MUSTER_F32, 100 + rank);
    const muster_cuda_all_reduce_call call{MUSTER_SUM, numbers.device(), numbers.device(), nullptr};
    CHECK(muster_cuda_all_reduce(group, &call, nullptr) == MUSTER_MISMATCH && muster_cuda_last_failure()->rank == static_cast<int>(1 - rank));
    CHECK(muster_cuda_all_reduce(group, &call, nullptr) == MUSTER_ABORTED);
  });
}

void refusesWhatCannotBe() {
  inGroup(1, false, [&](muster_cuda_group* group, std::uint32_t) {
    Both numbers(MUSTER_F32, 100), bytes(MUSTER_F8_E4M3, 100);
    for (const muster_cuda_all_reduce_call& call : {muster_cuda_all_reduce_call{MUSTER_PRODUCT, numbers.device(), numbers.device(), nullptr}, {MUSTER_SUM, bytes.device(), bytes.device(), nullptr},
                                                    {MUSTER_SUM, numbers.device(), {numbers.device().data, 99, MUSTER_F32}, nullptr}}) {
      CHECK(muster_cuda_all_reduce(group, &call, nullptr) == MUSTER_OUT_OF_RANGE);
    }
    const muster_cuda_all_reduce_call fine{MUSTER_SUM, numbers.device(), numbers.device(), nullptr};
    CHECK(muster_cuda_all_reduce(group, &fine, nullptr) == MUSTER_OK);  // nothing had happened
  });
  muster_cuda_group* group = nullptr;
  const muster_cuda_group_options options{2, 2, 1000, kCapacity, Hall::meet, nullptr};
  CHECK(muster_cuda_group_open(&options, &group) == MUSTER_OUT_OF_RANGE);
}

void choosesShots() {
  using muster::cuda::isOneShot;
  CHECK(isOneShot(2, 1 << 30) && isOneShot(4, (512 << 10) - 1) && !isOneShot(4, 512 << 10) && isOneShot(8, (256 << 10) - 1) && !isOneShot(8, 256 << 10));
  CHECK(muster::cuda::partElements(3, 100) == 40 && muster::cuda::partElements(8, 1) == 8);
}

/** Runs before this process has touched the GPU: a child may not use what its parent has opened. */
int sharesOneGpuAmongProcesses() {
  const std::string id = communicatorId("cuda");
  constexpr std::uint32_t size = 3;
  for (const int status : endRanks(startRanks(size, [&](std::uint32_t rank) {
         std::uint32_t devices = 0;
         if (muster_cuda_device_count(&devices) != MUSTER_OK || devices == 0) return;
         muster_communicator* communicator = openCommunicator(id, rank, size);
         const muster_cuda_group_options options{rank, size, 20'000, kCapacity, meetByCommunicator, communicator};
         muster_cuda_group* group = nullptr;
         must(muster_cuda_group_open(&options, &group));
         reduceAll(group, rank, size, MUSTER_CUDA_GROUP_SHARED);
         unsigned char nothing = 0, all[size];
         must(meetByCommunicator(communicator, &nothing, all, 1));
         must(muster_cuda_group_close(group));
         muster_communicator_close(communicator);
       }))) {
    CHECK(status == 0);
  }
  return failures;
}

}  // namespace

int main() {
  const int failuresOfProcesses = sharesOneGpuAmongProcesses();
  return check::runOnDevice({
      {"ranks as processes share one GPU", [&] { CHECK(failuresOfProcesses == 0); }},
      {"ranks as threads share one GPU", sharesOneGpu},
      {"GPUs that reach each other, in one shot and in two", reachesPeers},
      {"ranks that share a GPU and differ are told", noticesSharersThatDiffer},
      {"peers that differ are told", noticesPeersThatDiffer},
      {"a peer that does not come ends the call in time", noticesPeersThatDoNotCome},
      {"refuses what cannot be", refusesWhatCannotBe},
      {"chooses shots by ranks and size", choosesShots},
  });
}
