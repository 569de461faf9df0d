#include "orchestration/text_stream.h"

#include <iterator>
#include <utility>

namespace exo {
namespace {

// Without tools nothing is a call, and its marks stay hidden like other special tokens.
OutputSyntax syntax_for(OutputSyntax syntax, const JsonArray& tools) {
  if (!tools.empty() || syntax.channels) return syntax;
  syntax.calls.clear();
  syntax.inner.clear();
  return syntax;
}

}  // namespace

TextStream::TextStream(StartedGeneration started, TextOptions options)
    : started_(std::move(started)),
      decoder_(started_.tokenizer, true,
               syntax_for(started_.syntax, options.tools)
                   .shown_tokens(started_.tokenizer->vocabulary())),
      parser_(
          {started_.syntax, started_.opened, std::move(options.tools), std::move(options.stop)}),
      one_call_(options.one_call) {
  usage_.prompt_tokens = started_.prompt_tokens;
}

std::optional<TextEvent> TextStream::try_next() {
  if (done_) return std::nullopt;
  std::optional<TokenStream::Item> item = started_.stream->try_next();
  if (!item) return std::nullopt;
  return digest(std::move(*item));
}

std::optional<TextEvent> TextStream::next(int timeout_ms) {
  if (done_) return std::nullopt;
  std::optional<TokenStream::Item> item = started_.stream->next(timeout_ms);
  if (!item) return std::nullopt;
  return digest(std::move(*item));
}

TextEvent TextStream::digest(TokenStream::Item item) {
  TextEvent event;
  if (item.kind == TokenStream::Item::Kind::notice) {
    event.kind = TextEvent::Kind::notice;
    event.text = std::move(item.notice);
    return event;
  }
  if (item.kind == TokenStream::Item::Kind::failed) {
    done_ = true;
    event.kind = TextEvent::Kind::failed;
    event.error = std::move(item.error);
    event.usage = usage_;
    return event;
  }
  TokenEvent& tokens = item.tokens;
  usage_.cached_tokens = item.cached_tokens;
  usage_.completion_tokens += static_cast<int>(tokens.ids.size());
  event.ids = tokens.ids;
  event.logprobs = std::move(tokens.logprobs);
  size_t shown = tokens.ids.size();  // an end-of-sequence id counts, and is never text
  if (tokens.finish == FinishReason::stop && shown > 0) --shown;
  for (size_t i = 0; i < shown; ++i) {
    if (!add(parser_.push(decoder_.push(tokens.ids[i])), event)) continue;
    usage_.completion_tokens -= static_cast<int>(tokens.ids.size() - (i + 1));
    event.ids.resize(i + 1);
    if (event.logprobs.size() > i + 1) event.logprobs.resize(i + 1);
    started_.stream.reset();  // the rest was never asked for: this frees its sequence
    return finish(FinishReason::stop, std::move(event));
  }
  if (tokens.finish == FinishReason::none) return event;
  for (OutputParser::Delta delta : {parser_.push(decoder_.finish()), parser_.finish()})
    if (add(std::move(delta), event)) return finish(FinishReason::stop, std::move(event));
  return finish(tokens.finish, std::move(event));
}

// True when nothing may follow.
bool TextStream::add(OutputParser::Delta delta, TextEvent& event) {
  event.text += delta.content;
  event.reasoning += delta.reasoning;
  event.calls.insert(event.calls.end(), std::make_move_iterator(delta.calls.begin()),
                     std::make_move_iterator(delta.calls.end()));
  if (one_call_ && !event.calls.empty()) {
    event.calls.resize(1);
    return true;
  }
  return delta.stopped;
}

TextEvent TextStream::finish(FinishReason reason, TextEvent event) {
  done_ = true;
  event.kind = TextEvent::Kind::done;
  event.finish = reason;
  event.usage = usage_;
  return event;
}

}  // namespace exo
