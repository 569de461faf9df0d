#include "text/jinja/tojson.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void write(const Value& value) {
    const DepthGuard guard(budget_);
    budget_.check_size(out_.size());
    if (value.is_string())
      write_string(value.text());
    else if (value.is_dict())
      write_dict(value.dict());
    else if (value.is_sequence() && value.sequence().kind <= SequenceKind::group)
      write_list(value.sequence().items);
    else
      out_ += scalar(value);
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.boolean() ? "true" : "false";
    if (value.is_int()) return decimal(value.integer());
    if (!value.is_float())
      fail("object of type " + std::string(type_name(value)) + " cannot be written as JSON");
    const double number = value.number();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return repr_float(number);
  }

  void line_break() {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
    budget_.check_size(out_.size());
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      line_break();
      write(items[i]);
    }
    --level_;
    line_break();
    out_ += ']';
  }

  void write_dict(const Dict& dict) {
    if (dict.size() == 0) {
      out_ += "{}";
      return;
    }
    std::vector<const Dict::Entry*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(), [this](const auto* a, const auto* b) {
        return less(a->first, b->first, budget_);
      });
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      line_break();
      write_key(entries[i]->first);
      out_ += style_.key_separator;
      write(entries[i]->second);
    }
    --level_;
    line_break();
    out_ += '}';
  }

  void write_key(const Value& key) {
    if (key.is_string()) return write_string(key.text());
    if (!key.is_none() && !key.is_number()) fail("keys of JSON objects must be strings or numbers");
    write_string(scalar(key));
  }

  void write_string(std::string_view text) {
    out_ += '"';
    for (size_t i = 0; i < text.size();) {
      const CodePoint point = decode_at(text, i);
      write_character(point.code, text.substr(i, point.size_bytes));
      i += point.size_bytes;
    }
    out_ += '"';
  }

  void write_character(char32_t code, std::string_view bytes) {
    static constexpr std::string_view kSpecial = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetters = "\"\\nrtfb";
    const size_t known = code < 0x80 ? kSpecial.find(static_cast<char>(code)) : std::string::npos;
    if (known != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetters[known];
    } else if (code < 0x20 || (style_.ensure_ascii && code > 0x7E)) {
      write_escape(static_cast<uint32_t>(code));
    } else {
      out_ += bytes;
    }
  }

  void write_escape(uint32_t code) {
    if (code == 0x7F) {
      out_ += '\x7F';
    } else if (code < 0x10000) {
      out_ += fmt::format("\\u{:04x}", code);
    } else {
      code -= 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
    }
  }

  const JsonStyle& style_;
  Budget& budget_;
  int level_ = 0;
  std::string out_;
};

}  // namespace

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  writer.write(value);
  return writer.take();
}

}  // namespace exo::jinja
