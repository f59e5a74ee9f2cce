#!/bin/sh
# Builds the CUDA library, checks it and times it, on a machine with nvcc, CMake and a C++ compiler; Node is not needed. Without a GPU it only compiles.
set -u
folder=$(cd "$(dirname "$0")" && pwd)
build=${1:-"$folder/../build/cuda"}
log=$build/check.log
tests='memory-bound layers tensors images gemm collective'

mkdir -p "$build" && : > "$log" || exit 1
if ! { cmake -S "$folder" -B "$build" && cmake --build "$build" --parallel "$(nproc)"; } >> "$log" 2>&1; then
  tail -40 "$log"
  echo 'not built'
  exit 1
fi
echo "built in $build"

failed=0
for test in $tests; do
  "$build/cuda-$test-test" > "$build/output" 2>&1 || failed=$((failed + 1))
  sed 's/^/  /' "$build/output"
done
if grep -q '^no GPU' "$build/output"; then
  echo 'no GPU: compiled only'
  exit 0
fi

if command -v compute-sanitizer > /dev/null; then
  for test in memory-bound layers tensors images gemm; do
    for tool in memcheck racecheck synccheck; do
      if compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/cuda-$test-test" >> "$log" 2>&1; then echo "  ok - $test under $tool"; else
        echo "  not ok - $test under $tool (see $log)"
        failed=$((failed + 1))
      fi
    done
  done
else
  echo '  compute-sanitizer is not here: not run'
fi

"$build/cuda-bench" | awk -F '\t' '/^#/ { print; next } { printf "%-40s %10s %-8s %5s\n", $1, $2, $3, $4 }'
if command -v python3 > /dev/null && python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  python3 "$folder/bench/torch-matmul.py"
else
  echo 'PyTorch with a GPU is not here: its products were not timed'
fi
[ "$failed" = 0 ] || { echo "$failed checks failed"; exit 1; }
