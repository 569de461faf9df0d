#include "topology/memory_need.h"

#include <fmt/core.h>

#include <limits>

namespace exo {
namespace {

constexpr int kMaxLayers = 1000;
constexpr uint64_t kMaxPartBytes = uint64_t{1} << 50;  // one layer, the embedding, the head
constexpr uint64_t kMaxKvBytes = uint64_t{1} << 30;

// Sixteenths of a bit per weight; 0 = unknown, counted as stored.
uint64_t weight_density(const std::string& dtype) {
  if (dtype == "f32") return 32 * 16;
  if (dtype == "f16" || dtype == "bf16") return 16 * 16;
  if (dtype == "q8_0") return 8 * 16 + 8;
  if (dtype == "q4_0") return 4 * 16 + 8;
  return 0;
}

uint64_t as_loaded(uint64_t bytes, uint64_t from, uint64_t to) {
  if (from == 0 || to == 0 || to >= from) return bytes;
  return (bytes / from + 1) * to;  // bytes <= 2^50: no overflow
}

}  // namespace

uint64_t saturating_add(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max()
                                                      : a + b;
}

uint64_t saturating_multiply(uint64_t a, uint64_t b) {
  if (a == 0 || b == 0) return 0;
  return a > std::numeric_limits<uint64_t>::max() / b ? std::numeric_limits<uint64_t>::max()
                                                      : a * b;
}

std::string in_gb(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= 100'000'000) return fmt::format("{:.1f} GB", value / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.0f} MB ({:.3f} GB)", value / 1e6, value / 1e9);
  return fmt::format("{:.0f} kB ({:.6f} GB)", value / 1e3, value / 1e9);
}

Result<MemoryNeed> MemoryNeed::make(const ModelCard& card, WeightFormat format) {
  const auto count = static_cast<size_t>(card.layer_count);
  if (card.layer_count < 1 || card.layer_count > kMaxLayers)
    return invalid_argument(fmt::format("model {}: {} layers; 1 to {} can be partitioned", card.id,
                                        card.layer_count, kMaxLayers));
  if (card.layer_bytes.size() != count)
    return invalid_argument(fmt::format("model {}: its card lists the size of {} layers, not {}",
                                        card.id, card.layer_bytes.size(), count));
  bool absurd = card.embedding_bytes > kMaxPartBytes || card.head_bytes > kMaxPartBytes ||
                card.kv_bytes_per_token_per_layer > kMaxKvBytes;
  for (const uint64_t bytes : card.layer_bytes) absurd = absurd || bytes > kMaxPartBytes;
  if (absurd)
    return invalid_argument(fmt::format("model {}: its card claims impossible sizes", card.id));

  const uint64_t from = weight_density(card.weight_dtype);
  const uint64_t to = format == WeightFormat::q8_0   ? weight_density("q8_0")
                      : format == WeightFormat::q4_0 ? weight_density("q4_0")
                                                     : 0;
  MemoryNeed need;
  need.prefix_.push_back(0);
  for (const uint64_t bytes : card.layer_bytes)
    need.prefix_.push_back(need.prefix_.back() + as_loaded(bytes, from, to));
  need.embedding_bytes_ = card.embedding_bytes;
  need.head_bytes_ = card.head_bytes;
  need.shared_bytes_ = card.shared_bytes();
  need.kv_bytes_per_token_per_layer_ = card.kv_bytes_per_token_per_layer;
  return need;
}

uint64_t MemoryNeed::weight_bytes(int layer_begin, int layer_end) const {
  const bool first = layer_begin == 0;
  const bool last = layer_end == layer_count();
  uint64_t bytes =
      prefix_[static_cast<size_t>(layer_end)] - prefix_[static_cast<size_t>(layer_begin)];
  if (first) bytes += embedding_bytes_ - (last ? shared_bytes_ : 0);
  if (last) bytes += head_bytes_;
  return bytes;
}

uint64_t MemoryNeed::kv_bytes(int layers, int kv_tokens) const {
  return saturating_multiply(kv_bytes_per_token_per_layer_ * static_cast<uint64_t>(layers),
                             static_cast<uint64_t>(kv_tokens));
}

uint64_t MemoryNeed::shard_bytes(int layer_begin, int layer_end, int kv_tokens) const {
  return saturating_add(weight_bytes(layer_begin, layer_end),
                        kv_bytes(layer_end - layer_begin, kv_tokens));
}

}  // namespace exo
