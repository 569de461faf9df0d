// What each format costs the demo model: its perplexity over answers of its own kind, exact and on
// the fast path, against the checkpoint in float32.
#include "inference/perplexity.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "core/json.h"
#include "model/gguf_convert.h"
#include "text/tokenizer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

const fs::path kDemo = fs::path(EXO_SOURCE_DIR) / "models" / "demo";

struct Loss {
  const char* format;
  double most;  // ratio to float32's perplexity
};

// About twice what was seen; a scale or a minimum gone wrong costs tens of percent.
constexpr Loss kFormats[] = {{"f32", 1.0005}, {"f16", 1.0005}, {"bf16", 1.0005}, {"q8_0", 1.001},
                             {"q6_k", 1.002}, {"q5_k", 1.004}, {"q5_1", 1.004},  {"q5_0", 1.004},
                             {"q4_k", 1.008}, {"q4_1", 1.008}, {"q4_0", 1.008}};
constexpr double kFastPath = 1.0015;  // int8 activations against float32 ones, same weights
constexpr size_t kTokens = 1536;
constexpr int kWindow = 256;

struct Conversation {
  std::vector<TokenId> ids;
  std::vector<char> is_answer;  // of each id
};

// Questions and right answers of the model's own evaluation, as it sees them in a chat. It learned
// to foretell answers only, so only they are scored.
Conversation conversation() {
  const Json eval = parse_json(read_file(kDemo / "eval.json", 1 << 22).value()).value();
  const auto tokenizer = load_tokenizer(kDemo).value();
  Conversation all;
  const auto add = [&](const std::string& text, char is_answer) {
    const std::vector<TokenId> ids = tokenizer->encode(text);
    all.ids.insert(all.ids.end(), ids.begin(), ids.end());
    all.is_answer.resize(all.ids.size(), is_answer);
  };
  for (const Json& one : eval.at("held-out").at("answers").as_array()) {
    if (!one.at("right").as_bool()) continue;
    add(fmt::format("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
                    std::string(one.at("q").as_string())),
        0);
    add(std::string(one.at("a").as_string()) + "<|im_end|>", 1);
    add("\n", 0);
    if (all.ids.size() >= kTokens) break;
  }
  return all;
}

double measure(const ModelFiles& model, bool exact, const Conversation& text) {
  LocalRingOptions options;
  options.backend_options.exact = exact;
  options.backend_options.threads = 2;
  LocalRing ring = LocalRing::load(model, options).value();
  return perplexity(ring, text.ids, kWindow, text.is_answer).value().value;
}

TEST(DemoPerplexity, StaysWithinTheLossOfEachFormat) {
  const fs::path scratch = fs::temp_directory_path() / fmt::format("exo_loss_{}", ::getpid());
  fs::create_directories(scratch);
  const ModelFiles model = open_model(kDemo).value();
  const Conversation text = conversation();
  const double whole = measure(model, true, text);
  fmt::print("perplexity of the answers in {} tokens: {:.4f} as stored\n", text.ids.size(), whole);
  for (const Loss& loss : kFormats) {
    ConvertOptions options;
    options.target = dtype_from_name(loss.format);
    const fs::path file = scratch / fmt::format("{}.gguf", loss.format);
    ASSERT_TRUE(convert_to_gguf(model, file, options).ok());
    const ModelFiles written = open_model(file).value();
    const double exact = measure(written, true, text), fast = measure(written, false, text);
    fmt::print("{:5}  exact {:.4f} ({:+.2f} %)  fast {:.4f} ({:+.2f} % of exact)\n", loss.format,
               exact, (exact / whole - 1) * 100, fast, (fast / exact - 1) * 100);
    EXPECT_LE(exact / whole, loss.most) << loss.format;
    EXPECT_LE(fast / exact, kFastPath) << loss.format;
  }
  fs::remove_all(scratch);
}

TEST(Perplexity, NeedsSomethingToScore) {
  LocalRing ring = LocalRing::load(open_model(kDemo).value(), {}).value();
  const TokenId one[] = {5}, two[] = {5, 6};
  EXPECT_FALSE(perplexity(ring, one, 16).ok());
  EXPECT_FALSE(perplexity(ring, two, 1).ok());
  EXPECT_EQ(perplexity(ring, two, 16).value().tokens, 1);
}

}  // namespace
}  // namespace exo
