#include "model/experts.h"

#include <fmt/core.h>

#include <array>
#include <numeric>

#include "model/weights.h"

namespace exo::experts {
namespace {

enum Matrix : int { kGate, kUp, kDown, kMatrices };

int slot_of(int expert, Matrix which) { return kFirst + expert * kMatrices + which; }

struct Names {
  const char* router;
  std::array<const char*, kMatrices> expert;  // {} stands for the expert's number
  std::array<const char*, kMatrices> shared;
  const char* shared_scale;
};

constexpr Names kMixtral = {
    "block_sparse_moe.gate.weight",
    {"block_sparse_moe.experts.{}.w1.weight", "block_sparse_moe.experts.{}.w3.weight",
     "block_sparse_moe.experts.{}.w2.weight"},
    {},
    nullptr};
constexpr Names kQwen = {"mlp.gate.weight",
                         {"mlp.experts.{}.gate_proj.weight", "mlp.experts.{}.up_proj.weight",
                          "mlp.experts.{}.down_proj.weight"},
                         {"mlp.shared_expert.gate_proj.weight", "mlp.shared_expert.up_proj.weight",
                          "mlp.shared_expert.down_proj.weight"},
                         "mlp.shared_expert_gate.weight"};
constexpr Names kDeepSeek = {
    "mlp.gate.weight",
    {"mlp.experts.{}.gate_proj.weight", "mlp.experts.{}.up_proj.weight",
     "mlp.experts.{}.down_proj.weight"},
    {"mlp.shared_experts.gate_proj.weight", "mlp.shared_experts.up_proj.weight",
     "mlp.shared_experts.down_proj.weight"},
    nullptr};
constexpr Names kGguf = {"ffn_gate_inp.weight",
                         {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"},
                         {"ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"},
                         "ffn_gate_inp_shexp.weight"};

const Names& names_of(const Config& config) {
  if (config.gguf) return kGguf;
  switch (config.experts.names) {
    case ExpertsConfig::Names::mixtral:
      return kMixtral;
    case ExpertsConfig::Names::deepseek:
      return kDeepSeek;
    case ExpertsConfig::Names::qwen:
      break;
  }
  return kQwen;
}

Shape shape_of(Matrix which, int64_t hidden, int64_t width) {
  return which == kDown ? Shape{hidden, width} : Shape{width, hidden};
}
SplitAxis split_of(Matrix which) { return which == kDown ? SplitAxis::columns : SplitAxis::rows; }

void declare_shared(const Config& config, WeightSpec spec, const std::string& base,
                    std::vector<WeightSpec>& specs) {
  const Names& names = names_of(config);
  for (const Matrix which : {kGate, kUp, kDown}) {
    spec.slot = static_cast<int>(kSharedGate) + which;
    spec.name = base + names.shared[which];
    spec.shape = shape_of(which, config.hidden_size, config.experts.shared_width);
    spec.split = split_of(which);
    specs.push_back(spec);
  }
  if (!config.experts.shared_gated) return;
  spec.slot = kSharedScale;
  spec.name = base + names.shared_scale;
  spec.split = SplitAxis::none;
  spec.shape = {1, config.hidden_size};
  if (config.gguf) spec.stored = {config.hidden_size};
  specs.push_back(spec);
}

Tensor run_one(const StepContext& step, int layer, const std::array<int, kMatrices>& slots,
               const Tensor& x) {
  const auto weight = [&](Matrix which) -> const Tensor& {
    return step.weights.layer(layer, slots[which]);
  };
  Ops& ops = step.ops;
  const Tensor inner = ops.swiglu(ops.matmul(x, weight(kGate), nullptr),
                                  ops.matmul(x, weight(kUp), nullptr));  // [rows, width]
  return ops.matmul(inner, weight(kDown), nullptr);
}

// The expert every token goes to; where it has a gate, by as much as that lets through.
Tensor add_shared(const StepContext& step, int layer, const Tensor& residual, const Tensor& x) {
  const Tensor shared = run_one(step, layer, {kSharedGate, kSharedUp, kSharedDown}, x);
  if (!step.config.experts.shared_gated) return step.ops.add(residual, shared);
  const Tensor gate = step.ops.matmul(x, step.weights.layer(layer, kSharedScale), nullptr);
  const Routing open = step.ops.route(gate, {.score = RouteParams::Score::sigmoid});
  std::vector<int32_t> rows(static_cast<size_t>(x.rows()));
  std::iota(rows.begin(), rows.end(), 0);
  return step.ops.add_rows(residual, shared, rows, open.weights);
}

}  // namespace

void declare(const Config& config, int layer, const std::string& base,
             std::vector<WeightSpec>& specs) {
  const ExpertsConfig& experts = config.experts;
  const Names& names = names_of(config);
  WeightSpec spec{.part = Part::layer, .layer = layer};
  spec.slot = kRouter;
  spec.name = base + names.router;
  spec.shape = {experts.count, config.hidden_size};
  specs.push_back(spec);
  if (experts.route_bias) {
    spec.slot = kRouterBias;
    spec.name = base + (config.gguf ? "exp_probs_b.bias" : "mlp.gate.e_score_correction_bias");
    spec.shape = {experts.count};
    specs.push_back(spec);
  }
  if (experts.shared_width > 0) declare_shared(config, spec, base, specs);
  for (int expert = 0; expert < experts.count; ++expert) {
    for (const Matrix which : {kGate, kUp, kDown}) {
      spec.slot = slot_of(expert, which);
      spec.name = base + fmt::format(fmt::runtime(names.expert[which]), expert);
      spec.shape = shape_of(which, config.hidden_size, experts.width);
      spec.split = split_of(which);
      if (config.gguf) {
        spec.stored = {experts.count, spec.shape[0], spec.shape[1]};
        spec.row_begin = expert * spec.shape[0];
      }
      specs.push_back(spec);
    }
  }
}

Tensor mlp(const StepContext& step, int layer, const Tensor& residual, const Tensor& x) {
  const ExpertsConfig& experts = step.config.experts;
  Ops& ops = step.ops;
  RouteParams params = experts.route;
  if (experts.route_bias) params.bias = &step.weights.layer(layer, kRouterBias);
  const Routing routing =
      ops.route(ops.matmul(x, step.weights.layer(layer, kRouter), nullptr), params);
  const Tensor sum = experts.shared_width > 0 ? add_shared(step, layer, residual, x) : residual;
  return dispatch(ops, routing, experts.count, x, sum, [&](int expert, const Tensor& rows) {
    return run_one(step, layer,
                   {slot_of(expert, kGate), slot_of(expert, kUp), slot_of(expert, kDown)}, rows);
  });
}

Tensor dispatch(Ops& ops, const Routing& routing, int count, const Tensor& x, Tensor sum,
                const std::function<Tensor(int expert, const Tensor& rows)>& run) {
  std::vector<std::vector<int32_t>> rows(static_cast<size_t>(count));
  std::vector<std::vector<float>> weights(rows.size());
  for (size_t i = 0; i < routing.experts.size(); ++i) {
    const auto expert = static_cast<size_t>(routing.experts[i]);
    rows[expert].push_back(static_cast<int32_t>(i) / routing.per_row);
    weights[expert].push_back(routing.weights[i]);
  }
  for (size_t expert = 0; expert < rows.size(); ++expert) {
    if (rows[expert].empty()) continue;
    const Tensor out = run(static_cast<int>(expert), ops.gather_rows(x, rows[expert]));
    sum = ops.add_rows(sum, out, rows[expert], weights[expert]);
  }
  return sum;
}

}  // namespace exo::experts
