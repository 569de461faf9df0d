#include "inference/local_engine.h"

#include <fmt/core.h>

#include <cstring>

#include "inference/block_manager.h"
#include "inference/image_features.h"
#include "model/decoder.h"
#include "model/kv_cache.h"
#include "model/weights.h"

namespace exo {
namespace {

size_t wire_bytes(WireDtype dtype) { return dtype == WireDtype::f32 ? 4 : 2; }

HiddenStates pack(std::span<const float> values, int rows, WireDtype dtype) {
  HiddenStates hidden{dtype, rows, 0, nullptr};
  auto bytes = std::make_shared<std::vector<std::byte>>(values.size() * wire_bytes(dtype));
  if (dtype == WireDtype::f32) {
    if (!values.empty()) std::memcpy(bytes->data(), values.data(), bytes->size());
  } else {
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = f32_to_bf16(values[i]);
      std::memcpy(bytes->data() + 2 * i, &bits, sizeof(bits));
    }
  }
  hidden.bytes = std::move(bytes);
  return hidden;
}

std::vector<float> unpack(const HiddenStates& hidden) {
  std::vector<float> values(hidden.bytes->size() / wire_bytes(hidden.dtype));
  if (hidden.dtype == WireDtype::f32) {
    if (!values.empty()) std::memcpy(values.data(), hidden.bytes->data(), hidden.bytes->size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, hidden.bytes->data() + 2 * i, sizeof(bits));
    values[i] = bf16_to_f32(bits);
  }
  return values;
}

struct Parts {
  const Architecture* architecture;
  Config config;
  LocalEngineOptions options;
  std::unique_ptr<Backend> backend;
  Weights weights;
  KvCache kv;
  int block_count;
};

class LocalEngine final : public InferenceEngine {
 public:
  explicit LocalEngine(Parts parts)
      : parts_(std::move(parts)), blocks_(parts_.block_count, kKvBlockSize) {}

  const Shard& shard() const override { return parts_.options.shard; }
  int block_size() const override { return kKvBlockSize; }
  int kv_block_count() const override { return parts_.block_count; }
  uint64_t memory_used_bytes() const override { return parts_.backend->memory_used_bytes(); }

  Result<StepOutput> step(const Batch& batch, const HiddenStates* hidden) override {
    for (const CacheCommand& command : batch.commands) TRY(blocks_.apply(command));
    TRY(check_entries(batch));
    if (!shard().first()) TRY(check_hidden(batch, hidden));
    for (const BatchEntry& entry : batch.entries)
      TRY(blocks_.write(entry.session, entry.first_position, entry.count));
    if (batch.rows() == 0) return empty_output();
    Tensor input;
    if (!shard().first())
      input = TRY(parts_.backend->upload(unpack(*hidden), {hidden->rows, hidden->width}));
    std::vector<RowReplacement> pictures;
    if (shard().first() && parts_.config.vision)
      pictures = TRY(pictures_.replacements(batch, parts_.config, parts_.weights, *parts_.backend));
    return compute(batch, std::move(input), pictures);
  }

 private:
  Result<void> check_entries(const Batch& batch) const {
    int64_t rows = 0;
    for (const BatchEntry& entry : batch.entries) {
      if (entry.count <= 0 || entry.logit_rows < 0 || entry.logit_rows > entry.count)
        return corrupt("a batch entry with impossible counts");
      rows += entry.count;
      if (!shard().first()) continue;
      if (entry.ids.size() != static_cast<size_t>(entry.count))
        return corrupt("an entry of the first stage has an id for each of its rows");
      TRY(ImageFeatures::check(entry, parts_.config));
      for (const TokenId id : entry.ids)
        if (id < 0 || id >= parts_.config.vocab_size)
          return invalid_argument(fmt::format("token id {} is outside the vocabulary of {}", id,
                                              parts_.config.vocab_size));
    }
    const int64_t room = static_cast<int64_t>(parts_.block_count) * kKvBlockSize;
    if (rows > room)
      return resource_exhausted(fmt::format("a batch of {} rows is too large", rows));
    return {};
  }

