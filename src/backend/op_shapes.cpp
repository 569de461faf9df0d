#include "backend/op_shapes.h"

#include <fmt/core.h>

#include "backend/cpu/interleave.h"
#include "tensor/quantize.h"

namespace exo::shapes {
namespace {

void check_span(const AttentionSpan& span, const KvLayer& layer, int64_t rows) {
  CHECK(span.row_begin >= 0 && span.row_count >= 0 && span.row_begin + span.row_count <= rows,
        "span outside the batch");
  CHECK(span.first_position >= 0, "negative position");
  const int64_t end = static_cast<int64_t>(span.first_position) + span.row_count;
  const auto needed = static_cast<size_t>((end + layer.block_size - 1) / layer.block_size);
  CHECK(span.row_count == 0 || span.blocks.size() >= needed, "block table too short");
  for (size_t i = 0; i < needed && span.row_count > 0; ++i)
    CHECK(span.blocks[i] >= 0 && span.blocks[i] < layer.k.rows(), "KV block out of range");
}

void check_layer(const KvLayer& layer) {
  CHECK(layer.k.shape.size() == 4 && layer.v.shape.size() == 4, "KV shape");
  CHECK(layer.block_size > 0 && layer.k.shape[2] == layer.block_size &&
            layer.v.shape[2] == layer.block_size,
        "KV block size");
  CHECK(layer.k.shape[0] == layer.v.shape[0] && layer.k.shape[1] == layer.v.shape[1],
        "K and V disagree");
}

}  // namespace

Shape embed(const Tensor& table, std::span<const TokenId> ids) {
  CHECK(table.shape.size() == 2, "embed needs [vocab, d]");
  for (const TokenId id : ids) CHECK(id >= 0 && id < table.rows(), "token id out of range");
  return {static_cast<int64_t>(ids.size()), table.width()};
}

Shape matmul(const Tensor& x, const Tensor& w, const Tensor* bias) {
  CHECK(x.shape.size() == 2 && w.shape.size() == 2, "matmul needs matrices");
  CHECK(x.width() == w.width(), "matmul: widths differ");
  CHECK(bias == nullptr || bias->width() == w.rows(), "matmul: bias width");
  return {x.rows(), w.rows()};
}

Shape grouped_matmul(const Tensor& x, std::span<const RowGroup> groups) {
  CHECK(!groups.empty(), "grouped_matmul needs a group");
  int64_t rows = 0;
  for (const RowGroup& group : groups) {
    matmul(x, *group.by.w, group.by.bias);
    CHECK(group.rows >= 0 && group.by.w->shape == groups.front().by.w->shape,
          "grouped_matmul: shapes differ");
    rows += group.rows;
  }
  CHECK(rows == x.rows(), "grouped_matmul: rows of the groups");
  return {x.rows(), groups.front().by.w->rows()};
}

Shape rms_norm(const Tensor& x, const Tensor& weight) {
  CHECK(weight.width() > 0 && x.width() % weight.width() == 0, "rms_norm: widths differ");
  return x.shape;
}

Shape layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  CHECK(weight.width() > 0 && x.width() % weight.width() == 0, "layer_norm: widths differ");
  CHECK(bias.width() == weight.width(), "layer_norm: bias width");
  return x.shape;
}

Shape same(const Tensor& x, const Tensor& y) {
  CHECK(x.shape == y.shape, "shapes differ");
  return x.shape;
}

Shape rope(const Tensor& x, std::span<const int32_t> positions, const RopeParams& params) {
  CHECK(x.shape.size() == 2 && x.rows() == static_cast<int64_t>(positions.size()),
        "rope: one position per row");
  CHECK(params.head_dim > 0 && x.width() % params.head_dim == 0, "rope: head_dim");
  CHECK(params.rotary_dims <= params.head_dim && params.rotary_dims % 2 == 0, "rope: rotary_dims");
  CHECK(params.inverse_freqs.size() == static_cast<size_t>(params.rotary_dims / 2),
        "rope: frequencies");
  return x.shape;
}

void kv_write(const KvLayer& layer, const Tensor& k, const Tensor& v,
              std::span<const AttentionSpan> spans) {
  check_layer(layer);
  CHECK(k.width() == layer.k.shape[1] * layer.k.shape[3], "kv_write: k width");
  CHECK(v.width() == layer.v.shape[1] * layer.v.shape[3], "kv_write: v width");
  CHECK(k.rows() == v.rows(), "kv_write: rows differ");
  for (const AttentionSpan& span : spans) check_span(span, layer, k.rows());
}

Shape attention(const Tensor& q, const KvLayer& layer, std::span<const AttentionSpan> spans,
                const AttentionParams& params) {
  check_layer(layer);
  CHECK(params.kv_heads > 0 && params.heads % params.kv_heads == 0, "attention: head counts");
  CHECK(layer.k.shape[1] == params.kv_heads && layer.k.shape[3] == params.k_dim &&
            layer.v.shape[3] == params.v_dim,
        "attention: KV shape");
  CHECK(q.width() == static_cast<int64_t>(params.heads) * params.k_dim, "attention: q width");
  CHECK(params.sinks == nullptr || params.sinks->width() == params.heads, "attention: sinks");
  for (const AttentionSpan& span : spans) check_span(span, layer, q.rows());
  return {q.rows(), static_cast<int64_t>(params.heads) * params.v_dim};
}

