#!/bin/sh
# Runs the tests of the addon and of the tensors on an addon with the address and undefined-behaviour sanitizers. It takes the place of the plain one meanwhile.
set -eu
cd "$(dirname "$0")/.."
flags='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
npx cmake-js build --config Release --out build/sanitize-addon --CDCMAKE_CXX_FLAGS_RELEASE="$flags"

mv build/Release build/plain-addon
trap 'rm -f build/Release; mv build/plain-addon build/Release' EXIT
trap 'exit 1' HUP INT TERM
ln -s sanitize-addon/Release build/Release

# Node itself has no sanitizer, so its library goes first; and the C++ library with it, whose exceptions it watches.
export LD_PRELOAD="$(c++ -print-file-name=libasan.so) $(c++ -print-file-name=libstdc++.so)"
# What V8 holds at the end is no leak of ours; a size that nobody has is an error, not the end.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export TAP_TIMEOUT=900
failed=0
for test in dist/test/communicator dist/test/kernels dist/test/tensor-kernels ../packages/tensor/dist/operations ../packages/tensor/dist/autograd ../packages/tensor/dist/training; do
  if node "$test.test.js" > build/sanitize-addon/output 2>&1; then echo "ok - $test"; else
    echo "not ok - $test"
    grep -E '^ *not ok|ERROR: AddressSanitizer|runtime error' -A 20 build/sanitize-addon/output | head -60
    failed=1
  fi
done
exit $failed
