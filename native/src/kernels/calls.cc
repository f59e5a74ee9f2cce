#include "kernels/calls.h"

#include <cinttypes>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "kernels/check.h"
#include "status.h"

namespace muster::kernels {
namespace {

constexpr DtypeSet kF32Only = setOf(MUSTER_F32);
constexpr DtypeSet kCopyFormats = setOf(MUSTER_F16) | setOf(MUSTER_BF16);

struct NamedNumber {
  const char* name;
  double value;
  double belowWhich;
};

/** That each is a number from 0 up to its limit. */
muster_code checkNumbers(std::initializer_list<NamedNumber> numbers) {
  for (const NamedNumber& number : numbers) {
    if (number.value >= 0 && number.value < number.belowWhich) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the %s is %g: it must be 0 or more, and below %g", number.name, number.value, number.belowWhich);
  }
  return MUSTER_OK;
}

template <class Parameter>
void checkCopy(TensorCheck& check, const Parameter& parameter) {
  if (parameter.copy.elements == 0) return;
  check.writes(parameter.copy, "copy", kCopyFormats);
  check.hasElements(parameter.copy, "copy", parameter.weights.elements, "its weights");
}

template <class Parameter>
void checkWeights(TensorCheck& check, const Parameter& parameter) {
  check.writes(parameter.weights, "weights", kF32Only);
  check.reads(parameter.gradient, "gradient", kTrainingDtypes);
  check.hasElements(parameter.gradient, "gradient", parameter.weights.elements, "its weights");
  checkCopy(check, parameter);
}

void checkState(TensorCheck& check, const muster_tensor& state, const char* name, std::uint64_t elements) {
  check.writes(state, name, kF32Only);
  check.hasElements(state, name, elements, "its weights");
}

muster_code checkActivation(muster_activation activation) {
  if (static_cast<std::uint32_t>(activation) < MUSTER_ACTIVATIONS) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no activation %d", static_cast<int>(activation));
}

/** Of calls that take two inputs, or one twice, to a result number by number. */
muster_code checkNumberByNumber(const muster_tensor& first, const muster_tensor& second, const muster_tensor& result) {
  TensorCheck check;
  check.reads(first, "input", kTrainingDtypes);
  check.reads(second, "second input", kTrainingDtypes);
  check.hasDtype(second, "second input", first.dtype);
  check.hasDtype(result, "result", first.dtype);
  check.hasElements(second, "second input", first.elements, "the input");
  check.hasElements(result, "result", first.elements, "the input");
  check.writesOver(result, "result", result.data == second.data ? second : first, kTrainingDtypes);
  return check.code();
}

muster_code checkColumns(const muster_tensor& input, std::uint64_t columns) {
  if (columns > 0 && input.elements % columns == 0) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu elements are not whole rows of %llu columns", static_cast<unsigned long long>(input.elements), static_cast<unsigned long long>(columns));
}

/** That the matrices lie inside their tensor. */
muster_code checkExtent(const muster_gemm_call& call, const muster_matrices& matrices, std::uint64_t rows, std::uint64_t columns, const char* name) {
  if (call.batches == 0 || rows == 0 || columns == 0) return MUSTER_OK;
  std::uint64_t last = 0;
  bool overflows = false;
  const auto reach = [&](std::uint64_t count, std::uint64_t stride) {
    std::uint64_t steps;
    overflows = overflows || __builtin_mul_overflow(count - 1, stride, &steps) || __builtin_add_overflow(last, steps, &last);
  };
  reach(call.batches, matrices.batch_stride);
  reach(rows, matrices.row_stride);
  reach(columns, matrices.column_stride);
  if (!overflows && last < matrices.tensor.elements) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0,
                     "%s has %" PRIu64 " elements, too few for %" PRIu64 " matrices of %" PRIu64 " x %" PRIu64 " with strides of %" PRIu64 ", %" PRIu64 " and %" PRIu64, name,
                     matrices.tensor.elements, call.batches, rows, columns, matrices.batch_stride, matrices.row_stride, matrices.column_stride);
}

muster_code checkResult(const muster_gemm_call& call) {
  const muster_matrices& result = call.result;
  if (result.column_stride != 1 && call.columns > 1) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the result's column stride is %" PRIu64 ": its rows must lie in one piece", result.column_stride);
  }
  const bool rowsApart = call.rows <= 1 || result.row_stride >= call.columns;
  // Its extent was checked, so this does not overflow.
  const std::uint64_t matrix = call.rows == 0 ? 0 : (call.rows - 1) * result.row_stride + call.columns;
  if (rowsApart && (call.batches <= 1 || result.batch_stride >= matrix)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the result's strides of %" PRIu64 " for matrices and %" PRIu64 " for rows make it overlap itself", result.batch_stride, result.row_stride);
}

}  // namespace

