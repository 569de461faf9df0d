#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "backend/cpu/interleave.h"
#include "backend/cpu/isa.h"
#include "backend/op_shapes.h"
#include "backend/ops_cases.h"
#include "tensor/quantize.h"

namespace exo {
namespace {

using cases::OpCase;
using cases::Run;

constexpr DType kWeightTypes[] = {
    DType::f32,         DType::f16,         DType::bf16,        DType::q8_0,
    DType::q4_0,        DType::q4_1,        DType::q5_0,        DType::q5_1,
    DType::q2_k,        DType::q3_k,        DType::q4_k,        DType::q5_k,
    DType::q6_k,        DType::iq4_nl,      DType::iq4_xs,      DType::mxfp4,
    DType::f8_32,       DType::affine2,     DType::affine3,     DType::affine6,
    DType::affine8,     DType::affine2_f32, DType::affine3_f32, DType::affine4_f32,
    DType::affine5_f32, DType::affine6_f32, DType::affine8_f32, DType::zero4,
    DType::zero8,       DType::tq1_0,       DType::iq2_xs,      DType::iq3_s,
    DType::iq1_s};

struct AttendAllInputs {
  Tensor q, k, v;
  AttentionParams params;
};

AttendAllInputs attend_all_inputs(Backend& backend, const cases::AttentionShape& shape, int rows) {
  return {cases::upload(backend, {rows, shape.heads * shape.k_dim}, 1),
          cases::upload(backend, {rows, shape.kv_heads * shape.k_dim}, 2),
          cases::upload(backend, {rows, shape.kv_heads * shape.v_dim}, 3),
          {shape.heads, shape.kv_heads, shape.k_dim, shape.v_dim,
           1.0f / std::sqrt(static_cast<float>(shape.k_dim))}};
}

OpCase attend_all(const cases::AttentionShape& shape, const std::vector<RowSpan>& spans) {
  OpCase c{.name = "attend_all/" + std::to_string(spans.size())};
  int rows = 0;
  for (const RowSpan& span : spans) {
    rows += span.row_count;
    c.flops += 2.0 * span.row_count * span.row_count * shape.heads * (shape.k_dim + shape.v_dim);
  }
  c.prepare = [=](Backend& backend) -> Run {
    const auto in = std::make_shared<AttendAllInputs>(attend_all_inputs(backend, shape, rows));
    return
        [=, &backend] { return backend.ops().attend_all(in->q, in->k, in->v, spans, in->params); };
  };
  return c;
}

void add_rope_cases(std::vector<OpCase>& all) {
  const auto add = [&](const char* name, auto body) {
    for (const auto& [rows, width] : {std::pair{1, 96}, {7, 33 * 6}, {300, 96}})
      all.push_back(cases::rows(name, rows, width, body));
  };
  using T = const Tensor&;
  for (const bool interleaved : {false, true}) {
    add(interleaved ? "rope_interleaved" : "rope", [=](Ops& ops, T x, T, T) {
      RopeParams params{.head_dim = static_cast<int>(x.width() / 3), .interleaved = interleaved};
      params.rotary_dims = params.head_dim / 4 * 2;
      params.attention_factor = 1.25f;
      for (int i = 0; i < params.rotary_dims / 2; ++i)
        params.inverse_freqs.push_back(std::pow(10000.0f, -static_cast<float>(i) / 8.0f));
      std::vector<int32_t> positions;
      for (int i = 0; i < x.rows(); ++i) positions.push_back(i * 37);
      return ops.rope(x, positions, params);
    });
  }
}

void add_row_cases(std::vector<OpCase>& all) {
  const auto add = [&](const char* name, auto body) {
    for (const auto& [rows, width] : {std::pair{1, 96}, {7, 33 * 6}, {300, 96}})
      all.push_back(cases::rows(name, rows, width, body));
  };
  using T = const Tensor&;
  add("rms_norm", [](Ops& ops, T x, T, T weight) { return ops.rms_norm(x, weight, 1e-5f); });
  add("layer_norm", [](Ops& ops, T x, T y, T weight) {
    const int32_t row = 0;
    return ops.layer_norm(x, weight, ops.gather_rows(y, {&row, 1}), 1e-5f);
  });
  add("add", [](Ops& ops, T x, T y, T) { return ops.add(x, y); });
  add("multiply", [](Ops& ops, T x, T y, T) { return ops.multiply(x, y); });
  add("scale", [](Ops& ops, T x, T, T) { return ops.scale(x, -0.37f); });
  add("silu", [](Ops& ops, T x, T, T) { return ops.silu(ops.scale(x, 12.0f)); });
  for (const Gelu kind : {Gelu::erf, Gelu::tanh, Gelu::quick})
    add("gelu", [=](Ops& ops, T x, T, T) { return ops.gelu(x, kind); });
  add("soft_cap", [](Ops& ops, T x, T, T) { return ops.soft_cap(ops.scale(x, 4), 5.0f); });
  add("clamped_swiglu", [](Ops& ops, T x, T y, T) { return ops.clamped_swiglu(x, y, 2.0f); });
  add("concat", [](Ops& ops, T x, T y, T) { return ops.concat_columns(x, ops.columns(y, 3, 11)); });
  add("columns", [](Ops& ops, T x, T, T) { return ops.columns(x, 7, x.width() - 20); });
  add("add_rows", [](Ops& ops, T x, T y, T) {
    const auto last = static_cast<int32_t>(x.rows() - 1);
    const int32_t rows[] = {last, 0, last};
    const float weights[] = {0.5f, -2.0f, 3.0f};
    const int32_t parts[] = {0, last / 2, last};
    return ops.add_rows(x, ops.gather_rows(y, parts), rows, weights);
  });
  add("swiglu", [](Ops& ops, T x, T y, T) { return ops.swiglu(x, y); });
  add("replace_rows", [](Ops& ops, T x, T y, T) {
    const auto last = static_cast<int32_t>(x.rows() - 1);
    const std::vector<int32_t> rows = last > 0 ? std::vector{last, 0} : std::vector{0};
    return ops.replace_rows(x, ops.gather_rows(y, rows), rows);
  });
  add("gather", [](Ops& ops, T x, T, T) {
    const int32_t rows[] = {static_cast<int32_t>(x.rows() - 1), 0};
    return ops.gather_rows(x, rows);
  });
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    OpCase c{.name = "head_matmul/" + std::string(traits(dtype).name)};
    c.prepare = [=](Backend& backend) -> Run {
      const Tensor x = cases::upload(backend, {9, 3 * 40}, 1);
      const Tensor w = cases::upload_weight(backend, dtype, {3 * 7, 40}, 2);
      return [=, &backend] { return backend.ops().head_matmul(x, w, 3); };
    };
    all.push_back(c);
  }
  add_rope_cases(all);
}

std::vector<OpCase> all_cases() {
  std::vector<OpCase> all;
  std::mt19937 random(11);
  const auto pick = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  };
  for (const DType dtype : kWeightTypes) {
    const int block = traits(dtype).block_size;
    for (int i = 0; i < 14; ++i) {
      const int k = block > 1 ? block * pick(1, block > 32 ? 3 : 9) : pick(1, 300);
      all.push_back(cases::matmul(dtype, pick(1, i < 7 ? 5 : 70), k, pick(1, 150), i % 4 == 3));
    }
    all.push_back(cases::grouped_matmul(dtype, block > 1 ? block : 70));
    all.push_back(cases::embed(dtype, 40, block > 32 ? block : 96));
    if (block == 1) all.push_back(cases::matmul(dtype, 70, 8192, 9, false));
  }
  all.push_back(cases::attention("decode", {.spans = {{40, 1}, {0, 1}, {15, 1}, {16, 1}}}));
  all.push_back(cases::attention("prefill", {.heads = 6, .kv_heads = 2, .spans = {{0, 50}}}));
  all.push_back(cases::attention("mixed", {.heads = 3,
                                           .kv_heads = 3,
                                           .k_dim = 24,
                                           .v_dim = 40,
                                           .block_size = 8,
                                           .spans = {{13, 20}, {99, 1}, {0, 3}}}));
  all.push_back(cases::attention("window", {.window = 24, .spans = {{70, 9}, {0, 30}, {23, 1}}}));
  all.push_back(cases::attention(
      "long",
      {.heads = 8, .kv_heads = 2, .k_dim = 64, .v_dim = 64, .spans = {{230, 61}, {191, 1}}}));
  all.push_back(cases::attention(
      "long_window", {.k_dim = 33, .v_dim = 17, .window = 70, .spans = {{230, 9}, {127, 2}}}));
  all.push_back(cases::attention(
      "wide_group", {.heads = 40, .kv_heads = 1, .k_dim = 80, .v_dim = 128, .spans = {{33, 3}}}));
  all.push_back(cases::attention(
      "cap_sinks",
      {.block_size = 5, .window = 7, .soft_cap = 5, .sinks = true, .spans = {{3, 11}, {0, 1}}}));
  all.push_back(cases::attention("spans", {.spans = {{1100, 2}, {513, 1}}}));
  all.push_back(cases::attention(
      "spans_cap_sinks",
      {.block_size = 5, .window = 600, .soft_cap = 5, .sinks = true, .spans = {{1300, 1}}}));
  all.push_back(attend_all({.heads = 4, .kv_heads = 4, .k_dim = 12, .v_dim = 12},
                           {{0, 1}, {1, 33}, {34, 64}}));
  all.push_back(
      attend_all({.heads = 6, .kv_heads = 2, .k_dim = 64, .v_dim = 40}, {{0, 97}, {97, 5}}));
  add_row_cases(all);
  return all;
}

