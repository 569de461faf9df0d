// A mixture of experts: its tensors, and its place in a layer. Experts are matrices of their own,
// whether the file stacks them (GGUF) or not. Rows are brought in the order of their experts, and
// all experts run together, each over the rows that go to it. A row's sum takes its experts in
// ascending order, so it never depends on the batch.
#pragma once

#include <functional>
#include <span>
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
// So many of the rows, the next ones, go to this expert.
struct Share {
  int expert = 0;
  int rows = 0;
};
// Each share of the rows through its expert's matrix.
Tensor project(Ops& ops, std::span<const Share> shares, const Tensor& rows,
               const std::function<Projection(int expert)>& matrix);
// sum + each expert's output over the rows that go to it, by their weights, experts in order. `run`
// gets rows of x, as often as they have experts, by shares.
Tensor dispatch(Ops& ops, const Routing& routing, int count, const Tensor& x, const Tensor& sum,
                const std::function<Tensor(std::span<const Share>, const Tensor& rows)>& run);

}  // namespace exo::experts
