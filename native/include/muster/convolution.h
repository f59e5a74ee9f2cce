/**
 * Convolutions and pooling over images, batch by channel by row by column (NCHW), each in one piece. Inputs, results and their gradients are f32, f16
 * or bf16, one dtype in a call; sums are made in f32. Nothing that is written overlaps anything.
 */
#ifndef MUSTER_CONVOLUTION_H
#define MUSTER_CONVOLUTION_H

#include "muster/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How a window moves over an image, along one side. A result has (size + 2 * padding + overhang - dilation * (kernel - 1) - 1) / stride + 1 positions,
 * rounded down.
 */
typedef struct muster_window {
  uint64_t kernel;
  uint64_t stride;
  /** Numbers added at both ends: zeros, or for the largest of a window nothing. */
  uint64_t padding;
  /** Distance between the window's numbers; 1: neighbours. */
  uint64_t dilation;
  /** As padding, more of it at the end: for sizes that are rounded up, or kept with a window of even size. Means never count it. */
  uint64_t overhang;
} muster_window;

/** Of images, and of what a window makes of them. */
typedef struct muster_images {
  uint64_t batches;
  uint64_t channels;
  uint64_t rows;
  uint64_t columns;
  muster_window vertical;
  muster_window horizontal;
} muster_images;

typedef struct muster_convolution {
  muster_images images;
  uint64_t result_channels;
  /** Channels are convolved group by group; divides both numbers of channels. 1: all with all. */
  uint64_t groups;
} muster_convolution;

/** The positions of a window along a side of `size`, or 0 where it does not fit. */
uint64_t muster_window_positions(const muster_window* window, uint64_t size);

/**
 * result[n, o] = bias[o] + the sum over o's channels c of the correlation of input[n, c] with weight[o, c], as torch.nn.functional.conv2d.
 * @param weight result_channels x (channels / groups) x kernel rows x kernel columns, of the input's dtype.
 * @param bias f32, a number for each result channel; without elements: none.
 */
muster_code muster_convolve(const muster_convolution* shape, const muster_tensor* input, const muster_tensor* weight, const muster_tensor* bias, const muster_tensor* result,
                            uint32_t threads);

/** The gradient of the input from that of the result. */
muster_code muster_convolve_backward_input(const muster_convolution* shape, const muster_tensor* gradient, const muster_tensor* weight, const muster_tensor* input_gradient,
                                           uint32_t threads);

/** Adds to the gradients of weight and bias, which are f32. @param bias_gradient without elements: not wanted. */
muster_code muster_convolve_backward_weight(const muster_convolution* shape, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* weight_gradient,
                                            const muster_tensor* bias_gradient, uint32_t threads);

typedef enum muster_pooling {
  MUSTER_POOL_LARGEST = 0,
  /** Over the window's numbers inside the image. */
  MUSTER_POOL_MEAN = 1,
  /** Over all of the window's numbers, but for those of the overhang: those of the padding are zeros. */
  MUSTER_POOL_MEAN_PADDED = 2
} muster_pooling;

enum { MUSTER_POOLINGS = 3 };

/**
 * The largest number or the mean of each window, which must hold a number of the image wherever it lies.
 * @param places of MUSTER_POOL_LARGEST: for each result where in its image (row * columns + column) the number was found, the first of equals; a NaN is
 *        larger than all. Null for means.
 */
muster_code muster_pool(const muster_images* shape, muster_pooling pooling, const muster_tensor* input, const muster_tensor* result, int32_t* places, uint32_t threads);

/** The gradient of the input from that of the result, and for MUSTER_POOL_LARGEST from the places. */
muster_code muster_pool_backward(const muster_images* shape, muster_pooling pooling, const muster_tensor* gradient, const int32_t* places, const muster_tensor* input_gradient,
                                 uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