std::vector<float> values_of(Backend& backend, const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(HostTensor{.shape = tensor.shape}.elements()));
  backend.download(tensor, values);
  return values;
}
std::vector<float> result_of(Backend& backend, const OpCase& c) {
  return values_of(backend, c.prepare(backend)());
}

// Largest difference, relative to the RMS of what is expected.
double error_of(const std::vector<float>& got, const std::vector<float>& expected) {
  EXPECT_EQ(got.size(), expected.size());
  double squares = 0, worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    squares += static_cast<double>(expected[i]) * expected[i];
    const double error = std::fabs(static_cast<double>(got[i]) - expected[i]);
    worst = std::isfinite(got[i]) ? std::max(worst, error) : INFINITY;
  }
  return worst / (std::sqrt(squares / static_cast<double>(got.size())) + 1e-30);
}

// Every backend that computes, at every level this machine has.
std::vector<BackendOptions> cpu_options() {
  std::vector<BackendOptions> all;
  for (const cpu::Kernels& kernels : cpu::isa_levels())
    for (const bool exact : {false, true})
      all.push_back({.threads = exact ? 1 : 3, .exact = exact, .isa = kernels.level});
  return all;
}

TEST(OpsConformance, EveryLevelAgreesWithReference) {
  std::string levels;
  for (const cpu::Kernels& kernels : cpu::isa_levels())
    levels += (levels.empty() ? "" : " ") + std::string(kernels.level);
  RecordProperty("levels", levels);  // in the report: which paths this machine took
  const auto reference = make_backend("reference", {}).value();
  for (const OpCase& c : all_cases()) {
    const std::vector<float> expected = result_of(*reference, c);
    for (const BackendOptions& options : cpu_options()) {
      const auto backend = make_backend("cpu", options).value();
      const double limit = options.exact ? c.exact_tolerance : c.tolerance;
      EXPECT_LE(error_of(result_of(*backend, c), expected), limit)
          << c.name << " on " << options.isa << (options.exact ? " exact" : "");
    }
  }
}

