/** Convolutions, pooling and attention as JavaScript sees them. */
#pragma once

#include <napi.h>

namespace muster::addon {

/** Adds them to the object `kernels` of index.ts. */
void addLayerKernels(Napi::Object& kernels);

}  // namespace muster::addon
