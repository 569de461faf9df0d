// Goldens: prompts with the logits and greedy ids another program gave for them. Test code: a
// broken golden file ends the test program with a message.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/ids.h"

namespace exo::golden {

struct Prompt {
  std::string name;
  std::vector<exo::TokenId> ids;
  std::vector<float> logits;  // [ids, vocab]; empty where the file has none
  std::vector<exo::TokenId> greedy;
};

struct Case {
  std::string name;             // "llama3/bf16"
  std::filesystem::path model;  // folder or .gguf file
  std::filesystem::path file;   // *.safetensors, or a folder with prompts.json and .npy files
};

// Those in the tree, those under EXO_FIXTURES, and the demo model, as far as they are there.
std::vector<Case> find_cases();
std::vector<Prompt> read_prompts(const Case& which);

}  // namespace exo::golden
