#!/bin/sh
# Runs the C++ tests under the address and undefined-behaviour sanitizers.
set -eu
cd "$(dirname "$0")/.."
sanitizers='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
cmake -S . -B build/sanitize -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$sanitizers"
cmake --build build/sanitize --parallel 2
ctest --test-dir build/sanitize --output-on-failure
