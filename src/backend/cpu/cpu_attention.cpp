// Paged attention of the cpu backend: tasks are (rows of one sequence, heads that share a KV head).
//
// A block of V is [keys, v_dim]; a block of K lies transposed, [k_dim, keys], so that the kernel
// has a vector of keys for each dimension. Nobody but this file and the kernel sees it.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "backend/cpu/cpu_ops.h"
#include "backend/op_shapes.h"

namespace exo::cpu {
namespace {

constexpr int kTileRows = 64;  // keys of a block where nothing is paged
constexpr int kVectors = 36;   // queries of a task, so that a KV tile is widened once for many

struct Task {
  const AttentionSpan* span;
  int row_begin;  // in the span
  int row_end;
  int kv_head;
  int head_begin;  // of those that share it
  int head_end;
};

std::vector<Task> make_tasks(std::span<const AttentionSpan> spans, const AttentionParams& params) {
  const int group = params.heads / params.kv_heads;
  const int parts = (group + kVectors - 1) / kVectors, heads = (group + parts - 1) / parts;
  const int rows = std::max(1, kVectors / heads);
  std::vector<Task> tasks;
  for (const AttentionSpan& span : spans)
    for (int row = 0; row < span.row_count; row += rows)
      for (int kv_head = 0; kv_head < params.kv_heads; ++kv_head)
        for (int head = 0; head < group; head += heads)
          tasks.push_back({&span, row, std::min(row + rows, span.row_count), kv_head, head,
                           std::min(head + heads, group)});
  return tasks;
}

// Bytes of one KV head in one block.
int64_t tile_bytes(const Tensor& kv) {
  return kv.shape[2] * kv.shape[3] * static_cast<int64_t>(traits(kv.dtype).block_bytes);
}

AttendArgs common_args(const Tensor& q, const KvLayer& layer, const AttentionParams& params,
                       const Tensor& out) {
  AttendArgs args;
  args.q_stride = q.width();
  args.out_stride = out.width();
  args.k_block_stride = tile_bytes(layer.k);
  args.v_block_stride = tile_bytes(layer.v);
  args.block_size = layer.block_size;
  args.group = params.heads / params.kv_heads;
  args.k_dim = params.k_dim;
  args.v_dim = params.v_dim;
  args.window = params.window;
  args.half = layer.k.dtype == DType::f16;
  args.scale = params.scale;
  args.soft_cap = params.soft_cap;
  return args;
}

}  // namespace

void CpuOps::write_row(const Tensor& kv, const Tensor& rows, const AttentionSpan& span, int64_t row,
                       bool transposed) {
  const int64_t position = span.first_position + row, block_size = kv.shape[2], dim = kv.shape[3];
  const int64_t block = span.blocks[static_cast<size_t>(position / block_size)];
  const int64_t slot = position % block_size, step = transposed ? block_size : 1;
  const float* from = floats(rows) + (span.row_begin + row) * rows.width();
  for (int64_t head = 0; head < kv.shape[1]; ++head, from += dim) {
    const int64_t tile = (head * kv.shape[0] + block) * block_size * dim;
    const int64_t at = tile + (transposed ? slot : slot * dim);
    if (kv.dtype == DType::f16)
      write_half(from, dim, step, buffer_of(kv).as<uint16_t>() + at);
    else
      for (int64_t d = 0; d < dim; ++d) mutable_floats(kv)[at + d * step] = from[d];
  }
}

void CpuOps::write_half(const float* from, int64_t count, int64_t step, uint16_t* to) {
  if (step == 1) return kernels_.to_f16(from, count, to);
  constexpr int64_t kPart = 16;
  uint16_t part[kPart];
  for (int64_t i = 0; i < count; i += kPart) {
    const int64_t n = std::min(kPart, count - i);
    kernels_.to_f16(from + i, n, part);
    for (int64_t j = 0; j < n; ++j) to[(i + j) * step] = part[j];
  }
}

void CpuOps::kv_write(KvLayer& layer, const Tensor& k, const Tensor& v,
                      std::span<const AttentionSpan> spans) {
  shapes::kv_write(layer, k, v, spans);
  CHECK(layer.k.dtype == layer.v.dtype &&
            (layer.k.dtype == DType::f16 || layer.k.dtype == DType::f32),
        "KV is f16 or f32");
  for (const AttentionSpan& span : spans) {
    threads_.parallel_for(span.row_count, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        write_row(layer.k, k, span, row, true);
        write_row(layer.v, v, span, row, false);
      }
    });
  }
}

Tensor CpuOps::attention(const Tensor& q, const KvLayer& layer,
                         std::span<const AttentionSpan> spans, const AttentionParams& params) {
  return attend({q, layer, spans, params}, make(shapes::attention(q, layer, spans, params)));
}

// Keys and values are laid out as a cache of float32 that lives for this call.
Tensor CpuOps::attend_all(const Tensor& q, const Tensor& k, const Tensor& v,
                          std::span<const RowSpan> spans, const AttentionParams& params) {
  Tensor out = make(shapes::attend_all(q, k, v, spans, params));
  int blocks = 0;
  const auto tiles = [](const RowSpan& span) {
    return (span.row_count + kTileRows - 1) / kTileRows;
  };
  for (const RowSpan& span : spans) blocks += tiles(span);
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  std::iota(table.begin(), table.end(), 0);
  std::vector<AttentionSpan> rows;
  int used = 0;
  for (const RowSpan& span : spans) {
    rows.push_back(
        {span.row_begin, span.row_count, 0, std::span(table).subspan(static_cast<size_t>(used))});
    used += tiles(span);
  }
  KvLayer layer{make({blocks, params.kv_heads, kTileRows, params.k_dim}),
                make({blocks, params.kv_heads, kTileRows, params.v_dim}), kTileRows};
  kv_write(layer, k, v, rows);
  return attend({q, layer, rows, params, true}, std::move(out));
}

Tensor CpuOps::attend(const AttendCall& call, Tensor out) {
  const Tensor& q = call.q;
  const KvLayer& layer = call.layer;
  const AttentionParams& params = call.params;
  const AttendArgs common = common_args(q, layer, params, out);
  const std::vector<Task> tasks = make_tasks(call.spans, params);
  const int64_t bytes =
      attend_scratch_bytes(kVectors, layer.block_size, params.k_dim, params.v_dim);
  reserve_scratch(bytes);
  const auto count = static_cast<int64_t>(tasks.size());
  threads_.parallel_for(count, 1, [&](int64_t begin, int64_t, int worker) {
    const Task& task = tasks[static_cast<size_t>(begin)];
    const int64_t row = task.span->row_begin + task.row_begin;
    const int64_t head = static_cast<int64_t>(task.kv_head) * common.group + task.head_begin;
    AttendArgs args = common;
    args.group = task.head_end - task.head_begin;
    args.q = floats(q) + row * q.width() + head * params.k_dim;
    args.out = mutable_floats(out) + row * out.width() + head * params.v_dim;
    args.k = buffer_of(layer.k).data() + task.kv_head * layer.k.shape[0] * tile_bytes(layer.k);
    args.v = buffer_of(layer.v).data() + task.kv_head * layer.v.shape[0] * tile_bytes(layer.v);
    args.blocks = task.span->blocks.data();
    args.sinks = params.sinks ? floats(*params.sinks) + head : nullptr;
    args.rows = task.row_end - task.row_begin;
    args.length = call.all ? task.span->row_count : 0;
    args.first_position = task.span->first_position + task.row_begin;
    args.scratch = scratch(worker, bytes);
    kernels_.attend(args);
  });
  return out;
}

}  // namespace exo::cpu
