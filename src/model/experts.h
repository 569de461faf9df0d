// A mixture of experts: its tensors, and its place in a layer. Experts are matrices of their own,
// whether the file stacks them (GGUF) or not; each runs once over the rows that go to it. A row's
// sum takes its experts in ascending order, so it never depends on the batch.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/architecture.h"

namespace exo::experts {

// Slots of a layer's experts; below are the family's own.
enum Slot : int {
  kRouter = 32,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kSharedScale,
  kRouterBias,
  kFirst = 128
};

// `base`: what the names of the layer's tensors begin with.
void declare(const Config& config, int layer, const std::string& base,
             std::vector<WeightSpec>& specs);
// residual + what the experts make of x; both [n, hidden].
Tensor mlp(const StepContext& step, int layer, const Tensor& residual, const Tensor& x);
// sum + each expert's output over the rows that go to it, by their weights, experts in order.
Tensor dispatch(Ops& ops, const Routing& routing, int count, const Tensor& x, Tensor sum,
                const std::function<Tensor(int expert, const Tensor& rows)>& run);

}  // namespace exo::experts
