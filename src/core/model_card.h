// ModelCard: what is known of a model before any weight is read: enough to partition it, to check
// that a request fits, and to tell two checkpoints apart. Plain values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.h"

namespace exo {

struct ModelCard {
  std::string id;    // what users type: "demo", or the folder's name
  std::string path;  // where it was found on the node that made this card (a hint for others)
  std::string fingerprint;  // hex SHA-256 over the config and the headers of the weight files: same
                            // files, same value
  std::string source;  // where anyone can fetch it: "hf.co/ORG/NAME@COMMIT"; "" = nowhere known
  std::string family;  // architecture file name: "llama"
  std::string weight_dtype;  // as stored: "bf16", "q4_0", ...
  int layer_count = 0;
  int hidden_size = 0;
  int vocab_size = 0;
  int context_length = 0;  // tokens
  uint64_t parameter_count = 0;
  std::vector<uint64_t> layer_bytes;  // weights of each layer, as loaded; size layer_count
  uint64_t embedding_bytes = 0;       // held by the first shard
  uint64_t head_bytes = 0;            // final norm and output head, held by the last shard
  bool tied_embedding = false;  // the head reads the embedding: a node with both holds it once
  uint64_t kv_bytes_per_token_per_layer = 0;
  bool has_chat_template = false;
  bool embeds = false;       // makes vectors of texts and nothing else: it cannot chat
  bool vision = false;       // pictures may stand in its prompts
  int image_size = 0;        // vision: pixels of the square that the tower sees
  int image_tokens = 0;      // vision: ids that one picture takes
  TokenId image_token = -1;  // vision: the id that stands for them
  std::vector<TokenId> eos_ids;

  // What a node with both ends holds once: the tied table, which is all of the embedding part or,
  // where a vision tower lies there too, all of the head but its norm.
  uint64_t shared_bytes() const {
    return tied_embedding ? std::min(embedding_bytes, head_bytes) : 0;
  }
  uint64_t total_bytes() const {
    uint64_t sum = head_bytes + embedding_bytes - shared_bytes();
    for (const uint64_t bytes : layer_bytes) sum += bytes;
    return sum;
  }
};

}  // namespace exo
