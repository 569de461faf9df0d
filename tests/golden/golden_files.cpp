#include "golden_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/file.h"
#include "core/json.h"
#include "tensor/tensor_files.h"

namespace exo::golden {
namespace {

namespace fs = std::filesystem;

template <class T>
std::vector<T> values_of(const HostTensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(T));
  return values;
}

std::vector<Prompt> read_safetensors(const fs::path& file) {
  const auto tensors = open_safetensors_file(file).value();
  std::vector<Prompt> prompts;
  constexpr std::string_view kSuffix = ".input_ids";
  for (const std::string& name : tensors->names()) {
    if (!name.ends_with(kSuffix)) continue;
    Prompt prompt;
    prompt.name = name.substr(0, name.size() - kSuffix.size());
    prompt.ids = values_of<TokenId>(tensors->find(name).value());
    prompt.greedy = values_of<TokenId>(tensors->find(prompt.name + ".greedy_ids").value());
    if (tensors->contains(prompt.name + ".logits"))
      prompt.logits = values_of<float>(tensors->find(prompt.name + ".logits").value());
    if (tensors->contains(prompt.name + ".rgb_u8")) {
      const HostTensor rgb = tensors->find(prompt.name + ".rgb_u8").value();
      prompt.images.push_back(
          std::make_shared<Image>(Image{static_cast<int>(rgb.shape[1]),
                                        static_cast<int>(rgb.shape[0]), values_of<uint8_t>(rgb)}));
      prompt.features = values_of<float>(tensors->find(prompt.name + ".features").value());
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

// Float32, little endian, C order: what the demo model's golden script writes.
std::vector<float> read_npy(const fs::path& file) {
  const std::string bytes = read_file(file, 64 << 20).value();
  CHECK(bytes.size() > 10 && bytes.starts_with("\x93NUMPY\x01"), "not a .npy file");
  const size_t begin = 10 + static_cast<uint8_t>(bytes[8]) + 256 * static_cast<uint8_t>(bytes[9]);
  CHECK(bytes.substr(0, begin).find("'<f4'") != std::string::npos, "not float32");
  std::vector<float> values((bytes.size() - begin) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + begin, values.size() * sizeof(float));
  return values;
}

std::vector<TokenId> ids_of(const JsonObject& object, std::string_view key) {
  std::vector<TokenId> ids;
  for (const Json& id : *get_array(object, key).value())
    ids.push_back(static_cast<TokenId>(id.get_int64()));
  return ids;
}

std::vector<Prompt> read_folder(const fs::path& folder) {
  const Json json = parse_json(read_file(folder / "prompts.json", 16 << 20).value()).value();
  std::vector<Prompt> prompts;
  for (const Json& item : json.get_array()) {
    const JsonObject& object = item.get_object();
    const std::string file = get_string(object, "logits").value().value();
    prompts.push_back(
        {file, ids_of(object, "ids"), read_npy(folder / file), ids_of(object, "greedy")});
  }
  return prompts;
}

void add(std::vector<Case>& cases, Case which) {
  if (!fs::exists(which.model) || !fs::exists(which.file)) return;
  for (const Case& known : cases)
    if (known.name == which.name) return;
  cases.push_back(std::move(which));
}

const fs::path kTree = EXO_SOURCE_DIR;

std::vector<fs::path> roots() {
  std::vector<fs::path> found = {kTree / "tests/golden"};
  if (const char* fixtures = std::getenv("EXO_FIXTURES")) found.emplace_back(fixtures);
  return found;
}

void add_checkpoints(std::vector<Case>& cases, const fs::path& root, const std::string& family) {
  for (const std::string dtype : {"f32", "bf16", "fp8", "mxfp4"})
    add(cases, {fmt::format("{}/{}", family, dtype), root / "models" / family / dtype,
                root / "models" / family / ("golden_" + dtype + ".safetensors")});
}

}  // namespace

std::vector<Case> find_embedding_cases() {
  std::vector<Case> cases;
  for (const fs::path& root : roots()) add_checkpoints(cases, root, "bert");
  return cases;
}

std::vector<Case> find_vision_cases() {
  std::vector<Case> cases = find_cases();
  std::erase_if(cases, [](const Case& which) { return which.name.find("llava") != 0; });
  return cases;
}

std::vector<Case> find_cases() {
  std::vector<Case> cases;
  for (const fs::path& root : roots()) {
    for (const char* family : {"llama2",          "llama3",      "mistral",
                               "mixtral",         "qwen2",       "qwen2-swa",
                               "qwen2_moe",       "qwen3",       "qwen3-yarn",
                               "qwen3_moe",       "phi3",        "phi3_longrope",
                               "phi4_mini",       "gemma2",      "gemma3_text",
                               "gpt_oss",         "deepseek_v2", "deepseek_v2_lite",
                               "deepseek_v3",     "llava",       "deepseek_v3-halves",
                               "gpt_oss-unbiased"})
      add_checkpoints(cases, root, family);
    for (const std::string family :
         {"llama2", "llama3", "qwen2", "mixtral", "qwen3_moe", "gemma3_text", "deepseek_v3"})
      add(cases, {family + "-bf16.gguf", root / "gguf" / (family + "-bf16.gguf"),
                  root / "models" / family / "golden_bf16.safetensors"});
    for (const std::string scheme : {"mlx", "awq", "gptq", "gptq_act_order", "gptq8", "fp8"})
      add(cases, {"quantized-" + scheme, root / "models" / ("quantized-" + scheme),
                  root / "models" / ("quantized-" + scheme) / "golden.safetensors"});
    add(cases,
        {"llava-bf16.gguf", root / "gguf/llava", root / "models/llava/golden_bf16.safetensors"});
    add(cases, {"gpt_oss-mxfp4.gguf", root / "gguf/gpt_oss-mxfp4.gguf",
                root / "gguf/gpt_oss-mxfp4.golden.safetensors"});
    for (const std::string type : {"F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M",
                                   "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S"})
      add(cases, {"llamaq-" + type + ".gguf", root / "gguf" / ("llamaq-" + type + ".gguf"),
                  root / "gguf" / ("llamaq-" + type + ".golden.safetensors")});
  }
  add(cases, {"demo", kTree / "models/demo", kTree / "models/demo/golden"});
  if (const char* fixtures = std::getenv("EXO_FIXTURES"); fixtures != nullptr)
    add(cases, {"demo", fs::path(fixtures) / "../demo-model/model",
                fs::path(fixtures) / "../demo-model/golden"});
  return cases;
}

std::vector<Prompt> read_prompts(const Case& which) {
  return which.file.extension() == ".safetensors" ? read_safetensors(which.file)
                                                  : read_folder(which.file);
}

std::string case_name(const testing::TestParamInfo<std::tuple<Case, std::string>>& info) {
  std::string name = std::get<0>(info.param).name + "_" + std::get<1>(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

float largest_difference(std::span<const float> a, std::span<const float> b) {
  CHECK(a.size() == b.size(), "what is compared has the same shape");
  float worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (std::isnan(difference)) return INFINITY;
    worst = std::max(worst, difference);
  }
  return worst;
}

}  // namespace exo::golden
