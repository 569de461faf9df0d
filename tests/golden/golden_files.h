// Goldens: prompts with the logits and greedy ids another program gave for them. Test code: a
// broken golden file ends the test program with a message.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "core/ids.h"
#include "core/image.h"

namespace exo::golden {

struct Prompt {
  std::string name;
  std::vector<exo::TokenId> ids;
  std::vector<float> logits;  // [ids, vocab]; empty where the file has none
  std::vector<exo::TokenId> greedy;
  std::vector<std::shared_ptr<const exo::Image>> images = {};
  std::vector<float> features = {};  // what the tower makes of them
};

struct Case {
  std::string name;             // "llama3/bf16"
  std::filesystem::path model;  // folder or .gguf file
  std::filesystem::path file;   // *.safetensors, or a folder with prompts.json and .npy files
};

// Those in the tree, those under EXO_FIXTURES, and the demo model, as far as they are there.
std::vector<Case> find_cases();
std::vector<Case> find_embedding_cases();  // encoders
std::vector<Case> find_vision_cases();     // those of find_cases() with pictures
std::vector<Prompt> read_prompts(const Case& which);

// How tests of (case, backend) are called.
std::string case_name(const testing::TestParamInfo<std::tuple<Case, std::string>>& info);

// Infinite where one of the differences is not a number.
float largest_difference(std::span<const float> a, std::span<const float> b);

}  // namespace exo::golden
