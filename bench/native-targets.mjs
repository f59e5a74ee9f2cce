/**
 * The targets that the native benchmarks are held to, by the names of their records. Data only. A record whose name begins with a target's name is
 * held to it; all others are shown without one.
 *
 * @type {readonly (import('./comparisons.mjs').Target & { suite: 'collective' | 'kernels', name: string })[]}
 */
export const NATIVE_TARGETS = [
  ...['1 KiB', '64 KiB'].map((size) => ({ suite: 'collective', name: `allReduce f32 ${size}, 2 ranks, openmpi's time to muster's`, atLeast: 1 })),
  ...['1 MiB', '16 MiB', '64 MiB'].map((size) => ({ suite: 'collective', name: `allReduce f32 ${size}, 2 ranks, openmpi's time to muster's`, atLeast: 1.3 })),
  ...['1 KiB', '64 KiB', '1 MiB', '16 MiB', '64 MiB'].map((size) => ({ suite: 'collective', name: `allReduce f32 ${size}, 2 nodes over loopback, openmpi's time to muster's`, atLeast: 1 })),
  { suite: 'collective', name: "allReduce f32 1 KiB, 2 ranks, gloo's time to muster's", atLeast: 10 },
  { suite: 'collective', name: "allReduce f32 64 MiB, 2 ranks, gloo's time to muster's", atLeast: 2 },
  { suite: 'collective', name: 'allReduce f32 1 KiB, 2 ranks, JavaScript over native', atMost: 5 },
  { suite: 'collective', name: 'allReduce bf16 to f32 of equal bytes, 64 MiB, 2 ranks', atMost: 1.2 },
  ...[512, 1024, 2048].flatMap((size) => ['OpenBLAS', 'oneDNN'].map((peer) => ({ suite: 'kernels', name: `gemm f32 to ${peer} ${size}, 2 threads`, atLeast: 0.95 }))),
  ...['f16', 'bf16', 'f8e4m3', 'f8e5m2'].flatMap((dtype) => [`convert f32 to ${dtype} to memcpy`, `convert ${dtype} to f32 to memcpy`].map((name) => ({ suite: 'kernels', name, atLeast: 0.8 }))),
  { suite: 'kernels', name: 'unscale and check f32 to memcpy', atLeast: 0.8 },
  { suite: 'kernels', name: 'unscale and check bf16 to memcpy', atLeast: 0.8 },
  { suite: 'kernels', name: 'AdamW bf16 gradients and copies to memcpy', atLeast: 0.8 },
  { suite: 'kernels', name: 'AdamW f32 to memcpy', atLeast: 0.8 },
  { suite: 'kernels', name: "AdamW f32 to PyTorch's fused", atLeast: 1 },
];
