// Op cases: one op with made-up inputs, to be run on any backend. The conformance suite compares
// each backend with reference/ over them; the op benchmark times them. Inputs depend on the sizes
// and the seed only. Test support, header only; pure values.
#pragma once

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "backend/ops.h"
#include "backend/random_weights.h"

namespace exo::cases {

using Run = std::function<Tensor()>;  // one execution of the op; f32 result

struct OpCase {
  std::string name;
  std::function<Run(Backend&)> prepare;  // uploads the inputs
  double tolerance = 1e-5;               // of the error, relative to the result's RMS
  double exact_tolerance = 1e-5;         // with BackendOptions::exact
  double flops = 0;
  double bytes = 0;  // of weights or KV that must be read
};

inline Tensor upload(Backend& backend, Shape shape, uint64_t seed, float deviation = 1.0f) {
  const auto count = static_cast<size_t>(HostTensor{.shape = shape}.elements());
  return backend.upload(random_values(count, seed, deviation), std::move(shape)).value();
}

inline Tensor upload_weight(Backend& backend, DType dtype, Shape shape, uint64_t seed) {
  const auto bytes = std::make_shared<std::vector<std::byte>>(random_weight(dtype, shape, seed));
  const HostTensor weight{dtype, std::move(shape), *bytes, bytes};
  return backend.upload_weight(weight, WeightFormat::as_stored).value();
}

inline double format_tolerance(DType dtype) {
  if (traits(dtype).block_size > 1) return 5e-2;  // int8 activations
  if (dtype == DType::bf16) return 2e-2;          // perhaps bf16 activations
  return 1e-5;
}

inline OpCase matmul(DType dtype, int64_t rows, int64_t k, int64_t m, bool fused = false) {
  OpCase c;
  c.name = std::string(fused ? "norm_matmul/" : "matmul/") + std::string(traits(dtype).name) + "/" +
           std::to_string(rows) + "x" + std::to_string(k) + "x" + std::to_string(m);
  c.tolerance = format_tolerance(dtype);
  c.flops = 2.0 * static_cast<double>(rows * k * m);
  c.bytes = static_cast<double>(row_bytes(dtype, k)) * static_cast<double>(m);
  c.prepare = [=](Backend& backend) -> Run {
    const Tensor x = upload(backend, {rows, k}, 1), w = upload_weight(backend, dtype, {m, k}, 2);
    const Tensor bias = upload(backend, {m}, 3, 0.1f), norm = upload(backend, {k}, 4);
    const Tensor residual = upload(backend, {rows, m}, 5);
    return [=, &backend] {
      if (fused) return backend.ops().norm_matmul(x, norm, 1e-5f, w, nullptr);
      return backend.ops().matmul_add(residual, x, w, &bias);
    };
  };
  return c;
}

// Groups of no, one, few and many rows; with a bias and without.
inline OpCase grouped_matmul(DType dtype, int64_t k) {
  OpCase c{.name = "grouped_matmul/" + std::string(traits(dtype).name),
           .tolerance = format_tolerance(dtype)};
  c.prepare = [=](Backend& backend) -> Run {
    constexpr int kRows[] = {1, 3, 0, 80, 1, 7};
    constexpr int64_t kAll = 92, kOuts = 83;
    std::vector<Tensor> weights;
    for (unsigned i = 0; i < std::size(kRows); ++i)
      weights.push_back(upload_weight(backend, dtype, {kOuts, k}, 20 + i));
    const Tensor x = upload(backend, {kAll, k}, 1), bias = upload(backend, {kOuts}, 2);
    return [=, &backend] {
      std::vector<RowGroup> groups;
      for (size_t i = 0; i < weights.size(); ++i)
        groups.push_back({{&weights[i], i % 2 == 0 ? &bias : nullptr}, kRows[i]});
      return backend.ops().grouped_matmul(x, groups);
    };
  };
  return c;
}

inline OpCase embed(DType dtype, int64_t vocab, int64_t width) {
  OpCase c{.name = "embed/" + std::string(traits(dtype).name)};
  c.prepare = [=](Backend& backend) -> Run {
    const Tensor table = upload_weight(backend, dtype, {vocab, width}, 1);
    return [=, &backend] {
      const std::vector<TokenId> ids{0, static_cast<TokenId>(vocab - 1), 3, 3};
      return backend.ops().embed(table, ids);
    };
  };
  return c;
}

struct AttentionShape {
  int heads = 4, kv_heads = 2, k_dim = 16, v_dim = 16, block_size = 16;
  int window = 0;
  float soft_cap = 0;
  bool sinks = false;
  std::vector<std::pair<int, int>> spans;  // (past, new rows) of each sequence
};

// KV of all sequences in one layer; their blocks are interleaved.
struct AttentionInputs {
  KvLayer layer;
  std::vector<std::vector<int32_t>> tables;
  Tensor q, sinks;
  AttentionParams params;
};

inline AttentionInputs attention_inputs(Backend& backend, const AttentionShape& shape) {
  const auto count = static_cast<int>(shape.spans.size());
  int blocks = 0, rows = 0, total = 0;
  for (const auto& [past, fresh] : shape.spans) {
    blocks = std::max(blocks, (past + fresh + shape.block_size - 1) / shape.block_size);
    rows += fresh;
    total += past + fresh;
  }
  AttentionInputs in;
  const DType dtype = backend.kv_dtype();
  in.layer.k =
      backend.allocate(dtype, {blocks * count, shape.kv_heads, shape.block_size, shape.k_dim})
          .value();
  in.layer.v =
      backend.allocate(dtype, {blocks * count, shape.kv_heads, shape.block_size, shape.v_dim})
          .value();
  in.layer.block_size = shape.block_size;
  std::vector<AttentionSpan> past;
  int row = 0;
  for (int i = 0; i < count; ++i) {
    in.tables.emplace_back();
    for (int b = 0; b < blocks; ++b) in.tables.back().push_back(b * count + i);
  }
  for (int i = 0; i < count; ++i) {
    const int length =
        shape.spans[static_cast<size_t>(i)].first + shape.spans[static_cast<size_t>(i)].second;
    past.push_back({row, length, 0, in.tables[static_cast<size_t>(i)]});
    row += length;
  }
  backend.ops().kv_write(in.layer, upload(backend, {total, shape.kv_heads * shape.k_dim}, 1),
                         upload(backend, {total, shape.kv_heads * shape.v_dim}, 2), past);
  in.q = upload(backend, {rows, shape.heads * shape.k_dim}, 3);
  in.sinks = upload(backend, {shape.heads}, 4);
  in.params = {shape.heads,
               shape.kv_heads,
               shape.k_dim,
               shape.v_dim,
               1.0f / std::sqrt(static_cast<float>(shape.k_dim)),
               shape.window,
               shape.soft_cap};
  return in;
}

inline OpCase attention(const std::string& name, const AttentionShape& shape) {
  OpCase c{.name = "attention/" + name, .tolerance = 5e-3};
  for (const auto& [past, fresh] : shape.spans) {
    c.bytes += 2.0 * (past + fresh) * shape.kv_heads * (shape.k_dim + shape.v_dim);
    c.flops += 2.0 * fresh * (past + fresh / 2.0) * shape.heads * (shape.k_dim + shape.v_dim);
  }
  c.prepare = [=](Backend& backend) -> Run {
    const auto in = std::make_shared<AttentionInputs>(attention_inputs(backend, shape));
    return [=, &backend] {
      AttentionParams params = in->params;
      if (shape.sinks) params.sinks = &in->sinks;
      std::vector<AttentionSpan> spans;
      int row = 0;
      for (size_t i = 0; i < shape.spans.size(); ++i) {
        spans.push_back({row, shape.spans[i].second, shape.spans[i].first, in->tables[i]});
        row += shape.spans[i].second;
      }
      return backend.ops().attention(in->q, in->layer, spans, params);
    };
  };
  return c;
}

// body(ops, x, y, weight): x and y [rows, width], weight [width] near 1.
inline OpCase rows(const std::string& name, int64_t rows, int64_t width,
                   std::function<Tensor(Ops&, const Tensor&, const Tensor&, const Tensor&)> body) {
  OpCase c{.name = name + "/" + std::to_string(rows) + "x" + std::to_string(width)};
  c.prepare = [=](Backend& backend) -> Run {
    const Tensor x = upload(backend, {rows, width}, 1, 3.0f);
    const Tensor y = upload(backend, {rows, width}, 2), weight = upload(backend, {width}, 3);
    return [=, &backend] { return body(backend.ops(), x, y, weight); };
  };
  return c;
}

}  // namespace exo::cases
