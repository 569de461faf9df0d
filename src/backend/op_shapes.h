// The shape of every op's output, and the CHECKs that its inputs fit: the same on every backend.
// Pure functions.
#pragma once

#include <span>

#include "backend/ops.h"

namespace exo::shapes {

Shape embed(const Tensor& table, std::span<const TokenId> ids);
Shape matmul(const Tensor& x, const Tensor& w, const Tensor* bias);
Shape grouped_matmul(const Tensor& x, std::span<const RowGroup> groups);
Shape rms_norm(const Tensor& x, const Tensor& weight);
Shape layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias);
Shape same(const Tensor& x, const Tensor& y);
Shape rope(const Tensor& x, std::span<const int32_t> positions, const RopeParams& params);
void kv_write(const KvLayer& layer, const Tensor& k, const Tensor& v,
              std::span<const AttentionSpan> spans);
Shape attention(const Tensor& q, const KvLayer& layer, std::span<const AttentionSpan> spans,
                const AttentionParams& params);
Shape attend_all(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const RowSpan> spans,
                 const AttentionParams& params);
Shape columns(const Tensor& x, int64_t begin, int64_t count);
Shape head_matmul(const Tensor& x, const Tensor& w, int heads);
Shape concat_columns(const Tensor& x, const Tensor& y);
Shape add_rows(const Tensor& sum, const Tensor& y, std::span<const int32_t> rows,
               std::span<const float> weights);
void route(const Tensor& logits, const RouteParams& params);
Shape gather_rows(const Tensor& x, std::span<const int32_t> rows);
Shape replace_rows(const Tensor& x, const Tensor& y, std::span<const int32_t> rows);
void top_k(const Tensor& logits, int k);

// A weight that can be uploaded: known format, sizes that agree with its bytes, rank 1 or more.
Result<void> check_weight(const HostTensor& weight);
// What `weight` becomes under `format`: matrices only, and only rows of whole blocks; weights that
// are stored in fewer bits than asked for stay as they are.
DType weight_dtype(const HostTensor& weight, WeightFormat format);
// What it then takes in a backend's memory at most (cpu/interleave.h takes most).
uint64_t weight_bytes(const HostTensor& weight, WeightFormat format);

}  // namespace exo::shapes
