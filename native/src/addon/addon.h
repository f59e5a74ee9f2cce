/** What one environment (a thread with its own JavaScript heap) keeps of the addon. */
#pragma once

#include <napi.h>

namespace muster::addon {

struct AddonData {
  Napi::FunctionReference arenaClass;
  Napi::FunctionReference communicatorClass;
};

}  // namespace muster::addon
