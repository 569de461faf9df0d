#include "fake_node.h"

#include <fmt/core.h>

#include <array>
#include <chrono>
#include <deque>

namespace exo {
namespace {

constexpr TokenId kEos = 256;

// Ids 0-255 are bytes, 256 ends a sequence.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int byte = 0; byte < 256; ++byte)
      vocabulary_.bytes.emplace_back(1, static_cast<char>(byte));
    vocabulary_.bytes.emplace_back("<eos>");
    vocabulary_.special.assign(257, false);
    vocabulary_.special[kEos] = true;
  }
  std::vector<TokenId> encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::vector<TokenId> encode_with_special(std::string_view text) const override {
    return encode(text, true);
  }
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    std::string text;
    for (const TokenId id : ids)
      if (id >= 0 && id < 257 && !(skip_special && id == kEos))
        text += vocabulary_.bytes[static_cast<size_t>(id)];
    return text;
  }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  int size() const override { return 257; }

 private:
  Vocabulary vocabulary_;
};

uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

std::string answer_to(const std::string& prompt, const SamplingParams& sampling) {
  const size_t say = prompt.rfind("[say:");
  if (say != std::string::npos) return prompt.substr(say + 5, prompt.find(']', say) - say - 5);
  static constexpr std::array<std::string_view, 8> kWords = {"ring", "node",  "layer", "größe",
                                                             "日本", "token", "🙂",  "shard"};
  uint64_t state = 14695981039346656037ULL;
  for (const char c : prompt) state = (state ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  if (sampling.temperature > 0) state ^= mix(sampling.seed + 1);
  std::string text;
  const uint64_t count = 6 + mix(state) % 8;
  for (uint64_t i = 0; i < count; ++i) {
    state = mix(state + i);
    text += fmt::format("{}{}", i == 0 ? "" : " ", kWords[state % kWords.size()]);
  }
  return text;
}

}  // namespace

class FakeStream final : public TokenStream {
 public:
  FakeStream(const std::string& prompt, const SamplingParams& sampling, int prompt_tokens)
      : sampling_(sampling), position_(prompt_tokens), text_(answer_to(prompt, sampling)) {
    const auto says = [&](std::string_view word) { return prompt.find(word) != std::string::npos; };
    forever_ = says("[forever]") || sampling.ignore_eos;
    stall_ = says("[stall]");
    if (says("[notice]"))
      items_.push_back({Item::Kind::notice, "loading fake on 2\nnodes", {}, {}});
    if (says("[fail-load]")) fail_at_ = 0;
    if (says("[fail-mid]")) fail_at_ = 3;
  }

  std::optional<Item> try_next() override {
    const std::lock_guard lock(mutex_);
    if (items_.empty()) return std::nullopt;
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }
  std::optional<Item> next(int timeout_ms) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return !items_.empty(); });
    lock.unlock();
    return try_next();
  }
  void set_waker(std::function<void()> waker) override {
    const std::lock_guard lock(waker_mutex_);
    waker_ = std::move(waker);
  }

  // One token of work. False when there is none to do.
  bool step() {
    {
      const std::lock_guard lock(mutex_);
      if (stall_ || over_ || items_.size() >= 4096) return false;
      items_.push_back(next_item());
      changed_.notify_all();
    }
    const std::lock_guard lock(waker_mutex_);
    if (waker_) waker_();
    return true;
  }

 private:
  Item next_item() {
    if (made_ == fail_at_) {
      over_ = true;
      return {Item::Kind::failed, "", {}, unavailable("node B left and nobody holds its layers")};
    }
    TokenEvent event;
    event.position = position_++;
    const size_t at = static_cast<size_t>(made_++);
    const bool at_end = at >= text_.size() && !forever_;
    const TokenId id =
        at_end ? kEos : static_cast<unsigned char>(text_[at % std::max<size_t>(text_.size(), 1)]);
    event.ids = {id};
    if (sampling_.top_logprobs >= 0) {
      TokenLogprobs logprobs{-0.5f, {}};
      for (int i = 0; i < sampling_.top_logprobs; ++i)
        logprobs.top.push_back({(id + i) % 257, -0.5f - static_cast<float>(i)});
      event.logprobs = {std::move(logprobs)};
    }
    if (at_end)
      event.finish = FinishReason::stop;
    else if (made_ >= sampling_.max_tokens)
      event.finish = FinishReason::length;
    over_ = event.finish != FinishReason::none;
    return {Item::Kind::tokens, "", std::move(event), {}};
  }

  const SamplingParams sampling_;
  int position_;
  const std::string text_;
  bool forever_ = false, stall_ = false, over_ = false;
  int fail_at_ = -1;
  int made_ = 0;
  std::mutex mutex_, waker_mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  std::function<void()> waker_;
};

namespace {

// The asker's end; the node itself only holds weak ends, so that dropping this cancels.
class StreamHandle final : public TokenStream {
 public:
  explicit StreamHandle(std::shared_ptr<FakeStream> stream) : stream_(std::move(stream)) {}
  std::optional<Item> try_next() override { return stream_->try_next(); }
  std::optional<Item> next(int timeout_ms) override { return stream_->next(timeout_ms); }
  void set_waker(std::function<void()> waker) override { stream_->set_waker(std::move(waker)); }

 private:
  std::shared_ptr<FakeStream> stream_;
};

ModelCard fake_card(const std::string& id, int context_length) {
  ModelCard card;
  card.id = id;
  card.fingerprint = "0123456789abcdef0123456789abcdef";
  card.family = "llama";
  card.weight_dtype = "bf16";
  card.layer_count = 4;
  card.hidden_size = 8;
  card.vocab_size = 257;
  card.context_length = context_length;
  card.layer_bytes.assign(4, 1000);
  card.has_chat_template = true;
  card.eos_ids = {kEos};
  return card;
}

}  // namespace

