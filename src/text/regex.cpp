#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/core.h>
#include <pcre2.h>

#include <array>

#include "text/unicode.h"

namespace exo {
namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr uint32_t kBaseMatchLimit = 100'000;
constexpr size_t kStepsPerByte = 64;
constexpr uint32_t kMaxMatchLimit = 1'000'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackBytes = 4 * 1024 * 1024;

}  // namespace

struct Regex::Code {
  pcre2_code* compiled = nullptr;
  ~Code() { pcre2_code_free(compiled); }
};

Regex::~Regex() = default;

Result<std::shared_ptr<const Regex>> Regex::compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return unsupported(
        fmt::format("a regular expression of {} bytes is longer than the limit of {}",
                    pattern.size(), kMaxPatternBytes));
  }
  const std::string translated = translate_oniguruma(pattern);
  auto* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Oniguruma's Ruby syntax lets ^ and $ match at every line.
  pcre2_code* compiled = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (compiled == nullptr) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return unsupported(fmt::format("the regular expression '{}' cannot be used: {} (near byte {})",
                                   pattern.substr(0, 200),
                                   reinterpret_cast<const char*>(message.data()), offset));
  }
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // where it fails pcre2_match interprets
  auto regex = std::shared_ptr<Regex>(new Regex());
  regex->code_ = std::make_unique<Code>();
  regex->code_->compiled = compiled;
  return std::shared_ptr<const Regex>(std::move(regex));
}

struct RegexMatcher::State {
  const pcre2_code* code = nullptr;
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  std::string_view text;
  size_t position = 0;     // where the next search starts
  bool have_last = false;  // whether last_end is the end of a match
  size_t last_end = 0;

  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

RegexMatcher::RegexMatcher(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->code = regex.code_->compiled;
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  CHECK(state_->data != nullptr && state_->context != nullptr, "out of memory");
  pcre2_set_heap_limit(state_->context, kHeapLimitKib);
}

RegexMatcher::~RegexMatcher() = default;

void RegexMatcher::reset(std::string_view valid_utf8) {
  state_->text = valid_utf8;
  state_->position = 0;
  state_->have_last = false;
  const size_t limit = valid_utf8.size() < kMaxMatchLimit / kStepsPerByte
                           ? kBaseMatchLimit + valid_utf8.size() * kStepsPerByte
                           : kMaxMatchLimit;
  pcre2_set_match_limit(state_->context, static_cast<uint32_t>(limit));
}

bool RegexMatcher::find_from(size_t start, TextRange& match) {
  State& s = *state_;
  const auto attempt = [&] {
    return pcre2_match(s.code, reinterpret_cast<PCRE2_SPTR>(s.text.data()), s.text.size(), start,
                       PCRE2_NO_UTF_CHECK, s.data, s.context);
  };
  int count = attempt();
  if (count == PCRE2_ERROR_JIT_STACKLIMIT && s.stack == nullptr) {
    s.stack = pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr);
    pcre2_jit_stack_assign(s.context, nullptr, s.stack);
    count = attempt();
  }
  if (count < 0) return false;
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(s.data);
  match = {bounds[0], bounds[1]};
  return match.begin >= start && match.end >= match.begin;  // \K may break this
}

bool RegexMatcher::next(TextRange& match) {
  State& s = *state_;
  while (s.position <= s.text.size()) {
    if (!find_from(s.position, match)) break;
    s.position = match.end;
    if (match.begin == match.end) {
      // Move on by one character; an empty match right behind the last one does not count.
      const bool again = s.have_last && match.end == s.last_end;
      if (s.position < s.text.size()) {
        next_char(s.text, s.position);
      } else {
        ++s.position;
      }
      if (again) continue;
    }
    s.have_last = true;
    s.last_end = match.end;
    return true;
  }
  s.position = s.text.size() + 1;
  return false;
}

}  // namespace exo
