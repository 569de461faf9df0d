// AWQ and GPTQ: matrices of 4 (GPTQ also 8) bits stored with the inputs outermost, scales and zero
// points for each group of inputs: value = (number - zero) * scale.
//
// AWQ, "gemm" layout (github.com/casper-hansen/AutoAWQ): qweight [in, out / 8], eight outputs of
// one input in a word, in the order 0, 2, 4, 6, 1, 3, 5, 7; qzeros [groups, out / 8] alike. GPTQ
// (github.com/AutoGPTQ/AutoGPTQ): qweight [in / 8, out], eight inputs of one output in a word;
// qzeros [groups, out / 8], less one unless the format is "gptq_v2"; g_idx names the group of each
// input, which are in order unless the activations were ordered by size ("desc_act").
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "tensor/packed_weight.h"

namespace exo {
namespace {

constexpr std::string_view kQuantized = ".qweight";

struct Settings {
  bool awq = false;
  int64_t bits = 4;
  int64_t group = 128;  // inputs; <= 0: all of them
  uint32_t zero_added = 0;
  bool symmetric = false;  // every zero point is the middle
};

// The numbers of one matrix, wherever the scheme keeps them.
struct Parts {
  WordReader quants, zeros;
  FloatReader scales;
  std::optional<WordReader> group_of;  // of each input, where they are not in order
  int64_t inputs = 0;
  int64_t outputs = 0;
};

class Int4Weight : public PackedWeight {
 public:
  Int4Weight(DType dtype, Parts parts, const Settings& settings)
      : PackedWeight({dtype, {parts.outputs, parts.inputs}}),
        parts_(std::move(parts)),
        settings_(settings) {}

  Result<void> pack_row(int64_t row, std::byte* out) const override {
    if (info().dtype == DType::f16) {
      widen_row(row, out);
      return {};
    }
    const auto block_bytes = static_cast<size_t>(traits(info().dtype).block_bytes);
    for (int64_t in = 0; in < width(); in += 32, out += block_bytes) {
      const int64_t group = in / settings_.group;
      const uint32_t zero = zero_at(group, row);
      BlockParts block;
      take(row, in, block.quants);
      block.scale = parts_.scales.at(group * parts_.outputs + row);
      block.bias = static_cast<float>(zero);
      if (info().dtype == DType::q4_0 && zero != 8)
        return corrupt(fmt::format("a zero point of {}, though 'sym' is true", zero));
      if (info().dtype == DType::affine4_f32 || info().dtype == DType::affine8_f32)
        block.bias *= -block.scale;
      TRY(put_block(info().dtype, block, out));
    }
    return {};
  }

 private:
  uint32_t mask() const { return (1u << settings_.bits) - 1; }
  int64_t per_word() const { return 32 / settings_.bits; }

  // Where output `row` lies in a word of AWQ.
  static int64_t awq_place(int64_t row) { return row % 2 * 4 + row % 8 / 2; }

  // The numbers of 32 inputs.
  void take(int64_t row, int64_t first, std::array<uint8_t, 32>& out) const {
    if (settings_.awq) {
      const int64_t words = parts_.outputs / 8, column = row / 8, shift = 4 * awq_place(row);
      for (int64_t i = 0; i < 32; ++i)
        out[static_cast<size_t>(i)] =
            static_cast<uint8_t>(parts_.quants.at((first + i) * words + column) >> shift & 15);
      return;
    }
    const int64_t per = per_word();
    for (int64_t i = 0; i < 32; i += per) {
      uint32_t word = parts_.quants.at((first + i) / per * parts_.outputs + row);
      for (int64_t k = 0; k < per; ++k, word >>= settings_.bits)
        out[static_cast<size_t>(i + k)] = static_cast<uint8_t>(word & mask());
    }
  }
  uint32_t zero_at(int64_t group, int64_t row) const {
    const uint32_t word = parts_.zeros.at(group * (parts_.outputs / per_word()) + row / per_word());
    const int64_t place = settings_.awq ? awq_place(row) : row % per_word();
    return (word >> place * settings_.bits & mask()) + settings_.zero_added;
  }

  // Inputs whose groups are mixed fit no block; float16 is what the makers' own code widens to.
  void widen_row(int64_t row, std::byte* out) const {
    std::array<uint8_t, 32> numbers;
    for (int64_t in = 0; in < width(); ++in, out += sizeof(uint16_t)) {
      if (in % 32 == 0) take(row, in, numbers);
      const int64_t group = parts_.group_of->at(in);
      const float number = static_cast<float>(numbers[static_cast<size_t>(in % 32)]) -
                           static_cast<float>(zero_at(group, row));
      const uint16_t bits = f32_to_f16(number * parts_.scales.at(group * parts_.outputs + row));
      std::memcpy(out, &bits, sizeof bits);
    }
  }

