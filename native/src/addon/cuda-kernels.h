/** The tensors' kernels on a GPU, as JavaScript calls them. */
#pragma once

#include <napi.h>

namespace muster::addon {

/** kernels(stream): the functions of {@link tensorKernels}, with buffers in place of typed arrays; their work goes into the stream. */
Napi::Value cudaKernels(const Napi::CallbackInfo& info);

}  // namespace muster::addon
