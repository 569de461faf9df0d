// TextStream: a TokenStream made readable: StreamDecoder and OutputParser applied, stop strings
// obeyed, finish reason and usage settled. Used by every API dialect and by `exo run`. Every item
// of the TokenStream gives one event; the last, `done`, brings what text was still held back, and
// `failed` says why there is none. Meeting a stop string drops the TokenStream, which cancels the
// rest. One consumer thread.
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
  std::vector<TokenId> ids;                  // behind this delta, an end-of-sequence id included
  std::vector<TokenLogprobs> logprobs;       // one per id when asked for
  FinishReason finish = FinishReason::none;  // done
  Usage usage;                               // done
  Error error;                               // failed
};

class TextStream {
 public:
  TextStream(StartedGeneration started, std::vector<std::string> stop_strings);
  std::optional<TextEvent> try_next();
  std::optional<TextEvent> next(int timeout_ms);
  void set_waker(std::function<void()> waker) {
    if (started_.stream) started_.stream->set_waker(std::move(waker));
  }
  const StartedGeneration& started() const { return started_; }

 private:
  TextEvent digest(TokenStream::Item item);
  TextEvent finish(FinishReason reason, TextEvent event);

  StartedGeneration started_;
  StreamDecoder decoder_;
  OutputParser parser_;
  Usage usage_;
  bool done_ = false;
};

}  // namespace exo