muster_code checkConvert(const muster_tensor& source, const muster_tensor& target) {
  TensorCheck check;
  check.reads(source, "source", kKernelDtypes);
  check.writes(target, "target", kKernelDtypes);
  check.hasElements(target, "target", source.elements, "the source");
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  if ((source.dtype == MUSTER_F32) != (target.dtype == MUSTER_F32)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "no conversion from %s to %s: one of the two must be f32, and the other not", muster::dtypeName(source.dtype), muster::dtypeName(target.dtype));
}

muster_code checkGradients(const muster_tensor* gradients, std::uint64_t count, bool areWritten) {
  TensorCheck check;
  for (std::uint64_t index = 0; index < count; index++) {
    check.at(index);
    if (areWritten) {
      check.writes(gradients[index], "gradient", kTrainingDtypes);
    } else {
      check.reads(gradients[index], "gradient", kTrainingDtypes);
    }
  }
  return check.code();
}

muster_code checkNormMax(double normMax) {
  if (normMax >= 0) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "gradients cannot be clipped to a norm of %g: it must be 0 or more", normMax);
}

muster_code checkSgd(const muster_sgd_parameter* parameters, std::uint64_t count, const muster_sgd_options& options) {
  if (const muster_code code = checkNumbers({{"learning rate", options.learning_rate, HUGE_VAL},
                                             {"momentum", options.momentum, HUGE_VAL},
                                             {"weight decay", options.weight_decay, HUGE_VAL},
                                             {"gradient factor", options.gradient_factor, HUGE_VAL}});
      code != MUSTER_OK) {
    return code;
  }
  if (!std::isfinite(options.dampening)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the dampening is %g: it must be finite", options.dampening);
  if (options.nesterov != 0 && (options.momentum == 0 || options.dampening != 0)) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "Nesterov momentum needs a momentum above 0 and no dampening, not %g and %g", options.momentum, options.dampening);
  }
  TensorCheck check;
  for (std::uint64_t index = 0; index < count; index++) {
    const muster_sgd_parameter& parameter = parameters[index];
    check.at(index);
    checkWeights(check, parameter);
    if (options.momentum != 0) checkState(check, parameter.momentum, "momentum", parameter.weights.elements);
  }
  return check.code();
}

muster_code checkAdam(const muster_adam_parameter* parameters, std::uint64_t count, const muster_adam_options& options) {
  if (const muster_code code = checkNumbers({{"learning rate", options.learning_rate, HUGE_VAL},
                                             {"beta1", options.beta1, 1},
                                             {"beta2", options.beta2, 1},
                                             {"epsilon", options.epsilon, HUGE_VAL},
                                             {"weight decay", options.weight_decay, HUGE_VAL},
                                             {"gradient factor", options.gradient_factor, HUGE_VAL}});
      code != MUSTER_OK) {
    return code;
  }
  if (options.step == 0) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no step 0: the first is 1");
  TensorCheck check;
  for (std::uint64_t index = 0; index < count; index++) {
    const muster_adam_parameter& parameter = parameters[index];
    check.at(index);
    checkWeights(check, parameter);
    checkState(check, parameter.first_moment, "first moment", parameter.weights.elements);
    checkState(check, parameter.second_moment, "second moment", parameter.weights.elements);
  }
  return check.code();
}

SgdFactors sgdFactors(const muster_sgd_options& options) {
  return {
      .gradient = static_cast<float>(options.gradient_factor),
      .learningRate = static_cast<float>(options.learning_rate),
      .weightDecay = static_cast<float>(options.weight_decay),
      .momentum = static_cast<float>(options.momentum),
      .undampened = static_cast<float>(1 - options.dampening),
      .nesterov = options.nesterov != 0,
      .firstStep = options.first_step != 0,
  };
}

