// The inner loops of the cpu backend as a table of plain functions, one table per instruction set
// level. Each level is a translation unit of its own, compiled with its own flags; it starts from
// the table of the level below and replaces what it does better. Kernels touch raw memory only (no
// std:: code and nothing inline but static, which the linker could share with files compiled for
// older machines), cannot fail, and may run on any thread.
//
// Every kernel gives a row (and an output) the same bits whatever rectangle it is computed in:
//   float formats: 16 lanes over k, element k in lane k % 16, one fused multiply-add each, lanes
//   summed as a tree (i, i+8), (i, i+4), (i, i+2), (i, i+1);
//   block formats: the exact integer sums of each block of 32, then its multiply-adds in order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace exo::cpu {

struct Rect {
  int64_t row_begin, row_end;  // of x and out
  int64_t out_begin, out_end;  // rows of w
};

// What belongs to 32 elements of x in int8.
struct XBlock {
  float scale;
  float sum;      // scale * sum of the 32
  float sums[2];  // likewise of each half
};

// x [rows, k] in the form the kernel takes, w [outs, k] as stored or interleaved.
struct MatmulArgs {
  const float* x = nullptr;          // float kernels
  const uint16_t* x_bf16 = nullptr;  // matmul_bf16_rounded: stride x_stride
  const int8_t* x_q = nullptr;       // kernels of interleaved weights: [rows, k]
  const XBlock* x_blocks = nullptr;  // [rows, k / 32]
  int64_t x_stride = 0;              // elements between rows of x
  const std::byte* w = nullptr;      // row o at w + o * w_stride; interleaved: every 16th
  int64_t w_stride = 0;              // bytes
  int64_t k = 0;
  float* out = nullptr;  // (row, o) at out[row * out_stride + o]
  int64_t out_stride = 0;
};
using MatmulKernel = void (*)(const MatmulArgs& args, const Rect& rect);

// Rows [row_begin, row_end) of one sequence against its past, for the heads of one KV head.
struct AttendArgs {
  const float* q = nullptr;  // row r, head h of the group at q + r * q_stride + h * k_dim
  int64_t q_stride = 0;
  float* out = nullptr;  // likewise with v_dim
  int64_t out_stride = 0;
  const std::byte* k = nullptr;  // block b of this KV head at k + b * k_block_stride: [k_dim, keys]
  const std::byte* v = nullptr;  // likewise, [keys, v_dim]
  int64_t k_block_stride = 0;    // bytes
  int64_t v_block_stride = 0;
  const int32_t* blocks = nullptr;  // block table
  const float* sinks = nullptr;     // [group] or null
  int block_size = 0;
  int group = 0;  // heads that share the KV head
  int k_dim = 0, v_dim = 0;
  int rows = 0;
  int first_position = 0;  // of row 0
  int window = 0;
  int length = 0;     // not 0: every row sees positions [0, length)
  bool half = false;  // K and V are f16, else f32
  float scale = 1, soft_cap = 0;
  std::byte* scratch = nullptr;  // attend_scratch_bytes(...), 64-byte aligned
};

// Keys are taken by tiles of whole blocks, about 64 keys: the softmax of a row is done tile by
// tile.
static constexpr int attend_tile_keys(int block_size) {
  return block_size < 64 ? 64 / block_size * block_size : block_size;
}

// And the keys by spans of whole tiles, about 512 keys, each with a softmax of its own: spans may
// be attended on different threads and joined in their order.
static constexpr int attend_span_keys(int block_size) {
  const int tile = attend_tile_keys(block_size);
  return tile < 512 ? 512 / tile * tile : tile;
}
// Positions before this one are seen by some row.
static inline int attend_sight(const AttendArgs& args) {
  return args.length > 0 ? args.length : args.first_position + args.rows;
}
// Spans [first, end) hold keys that some row sees.
static inline int attend_first_span(const AttendArgs& args) {
  const int first = args.window > 0 ? args.first_position - args.window + 1 : 0;
  return first > 0 ? first / attend_span_keys(args.block_size) : 0;
}
static inline int attend_end_span(const AttendArgs& args) {
  const int keys = attend_span_keys(args.block_size);
  return (attend_sight(args) + keys - 1) / keys;
}
// What attending one span leaves of each vector (row * group + head): the sum of its weighted
// values [vectors, v_dim], its greatest score, the sum of its weights.
static inline int64_t attend_sums_floats(int64_t vectors, int64_t v_dim) {
  return vectors * (v_dim + 2);
}

static inline int64_t attend_scratch_bytes(int64_t vectors, int block_size, int64_t k_dim,
                                           int64_t v_dim) {
  return 4 * (vectors * (k_dim + attend_tile_keys(block_size)) +
              2 * attend_sums_floats(vectors, v_dim)) +
         4 * 64;
}

struct LayerNormArgs {
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* bias = nullptr;
  int64_t width = 0;
  float eps = 0;
};

constexpr int kDTypes = static_cast<int>(DType::zero8) + 1;

// Of one block format (interleave.h).
struct InterleavedKernels {
  MatmulKernel matmul = nullptr;  // x in int8; rect.out_begin a multiple of 16
  // A group's 16 rows as the floats that dequantising gives: out [16, k].
  void (*widen)(const std::byte* group, int64_t k, float* out) = nullptr;
};

struct Kernels {
  const char* level = "";
  MatmulKernel matmul_f32 = nullptr;
  MatmulKernel matmul_f16 = nullptr;
  MatmulKernel matmul_bf16 = nullptr;          // x in f32
  MatmulKernel matmul_bf16_rounded = nullptr;  // x rounded to bf16; null below avx512_bf16
  int float_rows = 0;                          // of x, best at a time; 0: as many as a cache holds
  InterleavedKernels interleaved[kDTypes];     // by DType
  MatmulKernel spread[2] = {};                 // of units with one scale a row, with two (spread.h)
  void (*quantize)(const float* x, int64_t k, int8_t* q, XBlock* blocks) = nullptr;
  void (*round_bf16)(const float* x, int64_t count, uint16_t* out) = nullptr;  // likewise
  void (*to_f16)(const float* x, int64_t count, uint16_t* out) = nullptr;
  void (*rms_norm)(const float* x, const float* weight, int64_t width, float eps,
                   float* out) = nullptr;
  void (*layer_norm)(const LayerNormArgs& args, float* out) = nullptr;
  // out = silu(gate) * up, or silu(gate) when up is null.
  void (*silu)(const float* gate, const float* up, int64_t count, float* out) = nullptr;
  // All spans; or each by itself into attend_sums_floats(...), and `count` of them, one after the
  // other from `sums` on, joined into out: the same bits.
  void (*attend)(const AttendArgs& args) = nullptr;
  void (*attend_span)(const AttendArgs& args, int span, float* sums) = nullptr;
  void (*join_spans)(const AttendArgs& args, const float* sums, int count) = nullptr;
};

// Each level's file defines one of these; it replaces entries of the level below.
void fill_scalar(Kernels& kernels);
void fill_avx2(Kernels& kernels);
void fill_avx_vnni(Kernels& kernels);
void fill_avx512(Kernels& kernels);
void fill_avx512_vnni(Kernels& kernels);
void fill_avx512_bf16(Kernels& kernels);
void fill_neon(Kernels& kernels);
void fill_neon_dotprod(Kernels& kernels);
void fill_neon_i8mm(Kernels& kernels);

}  // namespace exo::cpu
