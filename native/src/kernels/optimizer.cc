#include "muster/optimizer.h"

#include <cmath>
#include <initializer_list>

#include "kernels/check.h"
#include "kernels/optimizer.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "status.h"

namespace muster::kernels {
namespace {

constexpr DtypeSet kCopyDtypes = setOf(MUSTER_F16) | setOf(MUSTER_BF16);

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
  check.writes(parameter.copy, "copy", kCopyDtypes);
  check.hasElements(parameter.copy, "copy", parameter.weights.elements, "its weights");
}

template <class Parameter>
void checkWeights(TensorCheck& check, const Parameter& parameter) {
  check.writes(parameter.weights, "weights", setOf(MUSTER_F32));
  check.reads(parameter.gradient, "gradient", kTrainingDtypes);
  check.hasElements(parameter.gradient, "gradient", parameter.weights.elements, "its weights");
  checkCopy(check, parameter);
}

void checkState(TensorCheck& check, const muster_tensor& state, const char* name, std::uint64_t elements) {
  check.writes(state, name, setOf(MUSTER_F32));
  check.hasElements(state, name, elements, "its weights");
}

float* floatsAt(const muster_tensor& tensor, std::size_t offset) { return static_cast<float*>(elementAt(tensor, offset)); }

/** Where the kernel for a dtype of copies lies: f32 stands for none. */
muster_dtype copyDtype(const muster_tensor& copy) { return copy.elements == 0 ? MUSTER_F32 : copy.dtype; }

void* copyAt(const muster_tensor& copy, std::size_t offset) { return copy.elements == 0 ? nullptr : elementAt(copy, offset); }

AdamFactors adamFactors(const muster_adam_options& options) {
  const double step = static_cast<double>(options.step);
  const bool decoupled = options.decoupled != 0;
  return {
      .gradient = static_cast<float>(options.gradient_factor),
      .coupledDecay = decoupled ? 0 : static_cast<float>(options.weight_decay),
      .kept = decoupled ? static_cast<float>(1 - options.learning_rate * options.weight_decay) : 1,
      .firstShare = static_cast<float>(1 - options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .secondShare = static_cast<float>(1 - options.beta2),
      .rootCorrection = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, step))),
      .epsilon = static_cast<float>(options.epsilon),
      .stepSize = static_cast<float>(options.learning_rate / (1 - std::pow(options.beta1, step))),
  };
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

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_sgd(const muster_sgd_parameter* parameters, uint64_t count, const muster_sgd_options* options, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkSgd(parameters, count, *options); code != MUSTER_OK) return code;
  const SgdFactors factors{
      .gradient = static_cast<float>(options->gradient_factor),
      .learningRate = static_cast<float>(options->learning_rate),
      .weightDecay = static_cast<float>(options->weight_decay),
      .momentum = static_cast<float>(options->momentum),
      .undampened = static_cast<float>(1 - options->dampening),
      .nesterov = options->nesterov != 0,
      .firstStep = options->first_step != 0,
  };
  const auto pieces = piecesOf(count, [&](std::size_t index) { return parameters[index].weights.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    const muster_sgd_parameter& parameter = parameters[piece.tensor];
    const SgdPiece part{
        floatsAt(parameter.weights, piece.offset), elementAt(parameter.gradient, piece.offset),
        options->momentum == 0 ? nullptr : floatsAt(parameter.momentum, piece.offset), copyAt(parameter.copy, piece.offset), piece.elements};
    table().sgd[parameter.gradient.dtype][copyDtype(parameter.copy)](part, factors);
  });
  return MUSTER_OK;
}

muster_code muster_adam(const muster_adam_parameter* parameters, uint64_t count, const muster_adam_options* options, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkAdam(parameters, count, *options); code != MUSTER_OK) return code;
  const AdamFactors factors = adamFactors(*options);
  const auto pieces = piecesOf(count, [&](std::size_t index) { return parameters[index].weights.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const Piece& piece = pieces[item];
    const muster_adam_parameter& parameter = parameters[piece.tensor];
    const AdamPiece part{floatsAt(parameter.weights, piece.offset), elementAt(parameter.gradient, piece.offset), floatsAt(parameter.first_moment, piece.offset),
                         floatsAt(parameter.second_moment, piece.offset), copyAt(parameter.copy, piece.offset), piece.elements};
    table().adam[parameter.gradient.dtype][copyDtype(parameter.copy)](part, factors);
  });
  return MUSTER_OK;
}
