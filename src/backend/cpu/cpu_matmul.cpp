// Matmuls of the cpu backend: activations are brought into the form of the kernel once per input,
// rows and outputs of all matrices that are asked for together are split over the threads, K never
// is.
#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_ops.h"
#include "backend/cpu/interleave.h"
#include "backend/cpu/spread.h"
#include "backend/op_shapes.h"
#include "tensor/quantize.h"

namespace exo::cpu {
namespace {

constexpr int64_t kManyRows = 6;               // from here on a row block is worth its cache
constexpr int64_t kChunkBytes = 64 << 10;      // of weights: less is not worth a thread's visit
constexpr int64_t kRowBlockBytes = 512 << 10;  // of activations: half of a common L2 cache

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Rows of x that a kernel takes best at a time, once there are many.
int64_t rows_in_cache(int64_t k) {
  return round_up(std::max<int64_t>(kRowBlockBytes / (4 * k), 16), 16);
}

// Of one task.
int64_t outs_of_task(int64_t rows, int64_t outs, int64_t row_bytes, int threads) {
  if (rows >= kManyRows)
    return std::min<int64_t>(64, round_up(std::max<int64_t>(outs / (2 * threads), 1), 16));
  const int64_t fair = outs / (4 * threads), least = kChunkBytes / std::max<int64_t>(row_bytes, 1);
  return round_up(std::max({fair, least, int64_t{1}}), 16);
}

}  // namespace

CpuOps::Plan CpuOps::plan(const Tensor& w) const {
  const auto stored = static_cast<int64_t>(row_bytes(w.dtype, w.width()));
  switch (w.dtype) {
    case DType::f32:
      return {Form::f32, kernels_.matmul_f32, stored};
    case DType::f16:
      return {Form::f32, kernels_.matmul_f16, stored};
    case DType::bf16:
      if (exact_ || kernels_.matmul_bf16_rounded == nullptr)
        return {Form::f32, kernels_.matmul_bf16, stored};
      return {Form::bf16, kernels_.matmul_bf16_rounded, stored};
    default:
      break;
  }
  if (const int scales = spread_scales(w.dtype); scales > 0 && !exact_)
    return {Form::int8, kernels_.spread[scales - 1], stored, true};
  if (!is_interleaved(w.dtype)) return {Form::f32, nullptr, stored};
  const int64_t stride = interleaved_row_bytes(w.dtype, w.width());
  if (exact_) return {Form::f32, nullptr, stride};
  return {Form::int8, kernels_.interleaved[static_cast<int>(w.dtype)].matmul, stride};
}

// A group of rows of weights as floats: [kGroupRows, k], of which `count` are wanted.
void CpuOps::widen(DType dtype, const std::byte* rows, int64_t count, int64_t k, float* out) const {
  if (is_interleaved(dtype))
    return kernels_.interleaved[static_cast<int>(dtype)].widen(rows, k, out);
  to_f32(dtype, rows, {out, static_cast<size_t>(count * k)});
}

// Exact arithmetic, and formats without a kernel of their own: a group of rows of weights is
// widened into `rows`, then the float kernel takes it.
void CpuOps::widened_matmul(DType dtype, const MatmulArgs& args, const Rect& rect,
                            float* rows) const {
  MatmulArgs mine = args;
  mine.w = reinterpret_cast<const std::byte*>(rows);
  mine.w_stride = args.k * static_cast<int64_t>(sizeof(float));
  for (int64_t o = rect.out_begin; o < rect.out_end; o += kGroupRows) {
    const int64_t count = std::min<int64_t>(kGroupRows, rect.out_end - o);
    widen(dtype, args.w + o * args.w_stride, count, args.k, rows);
    mine.out = args.out + o;
    kernels_.matmul_f32(mine, {rect.row_begin, rect.row_end, 0, count});
  }
}

void CpuOps::spread_matmul(const Part& part, const Rect& rect, std::byte* units) const {
  MatmulArgs mine = part.args;
  mine.w = units;
  for (int64_t o = rect.out_begin; o < rect.out_end; o += kGroupRows) {
    const int64_t count = std::min<int64_t>(kGroupRows, rect.out_end - o);
    spread_group(part.dtype, part.args.w + o * part.args.w_stride, count, mine.k, units);
    mine.out = part.args.out + o;
    part.plan.kernel(mine, {rect.row_begin, rect.row_end, 0, count});
  }
}

int64_t CpuOps::scratch_of(const Part& part) const {
  if (part.plan.spread) return spread_bytes(part.dtype, part.args.k);
  return part.plan.kernel == nullptr ? kGroupRows * part.args.k * 4 : 0;
}

// Panels read the same stretch of many rows. Where rows lie a large power of two apart these share
// a few sets of the second cache and drive each other out.
int64_t CpuOps::x_stride(Form form) const {
  constexpr int64_t kLineBytes = 64, kSets = 64, kFarBytes = 4 * kSets * kLineBytes;
  const int64_t k = activations_.k, element_bytes = form == Form::f32 ? 4 : 2;
  if (form == Form::int8 || kernels_.float_rows == 0 || activations_.rows < kManyRows) return k;
  const bool conflict =
      k * element_bytes % (kSets * kLineBytes) == 0 && k * element_bytes >= kFarBytes;
  return conflict ? k + (kSets / 2 + 1) * kLineBytes / element_bytes : k;
}

void CpuOps::compute_form(Form form, int64_t row, const float* x) {
  const int64_t k = activations_.k;
  if (form == Form::f32) {
    std::memcpy(activations_.f32->as<float>() + row * x_stride(form), x,
                static_cast<size_t>(k) * sizeof(float));
  } else if (form == Form::bf16) {
    kernels_.round_bf16(x, k, activations_.bf16->as<uint16_t>() + row * x_stride(form));
  } else {
    kernels_.quantize(x, k, activations_.quants->as<int8_t>() + row * k,
                      activations_.blocks->as<XBlock>() + row * (k / 32));
  }
}

void CpuOps::prepare(const Input& input, Form form) {
  Activations& a = activations_;
  const auto norm = input.norm ? input.norm->buffer : nullptr;
  if (a.x != input.x.buffer || a.norm != norm || a.eps != input.eps || a.k != input.x.width() ||
      a.rows != input.x.rows()) {
    a = Activations{.x = input.x.buffer, .norm = norm, .eps = input.eps};
    a.rows = input.x.rows();
    a.k = input.x.width();
  }
  const int64_t stride = x_stride(form);
  const auto count = static_cast<size_t>(a.rows * stride);
  if (form == Form::f32) {
    if (a.f32) return;
    if (!norm && stride == a.k) {
      a.f32 = std::static_pointer_cast<CpuBuffer>(input.x.buffer);
      return;
    }
    a.f32 = buffer(count * sizeof(float));
  } else if (form == Form::bf16) {
    if (a.bf16) return;
    a.bf16 = buffer(count * sizeof(uint16_t));
  } else {
    if (a.quants) return;
    a.quants = buffer(count);
    a.blocks = buffer(count / 32 * sizeof(XBlock));
  }
  reserve_scratch(a.k * static_cast<int64_t>(sizeof(float)));
  const int64_t chunk = std::max<int64_t>(1, 8192 / a.k);
  threads_.parallel_for(a.rows, chunk, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = floats(input.x) + row * a.k;
      if (norm) {
        float* normed = form == Form::f32 ? a.f32->as<float>() + row * stride
                                          : reinterpret_cast<float*>(scratch(worker, 0));
        kernels_.rms_norm(x, floats(*input.norm), a.k, a.eps, normed);
        x = normed;
      }
      if (form != Form::f32 || !norm) compute_form(form, row, x);
    }
  });
}

