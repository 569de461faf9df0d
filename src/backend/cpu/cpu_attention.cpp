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

constexpr int kTileRows = 64;       // keys of a block where nothing is paged
constexpr int kVectors = 36;        // queries of a task, so that a KV tile is widened once for many
constexpr int kTasksPerThread = 4;  // with fewer, threads would wait for the last one
constexpr int64_t kMostSums = 4 << 20;  // floats that spans may leave until they are joined

// Bytes of one KV head in one block.
int64_t tile_bytes(const Tensor& kv) {
  return kv.shape[2] * kv.shape[3] * static_cast<int64_t>(traits(kv.dtype).block_bytes);
}

int64_t sums_floats(const AttendArgs& task) {
  return attend_sums_floats(static_cast<int64_t>(task.rows) * task.group, task.v_dim);
}
int spans_of(const AttendArgs& task) { return attend_end_span(task) - attend_first_span(task); }

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

AttendArgs CpuOps::attend_args(const AttendCall& call, Tensor& out) {
  AttendArgs args;
  args.q_stride = call.q.width();
  args.out_stride = out.width();
  args.k_block_stride = tile_bytes(call.layer.k);
  args.v_block_stride = tile_bytes(call.layer.v);
  args.block_size = call.layer.block_size;
  args.k_dim = call.params.k_dim;
  args.v_dim = call.params.v_dim;
  args.window = call.params.window;
  args.half = call.layer.k.dtype == DType::f16;
  args.scale = call.params.scale;
  args.soft_cap = call.params.soft_cap;
  return args;
}

std::vector<AttendArgs> CpuOps::attend_tasks(const AttendCall& call, Tensor& out) {
  const AttentionParams& params = call.params;
  const int group = params.heads / params.kv_heads;
  const int parts = (group + kVectors - 1) / kVectors, heads = (group + parts - 1) / parts;
  const int rows = std::max(1, kVectors / heads);
  std::vector<AttendArgs> tasks;
  AttendArgs args = attend_args(call, out);
  const auto add = [&](const AttentionSpan& span, int row, int kv_head, int first_head) {
    const int64_t head = static_cast<int64_t>(kv_head) * group + first_head;
    args.q = floats(call.q) + (span.row_begin + row) * args.q_stride + head * params.k_dim;
    args.out = mutable_floats(out) + (span.row_begin + row) * args.out_stride + head * params.v_dim;
    args.k = buffer_of(call.layer.k).data() + kv_head * call.layer.k.shape[0] * args.k_block_stride;
    args.v = buffer_of(call.layer.v).data() + kv_head * call.layer.v.shape[0] * args.v_block_stride;
    args.blocks = span.blocks.data();
    args.sinks = params.sinks ? floats(*params.sinks) + head : nullptr;
    args.group = std::min(heads, group - first_head);
    args.rows = std::min(rows, span.row_count - row);
    args.length = call.all ? span.row_count : 0;
    args.first_position = span.first_position + row;
    tasks.push_back(args);
  };
  for (const AttentionSpan& span : call.spans)
    for (int row = 0; row < span.row_count; row += rows)
      for (int kv_head = 0; kv_head < params.kv_heads; ++kv_head)
        for (int head = 0; head < group; head += heads) add(span, row, kv_head, head);
  return tasks;
}

Tensor CpuOps::attend(const AttendCall& call, Tensor out) {
  std::vector<AttendArgs> tasks = attend_tasks(call, out);
  const int64_t bytes =
      attend_scratch_bytes(kVectors, call.layer.block_size, call.params.k_dim, call.params.v_dim);
  reserve_scratch(bytes);
  const auto count = static_cast<int64_t>(tasks.size());
  int64_t spans = 0, floats_of_spans = 0;
  for (const AttendArgs& task : tasks) {
    spans += spans_of(task);
    floats_of_spans += spans_of(task) * sums_floats(task);
  }
  if (threads_.size() > 1 && count < kTasksPerThread * threads_.size() && spans > count &&
      floats_of_spans <= kMostSums) {
    attend_by_spans(tasks, floats_of_spans, bytes);
    return out;
  }
  threads_.parallel_for(count, 1, [&](int64_t i, int64_t, int worker) {
    AttendArgs& task = tasks[static_cast<size_t>(i)];
    task.scratch = scratch(worker, bytes);
    kernels_.attend(task);
  });
  return out;
}

// Few tasks, as of one stream: the spans of each may be attended on different threads.
void CpuOps::attend_by_spans(std::span<AttendArgs> tasks, int64_t sums_floats_in_all,
                             int64_t scratch_bytes) {
  struct Item {
    const AttendArgs* task;
    int span;
    float* sums;
  };
  Tensor sums = make({1, sums_floats_in_all});
  std::vector<Item> items;
  std::vector<const float*> sums_of_task;
  float* at = mutable_floats(sums);
  for (const AttendArgs& task : tasks) {
    sums_of_task.push_back(at);
    for (int span = attend_first_span(task); span < attend_end_span(task); ++span) {
      items.push_back({&task, span, at});
      at += sums_floats(task);
    }
  }
  const auto with_scratch = [&](AttendArgs task, int worker) {
    task.scratch = scratch(worker, scratch_bytes);
    return task;
  };
  threads_.parallel_for(static_cast<int64_t>(items.size()), 1, [&](int64_t i, int64_t, int worker) {
    const Item& item = items[static_cast<size_t>(i)];
    kernels_.attend_span(with_scratch(*item.task, worker), item.span, item.sums);
  });
  threads_.parallel_for(static_cast<int64_t>(tasks.size()), 1, [&](int64_t i, int64_t, int worker) {
    const auto task = static_cast<size_t>(i);
    kernels_.join_spans(with_scratch(tasks[task], worker), sums_of_task[task],
                        spans_of(tasks[task]));
  });
}

}  // namespace exo::cpu
