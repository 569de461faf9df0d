// Mistral: Llama's build with a sliding attention window. (GGUF files of Mistral models call
// themselves "llama".)
#include <array>
#include <string>

#include "model/arch/llama.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"MistralForCausalLM", "mistral"};

Result<Config> parse_config(const JsonObject& json) {
  ConfigReader reader(json);
  Config config = llama::read_config(reader, {.kv_heads = 8, .context_length = 4096 * 32});
  config.window = llama::read_window(reader, 4096);
  for (const char* key : {"attention_bias", "mlp_bias"})
    if (reader.flag(key, false))
      reader.fail(unsupported(std::string("'") + key + "' is not known for Mistral models"));
  return llama::finish_config(reader, std::move(config));
}

}  // namespace

const Architecture& arch_mistral() {
  static const Architecture architecture{
      "mistral",         kNames,    {},           parse_config, nullptr,     llama::declare,
      llama::may_ignore, llama::kv, llama::embed, llama::layer, llama::head, nullptr,
      llama::to_gguf};
  return architecture;
}

}  // namespace exo