// Its activations are brought into the form that the matrix takes.
CpuOps::Part CpuOps::part_of(const Input& input, const Projection& by, int64_t row, int64_t rows,
                             Tensor& out) {
  const Plan plan = this->plan(*by.w);
  prepare(input, plan.form);
  const int64_t k = input.x.width(), stride = x_stride(plan.form);
  MatmulArgs args;
  args.k = k;
  args.x_stride = stride;
  if (plan.form == Form::f32) {
    args.x = reinterpret_cast<const float*>(activations_.f32->data()) + row * stride;
  } else if (plan.form == Form::bf16) {
    args.x_bf16 = activations_.bf16->as<uint16_t>() + row * stride;
  } else {
    args.x_q = activations_.quants->as<int8_t>() + row * stride;
    args.x_blocks = activations_.blocks->as<XBlock>() + row * (k / 32);
  }
  args.w = buffer_of(*by.w).data();
  args.w_stride = plan.w_stride;
  args.out_stride = out.width();
  args.out = mutable_floats(out) + row * args.out_stride;
  Part part{.plan = plan, .dtype = by.w->dtype, .args = args, .rows = rows, .outs = by.w->rows()};
  if (by.bias != nullptr) part.bias = floats(*by.bias);
  return part;
}

void CpuOps::finish(const Part& part, const Rect& rect) {
  if (part.bias == nullptr && part.residual == nullptr) return;
  for (int64_t row = rect.row_begin; row < rect.row_end; ++row) {
    float* to = part.args.out + row * part.args.out_stride;
    if (part.bias)
      for (int64_t o = rect.out_begin; o < rect.out_end; ++o) to[o] += part.bias[o];
    if (part.residual) {
      const float* residual = part.residual + row * part.args.out_stride;
      for (int64_t o = rect.out_begin; o < rect.out_end; ++o) to[o] += residual[o];
    }
  }
}