  Result<void> check_hidden(const Batch& batch, const HiddenStates* hidden) const {
    const int rows = batch.rows();
    if (rows == 0) return {};
    const size_t values = static_cast<size_t>(rows) * parts_.config.hidden_size;
    if (hidden != nullptr && hidden->bytes != nullptr && hidden->rows == rows &&
        hidden->width == parts_.config.hidden_size &&
        hidden->bytes->size() == values * wire_bytes(hidden->dtype))
      return {};
    return corrupt(
        fmt::format("the hidden states are not {} rows of {}", rows, parts_.config.hidden_size));
  }

  StepOutput empty_output() const {
    StepOutput output;
    output.vocab_size = parts_.config.vocab_size;
    if (!shard().last()) output.hidden = to_hidden({}, 0);
    return output;
  }
  HiddenStates to_hidden(std::span<const float> values, int rows) const {
    HiddenStates hidden = pack(values, rows, parts_.options.wire_dtype);
    hidden.width = parts_.config.hidden_size;
    return hidden;
  }

  StepOutput compute(const Batch& batch, Tensor input, std::span<const RowReplacement> pictures) {
    std::vector<TokenId> ids;
    std::vector<int32_t> positions, logit_rows;
    std::vector<AttentionSpan> spans;
    for (const BatchEntry& entry : batch.entries) {
      const int row = static_cast<int>(positions.size());
      const int length = std::max(entry.sequence_length, entry.first_position + entry.count);
      spans.push_back(
          {row, entry.count, entry.first_position, blocks_.blocks(entry.session), length});
      ids.insert(ids.end(), entry.ids.begin(), entry.ids.end());
      for (int i = 0; i < entry.count; ++i) positions.push_back(entry.first_position + i);
      for (int i = entry.count - entry.logit_rows; i < entry.count; ++i)
        logit_rows.push_back(row + i);
    }
    const StepContext context{parts_.config, parts_.weights, parts_.backend->ops(),
                              parts_.kv,     positions,      spans};
    const DecoderInput decoder_input{ids, std::move(input), logit_rows, pictures};
    const Tensor result = decode(*parts_.architecture, shard(), context, decoder_input);

    StepOutput output;
    output.vocab_size = parts_.config.vocab_size;
    std::vector<float> values(static_cast<size_t>(result.rows() * result.width()));
    if (!result.empty()) parts_.backend->download(result, values);
    if (shard().last()) {
      output.logits = std::move(values);
    } else {
      output.hidden = to_hidden(values, static_cast<int>(positions.size()));
    }
    return output;
  }

  Parts parts_;
  BlockManager blocks_;
  ImageFeatures pictures_;
};

}  // namespace

LocalEngineOptions engine_options(const Placement& placement, size_t stage_index,
                                  std::string backend, BackendOptions backend_options) {
  LocalEngineOptions options;
  options.shard = placement.stages.at(stage_index).shard;
  options.backend = std::move(backend);
  options.backend_options = std::move(backend_options);
  options.backend_options.exact = placement.exact;
  options.weight_format = placement.weight_format;
  options.wire_dtype = placement.wire_dtype;
  options.kv_capacity_tokens = placement.kv_capacity_tokens;
  return options;
}

Result<std::unique_ptr<InferenceEngine>> make_local_engine(const ModelFiles& model,
                                                           const LocalEngineOptions& options) {
  if (is_encoder(*model.architecture)) return cannot_chat(model.card.id);
  const int blocks = options.kv_capacity_tokens / kKvBlockSize;
  if (blocks < 1)
    return invalid_argument(
        fmt::format("a KV cache of {} tokens is too small", options.kv_capacity_tokens));
  auto backend = TRY(make_backend(options.backend, options.backend_options));
  Weights weights = TRY(load_weights(*model.architecture, model.config, *model.tensors, *backend,
                                     {options.shard, options.weight_format}));
  KvCache kv = TRY(KvCache::allocate(*model.architecture, model.config, options.shard, *backend,
                                     {blocks, kKvBlockSize}));
  return std::unique_ptr<InferenceEngine>(std::make_unique<LocalEngine>(
      Parts{model.architecture, model.config, options, std::move(backend), std::move(weights),
            std::move(kv), blocks}));
}

}  // namespace exo