// What sums of products in few bits must hold: every code and every activation at its largest.
TEST(OpsConformance, LargestProductsDoNotOverflow) {
  const auto reference = make_backend("reference", {}).value();
  std::vector<float> w(3 * 512, 1.0f), x(5 * 512, -1.0f);
  for (size_t i = 0; i < w.size(); i += 16) w[i] = i % 32 == 0 ? -1.15f : -1.0f;
  std::fill(x.begin(), x.begin() + 512, 1.0f);
  for (const DType dtype : kWeightTypes) {
    if (!converts_from_f32(dtype)) continue;
    const auto bytes = std::make_shared<std::vector<std::byte>>(row_bytes(dtype, 512) * 3);
    from_f32(dtype, w, bytes->data());
    const auto run = [&](Backend& on) {
      const HostTensor host{dtype, {3, 512}, std::as_bytes(std::span(*bytes)), bytes};
      const Tensor weight = on.upload_weight(host, WeightFormat::as_stored).value();
      return values_of(on, on.ops().matmul(on.upload(x, {5, 512}).value(), weight, nullptr));
    };
    const std::vector<float> expected = run(*reference);
    for (const BackendOptions& options : cpu_options())
      EXPECT_LE(error_of(run(*make_backend("cpu", options).value()), expected), 1e-4)
          << traits(dtype).name << " on " << options.isa;
  }
}

