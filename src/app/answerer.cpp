#include "app/answerer.h"

#include <fmt/core.h>

#include "api/openai_messages.h"
#include "base/world.h"
#include "orchestration/text_stream.h"

namespace exo {
namespace {

// Times an answer as it arrives: the first piece, and the rate after it.
class Stopwatch {
 public:
  void piece() {
    const int64_t now = real_world().now_us();
    if (first_us_ == 0) first_us_ = now;
    last_us_ = now;
  }
  void settle(Answer& answer) const {
    if (first_us_ == 0) return;
    answer.first_token_ms = static_cast<double>(first_us_ - started_us_) / 1000;
    const double seconds = static_cast<double>(last_us_ - first_us_) / 1e6;
    if (answer.completion_tokens > 1 && seconds > 0)
      answer.tokens_per_s = (answer.completion_tokens - 1) / seconds;
  }

 private:
  int64_t started_us_ = real_world().now_us();
  int64_t first_us_ = 0;
  int64_t last_us_ = 0;
};

JsonObject chat_request(const Question& question) {
  JsonObject body = {{"model", question.flags.model},
                     {"messages", question.messages},
                     {"stream", true},
                     {"stream_options", {{"include_usage", true}}}};
  if (question.flags.temperature >= 0) body["temperature"] = question.flags.temperature;
  if (question.flags.max_tokens > 0) body["max_tokens"] = question.flags.max_tokens;
  if (question.flags.seed >= 0) body["seed"] = question.flags.seed;
  return body;
}

// One chunk of a chat completion stream.
class ChunkReader {
 public:
  ChunkReader(Answer& answer, Stopwatch& watch, const AnswerHandlers& handlers)
      : answer_(answer), watch_(watch), handlers_(handlers) {}

  void read(std::string_view data) {
    if (data == "[DONE]") return;
    const Result<Json> chunk = parse_json(data);
    if (!chunk.ok() || !chunk->is_object()) return;
    const JsonObject& object = chunk->get_object();
    if (const Json* error = object.if_contains("error"); error != nullptr && error->is_object()) {
      const auto message = get_string(error->get_object(), "message");
      failure_ = message.ok() ? message->value_or("the answer failed") : "the answer failed";
    }
    if (const Json* usage = object.if_contains("usage"); usage != nullptr && usage->is_object())
      read_usage(usage->get_object());
    if (const Json* choices = object.if_contains("choices");
        choices != nullptr && choices->is_array())
      for (const Json& choice : choices->get_array())
        if (choice.is_object()) read_choice(choice.get_object());
  }
  const std::string& failure() const { return failure_; }

 private:
  void read_usage(const JsonObject& usage) {
    if (const auto count = get_int(usage, "prompt_tokens"); count.ok())
      answer_.prompt_tokens = static_cast<int>(count->value_or(0));
    if (const auto count = get_int(usage, "completion_tokens"); count.ok())
      answer_.completion_tokens = static_cast<int>(count->value_or(0));
  }
  void read_choice(const JsonObject& choice) {
    if (const auto reason = get_string(choice, "finish_reason"); reason.ok() && reason->has_value())
      answer_.finish_reason = **reason;
    const Result<const JsonObject*> delta = get_object(choice, "delta");
    if (!delta.ok() || *delta == nullptr) return;
    const auto thought = get_string(**delta, "reasoning_content");
    if (thought.ok() && thought->has_value() && !(*thought)->empty()) {
      watch_.piece();
      handlers_.on_thought(**thought);
    }
    const auto text = get_string(**delta, "content");
    if (!text.ok() || !text->has_value() || (*text)->empty()) return;
    watch_.piece();
    answer_.text += **text;
    handlers_.on_text(**text);
  }

  Answer& answer_;
  Stopwatch& watch_;
  const AnswerHandlers& handlers_;
  std::string failure_;
};

class ApiAnswerer final : public Answerer {
 public:
  explicit ApiAnswerer(ApiClient client) : client_(std::move(client)) {}

