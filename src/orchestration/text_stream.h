// TextStream: a TokenStream made readable: StreamDecoder and OutputParser applied (thinking and
// tool calls are apart from the text), stop strings obeyed, finish reason and usage settled. Used
// by every API dialect and by `exo run`. Every item of the TokenStream gives one event; the last,
// `done`, brings what text was still held back, and `failed` says why there is none. Meeting a stop
// string drops the TokenStream, which cancels the rest. One consumer thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/generation.h"
#include "orchestration/node.h"
#include "text/output_parser.h"
#include "text/stream_decoder.h"

namespace exo {

struct TextEvent {
  enum class Kind { notice, delta, done, failed } kind = Kind::delta;
  std::string
      text;  // notice, or content delta (never half a character; may be empty with logprobs)
  std::string reasoning;                     // thinking, separated
  std::vector<ToolCall> calls;               // each whole
  std::vector<TokenId> ids;                  // behind this delta, an end-of-sequence id included
  std::vector<TokenLogprobs> logprobs;       // one per id when asked for
  FinishReason finish = FinishReason::none;  // done
  Usage usage;                               // done
  Error error;                               // failed
};

// What the request asks of the text; `tools` are those offered to the model.
struct TextOptions {
  std::vector<std::string> stop;
  JsonArray tools;
  bool one_call = false;  // the answer ends with its first call
};

class TextStream {
 public:
  TextStream(StartedGeneration started, TextOptions options);
  std::optional<TextEvent> try_next();
  std::optional<TextEvent> next(int timeout_ms);
  void set_waker(std::function<void()> waker) {
    if (started_.stream) started_.stream->set_waker(std::move(waker));
  }
  const StartedGeneration& started() const { return started_; }

 private:
  TextEvent digest(TokenStream::Item item);
  bool add(OutputParser::Delta delta, TextEvent& event);
  TextEvent finish(FinishReason reason, TextEvent event);

  StartedGeneration started_;
  StreamDecoder decoder_;
  OutputParser parser_;
  bool one_call_;
  Usage usage_;
  bool done_ = false;
};

}  // namespace exo
