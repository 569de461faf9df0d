#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <string>

#include "base/file.h"
#include "model/gguf_convert.h"
#include "model/model_files.h"
#include "model/rope_scaling.h"
#include "tensor/quantize.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

const fs::path kModels = fs::path(EXO_SOURCE_DIR) / "tests/golden/models";

Result<Config> parse(const std::string& text) {
  const Json json = parse_json(text).value();
  const JsonObject& object = json.get_object();
  const std::string name(object.at("architectures").get_array().at(0).get_string());
  auto architecture = find_architecture(name);
  if (!architecture.ok()) return architecture.error();
  return (*architecture)->parse_config(object);
}

// A Llama config with `more` members in front.
std::string llama(const std::string& more, const std::string& name = "LlamaForCausalLM") {
  return R"({"architectures": [")" + name + R"("], )" + more + (more.empty() ? "" : ", ") + R"(
    "hidden_size": 64, "intermediate_size": 140, "num_hidden_layers": 3, "vocab_size": 288,
    "num_attention_heads": 4})";
}

TEST(Config, AbsentAndNullKeysTakeTheFamilysDefaults) {
  const Config config = parse(llama(R"("head_dim": null, "rope_scaling": null,
    "num_key_value_heads": null, "tie_word_embeddings": null)"))
                            .value();
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.context_length, 2048);
  EXPECT_FLOAT_EQ(config.norm_eps, 1e-6f);
  EXPECT_FALSE(config.tied_embeddings || config.qkv_bias || config.mlp_bias);
  EXPECT_EQ(config.window, 0);
  EXPECT_FLOAT_EQ(config.rope.inverse_freqs[1], std::pow(10000.0, -2.0 / 16));

  const std::string mistral = "MistralForCausalLM";
  EXPECT_EQ(parse(llama(R"("num_key_value_heads": 2)", mistral))->window, 4096);
  EXPECT_EQ(parse(llama(R"("num_key_value_heads": null, "sliding_window": null)", mistral))->window,
            0);
  EXPECT_EQ(parse(llama(R"("num_key_value_heads": null, "sliding_window": 24)", mistral))->window,
            24);
}

// Of Hugging Face's configuration classes, where a published config leaves a key out.
TEST(Config, AbsentKeysMeanWhatTheFamilysClassSays) {
  const auto with_heads = [](int heads, const char* name, const std::string& more = "") {
    return parse(R"({"architectures": [")" + std::string(name) + R"("], )" + more + R"(
        "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 288,
        "num_attention_heads": )" +
                 std::to_string(heads) + "}")
        .value();
  };
  for (const auto& [name, kv_heads] : {std::pair{"LlamaForCausalLM", 32},
                                       {"Phi3ForCausalLM", 32},
                                       {"Qwen2ForCausalLM", 32},
                                       {"Qwen3ForCausalLM", 32},
                                       {"Qwen2MoeForCausalLM", 16},
                                       {"Qwen3MoeForCausalLM", 4},
                                       {"MistralForCausalLM", 8},
                                       {"MixtralForCausalLM", 8},
                                       {"Gemma2ForCausalLM", 4},
                                       {"Gemma3ForCausalLM", 4},
                                       {"GptOssForCausalLM", 8}}) {
    EXPECT_EQ(with_heads(32, name).kv_heads, kv_heads) << name;
    EXPECT_EQ(with_heads(32, name, R"("num_key_value_heads": null, )").kv_heads, 32) << name;
  }
  EXPECT_EQ(with_heads(8, "GptOssForCausalLM").rope_origin.scaling, "yarn");
  EXPECT_EQ(with_heads(8, "GptOssForCausalLM").rope_origin.factor, 32);
  EXPECT_EQ(with_heads(8, "GptOssForCausalLM", R"("rope_scaling": null, )").rope_origin.scaling,
            "default");
  const std::string longrope = R"("rope_scaling": {"type": "longrope", "short_factor": [1, 1],
      "long_factor": [2, 2]}, "max_position_embeddings": 16384, )";
  EXPECT_EQ(with_heads(16, "Phi3ForCausalLM", longrope).far_beyond, 4096);
  const Config deepseek = with_heads(4, "DeepseekV2ForCausalLM", R"("num_experts_per_tok": 6, )");
  EXPECT_EQ(
      std::tuple(deepseek.experts.count, deepseek.experts.width, deepseek.experts.shared_width),
      std::tuple(64, 1407, 2 * 1407));
}