// One block of 8 bits as its maker would write it: an f16 scale, f16 `shift`, 32 codes.
std::vector<std::byte> block_of_bytes(float scale, float shift, int even, int odd) {
  std::vector<std::byte> block(36, static_cast<std::byte>(odd));
  const uint16_t halves[] = {f32_to_f16(scale), f32_to_f16(shift)};
  std::memcpy(block.data(), halves, sizeof halves);
  for (size_t i = 4; i < block.size(); i += 2) block[i] = static_cast<std::byte>(even);
  return block;
}

void append(std::vector<std::byte>& to, const std::vector<std::byte>& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

TEST(OpsConformance, UnsignedBytesTakeTheirWholeRange) {
  const auto reference = make_backend("reference", {}).value();
  for (const DType dtype : {DType::affine8, DType::zero8}) {
    const auto bytes = std::make_shared<std::vector<std::byte>>();
    for (const auto& [even, odd] : {std::pair{0, 0}, {255, 255}, {0, 255}, {128, 127}})
      for (int block = 0; block < 2; ++block)
        append(*bytes, block_of_bytes(0.5f, dtype == DType::zero8 ? 3 : -17, even, odd));
    const auto run = [&](Backend& on) {
      const HostTensor host{dtype, {4, 64}, std::as_bytes(std::span(*bytes)), bytes};
      const Tensor weight = on.upload_weight(host, WeightFormat::as_stored).value();
      std::vector<float> x(5 * 64, -1.0f);
      std::fill(x.begin(), x.begin() + 64, 1.0f);
      return values_of(on, on.ops().matmul(on.upload(x, {5, 64}).value(), weight, nullptr));
    };
    const std::vector<float> expected = run(*reference);
    for (const BackendOptions& options : cpu_options())
      EXPECT_LE(error_of(run(*make_backend("cpu", options).value()), expected), 1e-5)
          << traits(dtype).name << " on " << options.isa;
  }
}

// What `exact` computes with: the numbers that dequantising the file gives, bit for bit.
TEST(OpsConformance, WidenedRowsAreTheStoredNumbers) {
  constexpr int64_t kRows = 21, kWidth = 512;
  for (const DType dtype : kWeightTypes) {
    std::vector<float> expected(kRows * kWidth);
    to_f32(dtype, cases::random_weight(dtype, {kRows, kWidth}, 6).data(), expected);
    std::vector<TokenId> ids(kRows);
    std::iota(ids.begin(), ids.end(), 0);
    for (const BackendOptions& options : cpu_options()) {
      const auto backend = make_backend("cpu", options).value();
      const Tensor table = cases::upload_weight(*backend, dtype, {kRows, kWidth}, 6);
      const std::vector<float> rows = values_of(*backend, backend->ops().embed(table, ids));
      EXPECT_EQ(std::memcmp(rows.data(), expected.data(), expected.size() * 4), 0)
          << traits(dtype).name << " on " << options.isa;
    }
  }
}

TEST(OpsConformance, NullHasTheSameShapes) {
  const auto null = make_backend("null", {}).value();
  const auto reference = make_backend("reference", {}).value();
  for (const OpCase& c : all_cases())
    EXPECT_EQ(c.prepare(*null)().shape, c.prepare(*reference)().shape) << c.name;
  EXPECT_EQ(null->memory_used_bytes(), 0u);
}

void expect_same_row(const std::vector<float>& all, size_t row, const std::vector<float>& alone,
                     const std::string& what) {
  ASSERT_LE((row + 1) * alone.size(), all.size());
  EXPECT_EQ(std::memcmp(all.data() + row * alone.size(), alone.data(), alone.size() * 4), 0)
      << what << " row " << row;
}

// Decision 6 of the design: bit for bit, whatever the company, the chunks and the threads.
TEST(OpsConformance, ARowOfAMatmulDoesNotDependOnItsCompany) {
  std::mt19937 random(5);
  for (const BackendOptions& options : cpu_options()) {
    BackendOptions other = options;
    other.threads = options.threads == 1 ? 4 : 1;
    const auto backend = make_backend("cpu", options).value();
    const auto solo = make_backend("cpu", other).value();
    for (const DType dtype : kWeightTypes) {
      const int64_t rows = 1 + static_cast<int64_t>(random() % 40);
      const int64_t block = traits(dtype).block_size;
      const int64_t k = block * (1 + static_cast<int64_t>(random() % (block == 1 ? 200 : 4)));
      const int64_t m = 1 + static_cast<int64_t>(random() % 200);
      const auto run = [&](Backend& on, int64_t begin, int64_t count) {
        std::vector<float> x = cases::random_values(static_cast<size_t>(rows * k), 9);
        x.erase(x.begin(), x.begin() + begin * k);
        x.resize(static_cast<size_t>(count * k));
        const Tensor w = cases::upload_weight(on, dtype, {m, k}, 2);
        return values_of(on, on.ops().matmul(on.upload(x, {count, k}).value(), w, nullptr));
      };
      const std::vector<float> all = run(*backend, 0, rows);
      for (int64_t row = 0; row < rows; ++row)
        expect_same_row(all, static_cast<size_t>(row), run(*solo, row, 1),
                        options.isa + " " + std::string(traits(dtype).name));
    }
  }
}

// More rows, outputs and k than a kernel takes at a time, and remainders of each; rows of x that
// lie a large power of two apart, which are laid out anew.
void check_large_matmul(const BackendOptions& options, DType dtype, int64_t k, bool with_norm) {
  constexpr int64_t kRows = 131, kOuts = 77;
  const auto backend = make_backend("cpu", options).value();
  const Tensor w = cases::upload_weight(*backend, dtype, {kOuts, k}, 3);
  const std::vector<float> x = cases::random_values(static_cast<size_t>(kRows * k), 8);
  const Tensor norm = backend->upload(cases::random_values(static_cast<size_t>(k), 4), {k}).value();
  const auto run = [&](int64_t begin, int64_t count) {
    const std::span<const float> values(x.data() + begin * k, static_cast<size_t>(count * k));
    const Tensor rows = backend->upload(values, {count, k}).value();
    Ops& ops = backend->ops();
    return values_of(*backend, with_norm ? ops.norm_matmul(rows, norm, 1e-5f, w, nullptr)
                                         : ops.matmul(rows, w, nullptr));
  };
  const std::vector<float> all = run(0, kRows);
  for (int64_t row = 0; row < kRows; ++row)
    expect_same_row(all, static_cast<size_t>(row), run(row, 1),
                    options.isa + " " + std::string(traits(dtype).name));
}

TEST(OpsConformance, ARowOfALargeFloatMatmulDoesNotDependOnItsCompany) {
  for (const BackendOptions& options : cpu_options())
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
      check_large_matmul(options, dtype, 1100, false);
      check_large_matmul(options, dtype, 8192, !options.exact);
    }
}

