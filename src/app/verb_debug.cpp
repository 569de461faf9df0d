// exo debug: probes for maintainers. stdout carries the result and nothing else.
#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

#include "app/console.h"
#include "app/local_model.h"
#include "app/npy.h"
#include "app/verbs.h"
#include "base/world.h"
#include "inference/perplexity.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

constexpr size_t kMaxLineBytes = 64u << 20;

// Each line of standard input is an object; `answer` makes the line to print. Stops at the first
// broken line.
int for_each_line(const std::function<Result<JsonObject>(const JsonObject&)>& answer) {
  std::string line;
  size_t number = 0;
  while (std::getline(std::cin, line)) {
    ++number;
    if (line.empty()) continue;
    if (line.size() > kMaxLineBytes)
      return fail(invalid_argument(fmt::format("line {} is too long", number)));
    const Result<Json> json = parse_json(line);
    if (!json.ok()) return fail(json.error().in(fmt::format("line {}", number)));
    if (!json->is_object())
      return fail(invalid_argument(fmt::format("line {} is not a JSON object", number)));
    const Result<JsonObject> out = answer(json->get_object());
    if (!out.ok()) return fail(out.error().in(fmt::format("line {}", number)));
    std::printf("%s\n", to_text(Json(*out)).c_str());
  }
  return 0;
}

Result<JsonObject> encode_line(const Tokenizer& tokenizer, const JsonObject& line) {
  const auto text = TRY(get_string(line, "text"));
  if (!text) return invalid_argument("there is no \"text\"");
  JsonArray ids;
  for (const TokenId id : tokenizer.encode(*text)) ids.push_back(id);
  return JsonObject{{"ids", std::move(ids)}};
}

Result<JsonObject> decode_line(const Tokenizer& tokenizer, const JsonObject& line) {
  const JsonArray* ids = TRY(get_array(line, "ids"));
  if (ids == nullptr) return invalid_argument("there are no \"ids\"");
  std::vector<TokenId> tokens;
  for (const Json& id : *ids) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= tokenizer.size())
      return invalid_argument(to_text(id) + " is not a token id of this model");
    tokens.push_back(static_cast<TokenId>(id.get_int64()));
  }
  return JsonObject{{"text", tokenizer.decode(tokens)}};
}

int debug_tokenize(const DebugFlags& flags) {
  const auto tokenizer = load_model_tokenizer(flags.model);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  return for_each_line([&](const JsonObject& line) {
    return flags.decode ? decode_line(**tokenizer, line) : encode_line(**tokenizer, line);
  });
}

// "2025-03-09T14:05:07" in local time -> milliseconds since the epoch.
Result<int64_t> parse_local_time(const std::string& text) {
  std::tm parts{};
  if (text.empty()) return real_world().wall_time_ms();
  int used = 0;
  const int fields =
      std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon,
                  &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &used);
  if (fields != 6 || static_cast<size_t>(used) != text.size())
    return invalid_argument("--now needs a time like 2025-03-09T14:05:07");
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  parts.tm_isdst = -1;
  const std::time_t seconds = std::mktime(&parts);
  if (seconds == -1) return invalid_argument("--now: no such time");
  return static_cast<int64_t>(seconds) * 1000;
}

Result<JsonObject> render_line(const ModelTemplates& templates, int64_t now_ms,
                               const JsonObject& line) {
  ChatTemplateInput input;
  const JsonArray* messages = TRY(get_array(line, "messages"));
  const JsonArray* tools = TRY(get_array(line, "tools"));
  const JsonObject* kwargs = TRY(get_object(line, "kwargs"));
  if (messages == nullptr) return invalid_argument("there are no \"messages\"");
  input.messages = *messages;
  if (tools != nullptr) input.tools = *tools;
  if (kwargs != nullptr) input.kwargs = *kwargs;
  input.add_generation_prompt = TRY(get_bool(line, "add_generation_prompt")).value_or(false);
  input.now_ms = now_ms;
  const Result<std::string> text = templates.render(std::move(input));
  if (!text.ok()) return JsonObject{{"error", text.error().message}};
  return JsonObject{{"text", *text}};
}

int debug_template(const DebugFlags& flags) {
  const Result<int64_t> now_ms = parse_local_time(flags.now);
  if (!now_ms.ok()) return fail(now_ms.error());
  const Result<ModelTemplates> templates = ModelTemplates::load(flags.model);
  if (!templates.ok()) return fail(templates.error());
  return for_each_line(
      [&](const JsonObject& line) { return render_line(*templates, *now_ms, line); });
}

Result<std::vector<int32_t>> parse_numbers(std::string_view text, const char* flag) {
  std::vector<int32_t> numbers;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    int32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + comma, number);
    if (error != std::errc() || end != text.data() + comma || number < 0)
      return invalid_argument(fmt::format("{} needs numbers like 1,2,3", flag));
    numbers.push_back(number);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return numbers;
}