TEST(Config, KeysThatSayNothingOfTheNumbersAreTaken) {
  const std::string more = R"("auto_map": {"AutoConfig": "configuration_x.XConfig"}, )";
  for (const char* name : {"Phi3ForCausalLM", "DeepseekV3ForCausalLM"})
    EXPECT_TRUE(parse(llama(more + R"("tie_word_embeddings": false)", name)).ok()) << name;
  EXPECT_TRUE(
      parse(llama(R"("num_key_value_heads": 2, "use_mrope": false)", "Qwen2ForCausalLM")).ok());
}

TEST(Config, BothSpellingsOfTransformersAgree) {
  for (const char* family : {"llama2", "llama3", "mistral"}) {
    const auto read = [&](const char* file) {
      return parse(read_file(kModels / family / "f32" / file, 1 << 20).value()).value();
    };
    const Config old = read("config.json"), current = read("config.transformers5.json");
    EXPECT_EQ(old.rope.inverse_freqs, current.rope.inverse_freqs) << family;
    EXPECT_EQ(old.window, current.window);
    EXPECT_EQ(old.head_dim, current.head_dim);
    EXPECT_EQ(old.tied_embeddings, current.tied_embeddings);
  }
}

TEST(Config, WhatIsNotKnownIsRefusedByName) {
  const auto message = [](const std::string& text) {
    const auto config = parse(text);
    return config.ok() ? std::string("accepted") : config.error().message;
  };
  EXPECT_NE(message(llama(R"("qk_norm": true)")).find("'qk_norm'"), std::string::npos);
  EXPECT_NE(message(llama(R"("hidden_act": "gelu")")).find("gelu"), std::string::npos);
  EXPECT_NE(message(llama(R"("quantization_config": {"quant_method": "gptq"})"))
                .find("quantization_config"),
            std::string::npos);
  EXPECT_NE(message(llama(R"("rope_scaling": {"type": "dynamic", "factor": 2})")).find("dynamic"),
            std::string::npos);
  EXPECT_NE(
      message(llama(R"("rope_scaling": {"type": "linear", "factor": 2, "x": 1})")).find("'x'"),
      std::string::npos);
  EXPECT_NE(message(llama("", "FooForCausalLM")).find("FooForCausalLM"), std::string::npos);
  EXPECT_NE(
      message(llama(R"("attention_bias": true, "num_key_value_heads": 4)", "MistralForCausalLM"))
          .find("attention_bias"),
      std::string::npos);
  const auto expect_named = [&](const char* key, const std::string& more, const char* name) {
    const std::string said = message(llama(more, name));
    EXPECT_NE(said.find(std::string("'") + key + "'"), std::string::npos) << said;
  };
  expect_named("use_mrope", R"("num_key_value_heads": 2, "use_mrope": true)", "Qwen2ForCausalLM");
  expect_named("layer_types", R"("num_key_value_heads": 2, "use_sliding_window": true)",
               "Qwen2MoeForCausalLM");
  expect_named("attn_logit_softcapping", R"("attn_logit_softcapping": 50)", "Gemma3ForCausalLM");
  EXPECT_EQ(message(llama(R"("attention_bias": true)")), "accepted");
  EXPECT_EQ(message(llama(R"("use_cache": true, "torch_dtype": "bfloat16")")), "accepted");
}

TEST(Config, DeepseekTurnsNeighboursUnlessToldOtherwise) {
  const auto interleaved = [](const char* name, const char* more) {
    return parse(llama(std::string(R"("num_experts_per_tok": 2, "n_routed_experts": 8, )") +
                           R"("n_group": 1, "topk_group": 1)" + more,
                       name))
        ->rope.interleaved;
  };
  EXPECT_TRUE(interleaved("DeepseekV3ForCausalLM", ""));
  EXPECT_FALSE(interleaved("DeepseekV3ForCausalLM", R"(, "rope_interleave": false)"));
  EXPECT_TRUE(interleaved("DeepseekV2ForCausalLM", R"(, "rope_interleave": false)"));
  // The class decides, not what its makers call the model.
  EXPECT_FALSE(interleaved("DeepseekV3ForCausalLM",
                           R"(, "model_type": "kimi_k2", "rope_interleave": false)"));
}

