// FakeNode: a Node for tests that answers at once and always the same: the text depends on the
// prompt and, when the temperature is not 0, on the seed. One thread hands out one token per
// stream and turn, like a batch. Words in the prompt steer it:
//   "[fail-start]"  generate() fails          "[fail-load]"  the first item is a failure
//   "[fail-mid]"    fails after 3 tokens      "[notice]"     a notice comes first
//   "[forever]"     never an end of sequence  "[stall]"      no token ever
//   "[say:TEXT]"    answers TEXT
// Chats may think (<think>) and call tools (<tool_call>), as with a template of Hermes. The model
// "org/other:8b" takes pictures.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "orchestration/node.h"

namespace exo {

class FakeStream;

class FakeNode final : public Node {
 public:
  struct Options {
    int token_delay_us = 0;
    int context_length = 4096;
  };
  FakeNode() : FakeNode(Options{}) {}
  explicit FakeNode(Options options);
  ~FakeNode() override;

  Result<StartedGeneration> generate(GenerationRequest request) override;
  std::vector<ModelStatus> models() const override;
  Result<ModelCard> find_model(const std::string& model) const override;
  Result<std::shared_ptr<const Tokenizer>> tokenizer(const std::string& model) const override;
  Result<std::string> render_prompt(const GenerationRequest& request) const override;
  NodeStatus status() const override;
  Result<std::string> create_invite() override { return std::string("fake-invite-code"); }
  SamplingParams sampling_defaults(const std::string&) const override { return {}; }
  Result<ModelCard> add_model(const std::string& path) override;
  Result<std::unique_ptr<TokenStream>> load_model(const std::string& model) override;
  Result<void> unload_model(const std::string& model) override;
  Result<void> revoke(const std::string& node) override;
  uint64_t status_version() const override { return version_; }

  // Waits until exactly `count` streams are held by askers. False after 10 s.
  bool wait_for_live(size_t count) const;
  GenerationRequest last_request() const;
  void change_status() { ++version_; }

 private:
  void work();

  const Options options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::atomic<uint64_t> version_{1};
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::weak_ptr<FakeStream>> streams_;
  GenerationRequest last_request_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace exo
