#!/bin/sh
# Runs the tests of the addon, and those of the packages that hand it most, on an addon with the address and undefined-behaviour sanitizers, which takes the place of the plain
# one meanwhile; says at its end what was run, and what not. Takes some ten minutes of two cores, so `npm test` does without it.
set -u
cd "$(dirname "$0")/.."
flags='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
npx cmake-js build --config Release --out build/sanitize-addon --CDCMAKE_CXX_FLAGS_RELEASE="$flags" || { echo 'not built: nothing was run'; exit 1; }

mv build/Release build/plain-addon
trap 'rm -f build/Release; mv build/plain-addon build/Release' EXIT
trap 'exit 1' HUP INT TERM
ln -s sanitize-addon/Release build/Release

# Node itself has no sanitizer, so its library goes first; and the C++ library with it, whose exceptions it watches.
preload="$(c++ -print-file-name=libasan.so) $(c++ -print-file-name=libstdc++.so)"
passed=''
failed=''
for test in dist/test/arena dist/test/communicator dist/test/kernels dist/test/tensor-kernels ../packages/collective/dist/collective \
  ../packages/tensor/dist/operations ../packages/tensor/dist/autograd ../packages/tensor/dist/training; do
  # What V8 holds at the end is no leak of ours; a size that nobody has is an error, not the end.
  if LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 TAP_TIMEOUT=900 node "$test.test.js" > build/sanitize-addon/output 2>&1; then
    echo "ok - $test"
    passed="$passed ${test##*/}"
  else
    echo "not ok - $test"
    grep -E '^ *not ok|ERROR: AddressSanitizer|runtime error' -A 20 build/sanitize-addon/output | head -60
    failed="$failed ${test##*/}"
  fi
done

echo
echo "passed:$passed"
[ -z "$failed" ] || echo "FAILED:$failed"
echo "not run: the GPU's half of the addon, which needs a GPU; leaks, of which Node leaves some at its end"
[ -z "$failed" ]
