"""PyTorch's products of the sizes that cuda-bench times: bf16, random inputs, the median of 21."""
import statistics

import torch

for side in (4096, 8192):
    left = torch.rand(side, side, device="cuda", dtype=torch.bfloat16) * 2 - 1
    right = torch.rand(side, side, device="cuda", dtype=torch.bfloat16) * 2 - 1
    times = []
    for turn in range(24):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        left @ right.T
        end.record()
        end.synchronize()
        if turn >= 3:
            times.append(start.elapsed_time(end))
    name = f"product bf16 {side}, PyTorch {torch.__version__}"
    print(f"{name:<40} {2 * side**3 / statistics.median(times) / 1e9:10.1f} TFLOP/s")
