#include "inference/fake_engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "inference/block_manager.h"
#include "inference/sampler.h"

namespace exo {
namespace {

constexpr int kWidth = 8;  // one byte of the state per element: exact in f32 and in bf16

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15ull + b + 0x632be59bd9b4e019ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

uint64_t embed(TokenId id, int position) {
  return mix(static_cast<uint64_t>(id) + 1, static_cast<uint64_t>(position));
}
// A row of a picture: its id says nothing of what is seen there.
uint64_t embed(TokenId id, int position, std::span<const PlacedImage> images) {
  uint64_t state = embed(id, position);
  for (const PlacedImage& placed : images) {
    const int row = position - placed.first_position;
    if (row < 0 || row >= placed.token_count) continue;
    for (const uint8_t byte : placed.image->rgb) state = mix(state, byte);
    state = mix(state, static_cast<uint64_t>(row));
  }
  return state;
}
uint64_t cell_of(uint64_t state, int layer, int position) {
  return mix(state, (static_cast<uint64_t>(layer) << 32) + static_cast<uint64_t>(position)) | 1;
}

std::vector<float> logits_of(uint64_t state, int vocab_size) {
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  for (int id = 0; id < vocab_size; ++id)
    logits[id] = static_cast<float>(mix(state, static_cast<uint64_t>(id)) >> 44) * 0x1.0p-17f;
  return logits;
}

class FakeEngine final : public InferenceEngine {
 public:
  explicit FakeEngine(const FakeEngineOptions& options)
      : options_(options),
        blocks_(options.block_count, options.block_size),
        cells_(static_cast<size_t>(options.block_count) * options.block_size *
                   static_cast<size_t>(options.shard.layers()),
               0) {}

  const Shard& shard() const override { return options_.shard; }
  int block_size() const override { return options_.block_size; }
  int kv_block_count() const override { return options_.block_count; }
  uint64_t memory_used_bytes() const override { return cells_.size() * sizeof(uint64_t); }

  Result<StepOutput> step(const Batch& batch, const HiddenStates* hidden) override {
    for (const CacheCommand& command : batch.commands) TRY(apply(command));
    if (steps_++ == options_.fail_step) return internal_error("this step was told to fail");
    std::vector<uint64_t> states = TRY(inputs(batch, hidden));
    size_t row = 0;
    for (const BatchEntry& entry : batch.entries) {
      std::vector<int32_t> taken;
      TRY(blocks_.write(entry.session, entry.first_position, entry.count, &taken));
      for (const int32_t block : taken) wipe(block, 0);
      for (int layer = 0; layer < options_.shard.layers(); ++layer)
        TRY(compute(layer, entry, std::span(states).subspan(row, entry.count)));
      row += static_cast<size_t>(entry.count);
    }
    return output(batch, states);
  }

 private:
  size_t cell_index(int layer, int32_t block, int slot) const {
    return (static_cast<size_t>(layer) * options_.block_count + block) * options_.block_size + slot;
  }
  // Forgotten positions must not be read: a real engine would find stale values there.
  void wipe(int32_t block, int first_slot) {
    for (int layer = 0; layer < options_.shard.layers(); ++layer)
      for (int slot = first_slot; slot < options_.block_size; ++slot)
        cells_[cell_index(layer, block, slot)] = 0;
  }
  Result<void> apply(const CacheCommand& command) {
    if (auto applied = blocks_.apply(command); !applied.ok()) return applied;
    if (const auto* trim = std::get_if<TrimSequence>(&command)) {
      const int length = blocks_.length(trim->session);
      const int slot = length % options_.block_size;
      if (slot != 0) wipe(blocks_.blocks(trim->session).back(), slot);
    }
    return {};
  }

  Result<std::vector<uint64_t>> inputs(const Batch& batch, const HiddenStates* hidden) const {
    const int rows = batch.rows();
    std::vector<uint64_t> states;
    if (options_.shard.first()) {
      for (const BatchEntry& entry : batch.entries) {
        if (static_cast<int>(entry.ids.size()) != entry.count)
          return corrupt("an entry of the first stage has an id for each of its rows");
        for (int i = 0; i < entry.count; ++i) {
          if (entry.ids[i] < 0 || entry.ids[i] >= options_.vocab_size)
            return corrupt(fmt::format("token id {} is outside the vocabulary", entry.ids[i]));
          states.push_back(embed(entry.ids[i], entry.first_position + i, entry.images));
        }
      }
      return states;
    }
    if (hidden == nullptr || hidden->rows != rows || hidden->width != kWidth ||
        hidden->dtype != options_.wire_dtype || hidden->bytes == nullptr ||
        hidden->bytes->size() != static_cast<size_t>(rows) * kWidth * element_bytes())
      return corrupt("the hidden states do not belong to the batch");
    for (int row = 0; row < rows; ++row) {
      uint64_t state = 0;
      for (int i = 0; i < kWidth; ++i) {
        uint32_t bits = 0;
        const size_t at = (static_cast<size_t>(row) * kWidth + i) * element_bytes();
        std::memcpy(&bits, hidden->bytes->data() + at, element_bytes());
        if (options_.wire_dtype == WireDtype::bf16) bits <<= 16;
        float value = 0;
        std::memcpy(&value, &bits, sizeof(value));
        if (!(value >= 0 && value <= 255)) return corrupt("a hidden state out of range");
        state |= static_cast<uint64_t>(value) << (8 * i);
      }
      states.push_back(state);
    }
    return states;
  }

