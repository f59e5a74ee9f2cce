/** The kernels as an array library calls them: numbers in one Float64Array and memories as typed arrays, on the calling thread and the kernels' own. */
#pragma once

#include <napi.h>

namespace muster::addon {

/** The object `tensorKernels` of index.ts. */
Napi::Object tensorKernels(Napi::Env env);

}  // namespace muster::addon
