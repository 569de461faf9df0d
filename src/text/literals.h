// Values in the text of tool calls, translated to JSON while they are read: JSON itself, Python's
// literals, and Gemma's ({key:<|"|>text<|"|>}). A cursor over one text; not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace exo {

inline constexpr std::string_view kSpace = " \t\r\n";  // what may stand between tokens
inline bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }
std::string_view trim(std::string_view text);

// A JSON value or a literal of Python ({'a': None}) -> JSON text, numbers unchanged. The whole text
// has to be one value.
std::optional<std::string> literal_to_json(std::string_view text);

class LiteralReader {
 public:
  explicit LiteralReader(std::string_view text) : text_(text) {}

  bool value(std::string& json);      // false, and anything in `json`, for what is none
  std::optional<std::string> name();  // an identifier, dots and dashes allowed
  bool take(char wanted);             // over white space
  bool at_end();
  std::string_view rest() const { return text_.substr(at_); }

 private:
  void skip_space();
  bool list(char close, std::string& json);
  bool dict(std::string& json);
  bool string(std::string& json);
  bool escape(std::string& out);
  bool number(std::string& json);
  bool word(std::string& json);
  std::optional<char32_t> hex(size_t digits);

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace exo
