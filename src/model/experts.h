// A mixture of experts: its tensors, and its place in a layer. Experts are matrices of their own,
// whether the file stacks them (GGUF) or not; each runs once over the rows that go to it. A row's
// sum takes its experts in ascending order, so it never depends on the batch.
#pragma once

#include <string>
#include <vector>

#include "model/architecture.h"

namespace exo::experts {

// Slots of a layer's experts; below are the family's own.
enum Slot : int { kRouter = 32, kSharedGate, kSharedUp, kSharedDown, kSharedScale, kFirst = 40 };

// `base`: what the names of the layer's tensors begin with.
void declare(const Config& config, int layer, const std::string& base,
             std::vector<WeightSpec>& specs);
// residual + what the experts make of x; both [n, hidden].
Tensor mlp(const StepContext& step, int layer, const Tensor& residual, const Tensor& x);

}  // namespace exo::experts