TEST(OpsConformance, MatricesSideBySideGiveTheBitsOfEachAlone) {
  for (const BackendOptions& options : cpu_options()) {
    const auto backend = make_backend("cpu", options).value();
    Ops& ops = backend->ops();
    for (const DType dtype : {DType::bf16, DType::q4_0, DType::q6_k, DType::f8_32}) {
      const Tensor a = cases::upload_weight(*backend, dtype, {150, 256}, 2),
                   b = cases::upload_weight(*backend, dtype, {150, 256}, 3);
      const Tensor x = cases::upload(*backend, {9, 256}, 1);
      const Projection both[] = {{&a}, {&b}};
      const std::vector<Tensor> beside = ops.matmuls(x, both);
      const RowGroup groups[] = {{{&a}, 8}, {{&b}, 1}};
      const std::vector<float> grouped = values_of(*backend, ops.grouped_matmul(x, groups));
      const std::vector<float> alone_a = values_of(*backend, ops.matmul(x, a, nullptr)),
                               alone_b = values_of(*backend, ops.matmul(x, b, nullptr));
      EXPECT_EQ(values_of(*backend, beside[0]), alone_a);
      EXPECT_EQ(values_of(*backend, beside[1]), alone_b);
      for (size_t row = 0; row < 9; ++row) {
        const auto& alone = row < 8 ? alone_a : alone_b;
        const auto at = static_cast<std::ptrdiff_t>(row * 150);
        EXPECT_TRUE(std::equal(alone.begin() + at, alone.begin() + at + 150, grouped.begin() + at))
            << options.isa << " " << traits(dtype).name << " row " << row;
      }
    }
  }
}