TEST(Config, SizesOutOfRangeAreErrors) {
  for (const char* bad :
       {R"("num_key_value_heads": 3)", R"("head_dim": 15)", R"("head_dim": -16)",
        R"("head_dim": 99999999999)", R"("rms_norm_eps": -1)", R"("rope_theta": 0)",
        R"("num_key_value_heads": "2")", R"("rope_scaling": {"type": "linear", "factor": 0})",
        R"("rope_scaling": {"rope_type": "llama3", "factor": 8})"})
    EXPECT_FALSE(parse(llama(bad)).ok()) << bad;
}

// A BERT or LLaVA config with `more` members in front.
std::string bert(const std::string& more) {
  return R"({"architectures": ["BertModel"], )" + more + R"("model_type": "bert"})";
}
std::string llava(const std::string& text, const std::string& vision, const std::string& more) {
  return R"({"architectures": ["LlavaForConditionalGeneration"], "text_config": {)" + text +
         R"("torch_dtype": "float16"}, "vision_config": {)" + vision +
         R"("model_type": "clip_vision_model"}, )" + more + R"("model_type": "llava"})";
}
std::string message_of(const std::string& text) {
  const auto config = parse(text);
  return config.ok() ? "accepted" : config.error().message;
}

TEST(Config, AnEncodersAbsentKeysAreBerts) {
  const Config config = parse(bert("")).value();
  EXPECT_EQ(std::tuple(config.layer_count, config.hidden_size, config.heads, config.vocab_size,
                       config.context_length, config.token_types),
            std::tuple(12, 768, 12, 30522, 512, 2));
  EXPECT_FLOAT_EQ(config.norm_eps, 1e-12f);
  for (const char* bad :
       {R"("position_embedding_type": "relative_key", )", R"("is_decoder": true, )",
        R"("hidden_act": "relu", )", R"("num_attention_heads": 7, )", R"("alibi": true, )"})
    EXPECT_NE(message_of(bert(bad)), "accepted") << bad;
  EXPECT_EQ(message_of(bert(R"("hidden_act": "gelu_new", "classifier_dropout": 0.1, )")),
            "accepted");
}

TEST(Config, LlavasAbsentKeysAreThoseOfItsParts) {
  // As llava-1.5-7b publishes it: little more than what differs from the defaults.
  const Config config =
      parse(llava(R"("max_position_embeddings": 4096, "model_type": "llama",
                     "rms_norm_eps": 1e-05, "vocab_size": 32064, )",
                  R"("hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
                     "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
                     "projection_dim": 768, "vocab_size": 32000, )",
                  R"("image_token_index": 32000, "ignore_index": -100, "pad_token_id": 32001, )"))
          .value();
  EXPECT_EQ(std::tuple(config.layer_count, config.hidden_size, config.heads, config.kv_heads,
                       config.intermediate_size),
            std::tuple(32, 4096, 32, 32, 11008));
  EXPECT_EQ(config.vision->layer_count, 23);
  EXPECT_EQ(config.vision->tokens(), 576);
  EXPECT_EQ(config.vision->image_token, 32000);
  EXPECT_TRUE(config.vision->projector_bias);

  const std::string text = R"("vocab_size": 32064, )";
  const auto vision = [&](const std::string& tower, const std::string& more) {
    return *parse(llava(text, tower, more))->vision;
  };
  EXPECT_EQ(vision("", "").image_size, 224);
  EXPECT_EQ(vision("", R"("vision_feature_select_strategy": "full", )").tokens(), 50);
  EXPECT_EQ(vision("", R"("vision_feature_layer": -1, )").layer_count, 12);
  EXPECT_EQ(vision("", R"("vision_feature_layer": [3, -13, 5], )").feature_layers,
            (std::vector<int>{3, 0, 5}));
  EXPECT_EQ(parse(R"({"architectures": ["LlavaForConditionalGeneration"],
                      "image_token_index": 7})")
                ->vision->image_size,
            336);  // no vision_config at all means another tower
  const Config mistral =
      parse(llava(R"("model_type": "mistral", "vocab_size": 32002, )", "", "")).value();
  EXPECT_EQ(std::tuple(mistral.intermediate_size, mistral.kv_heads, mistral.window),
            std::tuple(14336, 8, 4096));
}

