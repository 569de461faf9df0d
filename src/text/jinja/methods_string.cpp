// Methods of str that make new text or lists of text.
#include <algorithm>

#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr Int kMaxWidth = 1 << 24;

size_t checked_width(Int width) {
  if (width > kMaxWidth) fail_limit("the chat template asks for too much width");
  return static_cast<size_t>(std::max<Int>(width, 0));
}

Value strip_method(const Value& self, const Arguments& arguments, Side side) {
  const BoundArguments bound("strip", arguments, {"chars"});
  if (!bound.has(0) || bound.at(0).is_none()) return like(self, strip_space(self.text(), side));
  return like(self, strip_characters(self.text(), bound.text(0, ""), side));
}
Value strip(Runtime&, const Value& self, const Arguments& a) {
  return strip_method(self, a, Side::both);
}
Value lstrip(Runtime&, const Value& self, const Arguments& a) {
  return strip_method(self, a, Side::left);
}
Value rstrip(Runtime&, const Value& self, const Arguments& a) {
  return strip_method(self, a, Side::right);
}

Value upper(Runtime&, const Value& self, const Arguments& a) {
  const BoundArguments bound("upper", a, {});
  return like(self, to_upper(self.text()));
}
Value lower(Runtime&, const Value& self, const Arguments& a) {
  const BoundArguments bound("lower", a, {});
  return like(self, to_lower(self.text()));
}
Value capitalize_method(Runtime&, const Value& self, const Arguments&) {
  return like(self, capitalize(self.text()));
}
Value title(Runtime&, const Value& self, const Arguments&) {
  std::string out;
  bool inside = false;
  for_each_code_point(self.text(), [&](std::string_view, char32_t code) {
    if (inside)
      append_lower(out, code);
    else
      append_title(out, code);
    inside = is_upper(code) || is_lower(code);
  });
  return like(self, out);
}
Value swapcase(Runtime&, const Value& self, const Arguments&) {
  std::string out;
  for_each_code_point(self.text(), [&](std::string_view, char32_t code) {
    if (is_upper(code))
      append_lower(out, code);
    else
      append_upper(out, code);
  });
  return like(self, out);
}

Value replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"}, 2);
  bound.text(0, "");
  bound.text(1, "");
  const auto as_self = [&](const Value& value) {
    return self.is_markup() ? escape_markup(value, runtime.budget).text() : value.text();
  };
  return like(self, replace_text(self.text(), as_self(bound.at(0)), as_self(bound.at(1)),
                                 bound.integer(2, -1), runtime.budget));
}

Value split_pieces(Runtime& runtime, const Value& self,
                   const std::vector<std::string_view>& pieces) {
  runtime.budget.allocate(self.text().size() + pieces.size() * 2 * sizeof(Value));
  runtime.budget.step(pieces.size() + self.text().size() / 64);
  std::vector<Value> out;
  for (const std::string_view piece : pieces) out.push_back(like(self, piece));
  return Value::list(std::move(out));
}

Value split_method(Runtime& runtime, const Value& self, const Arguments& arguments,
                   bool from_right) {
  const BoundArguments bound("split", arguments, {"sep", "maxsplit"});
  const Int limit = bound.integer(1, -1);
  runtime.budget.check_size(self.text().size() * 4);  // what the pieces take while it works
  if (!bound.has(0) || bound.at(0).is_none())
    return split_pieces(runtime, self, split_space(self.text(), limit, from_right));
  const std::string separator = bound.text(0, "");
  if (separator.empty()) fail("split() needs a separator that is not empty");
  return split_pieces(runtime, self, split_text(self.text(), separator, limit, from_right));
}
Value split(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return split_method(runtime, self, arguments, false);
}
Value rsplit(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return split_method(runtime, self, arguments, true);
}
Value splitlines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("splitlines", arguments, {"keepends"});
  return split_pieces(runtime, self, split_lines(self.text(), bound.flag(0)));
}

Value partition_at(Runtime& runtime, const Value& self, const Arguments& arguments, bool last) {
  const BoundArguments bound("partition", arguments, {"sep"}, 1);
  const std::string separator = bound.text(0, "");
  if (separator.empty()) fail("partition() needs a separator that is not empty");
  const std::string& text = self.text();
  runtime.budget.allocate(text.size());
  const size_t at = find_text(text, separator, last);
  if (at != std::string::npos)
    return Value::tuple({like(self, text.substr(0, at)), like(self, separator),
                         like(self, text.substr(at + separator.size()))});
  return last ? Value::tuple({like(self, ""), like(self, ""), self})
              : Value::tuple({self, like(self, ""), like(self, "")});
}
Value partition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return partition_at(runtime, self, arguments, false);
}
Value rpartition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return partition_at(runtime, self, arguments, true);
}

