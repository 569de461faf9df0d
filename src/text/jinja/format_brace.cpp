// "{} {name[0].key!r:>8}".format(...)
#include <algorithm>

#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"

namespace exo::jinja {
namespace {

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Arguments& arguments)
      : runtime_(runtime), arguments_(arguments) {}

  std::string run(std::string_view text, int level) {
    if (level > 2) fail("format specifications nest too deeply");
    std::string out;
    for (size_t at = 0; at < text.size();) {
      runtime_.budget.step();
      const char c = text[at];
      if (c != '{' && c != '}') {
        out += c;
        ++at;
      } else if (at + 1 < text.size() && text[at + 1] == c) {
        out += c;
        at += 2;
      } else {
        if (c == '}') fail("single '}' in a format string");
        const size_t close = closing(text, at + 1);
        out += field(text.substr(at + 1, close - at - 1), level);
        at = close + 1;
      }
      runtime_.budget.check_size(out.size());
    }
    return out;
  }

 private:
  static size_t closing(std::string_view text, size_t at) {
    for (int open = 1; at < text.size(); ++at) {
      open += text[at] == '{' ? 1 : text[at] == '}' ? -1 : 0;
      if (open == 0) return at;
    }
    fail("a '{' of a format string is never closed");
  }

  std::string field(std::string_view text, int level) {
    const size_t colon = std::min(text.find(':'), text.size());
    std::string_view name = text.substr(0, colon);
    const std::string spec =
        colon < text.size() ? run(text.substr(colon + 1), level + 1) : std::string();
    char conversion = '\0';
    if (const size_t mark = name.find('!'); mark != std::string_view::npos) {
      if (name.size() != mark + 2) fail("bad conversion in a format string");
      conversion = name[mark + 1];
      name = name.substr(0, mark);
    }
    Value value = lookup(name);
    if (conversion == 's') value = to_str(value, runtime_.budget);
    if (conversion == 'r' || conversion == 'a') {
      std::string repr;
      append_repr(repr, value, runtime_.budget);
      value = std::move(repr);
    }
    return format_value(value, spec, runtime_.budget);
  }

  Value lookup(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, end));
    for (size_t at = end; at < name.size();) {
      if (name[at] == '.') {
        const size_t next = std::min(name.find_first_of(".[", at + 1), name.size());
        value = get_attribute(runtime_, value, name.substr(at + 1, next - at - 1));
        at = next;
        continue;
      }
      const size_t close = name.find(']', at);
      if (name[at] != '[' || close == std::string_view::npos) fail("bad field in a format string");
      const std::string_view key = name.substr(at + 1, close - at - 1);
      const auto number = parse_int(key, 10);
      value = get_item(runtime_, value, number ? Value(*number) : Value(key));
      at = close + 1;
    }
    return value;
  }

  Value argument(std::string_view name) {
    const auto number = name.empty() ? std::optional<Int>(next_++) : parse_int(name, 10);
    if (number) {
      if (*number >= static_cast<Int>(arguments_.positional.size()))
        fail("a format string has more fields than arguments");
      return arguments_.positional[static_cast<size_t>(*number)];
    }
    for (const auto& [key, value] : arguments_.named)
      if (key == name) return value;
    fail("a format string names '" + std::string(name) + "', which is not given");
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  int next_ = 0;
};

}  // namespace

std::string brace_format(Runtime& runtime, std::string_view format, const Arguments& arguments) {
  return BraceFormatter(runtime, arguments).run(format, 0);
}

}  // namespace exo::jinja