  Result<Answer> ask(const Question& question, const AnswerHandlers& handlers) override {
    Answer answer;
    Stopwatch watch;
    ChunkReader reader(answer, watch, handlers);
    ApiClient::StreamHandlers events;
    events.on_data = [&](std::string_view data) { reader.read(data); };
    events.on_comment = [&](std::string_view comment) {
      if (comment != "keep-alive") handlers.on_notice(comment);
    };
    events.stop = handlers.stop;
    TRY(client_.post_stream("/v1/chat/completions", chat_request(question), events));
    if (!reader.failure().empty()) return unavailable(reader.failure());
    if (handlers.stop != nullptr && handlers.stop->load()) answer.finish_reason = "cancelled";
    if (answer.finish_reason.empty())
      return unavailable("the node closed the connection in mid-answer");
    watch.settle(answer);
    return answer;
  }

 private:
  ApiClient client_;
};

class LocalAnswerer final : public Answerer {
 public:
  explicit LocalAnswerer(std::shared_ptr<Node> node) : node_(std::move(node)) {}

  Result<Answer> ask(const Question& question, const AnswerHandlers& handlers) override {
    Answer answer;
    Stopwatch watch;
    TRY(bring(question.flags.model, handlers));
    TextStream stream(TRY(node_->generate(TRY(request_of(question)))), {});
    while (handlers.stop == nullptr || !handlers.stop->load()) {
      std::optional<TextEvent> event = stream.next(100);
      if (!event) continue;
      if (event->kind == TextEvent::Kind::notice) handlers.on_notice(event->text);
      if (event->kind == TextEvent::Kind::failed) return event->error;
      if (!event->reasoning.empty()) {
        watch.piece();
        handlers.on_thought(event->reasoning);
      }
      if (!event->text.empty() && event->kind != TextEvent::Kind::notice) {
        watch.piece();
        answer.text += event->text;
        handlers.on_text(event->text);
      }
      if (event->kind == TextEvent::Kind::done) {
        answer.finish_reason = event->finish == FinishReason::length ? "length" : "stop";
        answer.prompt_tokens = event->usage.prompt_tokens;
        answer.completion_tokens = event->usage.completion_tokens;
        watch.settle(answer);
        return answer;
      }
    }
    answer.finish_reason = "cancelled";
    return answer;
  }

 private:
  // What is needed to answer, where it is not here yet.
  Result<void> bring(const std::string& model, const AnswerHandlers& handlers) {
    const auto id = TRY(node_->bring_model(model));
    while (id) {
      const DownloadStatus status = node_->downloads()->wait(*id, 500);
      if (status.state == DownloadStatus::State::failed) return status.error;
      if (status.state != DownloadStatus::State::running) break;
      handlers.on_notice("downloading " + model + ": " + describe(status));
      if (handlers.stop != nullptr && handlers.stop->load()) {
        node_->downloads()->cancel(*id);
        return Error{ErrorCode::cancelled, "the download was cancelled"};
      }
    }
    return {};
  }

  Result<GenerationRequest> request_of(const Question& question) const {
    GenerationRequest request;
    request.model = question.flags.model;
    std::vector<SentPicture> pictures;
    TRY(read_chat(JsonObject{{"messages", question.messages}}, request, pictures));
    if (!pictures.empty())
      request.images = TRY(decode_pictures(pictures, TRY(node_->find_model(request.model))));
    request.sampling = node_->sampling_defaults(question.flags.model);
    if (question.flags.temperature >= 0) request.sampling.temperature = question.flags.temperature;
    request.sampling.max_tokens = question.flags.max_tokens;
    request.seed_given = question.flags.seed >= 0;
    if (request.seed_given) request.sampling.seed = static_cast<uint64_t>(question.flags.seed);
    return request;
  }
  std::shared_ptr<Node> node_;
};

}  // namespace

std::unique_ptr<Answerer> make_api_answerer(ApiClient client) {
  return std::make_unique<ApiAnswerer>(std::move(client));
}
std::unique_ptr<Answerer> make_local_answerer(std::shared_ptr<Node> node) {
  return std::make_unique<LocalAnswerer>(std::move(node));
}

}  // namespace exo
