#include "api/openai.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <span>

#include "api/api_error.h"
#include "api/openai_reply.h"
#include "base/log.h"
#include "orchestration/text_stream.h"

namespace exo {
namespace {

constexpr int kNoticeHoldMs = 2'000;  // an error within this is still an HTTP error
constexpr int kKeepAliveMs = 10'000;
constexpr int kProgressEveryMs = 1'000, kDownloadPollMs = 200;
constexpr int kEventsPerTurn = 256;  // then other streams of this thread have their turn

struct Choice {
  std::unique_ptr<TextStream> stream;
  bool first_of_prompt = true;  // its usage counts the prompt
  std::string echo;
  bool began = false;
  std::string text, reasoning;  // not streaming: all of it
  std::vector<ToolCall> calls;
  size_t text_bytes = 0;  // sent or collected so far
  Json logprobs = nullptr;
  std::string_view finish;  // "" = not done
  Usage usage;
  int64_t started_us = 0, first_us = 0, last_us = 0;
};

// One request being answered. Runs on the exchange's executor, except prepare().
class Answer : public std::enable_shared_from_this<Answer> {
 public:
  Answer(OpenAiContext context, OpenAiEndpoint endpoint, std::shared_ptr<HttpExchange> exchange)
      : context_(context), endpoint_(endpoint), exchange_(std::move(exchange)) {}
  ~Answer() { drop_choices("cancelled"); }

  // On a worker thread: parsing, the template and the tokenizer may take a while.
  void prepare() {
    started_us_ = context_.world.now_us();
    body_ = exchange_->take_body();
    const auto coming = missing_model();
    if (!coming.ok() || !*coming) return start(coming.ok() ? Result<void>() : coming.error());
    exchange_->post([self = shared_from_this(), id = **coming] { self->await_model(id); });
  }

 private:
  // Parses the request; the download of its model, where that has to come first.
  Result<std::optional<uint64_t>> missing_model();
  void await_model(uint64_t download);
  void start(Result<void> so_far);  // on a worker thread
  Result<void> parse();
  Result<void> start_choices();
  Result<void> start_prompt(GenerationRequest request, std::string echo);
  Result<void> check_ids(const ModelCard& card) const;
  void begin();
  void wake();
  void pump();
  bool take(Choice& choice, std::string& out);
  void add_delta(Choice& choice, const TextEvent& event, std::string& out);
  void settle(Choice& choice, const TextEvent& event, std::string& out);
  void note_tokens(Choice& choice, size_t count);
  std::span<const ToolCall> add_calls(Choice& choice, const std::vector<ToolCall>& calls);
  void send(std::string bytes);
  void tick();
  int64_t quiet_ms() const {
    return (context_.world.now_us() - (head_sent_ ? last_write_us_ : started_us_)) / 1000;
  }
  void finish();
  void fail(const Error& error);
  void closed(CloseReason reason);
  void drop_choices(std::string_view reason);
  void record(Choice& choice, std::string_view reason);
  ReplyTimings timings(const Choice& choice) const;
  Usage total_usage() const;
  int index_of(const Choice& choice) const { return static_cast<int>(&choice - choices_.data()); }
  std::string_view prompt_param() const {
    return endpoint_ == OpenAiEndpoint::chat ? "messages" : "prompt";
  }