  Result<void> compute(int local_layer, const BatchEntry& entry, std::span<uint64_t> states) {
    const int layer = options_.shard.layer_begin + local_layer;
    const std::span<const int32_t> table = blocks_.blocks(entry.session);
    const auto cell = [&](int position) -> uint64_t& {
      return cells_[cell_index(local_layer, table[position / options_.block_size],
                               position % options_.block_size)];
    };
    for (int i = 0; i < entry.count; ++i)
      cell(entry.first_position + i) = cell_of(states[i], layer, entry.first_position + i);
    for (int i = 0; i < entry.count; ++i) {
      uint64_t seen = 0;
      for (int position = 0; position <= entry.first_position + i; ++position) {
        const uint64_t value = cell(position);
        if (value == 0)
          return internal_error(
              fmt::format("layer {} reads position {}, which was never written", layer, position));
        seen += mix(value, static_cast<uint64_t>(position));
      }
      states[i] = mix(states[i], seen);
    }
    return {};
  }

  size_t element_bytes() const { return options_.wire_dtype == WireDtype::f32 ? 4 : 2; }

  StepOutput output(const Batch& batch, const std::vector<uint64_t>& states) const {
    StepOutput result;
    result.vocab_size = options_.vocab_size;
    if (!options_.shard.last()) {
      result.hidden = to_hidden(states);
      return result;
    }
    size_t row = 0;
    for (const BatchEntry& entry : batch.entries) {
      for (int i = entry.count - entry.logit_rows; i < entry.count; ++i) {
        const std::vector<float> logits = logits_of(states[row + i], options_.vocab_size);
        result.logits.insert(result.logits.end(), logits.begin(), logits.end());
      }
      row += static_cast<size_t>(entry.count);
    }
    return result;
  }

  HiddenStates to_hidden(const std::vector<uint64_t>& states) const {
    HiddenStates hidden{options_.wire_dtype, static_cast<int>(states.size()), kWidth, nullptr};
    auto bytes = std::make_shared<std::vector<std::byte>>(states.size() * kWidth * element_bytes());
    for (size_t row = 0; row < states.size(); ++row)
      for (int i = 0; i < kWidth; ++i) {
        const auto value = static_cast<float>((states[row] >> (8 * i)) & 255);
        uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof(bits));
        if (options_.wire_dtype == WireDtype::bf16) bits >>= 16;
        std::memcpy(bytes->data() + (row * kWidth + i) * element_bytes(), &bits, element_bytes());
      }
    hidden.bytes = std::move(bytes);
    return hidden;
  }

  const FakeEngineOptions options_;
  BlockManager blocks_;
  std::vector<uint64_t> cells_;  // [layers, blocks, block_size]; 0 = not written
  int steps_ = 0;
};

}  // namespace

std::unique_ptr<InferenceEngine> make_fake_engine(const FakeEngineOptions& options) {
  return std::make_unique<FakeEngine>(options);
}

std::unique_ptr<InferenceEngine> make_fake_engine(const Placement& placement, size_t stage_index) {
  FakeEngineOptions options;
  options.shard = placement.stages.at(stage_index).shard;
  if (placement.card.vocab_size > 0) options.vocab_size = placement.card.vocab_size;
  options.block_count = placement.kv_capacity_tokens / options.block_size;
  options.wire_dtype = placement.wire_dtype;
  return make_fake_engine(options);
}

TokenId fake_greedy_token(std::span<const TokenId> ids, int layer_count, int vocab_size,
                          std::span<const PlacedImage> images) {
  std::vector<uint64_t> states;
  for (size_t i = 0; i < ids.size(); ++i)
    states.push_back(embed(ids[i], static_cast<int>(i), images));
  for (int layer = 0; layer < layer_count; ++layer) {
    uint64_t seen = 0;
    for (size_t i = 0; i < states.size(); ++i) {
      seen += mix(cell_of(states[i], layer, static_cast<int>(i)), i);
      states[i] = mix(states[i], seen);
    }
  }
  return greedy_token(logits_of(states.back(), vocab_size)).value_or(0);
}

}  // namespace exo