FakeNode::FakeNode(Options options)
    : options_(options),
      tokenizer_(std::make_shared<ByteTokenizer>()),
      thread_([this] { work(); }) {}

FakeNode::~FakeNode() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void FakeNode::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::vector<std::weak_ptr<FakeStream>> turn = streams_;
    lock.unlock();
    bool worked = false;
    for (auto& weak : turn) {
      const auto stream = weak.lock();
      worked |= stream && stream->step();
    }
    turn.clear();
    lock.lock();
    std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
    changed_.notify_all();
    const auto delay = std::chrono::microseconds(options_.token_delay_us);
    if (streams_.empty())
      changed_.wait(lock, [&] { return stopping_ || !streams_.empty(); });
    else  // those that made their last token stay until the asker lets go
      changed_.wait_for(lock, worked ? delay : std::chrono::microseconds(1000),
                        [&] { return stopping_; });
  }
}

Result<std::string> FakeNode::render_prompt(const GenerationRequest& request) const {
  std::string text;
  for (const ChatMessage& message : request.messages)
    text += fmt::format(
        "<{}>{}\n", message.role,
        message.content.is_string() ? std::string(message.content.get_string()) : std::string());
  return text;
}

Result<StartedGeneration> FakeNode::generate(GenerationRequest request) {
  StartedGeneration started;
  started.card = TRY(find_model(request.model));
  std::string prompt;
  if (request.prompt)
    prompt = *request.prompt;
  else if (request.prompt_ids)
    prompt = tokenizer_->decode(*request.prompt_ids, false);
  else
    prompt = TRY(render_prompt(request));
  if (prompt.find("[fail-start]") != std::string::npos)
    return resource_exhausted("the queue is full; try again later");
  started.prompt_tokens = static_cast<int>(prompt.size());
  if (started.prompt_tokens >= options_.context_length)
    return resource_exhausted(
        fmt::format("This model's maximum context length is {} tokens. However, your messages "
                    "resulted in {} tokens.",
                    options_.context_length, started.prompt_tokens));
  started.sampling = request.sampling;
  const int room = options_.context_length - started.prompt_tokens;
  if (started.sampling.max_tokens == 0 || started.sampling.max_tokens > room)
    started.sampling.max_tokens = room;
  started.sampling.stop_ids = {kEos};
  started.tokenizer = tokenizer_;
  if (!request.prompt && !request.prompt_ids) {
    started.syntax.thinking = {{"<think>", "</think>"}};
    started.syntax.calls = {{"<tool_call>", "</tool_call>"}};
  }
  auto stream = std::make_shared<FakeStream>(prompt, started.sampling, started.prompt_tokens);
  started.stream = std::make_unique<StreamHandle>(stream);
  const std::lock_guard lock(mutex_);
  last_request_ = std::move(request);
  streams_.push_back(stream);
  changed_.notify_all();
  return started;
}

std::vector<ModelStatus> FakeNode::models() const {
  ModelCard other = fake_card("org/other:8b", options_.context_length);
  other.vision = true;
  other.image_size = 2;
  return {{fake_card("fake", options_.context_length), true, "/models/fake"},
          {std::move(other), false, "/models/other"}};
}

Result<ModelCard> FakeNode::find_model(const std::string& model) const {
  for (const ModelStatus& known : models())
    if (model.empty() || known.card.id == model) return known.card;
  return not_found(fmt::format("the model '{}' does not exist here", model));
}

Result<ModelCard> FakeNode::add_model(const std::string& path) {
  if (path != "/models/fake") return not_found(fmt::format("{} is not a checkpoint", path));
  return find_model("fake");
}

Result<std::unique_ptr<TokenStream>> FakeNode::load_model(const std::string& model) {
  GenerationRequest request;
  request.model = model;
  request.prompt = "[notice][say:]";
  return std::move(TRY(generate(std::move(request))).stream);
}

Result<void> FakeNode::unload_model(const std::string& model) {
  TRY(find_model(model));
  return {};
}

Result<void> FakeNode::revoke(const std::string& node) {
  if (node != "B") return not_found(fmt::format("there is no node {}", node));
  return {};
}

Result<std::shared_ptr<const Tokenizer>> FakeNode::tokenizer(const std::string& model) const {
  TRY(find_model(model));
  return tokenizer_;
}

NodeStatus FakeNode::status() const {
  NodeStatus status;
  status.cluster_id = "c1";
  status.version = "0.0.0";
  status.engine = "fake";
  status.core.self.id = NodeId{"aaaa"};
  status.core.self.name = "A";
  status.core.self.device.memory_total_bytes = 1000;
  PeerView peer;
  peer.info.id = NodeId{"bbbb"};
  peer.info.name = "B";
  peer.linked = true;
  peer.rtt_us = 250;
  status.core.peers = {peer};
  PlacementInfo info;
  info.state = PlacementState::ready;
  info.placement.id = PlacementId{7};
  info.placement.card = fake_card("fake", options_.context_length);
  info.placement.stages = {{NodeId{"aaaa"}, Shard{"fake", 0, 3, 4}},
                           {NodeId{"bbbb"}, Shard{"fake", 3, 4, 4}}};
  status.core.placements = {info};
  status.foreign = {{"c2", "stranger", "10.0.0.9"}};
  return status;
}

bool FakeNode::wait_for_live(size_t count) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(10), [&] {
    size_t live = 0;
    for (const auto& weak : streams_) live += weak.expired() ? 0 : 1;
    return live == count;
  });
}

GenerationRequest FakeNode::last_request() const {
  const std::lock_guard lock(mutex_);
  return last_request_;
}

}  // namespace exo