TEST(Config, WhatLlavaCannotBeIsRefusedByName) {
  const auto message = [](const std::string& vision, const std::string& more) {
    return message_of(llava(R"("vocab_size": 32064, )", vision, more));
  };
  for (const auto& [more, named] :
       {std::pair{R"("vision_feature_layer": 14, )", "14"},
        {R"("vision_feature_layer": [], )", "vision_feature_layer"},
        {R"("vision_feature_select_strategy": "cls", )", "cls"},
        {R"("image_token_index": 32064, )", "32064"},
        {R"("projector_hidden_act": "relu", )", "relu"},
        {R"("image_grid_pinpoints": [[336, 672]], )", "image_grid_pinpoints"}})
    EXPECT_NE(message("", more).find(named), std::string::npos) << message("", more);
  for (const auto& [tower, named] : {std::pair{R"("hidden_size": 100, "x": 1, )", "'x'"},
                                     {R"("num_channels": 1, )", "num_channels"},
                                     {R"("patch_size": 500, )", "out of range"},
                                     {R"("num_attention_heads": 7, )", "7"}})
    EXPECT_NE(message(tower, "").find(named), std::string::npos) << message(tower, "");
  for (const char* text :
       {R"("model_type": "llava", )", R"("model_type": "bert", )", R"("model_type": "gpt_oss", )",
        R"("model_type": "gemma2", "head_dim": 8, "hidden_size": 64,
                              "num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": 33000,
                              "num_attention_heads": 4, "num_key_value_heads": 4, )"})
    EXPECT_NE(message_of(llava(text, "", "")).find("text_config"), std::string::npos) << text;
}

TEST(RopeScaling, FollowsThePublishedFormulas) {
  const auto inverse = rope_frequencies(10000, 64);
  EXPECT_FLOAT_EQ(scale_linear(inverse, 4).inverse[3], inverse[3] / 4);
  const auto llama3 = scale_llama3(inverse, {8, 1, 4, 8192});
  EXPECT_FLOAT_EQ(llama3.inverse[0], inverse[0]);        // short waves are kept
  EXPECT_FLOAT_EQ(llama3.inverse[31], inverse[31] / 8);  // long ones stretched
  const double turns = 8192 * inverse[23] / (2 * std::numbers::pi);
  ASSERT_TRUE(turns > 1 && turns < 4);
  const double keep = (turns - 1) / 3;
  EXPECT_FLOAT_EQ(llama3.inverse[23], inverse[23] * ((1 - keep) / 8 + keep));
  YarnParams params;
  params.factor = 4;
  params.original_context = 2048;
  const auto yarn = scale_yarn(inverse, 10000, params);
  EXPECT_FLOAT_EQ(yarn.inverse[0], inverse[0]);
  EXPECT_FLOAT_EQ(yarn.inverse[31], inverse[31] / 4);
  EXPECT_FLOAT_EQ(yarn.attention_factor, 0.1 * std::log(4.0) + 1);
}

class ModelFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() / ("exo_model_" + std::to_string(::getpid()) + "_" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const auto& entry : fs::directory_iterator(kModels / "llama3/f32"))
      fs::copy(entry.path(), folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void edit(const char* file, const std::string& from, const std::string& to) {
    std::string text = read_file(folder_ / file, 1 << 20).value();
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    ASSERT_TRUE(write_file(folder_ / file, text).ok());
  }
  std::string message() {
    const auto model = open_model(folder_);
    return model.ok() ? "opened" : model.error().message;
  }
  fs::path folder_;
};

TEST_F(ModelFolder, BecomesACard) {
  const auto model = open_model(folder_, "tiny");
  ASSERT_TRUE(model.ok()) << model.error().message;
  const ModelCard& card = model->card;
  EXPECT_EQ(card.id, "tiny");
  EXPECT_EQ(card.family, "llama");
  EXPECT_EQ(card.weight_dtype, "f32");
  EXPECT_EQ(card.layer_bytes.size(), 4u);
  EXPECT_EQ(card.parameter_count, 178752u);
  EXPECT_EQ(card.embedding_bytes, 288u * 64 * 4);
  EXPECT_EQ(card.head_bytes, 288u * 64 * 4 + 64 * 4);  // tied
  EXPECT_TRUE(card.tied_embedding);
  EXPECT_EQ(card.total_bytes(), 178752u * 4);
  EXPECT_EQ(card.kv_bytes_per_token_per_layer, 2u * 2 * 2 * 16);
  EXPECT_EQ(card.eos_ids, std::vector<TokenId>{277});
  EXPECT_EQ(card.context_length, 512);
  const ModelCard quantised = card_in_format(*model, WeightFormat::q8_0).value();
  EXPECT_EQ(quantised.embedding_bytes, 288u * 64 / 32 * 34);
  EXPECT_LT(quantised.layer_bytes[0], card.layer_bytes[0]);
  EXPECT_EQ(card.fingerprint.size(), 64u);
  EXPECT_EQ(card.fingerprint, open_model(kModels / "llama3/f32")->card.fingerprint);
  EXPECT_EQ(open_model((kModels / "llama3/f32/").string())->card.id, "f32");
  edit("config.json", "512", "256");
  EXPECT_NE(card.fingerprint, open_model(folder_)->card.fingerprint);
}

// Everywhere in the headers of the folder's weights and in their index.
void rename_tensors(const fs::path& folder, const std::string& from, const std::string& to) {
  const auto replace = [&](std::string& text) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::string text = read_file(entry.path(), 1 << 20).value();
    if (entry.path().extension() == ".safetensors") {
      uint64_t size = 0;
      std::memcpy(&size, text.data(), sizeof size);
      std::string header = text.substr(8, size);
      replace(header);
      const uint64_t longer = header.size();
      text =
          std::string(reinterpret_cast<const char*>(&longer), 8) + header + text.substr(8 + size);
    } else if (entry.path().filename() == "model.safetensors.index.json") {
      replace(text);
    }
    ASSERT_TRUE(write_file(entry.path(), text).ok());
  }
}

