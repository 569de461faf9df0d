#include "model/experts.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "base/check.h"
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

// The expert every token goes to; where it has a gate, by as much as that lets through.
Tensor add_shared(const StepContext& step, int layer, const Tensor& residual, const Tensor& x) {
  const auto weight = [&](int slot) { return &step.weights.layer(layer, slot); };
  const Projection gate_up[] = {{weight(kSharedGate)}, {weight(kSharedUp)}};
  const std::vector<Tensor> inner = step.ops.matmuls(x, gate_up);  // [n, shared width] each
  const Tensor shared =
      step.ops.matmul(step.ops.swiglu(inner[0], inner[1]), *weight(kSharedDown), nullptr);
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
  const auto run = [&](std::span<const Share> shares, const Tensor& rows) {
    const auto through = [&](Matrix which, const Tensor& in) {
      return project(ops, shares, in, [&](int expert) {
        return Projection{&step.weights.layer(layer, slot_of(expert, which))};
      });
    };
    return through(kDown, ops.swiglu(through(kGate, rows), through(kUp, rows)));
  };
  return dispatch(ops, routing, experts.count, x, sum, run);
}

Tensor project(Ops& ops, std::span<const Share> shares, const Tensor& rows,
               const std::function<Projection(int expert)>& matrix) {
  std::vector<RowGroup> groups;
  for (const Share& share : shares) groups.push_back({matrix(share.expert), share.rows});
  return ops.grouped_matmul(rows, groups);
}

Tensor dispatch(Ops& ops, const Routing& routing, int count, const Tensor& x, const Tensor& sum,
                const std::function<Tensor(std::span<const Share>, const Tensor& rows)>& run) {
  if (x.rows() == 0) return sum;
  std::vector<size_t> order(routing.experts.size());  // by expert, then row
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return routing.experts[a] < routing.experts[b]; });
  std::vector<Share> shares;
  std::vector<int32_t> rows;
  std::vector<float> weights;
  for (const size_t i : order) {
    const int expert = routing.experts[i];
    CHECK(expert >= 0 && expert < count, "an expert that the layer does not have");
    if (shares.empty() || shares.back().expert != expert) shares.push_back({expert, 0});
    ++shares.back().rows;
    rows.push_back(static_cast<int32_t>(i) / routing.per_row);
    weights.push_back(routing.weights[i]);
  }
  return ops.add_rows(sum, run(shares, ops.gather_rows(x, rows)), rows, weights);
}

}  // namespace exo::experts