Result<std::vector<TokenId>> parse_ids(const DebugFlags& flags) {
  std::vector<TokenId> ids = TRY(parse_numbers(flags.tokens, "--tokens"));
  if (ids.empty()) return invalid_argument("--tokens is missing");
  return ids;
}

Result<EmbedInput> embed_input(const DebugFlags& flags) {
  EmbedInput input;
  input.token_types = TRY(parse_numbers(flags.token_types, "--token-types"));
  if (flags.text.empty()) {
    input.ids = TRY(parse_ids(flags));
  } else {
    if (!flags.tokens.empty()) return invalid_argument("give --text or --tokens, not both");
    input.ids = TRY(load_model_tokenizer(flags.model))->encode_with_special(flags.text);
  }
  return input;
}

Result<void> write_embedding(const CommandLine& line) {
  const DebugFlags& flags = line.debug;
  if (flags.out.empty()) return invalid_argument("--out FILE.npy is missing");
  Pooling pooling = Pooling::mean;
  Embedder embedder = TRY(load_embedder(flags.model, line.node, pooling));
  if (flags.pooling == "mean") pooling = Pooling::mean;
  if (flags.pooling == "cls") pooling = Pooling::cls;
  if (flags.pooling == "pooler") pooling = Pooling::pooler;
  if (flags.pooling == "none") pooling = Pooling::none;
  const EmbedInput input = TRY(embed_input(flags));
  const std::vector<float> values = TRY(embedder.embed({&input, 1}, pooling)).front();
  const auto width = static_cast<size_t>(embedder.width());
  if (pooling == Pooling::none) return write_npy(flags.out, values, {input.ids.size(), width});
  return write_npy(flags.out, values, {width});
}

Result<void> write_logits(const CommandLine& line) {
  if (line.debug.out.empty()) return invalid_argument("--out FILE.npy is missing");
  const std::vector<TokenId> ids = TRY(parse_ids(line.debug));
  LocalRing ring = TRY(load_local_ring(line.debug.model, line.node, line.debug.shards));
  const auto images = TRY(load_images(line.debug.images, ring.image_size()));
  const std::vector<float> logits = TRY(ring.logits(ids, images));
  return write_npy(line.debug.out, logits, {ids.size(), static_cast<size_t>(ring.vocab_size())});
}

Result<void> print_greedy(const CommandLine& line) {
  const std::vector<TokenId> ids = TRY(parse_ids(line.debug));
  LocalRing ring = TRY(load_local_ring(line.debug.model, line.node, line.debug.shards));
  const auto images = TRY(load_images(line.debug.images, ring.image_size()));
  const std::vector<TokenId> made = TRY(ring.greedy(ids, line.debug.count, images));
  for (size_t i = 0; i < made.size(); ++i) std::printf("%s%d", i == 0 ? "" : ",", made[i]);
  std::printf("\n");
  return {};
}

Result<std::string> all_input() {
  constexpr size_t kMostBytes = 256u << 20;
  std::string text;
  char buffer[1 << 16];
  while (const size_t got = std::fread(buffer, 1, sizeof buffer, stdin)) {
    if (text.size() + got > kMostBytes)
      return invalid_argument("the text on standard input is longer than 256 MB");
    text.append(buffer, got);
  }
  return text;
}

Result<void> print_perplexity(const CommandLine& line) {
  const DebugFlags& flags = line.debug;
  std::vector<TokenId> ids;
  if (flags.tokens.empty()) {
    const std::string text = flags.text.empty() ? TRY(all_input()) : flags.text;
    ids = TRY(load_model_tokenizer(flags.model))->encode_with_special(text);
  } else {
    ids = TRY(parse_ids(flags));
  }
  LocalRing ring = TRY(load_local_ring(flags.model, line.node, flags.shards, flags.window));
  const Perplexity found =
      TRY(perplexity(ring, ids, std::min(flags.window, ring.context_length())));
  print_json(JsonObject{{"perplexity", found.value},
                        {"standard_error", found.standard_error},
                        {"tokens", found.tokens}});
  return {};
}

}  // namespace

int run_debug(const CommandLine& line) {
  if (line.debug.what == "tokenize") return debug_tokenize(line.debug);
  if (line.debug.what == "template") return debug_template(line.debug);
  const Result<void> done = line.debug.what == "logits"       ? write_logits(line)
                            : line.debug.what == "embed"      ? write_embedding(line)
                            : line.debug.what == "perplexity" ? print_perplexity(line)
                                                              : print_greedy(line);
  return done.ok() ? 0 : fail(done.error());
}

}  // namespace exo