void CpuOps::compute(std::vector<Part> parts) {
  int64_t tasks = 0, scratch_bytes = 0;
  for (Part& part : parts) {
    const bool panels = part.plan.form != Form::int8 && kernels_.float_rows > 0;
    part.task_rows = part.rows;
    if (part.rows >= kManyRows)
      part.task_rows =
          std::min<int64_t>(part.rows, panels ? kernels_.float_rows : rows_in_cache(part.args.k));
    part.task_outs = outs_of_task(part.rows, part.outs, part.args.w_stride, threads_.size());
    part.row_tasks = (part.rows + part.task_rows - 1) / part.task_rows;
    part.first_task = tasks;
    tasks += part.row_tasks * ((part.outs + part.task_outs - 1) / part.task_outs);
    scratch_bytes = std::max(scratch_bytes, scratch_of(part));
  }
  if (scratch_bytes > 0) reserve_scratch(scratch_bytes);
  // Tasks that share weights follow each other.
  threads_.parallel_for(tasks, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; ++task) {
      const auto next = [](int64_t index, const Part& part) { return index < part.first_task; };
      const Part& part = *(std::upper_bound(parts.begin(), parts.end(), task, next) - 1);
      const int64_t index = task - part.first_task;
      const int64_t row = index % part.row_tasks * part.task_rows,
                    o = index / part.row_tasks * part.task_outs;
      const Rect rect{row, std::min(row + part.task_rows, part.rows), o,
                      std::min(o + part.task_outs, part.outs)};
      if (part.plan.spread)
        spread_matmul(part, rect, scratch(worker, scratch_bytes));
      else if (part.plan.kernel != nullptr)
        part.plan.kernel(part.args, rect);
      else
        widened_matmul(part.dtype, part.args, rect,
                       reinterpret_cast<float*>(scratch(worker, scratch_bytes)));
      finish(part, rect);
    }
  });
}

Tensor CpuOps::head_matmul(const Tensor& x, const Tensor& w, int heads) {
  Tensor out = make(shapes::head_matmul(x, w, heads));
  if (out.rows() == 0) return out;
  const MatmulKernel kernel = w.dtype == DType::f32   ? kernels_.matmul_f32
                              : w.dtype == DType::f16 ? kernels_.matmul_f16
                                                      : kernels_.matmul_bf16;
  const int64_t per_head = w.rows() / heads;
  MatmulArgs args;
  args.k = w.width();
  args.x_stride = x.width();
  args.w_stride = static_cast<int64_t>(row_bytes(w.dtype, args.k));
  args.out_stride = out.width();
  threads_.parallel_for(heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t head = begin; head < end; ++head) {
      MatmulArgs mine = args;
      mine.x = floats(x) + head * args.k;
      mine.w = buffer_of(w).data() + head * per_head * args.w_stride;
      mine.out = mutable_floats(out) + head * per_head;
      kernel(mine, {0, x.rows(), 0, per_head});
    }
  });
  return out;
}

Tensor CpuOps::matmul(const Tensor& x, const Tensor& w, const Tensor* bias) {
  const Projection by{&w, bias};
  return std::move(matmuls(x, {&by, 1}).front());
}

std::vector<Tensor> CpuOps::matmuls(const Tensor& x, std::span<const Projection> by) {
  std::vector<Tensor> out;
  for (const Projection& one : by) out.push_back(make(shapes::matmul(x, *one.w, one.bias)));
  if (x.rows() == 0) return out;
  std::vector<Part> parts;
  for (size_t i = 0; i < by.size(); ++i)
    parts.push_back(part_of({.x = x}, by[i], 0, x.rows(), out[i]));
  compute(std::move(parts));
  return out;
}

Tensor CpuOps::grouped_matmul(const Tensor& x, std::span<const RowGroup> groups) {
  Tensor out = make(shapes::grouped_matmul(x, groups));
  std::vector<Part> parts;
  int64_t row = 0;
  for (const RowGroup& group : groups) {
    if (group.rows > 0) parts.push_back(part_of({.x = x}, group.by, row, group.rows, out));
    row += group.rows;
  }
  compute(std::move(parts));
  return out;
}

Tensor CpuOps::norm_matmul(const Tensor& x, const Tensor& norm, float eps, const Tensor& w,
                           const Tensor* bias) {
  if (norm.width() != x.width()) return matmul(rms_norm(x, norm, eps), w, bias);
  Tensor out = make(shapes::matmul(x, w, bias));
  if (x.rows() == 0) return out;
  const Input input{.x = x, .norm = &norm, .eps = eps};
  compute({part_of(input, {&w, bias}, 0, x.rows(), out)});
  return out;
}

Tensor CpuOps::matmul_add(const Tensor& x, const Tensor& y, const Tensor& w, const Tensor* bias) {
  Tensor out = make(shapes::matmul(y, w, bias));
  shapes::same(x, out);
  if (y.rows() == 0) return out;
  Part part = part_of({.x = y}, {&w, bias}, 0, y.rows(), out);
  part.residual = floats(x);
  compute({part});
  return out;
}

}  // namespace exo::cpu
