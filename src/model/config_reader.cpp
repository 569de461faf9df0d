#include "model/config_reader.h"

#include <fmt/core.h>

#include <cmath>

namespace exo {
namespace {

// Keys of config.json that do not change what is computed for a text.
// clang-format off
constexpr std::string_view kEverywhere[] = {
    "architectures", "model_type", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
    "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id",
    "initializer_range", "transformers_version", "torch_dtype", "dtype", "use_cache",
    "attention_dropout", "hidden_dropout", "resid_pdrop", "pretraining_tp", "_name_or_path",
    "_from_model_config", "_attn_implementation_autoset", "attn_implementation",
    "max_sequence_length", "return_dict", "return_dict_in_generate", "output_attentions",
    "output_hidden_states", "output_scores", "torchscript", "use_bfloat16", "is_decoder",
    "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size",
    "chunk_size_feed_forward", "finetuning_task", "id2label", "label2id", "num_labels",
    "problem_type", "task_specific_params", "tokenizer_class", "prefix", "temperature", "top_k",
    "top_p", "typical_p", "repetition_penalty", "do_sample", "max_length", "min_length",
    "num_beams", "unsloth_version", "unsloth_fixed", "unsloth_tokenizer", "license",
    "is_llama_config", "transformers.js_config", "embd_pdrop", "neftune_noise_alpha",
    "_flash_attn_2_enabled", "use_flash_attn", "base_model", "bad_words_ids",
    "begin_suppress_tokens", "diversity_penalty", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id",
    "forced_eos_token_id", "length_penalty", "no_repeat_ngram_size", "num_beam_groups",
    "num_return_sequences", "pruned_heads", "remove_invalid_values", "suppress_tokens",
    "tf_legacy_loss", "tie_encoder_decoder", "gradient_checkpointing", "classifier_dropout",
    "auto_map"};
// clang-format on

}  // namespace

std::string ConfigReader::full(std::string_view key) {
  std::string name = prefix_ + std::string(key);
  known_.insert(name);
  return name;
}

void ConfigReader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

template <class T>
std::optional<T> ConfigReader::take(Result<std::optional<T>> value) {
  if (value.ok()) return std::move(value).value();
  fail(value.error());
  return std::nullopt;
}

int ConfigReader::size(std::string_view key, std::optional<int> fallback) {
  const std::string name = full(key);
  const auto value = take(get_int(object_, name));
  if (!value) {
    if (!fallback) fail(invalid_argument(fmt::format("'{}' is missing", name)));
    return fallback.value_or(1);
  }
  if (*value >= 1 && *value <= 1 << 30) return static_cast<int>(*value);
  fail(invalid_argument(fmt::format("'{}' is {}, which is out of range", name, *value)));
  return 1;
}

double ConfigReader::number(std::string_view key, double fallback) {
  const std::string name = full(key);
  const double value = take(get_number(object_, name)).value_or(fallback);
  if (!std::isfinite(value)) fail(invalid_argument(fmt::format("'{}' is not finite", name)));
  return value;
}

bool ConfigReader::flag(std::string_view key, bool fallback) {
  return take(get_bool(object_, full(key))).value_or(fallback);
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) {
  return take(get_string(object_, full(key))).value_or(std::string(fallback));
}

const JsonObject* ConfigReader::object(std::string_view key) {
  const auto found = get_object(object_, full(key));
  if (found.ok()) return *found;
  fail(found.error());
  return nullptr;
}

bool ConfigReader::present(std::string_view key) {
  const std::string name = full(key);
  return object_.contains(boost::json::string_view(name.data(), name.size()));
}

void ConfigReader::known(std::span<const std::string_view> keys) {
  for (const std::string_view key : keys) full(key);
}

void ConfigReader::known_everywhere() { known(kEverywhere); }

Gelu ConfigReader::gelu(std::string_view key, std::string_view fallback) {
  const std::string name = text(key, fallback);
  if (name == "gelu") return Gelu::erf;
  if (name == "quick_gelu") return Gelu::quick;
  if (name != "gelu_new" && name != "gelu_pytorch_tanh" && name != "gelu_fast")
    fail(unsupported(fmt::format("the activation '{}' of '{}' is not known here", name, key)));
  return Gelu::tanh;
}

Result<void> ConfigReader::finish() const {
  if (error_) return *error_;
  for (const auto& [key, value] : object_) {
    const std::string_view name(key.data(), key.size());
    if (!name.starts_with(prefix_) || value.is_null() || known_.contains(name)) continue;
    return unsupported(
        fmt::format("the key '{}' is not known here, and the model may need it to be right", name));
  }
  return {};
}

}  // namespace exo
