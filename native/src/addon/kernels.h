/** The kernels as JavaScript sees them: argument checks around the C ABI, on this thread or on one of libuv's pool. */
#pragma once

#include <napi.h>

namespace muster::addon {

/** The object `kernels` of index.ts. */
Napi::Object kernels(Napi::Env env);

}  // namespace muster::addon
