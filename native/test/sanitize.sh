#!/bin/sh
# Runs the C++ tests under the address and undefined-behaviour sanitizers, and those that hand memory from thread to thread under the thread sanitizer. The addon's are in sanitize-addon.sh.
set -eu
cd "$(dirname "$0")/.."
build() {
  cmake -S . -B "build/$1" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$2 -fno-sanitize-recover=all -fno-omit-frame-pointer"
  cmake --build "build/$1" --parallel 2
}
build sanitize '-fsanitize=address,undefined'
ctest --test-dir build/sanitize --output-on-failure
build sanitize-threads '-fsanitize=thread'
ctest --test-dir build/sanitize-threads --output-on-failure --tests-regex '^(collective|network|kernels-threads)'