TEST(OpsConformance, ARowOfAttentionDoesNotDependOnItsChunk) {
  constexpr int kRows = 141;
  const cases::AttentionShape shape{
      .heads = 8, .k_dim = 40, .v_dim = 72, .window = 79, .sinks = true, .spans = {{0, kRows}}};
  for (const BackendOptions& options : cpu_options()) {
    const auto backend = make_backend("cpu", options).value();
    auto in = cases::attention_inputs(*backend, shape);
    in.params.sinks = &in.sinks;
    const auto run = [&](int begin, int count) {
      std::vector<int32_t> rows(static_cast<size_t>(count));
      std::iota(rows.begin(), rows.end(), begin);
      const AttentionSpan span{0, count, begin, in.tables[0]};
      const Tensor q = backend->ops().gather_rows(in.q, rows);
      return values_of(*backend, backend->ops().attention(q, in.layer, {&span, 1}, in.params));
    };
    const std::vector<float> all = run(0, kRows);
    for (int row = 0; row < kRows; ++row)
      expect_same_row(all, static_cast<size_t>(row), run(row, 1), options.isa);
  }
}

// Behind many keys one stream's spans of keys are attended on several threads.
TEST(OpsConformance, ARowOfAttentionDoesNotDependOnItsThreads) {
  constexpr int kRows = 1100;
  const cases::AttentionShape shape{
      .heads = 3, .kv_heads = 1, .k_dim = 24, .v_dim = 20, .sinks = true, .spans = {{0, kRows}}};
  for (const BackendOptions& options : cpu_options())
    for (const int window : {0, 700}) {
      const auto run = [&](int threads, int begin, int count) {
        BackendOptions with = options;
        with.threads = threads;
        const auto backend = make_backend("cpu", with).value();
        auto in = cases::attention_inputs(*backend, shape);
        in.params.sinks = &in.sinks;
        in.params.window = window;
        std::vector<int32_t> rows(static_cast<size_t>(count));
        std::iota(rows.begin(), rows.end(), begin);
        const AttentionSpan span{0, count, begin, in.tables[0]};
        const Tensor q = backend->ops().gather_rows(in.q, rows);
        return values_of(*backend, backend->ops().attention(q, in.layer, {&span, 1}, in.params));
      };
      for (const int row : {511, 512, 1023, 1024, kRows - 1})
        EXPECT_EQ(run(1, row, 1), run(5, row, 1)) << options.isa << " row " << row;
      const std::vector<float> chunk = run(1, 1000, 100);
      for (const int row : {1000, 1023, 1024, kRows - 1})
        expect_same_row(chunk, static_cast<size_t>(row - 1000), run(5, row, 1), options.isa);
    }
}

TEST(OpsConformance, ARowOfAttendAllDependsOnItsSpanOnly) {
  for (const BackendOptions& options : cpu_options()) {
    const auto backend = make_backend("cpu", options).value();
    const auto in = attend_all_inputs(*backend, {.heads = 4, .k_dim = 20, .v_dim = 24}, 90);
    const auto run = [&](int begin, int count, std::vector<RowSpan> spans) {
      std::vector<int32_t> rows(static_cast<size_t>(count));
      std::iota(rows.begin(), rows.end(), begin);
      const auto part = [&](const Tensor& x) { return backend->ops().gather_rows(x, rows); };
      return values_of(*backend, backend->ops().attend_all(part(in.q), part(in.k), part(in.v),
                                                           spans, in.params));
    };
    const std::vector<float> both = run(0, 90, {{0, 41}, {41, 49}});
    const std::vector<float> second = run(41, 49, {{0, 49}});
    EXPECT_EQ(std::memcmp(both.data() + 41 * 4 * 24, second.data(), second.size() * 4), 0)
        << options.isa;
  }
}

