// Config: the numbers of one network, whatever file they came from, checked and with every default
// filled in. A family may add its own in `extra`. Plain values, immutable once parsed.
#pragma once

#include <any>
#include <string>

#include "backend/ops.h"

namespace exo {

struct Config {
  int layer_count = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab_size = 0;
  int context_length = 0;  // tokens
  int window = 0;          // sliding attention; 0 = full
  float norm_eps = 0;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;  // of the attention's output projection
  bool mlp_bias = false;
  RopeParams rope;
  bool gguf = false;  // weights carry llama.cpp's names
  std::any extra;     // what only this family has
};

// Keys and values of one layer.
struct KvSpec {
  int kv_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  int window = 0;  // 0 = every position is needed
};

}  // namespace exo
