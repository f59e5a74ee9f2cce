/** Fills a table with the functions of `own`: a namespace that the including file names so. */
#pragma once

#include "kernels/table.h"

namespace muster::kernels {
namespace {

constexpr void fillFormats(KernelTable& table) {
  const auto add = [&]<class Format>(Format) {
    table.convert[MUSTER_F32][Format::kDtype] = own::convert<F32, Format>;
    table.convert[Format::kDtype][MUSTER_F32] = own::convert<Format, F32>;
  };
  add(F16{});
  add(Bf16{});
  add(E4m3{});
  add(E5m2{});
}

constexpr void fillTraining(KernelTable& table) {
  const auto add = [&]<class Format>(Format) {
    constexpr muster_dtype dtype = Format::kDtype;
    table.unscale[dtype] = own::unscale<Format>;
    table.sumOfSquares[dtype] = own::sumOfSquares<Format>;
    table.sgd[dtype][MUSTER_F32] = own::sgd<Format, NoCopy>;
    table.sgd[dtype][MUSTER_F16] = own::sgd<Format, F16>;
    table.sgd[dtype][MUSTER_BF16] = own::sgd<Format, Bf16>;
    table.adam[dtype][MUSTER_F32] = own::adam<Format, NoCopy>;
    table.adam[dtype][MUSTER_F16] = own::adam<Format, F16>;
    table.adam[dtype][MUSTER_BF16] = own::adam<Format, Bf16>;
    table.layers[dtype] = {own::combine<Format>, own::activateAll<Format>, own::activateBackward<Format>, own::total<Format>, own::largest<Format>, own::addTo<Format>,
                            own::softmax<Format>, own::softmaxBackward<Format>, own::crossEntropy<Format>, own::layerNorm<Format>, own::layerNormBackward<Format>,
                            own::layerNormParameters<Format>, own::product<Format>};
    table.gemm[dtype] = &own::kGemmKernel<Format>;
  };
  add(F32{});
  add(F16{});
  add(Bf16{});
}

constexpr KernelTable makeTable(Level level, const char* name) {
  KernelTable table{};
  table.level = level;
  table.name = name;
  fillFormats(table);
  fillTraining(table);
  table.powers = own::powers;
  table.slopes = own::slopes;
  table.scaleRows = own::scaleRows;
  table.map = own::map;
  table.poolLargest = own::poolLargest;
  return table;
}

}  // namespace
}  // namespace muster::kernels