TEST(OpsConformance, TopKAndArgmaxPreferTheLowestId) {
  for (const char* name : {"reference", "cpu"}) {
    const auto backend = make_backend(name, {}).value();
    const std::vector<float> logits{1, 5, 3, 5, -2, 3, 0, 0, 0, 0, 0, 7};
    const Tensor x = backend->upload(logits, {2, 6}).value();
    EXPECT_EQ(backend->ops().argmax(x), (std::vector<TokenId>{1, 5})) << name;
    const Ops::TopK best = backend->ops().top_k(x, 4);
    EXPECT_EQ(best.ids, (std::vector<TokenId>{1, 3, 2, 5, 5, 0, 1, 2})) << name;
    EXPECT_EQ(best.values, (std::vector<float>{5, 5, 3, 3, 7, 0, 0, 0})) << name;
  }
}

TEST(OpsConformance, WeightsAreQuantisedAtUploadOrReadInPlace) {
  const auto backend = make_backend("cpu", {}).value();
  const auto values = std::make_shared<std::vector<float>>(cases::random_values(64 * 3, 1));
  const HostTensor matrix{DType::f32, {3, 64}, std::as_bytes(std::span(*values)), values};
  const Tensor packed = backend->upload_weight(matrix, WeightFormat::q4_0).value();
  EXPECT_EQ(packed.dtype, DType::q4_0);
  HostTensor vector = matrix;
  vector.shape = {192};
  EXPECT_EQ(backend->upload_weight(vector, WeightFormat::q8_0).value().dtype, DType::f32);
  const Tensor in_place = backend->upload_weight(matrix, WeightFormat::as_stored).value();
  EXPECT_EQ(values.use_count(), 4);  // values, two host tensors, the upload
  HostTensor odd = matrix;
  odd.bytes = odd.bytes.subspan(1);
  EXPECT_EQ(backend->upload_weight(odd, WeightFormat::as_stored).error().code,
            ErrorCode::invalid_argument);
}

TEST(OpsConformance, AWeightTakesTheBytesItIsCountedWith) {
  for (const DType dtype : kWeightTypes) {
    const auto backend = make_backend("cpu", {}).value();
    const HostTensor weight{dtype, {21, 512}, {}, nullptr};
    const Tensor held = cases::upload_weight(*backend, dtype, weight.shape, 1);
    const uint64_t counted = shapes::weight_bytes(weight, WeightFormat::as_stored);
    EXPECT_EQ(backend->memory_used_bytes(), counted) << traits(dtype).name;
  }
}

TEST(OpsConformance, WeightsOnDiskAreTheSameWeights) {
  BackendOptions options;
  options.threads = 1;
  const auto in_memory = make_backend("cpu", options).value();
  options.scratch_folder = std::filesystem::path(testing::TempDir()) / "exo_weights_test";
  const auto on_disk = make_backend("cpu", options).value();
  const std::vector<float> x = cases::random_values(2 * 256, 3);
  std::vector<float> results[2];
  for (const auto* backend : {&in_memory, &on_disk}) {
    const Tensor w = cases::upload_weight(**backend, DType::q4_k, {40, 256}, 1);
    const Tensor out =
        (*backend)->ops().matmul((*backend)->upload(x, {2, 256}).value(), w, nullptr);
    std::vector<float>& result = results[backend == &on_disk];
    result.resize(2 * 40);
    (*backend)->download(out, result);
  }
  EXPECT_EQ(results[0], results[1]);
  std::filesystem::remove_all(options.scratch_folder);
}

TEST(OpsConformance, UnknownNamesAreErrors) {
  EXPECT_NE(make_backend("gpu9", {}).error().message.find("cpu"), std::string::npos);
  EXPECT_NE(make_backend("cpu", {.isa = "mmx"}).error().message.find("scalar"), std::string::npos);
}

}  // namespace
}  // namespace exo
