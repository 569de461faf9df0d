// Answerer: who answers `exo run`: the node that already runs on this device (over its API), or one
// started in this process for the time it needs. Blocking; one question at a time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "app/api_client.h"
#include "app/command_line.h"
#include "base/result.h"
#include "core/json.h"
#include "orchestration/node.h"

namespace exo {

struct Question {
  JsonArray messages;  // as the API takes them
  RunFlags flags;
};

struct Answer {
  std::string text;
  std::string finish_reason;  // stop, length, cancelled
  int prompt_tokens = 0;
  int completion_tokens = 0;
  double first_token_ms = 0;  // from asking to the first piece of text
  double tokens_per_s = 0;    // of the tokens after the first
};

struct AnswerHandlers {
  std::function<void(std::string_view)> on_text;
  std::function<void(std::string_view)> on_thought;
  std::function<void(std::string_view)> on_notice;  // "loading demo on 2 nodes"
  const std::atomic<bool>* stop = nullptr;
};

class Answerer {
 public:
  virtual ~Answerer() = default;
  virtual Result<Answer> ask(const Question& question, const AnswerHandlers& handlers) = 0;
};

std::unique_ptr<Answerer> make_api_answerer(ApiClient client);
std::unique_ptr<Answerer> make_local_answerer(std::shared_ptr<Node> node);

}  // namespace exo
