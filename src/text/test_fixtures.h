// For the tests of this folder: the vocabularies and vectors that EXO_FIXTURES points to.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/ids.h"
#include "core/json.h"

namespace exo {

// Empty where it is not there.
inline std::filesystem::path vocabulary_folder(const std::string& name) {
  const char* root = std::getenv("EXO_FIXTURES");
  if (root == nullptr) return {};
  const auto folder = std::filesystem::path(root) / "tokenizers" / name;
  std::error_code error;
  return std::filesystem::is_directory(folder, error) ? folder : std::filesystem::path();
}

inline std::string gunzipped(const std::filesystem::path& path) {
  const std::string command = "gzip -dc '" + path.string() + "'";
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 1 << 16> buffer;
  size_t count = 0;
  while (pipe && (count = fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0)
    text.append(buffer.data(), count);
  return text;
}

struct TokenizerVector {
  std::string text;
  std::vector<TokenId> ids;
  std::optional<std::string> decoded;  // where it is not the text
};

inline TokenizerVector read_vector(const Json& value) {
  TokenizerVector vector;
  vector.text = std::string(value.at("text").as_string());
  for (const Json& id : value.at("ids").as_array()) vector.ids.push_back(id.to_number<TokenId>());
  if (const Json* decoded = value.as_object().if_contains("decoded"))
    vector.decoded = std::string(decoded->as_string());
  return vector;
}

// One JSON object on each line.
inline std::vector<TokenizerVector> read_vectors(const std::filesystem::path& path) {
  std::vector<TokenizerVector> vectors;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    vectors.push_back(read_vector(parse_json(line).value()));
  return vectors;
}

}  // namespace exo