  Parts parts_;
  Settings settings_;
};

// Whether the inputs' groups are in order; each must be one that exists.
Result<bool> in_order(const WordReader& group_of, int64_t inputs, int64_t group, int64_t groups,
                      const std::string& name) {
  bool ordered = true;
  for (int64_t in = 0; in < inputs; ++in) {
    if (group_of.at(in) >= groups)
      return corrupt(fmt::format("'{}' names a group that does not exist", name));
    ordered = ordered && group_of.at(in) == in / group;
  }
  return ordered;
}

DType type_of(const Settings& settings, const Parts& parts) {
  if (parts.group_of) return DType::f16;
  if (parts.scales.tensor().dtype == DType::f32)
    return settings.bits == 4 ? DType::affine4_f32 : DType::affine8_f32;
  if (settings.bits == 8) return DType::zero8;
  return settings.symmetric ? DType::q4_0 : DType::zero4;
}

Result<Packed> make_weight(const TensorFiles& files, const std::string& module, Settings settings) {
  const std::string name = module + std::string(kQuantized);
  const Shape stored = TRY(files.describe(name)).shape;
  const int64_t per_word = 32 / settings.bits;
  if (stored.size() != 2 || stored[0] <= 0 || stored[1] <= 0 || stored[0] > INT32_MAX ||
      stored[1] > INT32_MAX)
    return corrupt(fmt::format("'{}' is no matrix", name));
  const int64_t inputs = settings.awq ? stored[0] : stored[0] * per_word;
  const int64_t outputs = settings.awq ? stored[1] * per_word : stored[1];
  if (settings.group <= 0) settings.group = inputs;
  if (inputs % settings.group != 0 || settings.group % 32 != 0 || outputs % per_word != 0)
    return unsupported(fmt::format("'{}': {} inputs in groups of {}, {} outputs", name, inputs,
                                   settings.group, outputs));
  const int64_t groups = inputs / settings.group;
  WordReader codes = TRY(find_words(files, name, stored));
  WordReader zeros = TRY(find_words(files, module + ".qzeros", {groups, outputs / per_word}));
  auto scales = TRY(find_floats(files, module + ".scales", {groups, outputs}));
  Parts parts{std::move(codes), std::move(zeros), std::move(scales), std::nullopt, inputs, outputs};
  const std::string order = module + ".g_idx";
  if (!settings.awq && files.contains(order)) {
    WordReader group_of = TRY(find_words(files, order, {inputs}));
    if (!TRY(in_order(group_of, inputs, settings.group, groups, order)))
      parts.group_of = std::move(group_of);
  }
  const DType dtype = type_of(settings, parts);
  return make_packed<Int4Weight>(dtype, std::move(parts), settings);
}

Result<PackedWeights> find_weights(const TensorFiles& files, const Settings& settings) {
  PackedWeights found;
  for (const std::string& name : files.names()) {
    if (!name.ends_with(kQuantized)) continue;
    const std::string module = name.substr(0, name.size() - kQuantized.size());
    found.add(module + ".weight", TRY(make_weight(files, module, settings)),
              {name, module + ".qzeros", module + ".scales", module + ".g_idx"});
  }
  return found;
}

}  // namespace

Result<PackedWeights> find_awq_weights(const TensorFiles& files, const JsonObject& settings) {
  const std::string version = TRY(get_string(settings, "version")).value_or("gemm");
  if (version != "gemm" && version != "GEMM")
    return unsupported(fmt::format("AWQ weights in the layout '{}'; known is 'gemm'", version));
  if (!TRY(get_bool(settings, "zero_point")).value_or(true))
    return unsupported("AWQ weights without zero points");
  const int64_t bits = TRY(get_int(settings, "bits")).value_or(4);
  if (bits != 4) return unsupported(fmt::format("AWQ weights of {} bits", bits));
  const int64_t group = TRY(get_int(settings, "group_size")).value_or(128);
  return find_weights(files, {.awq = true, .bits = 4, .group = group});
}

Result<PackedWeights> find_gptq_weights(const TensorFiles& files, const JsonObject& settings) {
  const std::string format = TRY(get_string(settings, "checkpoint_format")).value_or("gptq");
  if (format != "gptq" && format != "gptq_v2")
    return unsupported(fmt::format("GPTQ weights in the format '{}'", format));
  Settings read;
  read.bits = TRY(get_int(settings, "bits")).value_or(4);
  if (read.bits != 4 && read.bits != 8)
    return unsupported(fmt::format("GPTQ weights of {} bits; 4 and 8 are read", read.bits));
  read.group = TRY(get_int(settings, "group_size")).value_or(128);
  read.zero_added = format == "gptq" ? 1 : 0;
  read.symmetric = TRY(get_bool(settings, "sym")).value_or(false);
  return find_weights(files, read);
}

}  // namespace exo