muster_code checkCombine(muster_pairwise operation, const muster_tensor& first, const muster_tensor& second, const muster_tensor& result) {
  if (operation != MUSTER_ADD && operation != MUSTER_MULTIPLY) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no pairwise operation %d", static_cast<int>(operation));
  return checkNumberByNumber(first, second, result);
}

muster_code checkActivate(muster_activation activation, const muster_tensor& input, const muster_tensor& result) {
  return checkActivateBackward(activation, input, input, result);
}

muster_code checkActivateBackward(muster_activation activation, const muster_tensor& input, const muster_tensor& gradient, const muster_tensor& result) {
  if (const muster_code code = checkActivation(activation); code != MUSTER_OK) return code;
  return checkNumberByNumber(input, gradient, result);
}

muster_code checkSummarize(muster_reduction_kind kind, const muster_tensor& input) {
  if (kind != MUSTER_TOTAL && kind != MUSTER_LARGEST) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no reduction %d", static_cast<int>(kind));
  TensorCheck check;
  check.reads(input, "input", kTrainingDtypes);
  return check.code();
}

muster_code checkSoftmax(const muster_tensor& input, std::uint64_t columns, const muster_tensor& result) {
  if (const muster_code code = checkColumns(input, columns); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(input, "input", kTrainingDtypes);
  check.hasDtype(result, "result", input.dtype);
  check.hasElements(result, "result", input.elements, "the input");
  check.writesOver(result, "result", input, kTrainingDtypes);
  return check.code();
}

muster_code checkSoftmaxBackward(const muster_tensor& output, const muster_tensor& gradient, std::uint64_t columns, const muster_tensor& result) {
  if (const muster_code code = checkColumns(output, columns); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(output, "output", kTrainingDtypes);
  check.reads(gradient, "gradient", kTrainingDtypes);
  for (const auto& [tensor, name] : {std::pair{&gradient, "gradient"}, std::pair{&result, "result"}}) {
    check.hasDtype(*tensor, name, output.dtype);
    check.hasElements(*tensor, name, output.elements, "the output");
  }
  check.writesOver(result, "result", result.data == gradient.data ? gradient : output, kTrainingDtypes);
  return check.code();
}

muster_code checkLayerNorm(const muster_layer_norm_call& call) {
  if (const muster_code code = checkColumns(call.input, call.columns); code != MUSTER_OK) return code;
  if (!(call.epsilon >= 0) || !std::isfinite(call.epsilon)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "epsilon is %g: it must be finite, and 0 or more", call.epsilon);
  TensorCheck check;
  check.reads(call.input, "input", kTrainingDtypes);
  check.reads(call.weight, "weight", kF32Only);
  check.reads(call.bias, "bias", kF32Only);
  check.hasElements(call.weight, "weight", call.columns, "the input has columns");
  check.hasElements(call.bias, "bias", call.columns, "the input has columns");
  check.hasElements(call.result, "result", call.input.elements, "the input");
  check.hasDtype(call.result, "result", call.input.dtype);
  check.writesOver(call.result, "result", call.input, kTrainingDtypes);
  for (const auto& [tensor, name] : {std::pair{&call.mean, "mean"}, std::pair{&call.scale, "scale"}}) {
    check.writes(*tensor, name, kF32Only);
    check.hasElements(*tensor, name, call.input.elements / call.columns, "the input has rows");
  }
  return check.code();
}

muster_code checkLayerNormBackward(const muster_layer_norm_backward_call& call) {
  if (const muster_code code = checkColumns(call.input, call.columns); code != MUSTER_OK) return code;
  TensorCheck check;
  check.reads(call.input, "input", kTrainingDtypes);
  check.reads(call.weight, "weight", kF32Only);
  check.hasElements(call.weight, "weight", call.columns, "the input has columns");
  for (const auto& [tensor, name] : {std::pair{&call.mean, "mean"}, std::pair{&call.scale, "scale"}}) {
    check.reads(*tensor, name, kF32Only);
    check.hasElements(*tensor, name, call.input.elements / call.columns, "the input has rows");
  }
  check.reads(call.gradient, "gradient", kTrainingDtypes);
  check.hasDtype(call.gradient, "gradient", call.input.dtype);
  check.hasElements(call.gradient, "gradient", call.input.elements, "the input");
  check.hasDtype(call.input_gradient, "input gradient", call.input.dtype);
  check.hasElements(call.input_gradient, "input gradient", call.input.elements, "the input");
  check.writesOver(call.input_gradient, "input gradient", call.input_gradient.data == call.gradient.data ? call.gradient : call.input, kTrainingDtypes);
  for (const auto& [tensor, name] : {std::pair{&call.weight_gradient, "weight gradient"}, std::pair{&call.bias_gradient, "bias gradient"}}) {
    check.writes(*tensor, name, kF32Only);
    check.hasElements(*tensor, name, call.columns, "the input has columns");
  }
  return check.code();
}

muster_code checkCrossEntropy(const muster_cross_entropy_call& call) {
  if (const muster_code code = checkColumns(call.logits, call.columns); code != MUSTER_OK) return code;
  const std::uint64_t rows = call.logits.elements / call.columns;
  TensorCheck check;
  check.reads(call.logits, "logits", kTrainingDtypes);
  check.writes(call.losses, "losses", kF32Only);
  check.hasElements(call.losses, "losses", rows, "the logits have rows");
  if (call.gradient.elements != 0) {
    check.hasElements(call.gradient, "gradient", call.logits.elements, "the logits");
    check.hasDtype(call.gradient, "gradient", call.logits.dtype);
    check.writesOver(call.gradient, "gradient", call.logits, kTrainingDtypes);
  }
  return check.code();
}

muster_code checkEmbedding(const muster_tensor& table, std::uint64_t columns, const muster_tensor& result) {
  TensorCheck check;
  check.reads(table, "table", kTrainingDtypes);
  check.writes(result, "result", kTrainingDtypes);
  check.hasDtype(result, "result", table.dtype);
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  if (const muster_code code = checkColumns(table, columns); code != MUSTER_OK) return code;
  return checkColumns(result, columns);
}

muster_code checkEmbeddingBackward(const muster_tensor& gradient, std::uint64_t columns, const muster_tensor& tableGradient) {
  TensorCheck check;
  check.reads(gradient, "gradient", kTrainingDtypes);
  check.writes(tableGradient, "table gradient", kF32Only);
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  if (const muster_code code = checkColumns(gradient, columns); code != MUSTER_OK) return code;
  return checkColumns(tableGradient, columns);
}

muster_code checkGemm(const muster_gemm_call& call) {
  TensorCheck check;
  check.reads(call.left.tensor, "left", kTrainingDtypes);
  check.reads(call.right.tensor, "right", kTrainingDtypes);
  check.writes(call.result.tensor, "result", kTrainingDtypes);
  if (call.bias.elements != 0) {
    check.reads(call.bias, "bias", setOf(MUSTER_F32));
    check.hasElements(call.bias, "bias", call.columns, "the result has columns");
  }
  if (const muster_code code = check.code(); code != MUSTER_OK) return code;
  const muster_dtype input = call.left.tensor.dtype;
  const muster_dtype output = call.result.tensor.dtype;
  if (call.right.tensor.dtype != input || (output != MUSTER_F32 && output != input)) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s times %s into %s: both inputs must have one dtype, and the result that or f32", muster::dtypeName(input), muster::dtypeName(call.right.tensor.dtype), muster::dtypeName(output));
  }
  if (static_cast<std::uint32_t>(call.activation) >= MUSTER_ACTIVATIONS) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no activation %d", static_cast<int>(call.activation));
  if (const muster_code code = checkExtent(call, call.left, call.rows, call.depth, "left"); code != MUSTER_OK) return code;
  if (const muster_code code = checkExtent(call, call.right, call.depth, call.columns, "right"); code != MUSTER_OK) return code;
  if (const muster_code code = checkExtent(call, call.result, call.rows, call.columns, "the result"); code != MUSTER_OK) return code;
  return checkResult(call);
}

}  // namespace muster::kernels
