#include "collective/describe.h"

#include "collective/layout.h"
#include "dtype.h"

namespace muster {
namespace {

const char* reductionName(muster_reduction reduction) {
  static constexpr const char* kNames[MUSTER_REDUCTION_COUNT] = {"sum", "product", "minimum", "maximum", "average"};
  return reduction < MUSTER_REDUCTION_COUNT ? kNames[reduction] : "?";
}

const char* peerWord(muster_call_kind kind) { return kind == MUSTER_BROADCAST || kind == MUSTER_RECEIVE ? " from rank " : " to rank "; }

}  // namespace

const char* callName(muster_call_kind kind) {
  switch (kind) {
    case MUSTER_ALL_REDUCE: return "allReduce";
    case MUSTER_REDUCE_SCATTER: return "reduceScatter";
    case MUSTER_ALL_GATHER: return "allGather";
    case MUSTER_BROADCAST: return "broadcast";
    case MUSTER_REDUCE: return "reduce";
    case MUSTER_BARRIER: return "barrier";
    case MUSTER_ALL_TO_ALL: return "allToAll";
    case MUSTER_SEND: return "send";
    case MUSTER_RECEIVE: return "recv";
    case MUSTER_DEVICE_ALL_REDUCE: return "allReduce";
  }
  return "no call";
}

bool reduces(muster_call_kind kind) { return kind == MUSTER_ALL_REDUCE || kind == MUSTER_REDUCE_SCATTER || kind == MUSTER_REDUCE || kind == MUSTER_DEVICE_ALL_REDUCE; }

bool hasPeer(muster_call_kind kind) { return kind == MUSTER_BROADCAST || kind == MUSTER_REDUCE || isPointToPoint(kind); }

bool isPointToPoint(muster_call_kind kind) { return kind == MUSTER_SEND || kind == MUSTER_RECEIVE; }

std::string describeCall(const muster_call& call) {
  std::string text = callName(call.kind);
  if (call.kind == MUSTER_BARRIER || call.kind == 0) return text;
  text += '(';
  if (reduces(call.kind)) text += std::string(reductionName(call.reduction)) + " of ";
  text += std::to_string(call.count) + ' ' + dtypeName(call.dtype);
  if (call.kind == MUSTER_DEVICE_ALL_REDUCE) text += " on GPUs";
  if (hasPeer(call.kind)) text += peerWord(call.kind) + std::to_string(call.peer);
  return text + ')';
}

std::string describeCall(const muster_call& call, const std::string& site) { return site.empty() ? describeCall(call) : describeCall(call) + " at " + site; }

std::string siteOf(const muster_call& call) {
  CallSite site;
  site.store(call.site);
  return site.load();
}

}  // namespace muster