Value join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"iterable"}, 1);
  const auto items = iterate(bound.at(0), runtime.budget);
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const Value& item = items->items[i];
    if (!item.is_string()) fail("join() needs strings, not '" + std::string(type_name(item)) + "'");
    if (i > 0) out += self.text();
    out += self.is_markup() ? escape_markup(item, runtime.budget).text() : item.text();
    runtime.budget.step();
    runtime.budget.check_size(out.size());
  }
  return like(self, out);
}

Value aligned(Runtime& runtime, const Value& self, const Arguments& arguments, char align) {
  const BoundArguments bound("center", arguments, {"width", "fillchar"}, 1);
  const std::string fill = bound.text(1, " ");
  if (count_code_points(fill) != 1) fail("the fill character must be one character");
  return like(self,
              pad(self.text(), checked_width(bound.integer(0, 0)), align, fill, runtime.budget));
}
Value ljust(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return aligned(runtime, self, arguments, '<');
}
Value rjust(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return aligned(runtime, self, arguments, '>');
}
Value center(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("center", arguments, {"width", "fillchar"}, 1);
  const std::string fill = bound.text(1, " ");
  if (count_code_points(fill) != 1) fail("the fill character must be one character");
  return like(self,
              center_text(self.text(), checked_width(bound.integer(0, 0)), fill, runtime.budget));
}
Value zfill(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("zfill", arguments, {"width"}, 1);
  const std::string& text = self.text();
  const bool has_sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  const size_t width = checked_width(bound.integer(0, 0));
  const std::string sign = has_sign ? text.substr(0, 1) : "";
  return like(self, sign + pad(text.substr(sign.size()), width - std::min(width, sign.size()), '>',
                               "0", runtime.budget));
}
Value expandtabs(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("expandtabs", arguments, {"tabsize"});
  const size_t size = checked_width(bound.integer(0, 8));
  std::string out;
  size_t column = 0;
  for_each_code_point(self.text(), [&](std::string_view character, char32_t code) {
    if (code != '\t') {
      column = code == '\n' || code == '\r' ? 0 : column + 1;
      out += character;
      return;
    }
    const size_t spaces = size == 0 ? 0 : size - column % size;
    runtime.budget.check_size(out.size() + spaces);
    out.append(spaces, ' ');
    column += spaces;
  });
  return like(self, out);
}

Value removeprefix(Runtime&, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("removeprefix", arguments, {"prefix"}, 1);
  const std::string prefix = bound.text(0, "");
  return self.text().starts_with(prefix) ? like(self, self.text().substr(prefix.size())) : self;
}
Value removesuffix(Runtime&, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("removesuffix", arguments, {"suffix"}, 1);
  const std::string suffix = bound.text(0, "");
  const std::string& text = self.text();
  return text.ends_with(suffix) ? like(self, text.substr(0, text.size() - suffix.size())) : self;
}

Value format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return like(self, brace_format(runtime, self.text(), arguments));
}
Value format_map(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("format_map", arguments, {"mapping"}, 1);
  Arguments named;
  if (!bound.at(0).is_dict()) fail("format_map() needs a dict");
  for (const auto& [key, value] : bound.at(0).dict().entries())
    if (key.is_string()) named.named.emplace_back(key.text(), value);
  return like(self, brace_format(runtime, self.text(), named));
}

struct Method {
  std::string_view name;
  NativeMethod method;
};
constexpr Method kMethods[] = {
    {"strip", strip},
    {"lstrip", lstrip},
    {"rstrip", rstrip},
    {"upper", upper},
    {"lower", lower},
    {"casefold", lower},
    {"capitalize", capitalize_method},
    {"title", title},
    {"swapcase", swapcase},
    {"replace", replace},
    {"split", split},
    {"rsplit", rsplit},
    {"splitlines", splitlines},
    {"partition", partition},
    {"rpartition", rpartition},
    {"join", join},
    {"ljust", ljust},
    {"rjust", rjust},
    {"center", center},
    {"zfill", zfill},
    {"expandtabs", expandtabs},
    {"removeprefix", removeprefix},
    {"removesuffix", removesuffix},
    {"format", format},
    {"format_map", format_map},
};

}  // namespace

NativeMethod find_string_method(std::string_view name) {
  for (const Method& entry : kMethods)
    if (entry.name == name) return entry.method;
  return nullptr;
}

}  // namespace exo::jinja
