// Embedding models with goldens: hidden states and embeddings within 5e-4 on every backend.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "golden_files.h"
#include "inference/embedder.h"
#include "inference/generate_local.h"

namespace exo {
namespace {

using golden::Case;

constexpr float kTolerance = 5e-4f;

template <class T>
std::vector<T> read(const TensorFiles& files, const std::string& name) {
  const HostTensor tensor = files.find(name).value();
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), values.size() * sizeof(T));
  return values;
}

class Embeddings : public testing::TestWithParam<std::tuple<Case, std::string>> {
 protected:
  void SetUp() override {
    model_ = open_model(which().model).value();
    golden_ = open_safetensors_file(which().file).value();
    EmbedderOptions options;
    options.backend = std::get<1>(GetParam());
    options.backend_options.exact = true;
    options.backend_options.threads = 2;
    embedder_ = Embedder::load(model_, options).value();
  }
  const Case& which() const { return std::get<0>(GetParam()); }
  EmbedInput input(const std::string& prompt) const {
    return {read<TokenId>(*golden_, prompt + ".input_ids"),
            read<int32_t>(*golden_, prompt + ".token_type_ids")};
  }
  void expect_close(const std::vector<float>& found, const std::string& name) {
    const std::vector<float> expected = read<float>(*golden_, name);
    ASSERT_EQ(found.size(), expected.size()) << name;
    worst_ = std::max(worst_, golden::largest_difference(found, expected));
    EXPECT_LE(worst_, kTolerance) << name;
  }

  ModelFiles model_;
  std::shared_ptr<const TensorFiles> golden_;
  std::optional<Embedder> embedder_;
  float worst_ = 0;
};

TEST_P(Embeddings, AreThoseOfTheGolden) {
  for (const char* prompt : {"n1", "n7", "n40", "n100"}) {
    const EmbedInput one = input(prompt);
    for (const auto& [pooling, name] : {std::pair{Pooling::none, "last_hidden_state"},
                                        {Pooling::pooler, "pooler_output"},
                                        {Pooling::mean, "mean_embedding"},
                                        {Pooling::cls, "cls_embedding"}}) {
      const auto found = embedder_->embed({&one, 1}, pooling);
      ASSERT_TRUE(found.ok()) << found.error().message;
      expect_close(found->front(), fmt::format("{}.{}", prompt, name));
    }
  }
  fmt::print("{}: largest difference {:.2e}\n", which().name, worst_);
  RecordProperty("logit_error", fmt::format("{:.1e}", worst_));
}

// What other programs pad to one length is computed as it is, side by side.
TEST_P(Embeddings, ABatchIsItsSequences) {
  const std::vector<EmbedInput> inputs{input("n7"), input("n40")};
  const auto found = embedder_->embed(inputs, Pooling::mean);
  ASSERT_TRUE(found.ok()) << found.error().message;
  std::vector<float> both = (*found)[0];
  both.insert(both.end(), (*found)[1].begin(), (*found)[1].end());
  expect_close(both, "batch.mean_embedding");
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_EQ(embedder_->embed({&inputs[i], 1}, Pooling::mean)->front(), (*found)[i]);
}

TEST_P(Embeddings, WhatDoesNotFitIsAnError) {
  const auto message = [&](const EmbedInput& input) {
    const auto found = embedder_->embed({&input, 1}, Pooling::mean);
    return found.ok() ? "embedded" : found.error().message;
  };
  EXPECT_NE(message({}).find("no tokens"), std::string::npos);
  EXPECT_NE(message({{288}}).find("288"), std::string::npos);
  EXPECT_NE(message({{1, 2}, {0, 2}}).find("token type 2"), std::string::npos);
  EXPECT_NE(message({{1, 2}, {0}}).find("1 token types"), std::string::npos);
  EXPECT_NE(message({std::vector<TokenId>(129, 1)}).find("129"), std::string::npos);
  EXPECT_NE(LocalRing::load(model_, {}).error().message.find("cannot chat"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Models, Embeddings,
                         testing::Combine(testing::ValuesIn(golden::find_embedding_cases()),
                                          testing::Values("reference", "cpu")),
                         golden::case_name);

}  // namespace
}  // namespace exo
