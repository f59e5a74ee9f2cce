/** libmuster_cuda.so as JavaScript sees it: found at run time, argument checks around its C ABI. */
#pragma once

#include <napi.h>

namespace muster::addon {

/** openCuda(path): the library's object, or { available: false, reason }. */
Napi::Value openCuda(const Napi::CallbackInfo& info);

}  // namespace muster::addon
