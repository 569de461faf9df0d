// Config: the numbers of one network, whatever file they came from, checked and with every default
// filled in. A family may add its own in `extra`. Plain values, immutable once parsed.
#pragma once

#include <any>
#include <string>
#include <vector>

#include "backend/ops.h"

namespace exo {

// A mixture of experts in place of the MLP (Shazeer et al. 2017).
struct ExpertsConfig {
  enum class Names { mixtral, qwen, deepseek };  // what config.json's families call the tensors
  int count = 0;                                 // 0: every layer has a plain MLP
  int width = 0;                                 // of one expert
  int shared_width = 0;                          // of the expert every token goes to; 0: none
  bool shared_gated = false;                     // its output is scaled by a gate
  RouteParams route;                             // but for the bias
  bool route_bias = false;                       // a correction is added to the scores for choosing
  std::vector<bool> plain;                       // layers with an MLP all the same; empty: none
  Names names = Names::qwen;

  bool in(int layer) const {
    return count > 0 && (plain.empty() || !plain[static_cast<size_t>(layer)]);
  }
};

// What config.json says of the rotation, as far as GGUF's keys repeat it; `rope` is what it makes.
struct RopeOrigin {
  double theta = 10000;
  std::string scaling = "default";  // "linear", "llama3", "yarn", "longrope"
  double factor = 1;
  double original_context = 0;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
};

struct Config {
  int layer_count = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int context_length = 0;          // tokens
  int window = 0;                  // sliding attention; 0 = full
  std::vector<int> layer_windows;  // where layers differ in it: one per layer
  float norm_eps = 0;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of the attention's output projection
  bool mlp_bias = false;
  bool qk_norm = false;  // queries and keys are normed per head
  ExpertsConfig experts;
  RopeParams rope;
  RopeOrigin rope_origin;
  // A sequence longer than this (tokens) turns by `far_rope` instead; 0: never (longrope).
  int far_beyond = 0;
  RopeParams far_rope;
  bool gguf = false;  // weights carry llama.cpp's names
  std::any extra;     // what only this family has

  int window_of(int layer) const {
    return layer_windows.empty() ? window : layer_windows[static_cast<size_t>(layer)];
  }
};

// Keys and values of one layer.
struct KvSpec {
  int kv_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  int window = 0;  // 0 = every position is needed
};

}  // namespace exo
