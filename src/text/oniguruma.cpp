// Oniguruma's Ruby syntax, rewritten as PCRE2: what is spelt or meant differently is translated,
// everything else passes through (and PCRE2 refuses what it does not know). Differences are taken
// from Oniguruma's doc/RE and pcre2pattern(3).
#include <fmt/core.h>

#include <vector>

#include "text/regex.h"

namespace exo {
namespace {

// The property White_Space; PCRE2's own \s also takes U+180E.
constexpr std::string_view kSpaceItems =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kWordItems = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kHexItems = "0-9A-Fa-f";
constexpr int kMaxClassDepth = 16;

// The items of \s \w \h and of their negations, "" for any other letter.
std::string_view class_items(char letter) {
  switch (letter) {
    case 's':
    case 'S':
      return kSpaceItems;
    case 'w':
    case 'W':
      return kWordItems;
    case 'h':
    case 'H':
      return kHexItems;
    default:
      return {};
  }
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (at_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  void step() {
    const char c = in_[at_];
    if (c == '\\') {
      atom(escape());
    } else if (c == '[') {
      ++at_;
      atom(char_class(0));
    } else if (c == '(') {
      open_group();
    } else if (c == ')') {
      atom_start_ = groups_.empty() ? out_.size() : groups_.back();
      if (!groups_.empty()) groups_.pop_back();
      out_ += in_[at_++];
    } else if (c == '{') {
      interval();
    } else {
      atom_start_ = out_.size();
      out_ += in_[at_++];
      while (at_ < in_.size() && (in_[at_] & 0xC0) == 0x80) out_ += in_[at_++];
    }
  }

  void atom(std::string_view text) {
    atom_start_ = out_.size();
    out_ += text;
  }

  // "\u12ab" and the classes PCRE2 defines otherwise; the rest as it is. In front: at_ at '\\'.
  std::string escape() {
    if (at_ + 1 >= in_.size()) {
      ++at_;
      return "\\";
    }
    const char letter = in_[at_ + 1];
    const std::string_view items = class_items(letter);
    if (!items.empty()) {
      at_ += 2;
      return fmt::format("[{}{}]", is_upper(letter) ? "^" : "", items);
    }
    return other_escape(letter);
  }

  std::string other_escape(char letter) {
    if (letter == 'u' && at_ + 6 <= in_.size()) {
      const std::string_view digits = in_.substr(at_ + 2, 4);
      bool hex = true;
      for (const char c : digits) hex = hex && is_hex(c);
      if (hex) {
        at_ += 6;
        return fmt::format("\\x{{{}}}", digits);
      }
    }
    size_t length = 2;
    const bool braced = (letter == 'p' || letter == 'P' || letter == 'x') && at_ + 2 < in_.size() &&
                        in_[at_ + 2] == '{';
    if (braced) {
      const size_t end = in_.find('}', at_);
      length = end == std::string_view::npos ? in_.size() - at_ : end + 1 - at_;
    }
    std::string text(in_.substr(at_, length));
    at_ += length;
    return text;
  }

  // "(?m" means in Ruby what "(?s" means elsewhere.
  void open_group() {
    groups_.push_back(out_.size());
    out_ += in_[at_++];
    if (at_ >= in_.size() || in_[at_] != '?') return;
    out_ += in_[at_++];
    size_t end = at_;
    while (end < in_.size() &&
           (in_[end] == 'i' || in_[end] == 'm' || in_[end] == 'x' || in_[end] == '-'))
      ++end;
    if (end >= in_.size() || (in_[end] != ':' && in_[end] != ')')) return;
    for (; at_ < end; ++at_) out_ += in_[at_] == 'm' ? 's' : in_[at_];
  }

  // "{,n}" is {0,n}; a + behind an interval repeats it, it does not make it possessive.
  void interval() {
    const size_t end = in_.find('}', at_);
    std::string_view body =
        end == std::string_view::npos ? std::string_view() : in_.substr(at_ + 1, end - at_ - 1);
    const bool is_interval = !body.empty() &&
                             body.find_first_not_of("0123456789,") == std::string_view::npos &&
                             body.find_first_of("0123456789") != std::string_view::npos;
    if (!is_interval) {
      atom_start_ = out_.size();
      out_ += in_[at_++];
      return;
    }
    out_ += fmt::format("{{{}{}}}", body.front() == ',' ? "0" : "", body);
    at_ = end + 1;
    if (at_ < in_.size() && in_[at_] == '+') {
      out_.insert(atom_start_, "(?:");
      out_ += ')';
    }
  }

  // What stands between '[' and ']': behind '[', as one atom. Oniguruma knows nested classes
  // (union) and && (intersection); PCRE2 knows neither, so they become alternatives and lookaheads.
  std::string char_class(int depth) {
    bool negated = false;
    if (at_ < in_.size() && in_[at_] == '^') {
      negated = true;
      ++at_;
    }
    std::vector<std::string> parts;  // joined by &&
    std::string items;               // of the current part
    std::vector<std::string> nested;
    bool first = true;
    bool closed = false;
    while (at_ < in_.size() && !closed) {
      const char c = in_[at_];
      if (c == ']' && !first) {
        closed = true;
        ++at_;
      } else if (in_.substr(at_, 2) == "&&") {
        at_ += 2;
        parts.push_back(union_of(items, nested));
        items.clear();
        nested.clear();
      } else {
        class_item(items, nested, depth);
      }
      first = false;
    }
    if (!closed) return "[";  // PCRE2 will say what is wrong
    if (parts.empty() && nested.empty()) return fmt::format("[{}{}]", negated ? "^" : "", items);
    parts.push_back(union_of(items, nested));
    std::string all;
    for (size_t i = 0; i + 1 < parts.size(); ++i) all += "(?=" + parts[i] + ")";
    all += parts.back();
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  void class_item(std::string& items, std::vector<std::string>& nested, int depth) {
    const char c = in_[at_];
    if (c == '[' && in_.substr(at_, 2) == "[:") {
      const size_t end = in_.find(":]", at_);
      const size_t length = end == std::string_view::npos ? 1 : end + 2 - at_;
      items += in_.substr(at_, length);
      at_ += length;
    } else if (c == '[' && depth < kMaxClassDepth) {
      ++at_;
      nested.push_back(char_class(depth + 1));
    } else if (c == '\\' && at_ + 1 < in_.size() && !class_items(in_[at_ + 1]).empty()) {
      const char letter = in_[at_ + 1];
      if (is_upper(letter)) {
        nested.push_back(escape());
      } else {
        items += class_items(letter);
        at_ += 2;
      }
    } else if (c == '\\') {
      items += other_escape(at_ + 1 < in_.size() ? in_[at_ + 1] : '\0');
    } else {
      if (c == ']' || c == '[') items += '\\';
      items += in_[at_++];
    }
  }

  static std::string union_of(const std::string& items, const std::vector<std::string>& nested) {
    std::string all = items.empty() ? "" : "[" + items + "]";
    for (const std::string& one : nested) all += (all.empty() ? "" : "|") + one;
    return nested.empty() ? all : "(?:" + all + ")";
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_start_ = 0;       // in out_: what a following interval repeats
  std::vector<size_t> groups_;  // in out_: where the open groups begin
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern) {
  // Trailing white space, as DeepSeek's vocabularies split it. Once it fails at the beginning of a
  // run it fails everywhere in it; saying so keeps PCRE2's interpreter from trying.
  if (pattern == "\\s+$") return fmt::format("(?:\\G|(?<![{}]))[{}]+$", kSpaceItems, kSpaceItems);
  return Translator(pattern).run();
}

}  // namespace exo
