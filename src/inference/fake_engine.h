// FakeEngine: an InferenceEngine without arithmetic, for tests and the simulator only. Its logits
// are a hash of every id and picture of the sequence, passed through a paged KV cell per layer and
// position, so that a missing, misplaced or foreign KV write, a wrong block table or a wrong hidden
// state changes the token or is an Error. Several shards give exactly what one shard gives.
//
// One thread, as every engine.
#pragma once

#include <memory>
#include <span>

#include "core/placement.h"
#include "inference/inference_engine.h"

namespace exo {

struct FakeEngineOptions {
  Shard shard;
  int vocab_size = 64;
  int block_size = 8;
  int block_count = 64;
  WireDtype wire_dtype = WireDtype::f32;
  int fail_step = -1;  // this step (counted from 0) fails after its commands, once
};

std::unique_ptr<InferenceEngine> make_fake_engine(const FakeEngineOptions& options);

// The engine of one stage: layers, KV room and wire dtype as the placement says; vocabulary of the
// card, or 64.
std::unique_ptr<InferenceEngine> make_fake_engine(const Placement& placement, size_t stage_index);

// What the whole model answers greedily after `ids`: the expectation of tests, computed without
// any engine.
TokenId fake_greedy_token(std::span<const TokenId> ids, int layer_count, int vocab_size = 64,
                          std::span<const PlacedImage> images = {});

}  // namespace exo
