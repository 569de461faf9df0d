// Whole nodes in one process, joined by a MemoryHub: for tests and benchmarks only.
#pragma once

#include <fmt/core.h>

#include <memory>
#include <string>
#include <vector>

#include "inference/fake_engine.h"
#include "networking/memory_transport.h"
#include "orchestration/local_node.h"

namespace exo {

// One model, "fake", whose tokens are known without computing (fake_greedy_token).
class FakeModelLibrary final : public ModelLibrary {
 public:
  static ModelCard card() {
    ModelCard card;
    card.id = "fake";
    card.path = "/fake";
    card.fingerprint = "fa4e";
    card.weight_dtype = "f32";
    card.layer_count = 6;
    card.hidden_size = 8;
    card.vocab_size = 64;
    card.context_length = 256;
    card.layer_bytes.assign(6, 1000);
    card.kv_bytes_per_token_per_layer = 16;
    return card;
  }
  Result<ModelCard> find(const std::string& model) override {
    if (model == "fake") return card();
    return not_found(model + " is not here");
  }
  std::vector<ModelCard> list() override { return {card()}; }
  Result<std::filesystem::path> locate(const ModelCard& card) override {
    return std::filesystem::path(card.path);
  }
  Result<std::shared_ptr<const Tokenizer>> tokenizer(const ModelCard&) override {
    return tokenizer_;
  }
  Result<std::shared_ptr<const LoadedTemplate>> chat_template(const ModelCard&, bool) override {
    return not_found("no template");
  }
  GenerationDefaults generation_defaults(const ModelCard&) override { return {}; }

 private:
  class NoTokenizer final : public Tokenizer {
   public:
    std::vector<TokenId> encode(std::string_view text, bool) const override {
      return std::vector<TokenId>(text.size(), 1);
    }
    std::vector<TokenId> encode_with_special(std::string_view text) const override {
      return encode(text, true);
    }
    std::string decode(std::span<const TokenId>, bool) const override { return ""; }
    const Vocabulary& vocabulary() const override { return vocabulary_; }
    int size() const override { return 64; }

   private:
    Vocabulary vocabulary_;
  };
  std::shared_ptr<const Tokenizer> tokenizer_ = std::make_shared<NoTokenizer>();
};

class TestCluster {
 public:
  ~TestCluster() { stop(); }

  // Nodes with equal memory; `models` and `make_engine` default to the fake ones.
  struct Options {
    size_t nodes = 2;
    std::shared_ptr<ModelLibrary> models = std::make_shared<FakeModelLibrary>();
    EngineFactory make_engine;
    CoreOptions core;
  };
  explicit TestCluster(const Options& options) {
    for (size_t i = 0; i < options.nodes; ++i) nodes_.push_back(make_node(options, i));
    for (const auto& node : nodes_)
      for (const auto& other : nodes_)
        if (node != other) node->connect(other->id(), {"memory", 1, "loopback"});
  }
  LocalNode& operator[](size_t index) { return *nodes_[index]; }
  bool wait_until_linked(int timeout_ms = 20'000) {
    for (const auto& node : nodes_)
      if (!node->wait_for_peers(nodes_.size() - 1, timeout_ms)) return false;
    return true;
  }
  // Loads the model and waits until it lies on every node.
  bool spread(const std::string& model, int timeout_ms = 20'000) {
    const auto on_all = [this](const CoreView& view) {
      return !view.placements.empty() && view.placements[0].state == PlacementState::ready &&
             view.placements[0].placement.stages.size() == nodes_.size();
    };
    const auto loading = nodes_[0]->load_model(model);
    if (!loading.ok()) return false;
    for (const auto& node : nodes_)
      if (!node->wait_until(on_all, timeout_ms)) return false;
    return true;
  }
  void kill(size_t index) { hub_.kill(nodes_[index]->id()); }
  void stop() {
    for (const auto& node : nodes_) node->stop();
  }

 private:
  std::unique_ptr<LocalNode> make_node(const Options& options, size_t index) {
    NodeOptions node;
    node.node_id = {fmt::format("{:032x}", index + 1)};
    node.name = fmt::format("node-{}", index);
    node.transport = hub_.create(node.node_id);
    node.models = options.models;
    node.make_engine = options.make_engine;
    if (!node.make_engine)
      node.make_engine = [](const Placement& placement, size_t stage,
                            const LoadWatch&) -> Result<std::unique_ptr<InferenceEngine>> {
        return make_fake_engine(placement, stage);
      };
    node.device.host_name = node.name;
    node.device.memory_total_bytes = uint64_t{4} << 30;
    node.device.memory_free_bytes = uint64_t{4} << 30;
    node.core = options.core;
    auto started = LocalNode::start(std::move(node));
    CHECK(started.ok(), started.error().message);
    return *std::move(started);
  }

  MemoryHub hub_;
  std::vector<std::unique_ptr<LocalNode>> nodes_;
};

struct Answer {
  std::vector<TokenId> ids;
  std::vector<std::string> notices;
  FinishReason finish = FinishReason::none;
  Error error;
  bool failed = false;
};

// Until the end, or so many ids.
inline Answer take(TokenStream& stream, size_t most = 1'000'000) {
  Answer answer;
  while (answer.ids.size() < most && answer.finish == FinishReason::none && !answer.failed) {
    auto item = stream.next(60'000);
    if (!item) {
      answer.failed = true;
      answer.error = internal_error("nothing came for a minute");
    } else if (item->kind == TokenStream::Item::Kind::notice) {
      answer.notices.push_back(item->notice);
    } else if (item->kind == TokenStream::Item::Kind::failed) {
      answer.failed = true;
      answer.error = item->error;
    } else {
      answer.ids.insert(answer.ids.end(), item->tokens.ids.begin(), item->tokens.ids.end());
      answer.finish = item->tokens.finish;
    }
  }
  return answer;
}

}  // namespace exo
