/** Marks functions whose arithmetic is the same on the CPU and on GPUs, so that it is tested on both. */
#pragma once

#ifdef __CUDACC__
#define MUSTER_ON_EVERY_DEVICE __host__ __device__
#else
#define MUSTER_ON_EVERY_DEVICE
#endif
