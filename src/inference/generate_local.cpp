#include "inference/generate_local.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "base/world.h"
#include "inference/local_engine.h"
#include "inference/place_images.h"
#include "inference/sampler.h"
#include "inference/sequence_images.h"

namespace exo {
namespace {

constexpr int kDefaultKvTokens = 8192;

Result<std::pair<int, int>> parse_range(std::string_view text) {
  const size_t colon = text.find(':');
  std::pair<int, int> range;
  const auto parse = [](std::string_view digits, int& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() && value >= 0;
  };
  if (colon == std::string_view::npos || !parse(text.substr(0, colon), range.first) ||
      !parse(text.substr(colon + 1), range.second) || range.first >= range.second)
    return invalid_argument(
        fmt::format("'{}' is no layer range; write first:end, for example 0:5", text));
  return range;
}

BatchEntry entry_of(SessionId session, int first_position, std::span<const TokenId> ids,
                    int logit_rows) {
  return {
      session, first_position, {ids.begin(), ids.end()}, static_cast<int>(ids.size()), logit_rows};
}

}  // namespace

Result<std::vector<std::pair<int, int>>> parse_shards(std::string_view text) {
  std::vector<std::pair<int, int>> shards;
  while (true) {
    const size_t comma = text.find(',');
    shards.push_back(TRY(parse_range(text.substr(0, comma))));
    if (comma == std::string_view::npos) return shards;
    text.remove_prefix(comma + 1);
  }
}

Result<LocalRing> LocalRing::load(const ModelFiles& model, const LocalRingOptions& options) {
  const int layers = model.config.layer_count;
  auto shards = options.shards;
  if (shards.empty()) shards.push_back({0, layers});
  int next = 0;
  for (const auto& [begin, end] : shards) {
    if (begin != next || end <= begin)
      return invalid_argument(fmt::format("the shards must cover layers 0 to {} in order", layers));
    next = end;
  }
  if (next != layers)
    return invalid_argument(
        fmt::format("the shards end at layer {}, the model has {}", next, layers));
  LocalRing ring;
  ring.card_ = model.card;
  ring.chunk_rows_ = std::max(1, options.chunk_rows);
  const int kv_tokens = options.kv_capacity_tokens > 0
                            ? options.kv_capacity_tokens
                            : std::min(model.config.context_length, kDefaultKvTokens);
  const int kv_blocks = std::max(1, (kv_tokens + kKvBlockSize - 1) / kKvBlockSize);
  ring.kv_blocks_ = kv_blocks;
  ring.context_length_ = std::min(model.config.context_length, kv_blocks * kKvBlockSize);
  for (const auto& [begin, end] : shards) {
    LocalEngineOptions engine;
    engine.shard = {model.card.id, begin, end, layers};
    engine.backend = options.backend;
    engine.backend_options = options.backend_options;
    engine.weight_format = options.weight_format;
    engine.wire_dtype = options.wire_dtype;
    engine.kv_capacity_tokens = kv_blocks * kKvBlockSize;
    ring.engines_.push_back(TRY(make_local_engine(model, engine)));
  }
  return ring;
}

Result<std::vector<float>> LocalRing::run(Batch batch) {
  HiddenStates hidden;
  StepOutput output;
  for (size_t i = 0; i < engines_.size(); ++i) {
    output = TRY(engines_[i]->step(batch, i == 0 ? nullptr : &hidden));
    hidden = std::move(output.hidden);
  }
  return std::move(output.logits);
}

Result<std::vector<float>> LocalRing::prefill(const Prompt& prompt, bool every_position) {
  const std::span<const TokenId> ids = prompt.ids;
  std::vector<float> logits;
  for (size_t first = 0; first < ids.size(); first += static_cast<size_t>(chunk_rows_)) {
    const auto chunk =
        ids.subspan(first, std::min(ids.size() - first, static_cast<size_t>(chunk_rows_)));
    const bool last = first + chunk.size() == ids.size();
    const int rows = every_position ? static_cast<int>(chunk.size()) : (last ? 1 : 0);
    Batch batch;
    const int position = prompt.start + static_cast<int>(first);
    batch.entries.push_back(entry_of(prompt.session, position, chunk, rows));
    batch.entries.back().images =
        images_within(prompt.images, position, position + static_cast<int>(chunk.size()));
    batch.entries.back().sequence_length = prompt.start + static_cast<int>(ids.size());
    const std::vector<float> part = TRY(run(std::move(batch)));
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

Result<void> LocalRing::check_length(size_t prompt, int output) const {
  if (prompt == 0) return invalid_argument("there are no tokens to run");
  if (output >= 0 && prompt <= static_cast<size_t>(context_length_) &&
      prompt + static_cast<size_t>(output) <= static_cast<size_t>(context_length_))
    return {};
  return invalid_argument(fmt::format("{} and {} more tokens are longer than the context of {}",
                                      prompt, output, context_length_));
}

Result<std::vector<float>> LocalRing::logits(std::span<const TokenId> ids, Images images) {
  TRY(check_length(ids.size(), 0));
  auto placed = TRY(place_images(ids, images, card_));
  const Prompt prompt{{++sessions_}, ids, std::move(placed)};
  auto logits = prefill(prompt, true);
  TRY(release({prompt.session}));
  return logits;
}

Result<std::vector<TokenId>> LocalRing::greedy(std::span<const TokenId> ids, int count,
                                               Images images) {
  TRY(check_length(ids.size(), count));
  auto placed = TRY(place_images(ids, images, card_));
  const Prompt prompt{{++sessions_}, ids, std::move(placed)};
  auto chosen = greedy_of(prompt, count);
  TRY(release({prompt.session}));
  return chosen;
}

Result<std::vector<TokenId>> LocalRing::greedy_of(const Prompt& prompt, int count) {
  std::vector<TokenId> chosen;
  std::vector<float> logits = TRY(prefill(prompt, false));
  for (int i = 0; i < count; ++i) {
    const auto best = greedy_token(logits);
    if (!best) return internal_error("the model's output holds no number");
    chosen.push_back(*best);
    if (i + 1 == count) break;
    Batch batch;
    batch.entries.push_back(entry_of(prompt.session, static_cast<int>(prompt.ids.size()) + i,
                                     std::span(&chosen.back(), 1), 1));
    logits = TRY(run(std::move(batch)));
  }
  return chosen;
}

Result<void> LocalRing::release(const std::vector<SessionId>& sessions) {
  Batch batch;
  for (const SessionId session : sessions) batch.commands.push_back(ReleaseSequence{session});
  TRY(run(std::move(batch)));
  return {};
}

int bench_kv_tokens(const ModelFiles& model, const BenchOptions& options) {
  const int64_t each =
      std::min<int64_t>(static_cast<int64_t>(std::max(options.depth_tokens, 0)) +
                            std::max(options.prompt_tokens, 1) + std::max(options.output_tokens, 0),
                        model.config.context_length);
  const int64_t blocks = (each + kKvBlockSize - 1) / kKvBlockSize;
  return static_cast<int>(
      std::min<int64_t>(blocks * kKvBlockSize * std::max(options.sequences, 1), 1 << 30));
}

Result<BenchResult> LocalRing::bench(const BenchOptions& options) {
  BenchResult result;
  result.sequences = std::max(1, options.sequences);
  const int room = std::min(context_length_, kv_blocks_ / result.sequences * kKvBlockSize);
  if (room < 2) return resource_exhausted("there is no KV room for so many sequences");
  result.output_tokens = std::clamp(options.output_tokens, 0, room - 1);
  result.prompt_tokens = std::clamp(options.prompt_tokens, 1, room - result.output_tokens);
  result.depth_tokens =
      std::clamp(options.depth_tokens, 0, room - result.output_tokens - result.prompt_tokens);
  // Any ids will do: the work does not depend on them.
  std::vector<TokenId> ids;
  for (int i = 0; i < result.depth_tokens + result.prompt_tokens; ++i)
    ids.push_back(static_cast<TokenId>((i * 7919 + 13) % card_.vocab_size));
  const auto depth = std::span(ids).first(static_cast<size_t>(result.depth_tokens));
  const auto prompt = std::span(ids).subspan(depth.size());
  std::vector<SessionId> sessions;
  for (int i = 0; i < result.sequences; ++i) {
    sessions.push_back({++sessions_});
    TRY(prefill({sessions.back(), depth}, false));
  }
  const int64_t start_us = real_world().now_us();
  for (const SessionId session : sessions)
    TRY(prefill({session, prompt, {}, result.depth_tokens}, false));
  const int64_t middle_us = real_world().now_us();
  for (int step = 0; step < result.output_tokens; ++step) {
    Batch batch;
    for (const SessionId session : sessions)
      batch.entries.push_back(
          entry_of(session, static_cast<int>(ids.size()) + step,
                   std::span(&prompt[static_cast<size_t>(step) % prompt.size()], 1), 1));
    TRY(run(std::move(batch)));
  }
  const int64_t end_us = real_world().now_us();
  result.prefill_seconds = static_cast<double>(middle_us - start_us) * 1e-6;
  result.decode_seconds = static_cast<double>(end_us - middle_us) * 1e-6;
  TRY(release(sessions));
  return result;
}

uint64_t LocalRing::memory_used_bytes() const {
  uint64_t sum = 0;
  for (const auto& engine : engines_) sum += engine->memory_used_bytes();
  return sum;
}

}  // namespace exo
