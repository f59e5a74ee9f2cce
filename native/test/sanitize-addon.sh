#!/bin/sh
# Runs the tests of the addon, and those of the packages that hand it most, on an addon with the address and undefined-behaviour sanitizers, which they load in place
# of the plain one; says at its end what was run, and what not. The packages are those that were built last. Takes some ten minutes of two cores, so `npm test` does without it.
set -u
cd "$(dirname "$0")/.."
flags='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'
npx cmake-js build --config Release --out build/sanitize-addon --CDCMAKE_CXX_FLAGS_RELEASE="$flags" || { echo 'not built: nothing was run'; exit 1; }

# Node itself has no sanitizer, so its library goes first; and the C++ library with it, whose exceptions it watches.
preload="$(c++ -print-file-name=libasan.so) $(c++ -print-file-name=libstdc++.so)"
gpu='/(cuda|device)\.test\.js$'
passed=''
failed=''
for test in $(find dist/test ../packages/store/dist/io ../packages/collective/dist ../packages/tensor/dist ../packages/train/dist -name '*.test.js' | grep -vE "$gpu" | sort); do
  # What V8 holds at the end is no leak of ours; a size that nobody has is an error, not the end.
  if NODE_OPTIONS="--require $PWD/test/sanitized-addon.cjs" LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 TAP_TIMEOUT=900 node "$test" > build/sanitize-addon/output 2>&1; then
    echo "ok - $test $(grep '^# {' build/sanitize-addon/output)"
    passed="$passed $(basename "$test" .test.js)"
  else
    echo "not ok - $test"
    grep -E '^ *not ok|ERROR: AddressSanitizer|runtime error' -A 20 build/sanitize-addon/output | head -60
    failed="$failed $(basename "$test" .test.js)"
  fi
done

echo
echo "passed:$passed"
[ -z "$failed" ] || echo "FAILED:$failed"
echo "not run: the GPU's half of the addon, which needs a GPU, or the emulator, whose fibers no sanitizer can follow; leaks, of which Node leaves some at its end"
[ -z "$failed" ]