  OpenAiContext context_;
  OpenAiEndpoint endpoint_;
  std::shared_ptr<HttpExchange> exchange_;
  std::string body_;
  OpenAiRequest request_;
  ReplyHead head_;
  std::vector<Choice> choices_;
  std::atomic<bool> awake_{false};
  bool ended_ = false;
  bool head_sent_ = false;
  std::string notices_;  // held until the head is sent
  int64_t started_us_ = 0, last_write_us_ = 0;
};

std::string random_id(World& world, std::string_view prefix) {
  return fmt::format("{}{:016x}{:08x}", prefix, world.random_u64(),
                     static_cast<uint32_t>(world.random_u64()));
}

// Templates of Mistral take ids of nine letters and digits only.
std::string random_call_id(World& world, bool nine_characters) {
  constexpr std::string_view kCharacters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id = nine_characters ? "" : "call_";
  for (int i = nine_characters ? 9 : 24; i > 0; --i)
    id += kCharacters[world.random_u64() % kCharacters.size()];
  return id;
}

Result<void> Answer::check_ids(const ModelCard& card) const {
  const auto known = [&](TokenId id) { return card.vocab_size == 0 || id < card.vocab_size; };
  for (const auto& [id, bias] : request_.generation.sampling.logit_bias)
    if (!known(id))
      return invalid_argument(
          fmt::format("'logit_bias' names token {}, but this model has {}", id, card.vocab_size));
  for (const auto& prompt : request_.prompts)
    if (const auto* ids = std::get_if<std::vector<TokenId>>(&prompt))
      for (const TokenId id : *ids)
        if (!known(id))
          return invalid_argument(
              fmt::format("'prompt' names token {}, but this model has {}", id, card.vocab_size));
  return {};
}

Result<void> Answer::parse() {
  const HttpRequest& http = exchange_->request();
  OpenAiParseOptions options;
  options.allow_paths = http.remote_loopback && !http.header("origin");
  options.sampling_defaults = [this](const std::string& model) {
    return context_.node.sampling_defaults(model);
  };
  request_ = TRY(parse_openai_request(endpoint_, body_, options));
  return {};
}

Result<std::optional<uint64_t>> Answer::missing_model() {
  TRY(parse());
  return context_.node.bring_model(request_.generation.model);
}

void Answer::await_model(uint64_t download) {
  if (ended_) return;
  const auto status = context_.node.downloads()->status(download);
  if (!status || status->state == DownloadStatus::State::done)
    return exchange_->run_on_worker([self = shared_from_this()] {
      self->start(self->parse());  // again: the model's defaults are known now
    });
  if (status->state == DownloadStatus::State::cancelled)
    return fail(unavailable("the download of the model was cancelled"));
  if (status->state == DownloadStatus::State::failed) return fail(status->error);
  if (request_.stream && quiet_ms() >= kProgressEveryMs)
    send(to_comment(fmt::format("downloading {}: {}", status->model, describe(*status))));
  exchange_->set_timer(kDownloadPollMs,
                       [self = shared_from_this(), download] { self->await_model(download); });
}

void Answer::start(Result<void> so_far) {
  auto started = so_far.ok() ? start_choices() : so_far;
  exchange_->post(
      [self = shared_from_this(), error = started.ok() ? std::optional<Error>() : started.error()] {
        if (error) return self->fail(*error);
        self->begin();
      });
}

Result<void> Answer::start_choices() {
  body_ = {};
  const ModelCard card = TRY(context_.node.find_model(request_.generation.model));
  TRY(check_ids(card));
  const bool chat = endpoint_ == OpenAiEndpoint::chat;
  head_ = ReplyHead{endpoint_, random_id(context_.world, chat ? "chatcmpl-" : "cmpl-"),
                    context_.world.wall_time_ms() / 1000, card.id,
                    "fp_" + (card.fingerprint.empty() ? "exo" : card.fingerprint.substr(0, 12))};
  request_.generation.images = TRY(decode_pictures(request_.pictures, card));
  request_.pictures.clear();
  if (chat) return start_prompt(request_.generation, "");
  for (const auto& prompt : request_.prompts) {
    GenerationRequest generation = request_.generation;
    std::string echo;
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      generation.prompt = *text;
      echo = *text;
    } else {
      generation.prompt_ids = std::get<std::vector<TokenId>>(prompt);
      if (request_.echo)
        echo = TRY(context_.node.tokenizer(generation.model))->decode(*generation.prompt_ids);
    }
    TRY(start_prompt(std::move(generation), request_.echo ? std::move(echo) : std::string()));
  }
  return {};
}

Result<void> Answer::start_prompt(GenerationRequest generation, std::string echo) {
  const uint64_t seed = generation.sampling.seed;
  for (int i = 0; i < request_.n; ++i) {
    generation.sampling.seed = seed + static_cast<uint64_t>(i);
    auto started = TRY(context_.node.generate(generation));
    Choice choice;
    choice.stream = std::make_unique<TextStream>(
        std::move(started),
        TextOptions{generation.stop, generation.tools, !request_.parallel_tool_calls});
    choice.first_of_prompt = i == 0;
    choice.echo = echo;
    choice.started_us = started_us_;
    context_.metrics.generation_started();
    choices_.push_back(std::move(choice));
  }
  return {};
}

void Answer::begin() {
  if (ended_) return;
  std::weak_ptr<Answer> weak = weak_from_this();
  for (Choice& choice : choices_)
    choice.stream->set_waker([weak] {
      if (const auto self = weak.lock()) self->wake();
    });
  exchange_->set_callbacks(
      [self = shared_from_this()](CloseReason reason) { self->closed(reason); },
      [weak] {
        if (const auto self = weak.lock()) self->wake();
      });
  if (request_.stream)
    exchange_->set_timer(kNoticeHoldMs, [weak] {
      if (const auto self = weak.lock()) self->tick();
    });
  pump();
}

void Answer::wake() {
  if (awake_.exchange(true)) return;
  exchange_->post([self = shared_from_this()] {
    self->awake_ = false;
    self->pump();
  });
}

void Answer::pump() {
  if (ended_) return;
  std::string out;
  bool more = false;
  for (Choice& choice : choices_) {
    int budget = kEventsPerTurn;
    while (choice.finish.empty() && !(request_.stream && exchange_->write_buffer_full())) {
      if (budget-- == 0) {
        more = true;
        break;
      }
      if (!take(choice, out)) break;
      if (ended_) return;
    }
  }
  if (!out.empty()) send(std::move(out));
  if (ended_) return;
  const bool done = std::all_of(choices_.begin(), choices_.end(),
                                [](const Choice& choice) { return !choice.finish.empty(); });
  if (done) return finish();
  if (more) wake();
}

// One event of one choice. False when there is none now.
bool Answer::take(Choice& choice, std::string& out) {
  const auto event = choice.stream->try_next();
  if (!event) return false;
  switch (event->kind) {
    case TextEvent::Kind::notice:
      if (request_.stream) (head_sent_ ? out : notices_) += to_comment(event->text);
      break;
    case TextEvent::Kind::delta:
      add_delta(choice, *event, out);
      break;
    case TextEvent::Kind::done:
      settle(choice, *event, out);
      break;
    case TextEvent::Kind::failed:
      if (!out.empty()) send(std::move(out));
      if (!ended_) fail(event->error);
      break;
  }
  return true;
}

void Answer::note_tokens(Choice& choice, size_t count) {
  if (count == 0) return;
  const int64_t now = context_.world.now_us();
  if (choice.first_us == 0) {
    choice.first_us = now;
    context_.metrics.first_token(static_cast<double>(now - choice.started_us) / 1e6);
    --count;
  }
  for (size_t i = 0; i < count; ++i)
    context_.metrics.inter_token(static_cast<double>(now - choice.last_us) / 1e6 /
                                 static_cast<double>(count));
  choice.last_us = now;
}

// An end-of-sequence id is counted but not part of the text, nor of its logprobs.
std::span<const TokenId> shown_ids(const Choice& choice, const TextEvent& event) {
  std::span<const TokenId> ids = event.ids;
  const SamplingParams& sampling = choice.stream->started().sampling;
  const auto& ends = sampling.stop_ids;
  const bool ended = event.finish == FinishReason::stop && !ids.empty() && !sampling.ignore_eos &&
                     std::find(ends.begin(), ends.end(), ids.back()) != ends.end();
  return ended ? ids.first(ids.size() - 1) : ids;
}

// The calls with their ids, which are unique within the choice.
std::span<const ToolCall> Answer::add_calls(Choice& choice, const std::vector<ToolCall>& calls) {
  const bool nine = choice.stream->started().syntax.nine_character_ids;
  for (ToolCall call : calls) {
    const auto same_id = [&](const ToolCall& other) { return other.id == call.id; };
    if (call.id.empty() || (nine && call.id.size() != 9) ||
        std::any_of(choice.calls.begin(), choice.calls.end(), same_id))
      call.id = random_call_id(context_.world, nine);
    choice.calls.push_back(std::move(call));
  }
  return std::span(choice.calls).last(calls.size());
}

void Answer::add_delta(Choice& choice, const TextEvent& event, std::string& out) {
  note_tokens(choice, event.ids.size());
  ReplyPart part;
  part.index = index_of(choice);
  if (request_.stream && !choice.began) {
    part.first = endpoint_ == OpenAiEndpoint::chat;
    part.text = choice.echo;
    if (part.first || !part.text.empty()) out += to_event(chunk_json(head_, part));
    part.first = false;
  }
  if (!choice.began && !request_.stream) choice.text = choice.echo;
  if (!choice.began) choice.text_bytes = choice.echo.size();
  choice.began = true;

  Json logprobs = nullptr;
  if (request_.generation.sampling.top_logprobs >= 0)
    logprobs = logprobs_json(endpoint_, shown_ids(choice, event), event.logprobs,
                             choice.stream->started().tokenizer->vocabulary(), choice.text_bytes);
  choice.text_bytes += event.text.size();
  part.first_call = static_cast<int>(choice.calls.size());
  part.calls = add_calls(choice, event.calls);
  if (!request_.stream) {
    choice.text += event.text;
    choice.reasoning += event.reasoning;
    append_logprobs(choice.logprobs, std::move(logprobs));
    return;
  }
  if (event.text.empty() && event.reasoning.empty() && event.calls.empty() && logprobs.is_null())
    return;
  part.text = event.text;
  part.reasoning = event.reasoning;
  part.logprobs = std::move(logprobs);
  out += to_event(chunk_json(head_, part));
}

void Answer::settle(Choice& choice, const TextEvent& event, std::string& out) {
  add_delta(choice, event, out);
  choice.usage = event.usage;
  choice.finish = finish_name(event.finish, !choice.calls.empty());
  if (choice.finish.empty()) {
    if (!out.empty()) send(std::move(out));
    if (!ended_) fail(unavailable("the generation was cut short by the server; ask again"));
    return;
  }
  record(choice, choice.finish);
  if (!request_.stream) return;
  ReplyPart part;
  part.index = index_of(choice);
  part.finish_reason = choice.finish;
  JsonObject chunk = chunk_json(head_, part);
  chunk["timings"] = timings_json(timings(choice));
  out += to_event(chunk);
}

void Answer::send(std::string bytes) {
  if (!head_sent_) {
    head_sent_ = true;
    exchange_->begin_stream(
        HttpResponse{200,
                     "text/event-stream; charset=utf-8",
                     "",
                     {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}});
    bytes.insert(0, notices_);
    notices_.clear();
  }
  last_write_us_ = context_.world.now_us();
  exchange_->write(std::move(bytes));
}

// Keeps proxies and people patient while a model is loaded or a long prompt is read.
void Answer::tick() {
  if (ended_) return;
  if (!head_sent_ && !notices_.empty()) send("");
  if (quiet_ms() >= kKeepAliveMs) send(to_comment("keep-alive"));
  if (ended_) return;
  const int64_t until_next = std::max<int64_t>(1, kKeepAliveMs - quiet_ms());
  exchange_->set_timer(static_cast<int>(head_sent_ ? until_next : kNoticeHoldMs),
                       [weak = weak_from_this()] {
                         if (const auto self = weak.lock()) self->tick();
                       });
}

void Answer::finish() {
  ended_ = true;
  const Usage usage = total_usage();
  if (request_.stream) {
    std::string tail;
    if (request_.include_usage) tail += to_event(usage_chunk_json(head_, usage));
    send(tail + "data: [DONE]\n\n");
    exchange_->end();
  } else {
    std::vector<ReplyPart> parts;
    for (const Choice& choice : choices_)
      parts.push_back(ReplyPart{index_of(choice), true, choice.text, choice.reasoning, choice.calls,
                                0, choice.logprobs, choice.finish});
    JsonObject body = body_json(head_, parts, usage);
    body["timings"] = timings_json(timings(choices_.front()));
    exchange_->respond(HttpResponse{200, "application/json", to_text(body), {}});
  }
  drop_choices("");
}

void Answer::fail(const Error& error) {
  if (ended_) return;
  ended_ = true;
  const ApiError shown = to_api_error(error, prompt_param());
  if (shown.status >= 500) log::info("api: request failed: {}", error.message);
  if (head_sent_) {
    exchange_->write(to_event(error_json(shown)));
    exchange_->end();
  } else {
    exchange_->respond(error_response(shown));
  }
  exchange_->post([self = shared_from_this()] { self->drop_choices("error"); });
}

void Answer::closed(CloseReason reason) {
  if (ended_) return;
  if (reason == CloseReason::server_stopping)
    return fail(unavailable("this node is stopping; ask another node or try again later"));
  ended_ = true;
  drop_choices("cancelled");
}

void Answer::record(Choice& choice, std::string_view reason) {
  const int64_t now = context_.world.now_us();
  Metrics::Finished finished;
  finished.reason = reason;
  finished.model = head_.model;
  finished.had_first_token = choice.first_us != 0;
  finished.prompt_tokens = choice.usage.prompt_tokens;
  finished.cached_tokens = choice.usage.cached_tokens;
  finished.completion_tokens = choice.usage.completion_tokens;
  finished.seconds = static_cast<double>(now - choice.started_us) / 1e6;
  context_.metrics.generation_finished(finished);
}

// Dropping a stream cancels what still runs.
void Answer::drop_choices(std::string_view reason) {
  for (Choice& choice : choices_)
    if (choice.finish.empty()) record(choice, reason);
  choices_.clear();
}

ReplyTimings Answer::timings(const Choice& choice) const {
  ReplyTimings out;
  out.cached_tokens = choice.usage.cached_tokens;
  out.prompt_tokens = choice.usage.prompt_tokens - choice.usage.cached_tokens;
  out.predicted_tokens = choice.usage.completion_tokens;
  if (choice.first_us == 0) return out;
  out.prompt_ms = static_cast<double>(choice.first_us - choice.started_us) / 1e3;
  out.predicted_ms = static_cast<double>(choice.last_us - choice.first_us) / 1e3;
  return out;
}

Usage Answer::total_usage() const {
  Usage total;
  for (const Choice& choice : choices_) {
    total.completion_tokens += choice.usage.completion_tokens;
    if (!choice.first_of_prompt) continue;
    total.prompt_tokens += choice.usage.prompt_tokens;
    total.cached_tokens += choice.usage.cached_tokens;
  }
  return total;
}

}  // namespace

void answer_openai(OpenAiContext context, OpenAiEndpoint endpoint,
                   std::shared_ptr<HttpExchange> exchange) {
  auto answer = std::make_shared<Answer>(context, endpoint, exchange);
  exchange->run_on_worker([answer = std::move(answer)] { answer->prepare(); });
}

}  // namespace exo