TEST_F(ModelFolder, LlavaMayHaveTheNamesOfTransformers5) {
  fs::remove_all(folder_);
  fs::copy(kModels / "llava/bf16", folder_);
  const ModelCard hub = open_model(folder_)->card;
  EXPECT_EQ(hub.total_bytes(), hub.embedding_bytes + hub.head_bytes + hub.layer_bytes[0] * 3);
  EXPECT_GT(hub.embedding_bytes, 288u * 64 * 2 + 17u * 48 * 2);  // the tower, too
  rename_tensors(folder_, "\"language_model.model.", "\"model.language_model.");
  rename_tensors(folder_, "\"language_model.lm_head", "\"lm_head");
  rename_tensors(folder_, "\"vision_tower.", "\"model.vision_tower.");
  rename_tensors(folder_, "\"multi_modal_projector.", "\"model.multi_modal_projector.");
  const auto renamed = open_model(folder_);
  ASSERT_TRUE(renamed.ok()) << renamed.error().message;
  EXPECT_EQ(renamed->card.total_bytes(), hub.total_bytes());
  rename_tensors(folder_, "\"model.vision_tower.vision_model.", "\"model.vision_tower.");
  EXPECT_TRUE(open_model(folder_).ok()) << message();
  rename_tensors(folder_, "layers.2.mlp.fc1.bias", "layers.2.mlp.fc3.bias");
  EXPECT_NE(message().find("layers.2.mlp.fc1.bias"), std::string::npos) << message();
}

TEST_F(ModelFolder, ThePreprocessorIsReadOrRefused) {
  fs::remove_all(folder_);
  fs::copy(kModels / "llava/bf16", folder_);
  edit("preprocessor_config.json", "0.48145466", "0.25");
  EXPECT_EQ(open_model(folder_)->config.vision->pixel_mean[0], 0.25f);
  edit("preprocessor_config.json", "\"shortest_edge\": 28", "\"shortest_edge\": 32");
  EXPECT_NE(message().find("'size'"), std::string::npos) << message();
  fs::remove(folder_ / "preprocessor_config.json");
  EXPECT_EQ(open_model(folder_)->config.vision->pixel_mean[0], 0.48145466f);
}

TEST_F(ModelFolder, AnEmbeddingModelSaysHowItPools) {
  fs::remove_all(folder_);
  fs::copy(kModels / "bert/bf16", folder_);
  EXPECT_TRUE(open_model(folder_)->card.embeds);
  EXPECT_EQ(open_model(folder_)->pooling, Pooling::mean);
  fs::create_directory(folder_ / "1_Pooling");
  const auto say = [&](const char* text) {
    ASSERT_TRUE(write_file(folder_ / "1_Pooling/config.json", text).ok());
  };
  say(R"({"word_embedding_dimension": 64, "pooling_mode_cls_token": true,
          "pooling_mode_mean_tokens": false})");
  EXPECT_EQ(open_model(folder_)->pooling, Pooling::cls);
  say(R"({"pooling_mode_max_tokens": true})");
  EXPECT_NE(message().find("max_tokens"), std::string::npos) << message();
  say("{}");
  ASSERT_TRUE(
      write_file(folder_ / "modules.json", R"([{"type": "sentence_transformers.models.Dense"}])")
          .ok());
  EXPECT_NE(message().find("models.Dense"), std::string::npos) << message();
  fs::remove(folder_ / "modules.json");
  rename_tensors(folder_, "pooler.dense", "qooler.dense");  // some checkpoints have none
  EXPECT_NE(message().find("qooler"), std::string::npos) << message();
}

