# The kernels, each vector level a file with flags of its own. Multiplications and additions are fused only where the source says so.
find_package(Threads REQUIRED)
set(kernels ${CMAKE_CURRENT_LIST_DIR})
target_sources(muster_core PRIVATE
  ${kernels}/attention.cc
  ${kernels}/caches.cc
  ${kernels}/calls.cc
  ${kernels}/check.cc
  ${kernels}/convert.cc
  ${kernels}/convolution.cc
  ${kernels}/elementwise.cc
  ${kernels}/gemm.cc
  ${kernels}/gradients.cc
  ${kernels}/images.cc
  ${kernels}/indexing.cc
  ${kernels}/layer-calls.cc
  ${kernels}/level.cc
  ${kernels}/map.cc
  ${kernels}/optimizer.cc
  ${kernels}/pooling.cc
  ${kernels}/random.cc
  ${kernels}/reduce.cc
  ${kernels}/rows.cc
  ${kernels}/strided-calls.cc
  ${kernels}/strided.cc
  ${kernels}/threads.cc)
target_link_libraries(muster_core PUBLIC Threads::Threads)

# GCC 12 warns of the undefined registers in its own AVX-512 headers (its bug 105593).
set(MUSTER_LEVEL_OPTIONS -O3 -ffp-contract=off -Wno-maybe-uninitialized -Wno-uninitialized)
if("${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_RELEASE}" MATCHES "-fsanitize")
  list(TRANSFORM MUSTER_LEVEL_OPTIONS REPLACE "-O3" "-O1")  # which would take minutes a file
endif()
set(MUSTER_AVX2_OPTIONS -mavx2 -mfma -mf16c)
set(MUSTER_AVX512_OPTIONS ${MUSTER_AVX2_OPTIONS} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)

function(add_level name)
  target_sources(muster_core PRIVATE ${kernels}/table-${name}.cc)
  set_source_files_properties(${kernels}/table-${name}.cc PROPERTIES COMPILE_OPTIONS "${MUSTER_LEVEL_OPTIONS};${ARGN}")
endfunction()

add_level(scalar)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_level(avx2 ${MUSTER_AVX2_OPTIONS})
  add_level(avx512 ${MUSTER_AVX512_OPTIONS})
  add_level(avx512-bf16 ${MUSTER_AVX512_OPTIONS} -mavx512bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  add_level(neon)
endif()

set(MUSTER_KERNEL_TESTS kernels-attention-test kernels-convert-test kernels-convolution-test kernels-gemm-test kernels-layers-test kernels-optimizer-test kernels-strided-test kernels-threads-test)
set(MUSTER_KERNEL_BENCHES kernels-gemm kernels-memory)
