/** Calls in words, for messages. */
#pragma once

#include <string>

#include "muster/collective.h"

namespace muster {

const char* callName(muster_call_kind kind);

/** Such as `allReduce(sum of 1024 f32)` or `broadcast(10 f64 from rank 0)`; 'no call' for a kind of 0. */
std::string describeCall(const muster_call& call);
/** And where it was made, such as `barrier at train.ts:12:3`, if that is known. */
std::string describeCall(const muster_call& call, const std::string& site);
/** As other ranks are told it. */
std::string siteOf(const muster_call& call);

bool reduces(muster_call_kind kind);
/** Whether the kind has a root, a receiver or a sender. */
bool hasPeer(muster_call_kind kind);
bool isPointToPoint(muster_call_kind kind);

}  // namespace muster
