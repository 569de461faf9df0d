// Config: the numbers of one network, whatever file they came from, checked and with every default
// filled in. A family may add its own in `extra`. Plain values, immutable once parsed.
#pragma once

#include <any>
#include <array>
#include <optional>
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

// A tower that turns a picture into rows that take the place of token embeddings: CLIP's vision
// transformer (Radford et al. 2021) and the projector of LLaVA 1.5 (Liu et al. 2023).
struct VisionConfig {
  int image_size = 0;  // pixels of a side: pictures are squares
  int patch_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int heads = 0;
  int layer_count = 0;              // that are run: up to the last whose output is used
  std::vector<int> feature_layers;  // used, side by side: output of layer i, 0 being the input
  bool keep_class = false;          // the class row is a feature, too
  Gelu activation = Gelu::quick;
  Gelu projector_activation = Gelu::erf;
  bool projector_bias = true;
  float norm_eps = 0;
  bool swapped_mlp = false;  // GGUF: "ffn_up" is what narrows, as old converters wrote
  TokenId image_token = -1;  // the id whose rows are replaced
  // A channel's value is (byte * scale - mean) / deviation; CLIP's by default.
  double pixel_scale = 1.0 / 255;
  std::array<float, 3> pixel_mean = {0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> pixel_deviation = {0.26862954f, 0.26130258f, 0.27577711f};

  int patches() const { return (image_size / patch_size) * (image_size / patch_size); }
  int tokens() const { return patches() + (keep_class ? 1 : 0); }
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
  std::optional<VisionConfig> vision;
  int token_types = 0;  // encoders: kinds of tokens
  bool gguf = false;    // weights carry llama.cpp's names
  std::any extra;       // what only this family has

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