TEST_F(ModelFolder, AConvertedEmbeddingModelPoolsAlike) {
  fs::remove_all(folder_);
  fs::copy(kModels / "bert/bf16", folder_);
  fs::create_directory(folder_ / "1_Pooling");
  ASSERT_TRUE(
      write_file(folder_ / "1_Pooling/config.json", R"({"pooling_mode_cls_token": true})").ok());
  ASSERT_TRUE(write_file(folder_ / "modules.json",
                         R"([{"type": "sentence_transformers.models.Transformer"},
                             {"type": "sentence_transformers.models.Pooling"}])")
                  .ok());
  const ModelFiles source = open_model(folder_).value();
  ConvertOptions options;
  options.target = DType::f32;
  ASSERT_TRUE(convert_to_safetensors(source, folder_ / "as_f32", options).ok());
  const ModelFiles converted = open_model(folder_ / "as_f32").value();
  EXPECT_EQ(converted.pooling, Pooling::cls);
  EXPECT_EQ(converted.card.weight_dtype, "f32");
  EXPECT_EQ(converted.tensors->names().size(), source.tensors->names().size());
  for (const std::string& name : source.tensors->names()) {
    const HostTensor before = source.tensors->find(name).value();
    const HostTensor after = converted.tensors->find(name).value();
    ASSERT_EQ(before.shape, after.shape) << name;
    std::vector<float> widened(static_cast<size_t>(before.elements()));
    to_f32(before.dtype, before.bytes.data(), widened);
    std::vector<float> written(widened.size());
    to_f32(after.dtype, after.bytes.data(), written);
    EXPECT_EQ(written, widened) << name;
  }
  EXPECT_NE(convert_to_gguf(source, folder_ / "x.gguf", options).error().message.find("bert"),
            std::string::npos);
}

TEST_F(ModelFolder, DefaultsComeFromGenerationConfig) {
  ASSERT_TRUE(write_file(folder_ / "generation_config.json",
                         R"({"eos_token_id": [5, 7], "temperature": 0.3, "top_k": 40})")
                  .ok());
  const auto model = open_model(folder_);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->card.eos_ids, (std::vector<TokenId>{5, 7}));
  EXPECT_EQ(model->defaults.temperature, 0.3);
  EXPECT_EQ(model->defaults.top_k, 40);
  EXPECT_EQ(model->defaults.top_p, std::nullopt);
}

TEST_F(ModelFolder, WhatIsBrokenIsNamed) {
  fs::remove(folder_ / "model-00002-of-00002.safetensors");
  EXPECT_NE(message().find("model-00002-of-00002"), std::string::npos) << message();
  fs::remove(folder_ / "config.json");
  EXPECT_NE(message().find("config.json"), std::string::npos);
  EXPECT_NE(open_model(folder_ / "nowhere").error().message.find("nowhere"), std::string::npos);
}

TEST_F(ModelFolder, ATruncatedFileIsAnError) {
  fs::resize_file(folder_ / "model-00001-of-00002.safetensors", 200000);
  EXPECT_NE(message().find("model-00001-of-00002"), std::string::npos) << message();
}

TEST_F(ModelFolder, WeightsThatDoNotFitTheConfigAreErrors) {
  edit("config.json", "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
  EXPECT_NE(message().find("model.layers.4."), std::string::npos) << message();
  edit("config.json", "\"num_hidden_layers\": 5", "\"num_hidden_layers\": 3");
  EXPECT_NE(message().find("model.layers.3."), std::string::npos) << message();
  edit("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
  edit("config.json", "\"intermediate_size\": 144", "\"intermediate_size\": 143");
  EXPECT_NE(message().find("[144, 64]"), std::string::npos) << message();
  edit("config.json", "\"intermediate_size\": 143", "\"intermediate_size\": 144");
  edit("config.json", "\"attention_bias\": false", "\"attention_bias\": true");
  EXPECT_NE(message().find("q_proj.bias"), std::string::npos) << message();
}

}  // namespace
}  // namespace exo
