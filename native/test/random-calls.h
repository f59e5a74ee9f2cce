/** Random collective calls, made and compared with the plainest implementation. */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "collective/layout.h"
#include "collective/reduce.h"
#include "dtype.h"
#include "kernels/formats.h"
#include "muster/collective.h"

namespace check {

using Bytes = std::vector<unsigned char>;

/** A call that every rank can draw for itself from one seed. */
struct Draw {
  muster_call call;
  bool inPlace;
  std::uint32_t seed;
};

/** Lengths around the limits at which the way of computing changes, and some below and above. */
inline std::uint64_t drawCount(std::mt19937& random, std::uint32_t size, std::size_t elementBytes) {
  const std::size_t limits[] = {muster::kOneShotBytes, muster::kBlockBytes, 2 * muster::kBlockBytes, muster::kBlockBytes / size, 3 * muster::kBlockBytes};
  switch (random() % 8) {
    case 0: return random() % 3;
    case 1:
    case 2: return random() % 100;
    case 3:
    case 4: return random() % (muster::kOneShotBytes / elementBytes);
    case 5: return random() % (4 * muster::kBlockBytes / elementBytes);
    case 6: return random() % 10 == 0 ? (std::size_t{9} << 20) / elementBytes + random() % 100 : 7;  // past the caches
    default: return limits[random() % 5] / elementBytes / (random() % 2 == 0 ? 1 : size) + random() % 5 - 2;
  }
}

inline Draw draw(std::mt19937& random, std::uint32_t size) {
  Draw drawn{};
  drawn.call.kind = static_cast<muster_call_kind>(MUSTER_ALL_REDUCE + random() % 7);
  drawn.call.dtype = static_cast<muster_dtype>(random() % MUSTER_DTYPE_COUNT);
  drawn.call.reduction = static_cast<muster_reduction>(random() % MUSTER_REDUCTION_COUNT);
  drawn.call.peer = random() % size;
  drawn.call.count = drawn.call.kind == MUSTER_BARRIER ? 0 : drawCount(random, size, muster::elementBytes(drawn.call.dtype));
  const bool hasParts = drawn.call.kind == MUSTER_REDUCE_SCATTER || drawn.call.kind == MUSTER_ALL_GATHER || drawn.call.kind == MUSTER_ALL_TO_ALL;
  // All parts together are past the caches then, and every rank makes those of every other to know what comes of them.
  if (hasParts && drawn.call.count * muster::elementBytes(drawn.call.dtype) > 4 * muster::kBlockBytes) drawn.call.count /= size;
  drawn.inPlace = random() % 2 == 0;
  drawn.seed = random();
  return drawn;
}

/** Numbers that most dtypes hold. */
enum class Numbers {
  /** Whose sums are mostly inexact; infinite ones, too, of which sums become NaN. */
  any,
  /** Whose sums and products are exact in every order, for as many ranks as tests have. */
  exact
};

inline float anyNumber(std::minstd_rand& random) {
  const float finite = static_cast<float>(static_cast<int>(random() % 20001) - 10000) / 37;
  return random() % 50 == 0 ? std::copysign(INFINITY, finite) : finite;
}

inline void fillElements(muster_dtype dtype, std::uint32_t seed, Numbers numbers, Bytes& bytes) {
  std::minstd_rand random(seed);
  const std::size_t count = bytes.size() / muster::elementBytes(dtype);
  for (std::size_t i = 0; i < count; i++) {
    const float value = numbers == Numbers::any ? anyNumber(random) : static_cast<float>(static_cast<int>(random() % 5) - 2);
    switch (dtype) {
      case MUSTER_F64: reinterpret_cast<double*>(bytes.data())[i] = numbers == Numbers::any ? static_cast<double>(value) / 3 : static_cast<double>(value); break;
      case MUSTER_I64: reinterpret_cast<std::int64_t*>(bytes.data())[i] = static_cast<std::int64_t>(random()) << 20; break;
      case MUSTER_I32: reinterpret_cast<std::int32_t*>(bytes.data())[i] = static_cast<std::int32_t>(random()); break;
      case MUSTER_U8: bytes[i] = static_cast<unsigned char>(random() >> 8); break;
      default:
        muster::kernels::withFormat(dtype, [&](auto format) {
          using Format = decltype(format);
          muster::kernels::reference::write<Format>(reinterpret_cast<typename Format::Element*>(bytes.data()), i, value);
        });
    }
  }
}

/** How many parts of `count` elements a rank's source and target have. */
inline std::size_t sourceParts(muster_call_kind kind, std::uint32_t size) { return kind == MUSTER_REDUCE_SCATTER || kind == MUSTER_ALL_TO_ALL ? size : 1; }
inline std::size_t targetParts(muster_call_kind kind, std::uint32_t size) { return kind == MUSTER_ALL_GATHER || kind == MUSTER_ALL_TO_ALL ? size : 1; }

inline Bytes expectedTarget(const muster_call& call, const std::vector<Bytes>& sources, std::uint32_t rank) {
  const std::size_t partBytes = call.count * muster::elementBytes(call.dtype);
  const auto size = static_cast<std::uint32_t>(sources.size());
  Bytes target(partBytes * targetParts(call.kind, size));
  const auto reduceAt = [&](std::size_t start) {
    std::vector<const void*> at;
    for (const Bytes& source : sources) at.push_back(source.data() + start);
    muster::reduceReference(call.dtype, call.reduction, at.data(), size, target.data(), call.count);
  };
  switch (call.kind) {
    case MUSTER_ALL_REDUCE:
    case MUSTER_REDUCE: reduceAt(0); break;
    case MUSTER_REDUCE_SCATTER: reduceAt(rank * partBytes); break;
    case MUSTER_BROADCAST: target = sources[call.peer]; break;
    case MUSTER_ALL_GATHER:
      for (std::uint32_t from = 0; from < size; from++) std::copy(sources[from].begin(), sources[from].end(), target.begin() + static_cast<std::ptrdiff_t>(from * partBytes));
      break;
    case MUSTER_ALL_TO_ALL:
      for (std::uint32_t from = 0; from < size; from++) std::copy_n(sources[from].begin() + static_cast<std::ptrdiff_t>(rank * partBytes), partBytes, target.begin() + static_cast<std::ptrdiff_t>(from * partBytes));
      break;
    default: break;
  }
  return target;
}

/** What is written must be right, and what must not be written must be as it was. */
inline void makeAndCheck(muster_communicator* communicator, const Draw& drawn, std::uint32_t rank, std::uint32_t size, Numbers numbers = Numbers::any) {
  muster_call call = drawn.call;
  const std::size_t partBytes = call.count * muster::elementBytes(call.dtype);
  std::vector<Bytes> sources(size, Bytes(partBytes * sourceParts(call.kind, size)));
  for (std::uint32_t from = 0; from < size; from++) fillElements(call.dtype, drawn.seed + from, numbers, sources[from]);
  const Bytes expected = expectedTarget(call, sources, rank);
  Bytes source = sources[rank];
  Bytes target(expected.size(), 0xee);
  std::size_t resultStart = 0;
  call.source = source.data();
  call.target = target.data();
  if (drawn.inPlace) {
    if (call.kind == MUSTER_ALL_GATHER) {
      std::copy(source.begin(), source.end(), target.begin() + static_cast<std::ptrdiff_t>(rank * partBytes));
      call.source = target.data() + rank * partBytes;
    } else {
      resultStart = call.kind == MUSTER_REDUCE_SCATTER ? rank * partBytes : 0;
      call.target = source.data() + resultStart;
    }
  }
  const bool isRoot = call.peer == rank;
  if (call.kind == MUSTER_BROADCAST && !isRoot && !drawn.inPlace) call.source = nullptr;
  if (call.kind == MUSTER_REDUCE && !isRoot && !drawn.inPlace) call.target = nullptr;
  CHECK(muster_communicator_run(communicator, &call, 1) == MUSTER_OK);
  if (call.kind == MUSTER_BARRIER) return;
  const Bytes& result = drawn.inPlace && call.kind != MUSTER_ALL_GATHER ? source : target;
  const bool gets = call.kind != MUSTER_REDUCE || isRoot;
  const bool isRight = gets ? std::equal(expected.begin(), expected.end(), result.begin() + static_cast<std::ptrdiff_t>(resultStart))
                            : result == (drawn.inPlace ? sources[rank] : Bytes(expected.size(), 0xee));
  const bool isSourceKept = drawn.inPlace || source == sources[rank];
  CHECK(isRight && isSourceKept);
  if (!isRight) std::fprintf(stderr, "  rank %u of %u: kind %d dtype %d reduction %d count %lu root %u in place %d\n", rank, size, call.kind, call.dtype, call.reduction, static_cast<unsigned long>(call.count), call.peer, drawn.inPlace);
}

}  // namespace check