Shape attend_all(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const RowSpan> spans,
                 const AttentionParams& params) {
  CHECK(params.kv_heads > 0 && params.heads % params.kv_heads == 0, "attend_all: head counts");
  CHECK(params.window == 0 && params.soft_cap == 0 && params.sinks == nullptr,
        "attend_all: neither window, soft cap nor sinks");
  CHECK(q.rows() == k.rows() && q.rows() == v.rows(), "attend_all: rows differ");
  CHECK(q.width() == static_cast<int64_t>(params.heads) * params.k_dim &&
            k.width() == static_cast<int64_t>(params.kv_heads) * params.k_dim &&
            v.width() == static_cast<int64_t>(params.kv_heads) * params.v_dim,
        "attend_all: widths");
  for (const RowSpan& span : spans)
    CHECK(span.row_begin >= 0 && span.row_count >= 0 && span.row_begin + span.row_count <= q.rows(),
          "span outside the batch");
  return {q.rows(), static_cast<int64_t>(params.heads) * params.v_dim};
}

Shape columns(const Tensor& x, int64_t begin, int64_t count) {
  CHECK(x.shape.size() == 2 && begin >= 0 && count > 0 && begin + count <= x.width(),
        "columns outside the rows");
  return {x.rows(), count};
}

Shape head_matmul(const Tensor& x, const Tensor& w, int heads) {
  CHECK(x.shape.size() == 2 && w.shape.size() == 2 && heads > 0, "head_matmul needs matrices");
  CHECK(x.width() == heads * w.width() && w.rows() % heads == 0, "head_matmul: widths differ");
  CHECK(traits(w.dtype).block_size == 1, "head_matmul: weights in blocks");
  return {x.rows(), w.rows()};
}

Shape concat_columns(const Tensor& x, const Tensor& y) {
  CHECK(x.shape.size() == 2 && y.shape.size() == 2 && x.rows() == y.rows(),
        "concat_columns: rows differ");
  return {x.rows(), x.width() + y.width()};
}

Shape add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
               std::span<const float> weights) {
  CHECK(sum.shape.size() == 2 && y.shape.size() == 2 && sum.width() == y.width(),
        "add_rows: widths differ");
  CHECK(y.rows() == static_cast<int64_t>(rows.size()) && rows.size() == weights.size(),
        "add_rows: one target and weight per row");
  for (const int32_t row : rows) CHECK(row >= 0 && row < sum.rows(), "add_rows: row out of range");
  return sum.shape;
}

void route(const Tensor& logits, const RouteParams& params) {
  CHECK(logits.shape.size() == 2 && params.per_row >= 1 && params.per_row <= logits.width(),
        "route: experts of a token");
  CHECK(params.groups >= 1 && logits.width() % params.groups == 0 && params.groups_used >= 1 &&
            params.groups_used <= params.groups &&
            params.per_row <= logits.width() / params.groups * params.groups_used,
        "route: groups");
  CHECK(params.bias == nullptr || params.bias->width() == logits.width(), "route: bias");
}

Shape gather_rows(const Tensor& x, std::span<const int32_t> rows) {
  CHECK(x.shape.size() == 2, "gather_rows needs a matrix");
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.rows(), "row out of range");
  return {static_cast<int64_t>(rows.size()), x.width()};
}

Shape replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows) {
  CHECK(x.shape.size() == 2 && y.shape.size() == 2 && x.width() == y.width(),
        "replace_rows: widths differ");
  CHECK(y.rows() == static_cast<int64_t>(rows.size()), "replace_rows: one target per row");
  for (const int32_t row : rows) CHECK(row >= 0 && row < x.rows(), "row out of range");
  return x.shape;
}

void top_k(const Tensor& logits, int k) {
  CHECK(logits.shape.size() == 2 && k >= 1 && k <= logits.width(), "top_k: k");
}

Result<void> check_weight(const HostTensor& weight) {
  if (!converts_to_f32(weight.dtype))
    return unsupported(fmt::format("weights of type {}", traits(weight.dtype).name));
  const DTypeTraits& type = traits(weight.dtype);
  if (weight.shape.empty() || weight.shape.size() > 3 || weight.elements() <= 0 ||
      weight.shape.back() % type.block_size != 0 ||
      weight.bytes.size() != row_bytes(weight.dtype, weight.elements()))
    return invalid_argument("a weight whose shape and bytes do not agree");
  return {};
}

DType weight_dtype(const HostTensor& weight, WeightFormat format) {
  if (weight.shape.size() < 2) return DType::f32;
  if (format == WeightFormat::as_stored || weight.shape.back() % 32 != 0) return weight.dtype;
  const DType wanted = format == WeightFormat::q8_0 ? DType::q8_0 : DType::q4_0;
  const bool smaller = row_bytes(weight.dtype, 256) <= row_bytes(wanted, 256);
  return smaller ? weight.dtype : wanted;
}

uint64_t weight_bytes(const HostTensor& weight, WeightFormat format) {
  const DType dtype = weight_dtype(weight, format);
  if (!cpu::is_interleaved(dtype)) return row_bytes(dtype, weight.elements());
  const int64_t width = weight.shape.back();
  const int64_t groups = (weight.elements() / width + cpu::kGroupRows - 1) / cpu::kGroupRows;
  return static_cast<uint64_t>(groups * cpu::kGroupRows * cpu::interleaved_row_bytes(dtype, width));
}

}  // namespace exo::shapes
