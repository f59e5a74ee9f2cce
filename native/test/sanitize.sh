#!/bin/sh
# Runs the C++ tests under the address and undefined-behaviour sanitizers, and those that hand memory from thread to thread under the thread sanitizer; says at its end what
# was run, and what not. Takes a quarter of an hour of two cores, most of it for building, so `npm test` does without it. The addon's are in sanitize-addon.sh.
set -u
cd "$(dirname "$0")/.."
threaded='^(collective|network|kernels-threads)'

# of FOLDER, and of ctest's words for a choice
names() {
  folder=$1
  shift
  ctest --test-dir "build/$folder" --show-only "$@" | sed -n 's/^ *Test *#[0-9]*: //p' | tr '\n' ' '
}

# FOLDER FLAGS
build() {
  cmake -S . -B "build/$1" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$2 -fno-sanitize-recover=all -fno-omit-frame-pointer" && cmake --build "build/$1" --parallel 2
}

build sanitize '-fsanitize=address,undefined' && build sanitize-threads '-fsanitize=thread' || { echo 'not built: nothing was run'; exit 1; }
ctest --test-dir build/sanitize --no-tests=error --output-on-failure && memory=passed || memory=FAILED
ctest --test-dir build/sanitize-threads --no-tests=error --output-on-failure --tests-regex "$threaded" && threads=passed || threads=FAILED

echo
echo "address and undefined behaviour, $memory: $(names sanitize)"
echo "threads, $threads: $(names sanitize-threads --tests-regex "$threaded")"
echo "not run: $(names sanitize-threads --exclude-regex "$threaded")under the thread sanitizer, since they share nothing between threads that the others do not;"
echo "  the GPU's kernels in their emulator, whose fibers no sanitizer can follow (on a GPU compute-sanitizer does it: cuda/check.sh)"
[ "$memory$threads" = passedpassed ]
