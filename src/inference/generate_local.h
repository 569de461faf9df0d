// A whole model in this process, over one or several shards in a row, without Scheduler or network:
// what `exo debug logits`, `exo debug generate` and `exo bench` run, and what golden tests compare.
// One thread. Errors are those of the engines.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "inference/inference_engine.h"
#include "model/model_files.h"

namespace exo {

struct LocalRingOptions {
  std::vector<std::pair<int, int>> shards;  // half-open layer ranges in order; empty = one shard
  std::string backend = "cpu";
  BackendOptions backend_options;
  WeightFormat weight_format = WeightFormat::as_stored;
  WireDtype wire_dtype = WireDtype::f32;
  int kv_capacity_tokens = 0;  // 0 = one sequence of the model's context, at most 8192
  int chunk_rows = 512;        // of a prompt computed at once
};

// "0:5,5:12" -> {{0, 5}, {5, 12}}; checked against the model by LocalRing::load.
Result<std::vector<std::pair<int, int>>> parse_shards(std::string_view text);

struct BenchOptions {
  int prompt_tokens = 512;
  int output_tokens = 128;
  int sequences = 1;
  int depth_tokens = 0;  // of each sequence, computed before the clock starts
};
struct BenchResult {
  int prompt_tokens = 0;  // of each sequence, after clamping to the context
  int output_tokens = 0;
  int sequences = 0;
  int depth_tokens = 0;
  double prefill_seconds = 0;  // all sequences
  double decode_seconds = 0;
  double prefill_tokens_per_second() const {
    return prefill_seconds > 0 ? prompt_tokens * sequences / prefill_seconds : 0;
  }
  double decode_tokens_per_second() const {
    return decode_seconds > 0 ? output_tokens * sequences / decode_seconds : 0;
  }
};

// The kv_capacity_tokens a ring needs for it.
int bench_kv_tokens(const ModelFiles& model, const BenchOptions& options);

class LocalRing {
 public:
  static Result<LocalRing> load(const ModelFiles& model, const LocalRingOptions& options);

  // Pictures stand, in order, where the ids hold the model's image token.
  using Images = std::span<const std::shared_ptr<const Image>>;

  // Logits of every position: [ids.size(), vocab_size].
  Result<std::vector<float>> logits(std::span<const TokenId> ids, Images images = {});
  // The `count` most probable next ids one after another; end-of-sequence is not special.
  Result<std::vector<TokenId>> greedy(std::span<const TokenId> ids, int count, Images images = {});
  // Prefill behind the depth, then decode of all sequences together; clamped to the context and the
  // KV room, the depth first.
  Result<BenchResult> bench(const BenchOptions& options);

  int vocab_size() const { return card_.vocab_size; }
  int context_length() const { return context_length_; }  // tokens: of the model and of its KV room
  int image_size() const { return card_.image_size; }     // 0: it does not see pictures
  uint64_t memory_used_bytes() const;
  // Weights that one step of decode reads where every expert is used: all but the rows of an
  // embedding table that is not the head.
  uint64_t step_bytes() const {
    return card_.total_bytes() - (card_.tied_embedding ? 0 : card_.embedding_bytes);
  }

 private:
  // One batch through all shards; logits as the entries ask.
  Result<std::vector<float>> run(Batch batch);
  struct Prompt {
    SessionId session;
    std::span<const TokenId> ids;
    std::vector<PlacedImage> images = {};
    int start = 0;  // position of ids[0]
  };
  Result<std::vector<float>> prefill(const Prompt& prompt, bool every_position);
  Result<std::vector<TokenId>> greedy_of(const Prompt& prompt, int count);
  Result<void> release(const std::vector<SessionId>& sessions);
  Result<void> check_length(size_t prompt, int output) const;

  std::vector<std::unique_ptr<InferenceEngine>> engines_;
  ModelCard card_;
  int context_length_ = 0;
  int kv_blocks_ = 0;
  int chunk_rows_ = 512;
  uint64_t sessions_ = 0;
};

}  // namespace exo
