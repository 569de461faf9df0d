// Methods of str that ask: where, how often, of which kind.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/strings.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

struct Window {
  std::string_view text;
  size_t first_index = 0;  // in code points
  bool valid = true;       // false where start lies behind the end
};

// text[start:end], from the second and third argument.
Window window(const Value& self, const BoundArguments& bound) {
  const Int length = static_cast<Int>(*length_of(self));
  const auto resolve = [&](size_t position, Int otherwise) {
    if (!bound.has(position) || bound.at(position).is_none()) return otherwise;
    const Int value = bound.integer(position, otherwise);
    return std::clamp<Int>(value < 0 ? value + length : value, 0, length + 1);
  };
  const Int start = resolve(1, 0);
  const Int end = std::min(resolve(2, length), length);
  if (start > end) return {{}, 0, false};
  const std::string_view text = self.text();
  const size_t from = offset_of(text, static_cast<size_t>(start));
  const size_t to = offset_of(text, static_cast<size_t>(end));
  return {text.substr(from, to - from), static_cast<size_t>(start), true};
}

bool affix_matches(std::string_view text, const Value& affix, bool at_end) {
  if (!affix.is_string()) fail("startswith() and endswith() need a string or a tuple of strings");
  return at_end ? text.ends_with(affix.text()) : text.starts_with(affix.text());
}

Value has_affix(const Value& self, const Arguments& arguments, bool at_end) {
  const BoundArguments bound(at_end ? "endswith" : "startswith", arguments,
                             {"affix", "start", "end"}, 1);
  const Window view = window(self, bound);
  const Value& affix = bound.at(0);
  if (affix.is_undefined()) fail(affix.undefined_message());
  if (!view.valid) return false;
  if (!affix.is_sequence() || !affix.sequence().is_tuple())
    return affix_matches(view.text, affix, at_end);
  const auto& choices = affix.sequence().items;
  return std::any_of(choices.begin(), choices.end(),
                     [&](const Value& choice) { return affix_matches(view.text, choice, at_end); });
}
Value startswith(Runtime&, const Value& self, const Arguments& a) {
  return has_affix(self, a, false);
}
Value endswith(Runtime&, const Value& self, const Arguments& a) { return has_affix(self, a, true); }

Value find_in(Runtime& runtime, const Value& self, const Arguments& arguments, bool last) {
  const BoundArguments bound("find", arguments, {"sub", "start", "end"}, 1);
  const std::string wanted = bound.text(0, "");
  runtime.budget.step(self.text().size() / 64);
  const Window view = window(self, bound);
  const size_t at = find_text(view.text, wanted, last);
  if (!view.valid || at == std::string_view::npos) return -1;
  return view.first_index + count_code_points(view.text.substr(0, at));
}
Value find(Runtime& r, const Value& self, const Arguments& a) { return find_in(r, self, a, false); }
Value rfind(Runtime& r, const Value& self, const Arguments& a) { return find_in(r, self, a, true); }
Value found(Value position) {
  if (position.integer() < 0) fail("substring not found");
  return position;
}
Value index_method(Runtime& r, const Value& self, const Arguments& a) {
  return found(find_in(r, self, a, false));
}
Value rindex_method(Runtime& r, const Value& self, const Arguments& a) {
  return found(find_in(r, self, a, true));
}

Value count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("count", arguments, {"sub", "start", "end"}, 1);
  const std::string wanted = bound.text(0, "");
  runtime.budget.step(self.text().size() / 64);
  const Window view = window(self, bound);
  if (!view.valid) return 0;
  if (wanted.empty()) return count_code_points(view.text) + 1;
  return split_text(view.text, wanted, -1, false).size() - 1;
}

template <class Test>
Value all_of(const Value& self, Test test) {
  bool all = !self.text().empty();
  for_each_code_point(self.text(),
                      [&](std::string_view, char32_t code) { all = all && test(code); });
  return all;
}
bool alnum(char32_t code) { return is_alpha(code) || is_numeric(code); }
Value isalpha_method(Runtime&, const Value& self, const Arguments&) {
  return all_of(self, is_alpha);
}
Value isalnum_method(Runtime&, const Value& self, const Arguments&) { return all_of(self, alnum); }
Value isdecimal(Runtime&, const Value& self, const Arguments&) { return all_of(self, is_decimal); }
Value isnumeric(Runtime&, const Value& self, const Arguments&) { return all_of(self, is_numeric); }
Value isspace_method(Runtime&, const Value& self, const Arguments&) {
  return all_of(self, is_space);
}
Value isdigit_method(Runtime&, const Value& self, const Arguments&) {
  return all_of(self, [](char32_t code) {
    return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 ||
           (code >= 0x2070 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089);
  });
}
Value isascii_method(Runtime&, const Value& self, const Arguments&) {
  return self.text_data().ascii;
}
Value isprintable(Runtime&, const Value& self, const Arguments&) {
  return self.text().empty() || truthy(all_of(self, is_printable));
}
Value isidentifier(Runtime&, const Value& self, const Arguments&) {
  return truthy(all_of(self, is_word)) && is_identifier_start(decode_at(self.text(), 0).code);
}

Value has_only_case(const Value& self, bool upper) {
  bool any = false;
  bool other = false;
  for_each_code_point(self.text(), [&](std::string_view, char32_t code) {
    any |= upper ? is_upper(code) : is_lower(code);
    other |= upper ? is_lower(code) : is_upper(code);
  });
  return any && !other;
}
Value isupper_method(Runtime&, const Value& self, const Arguments&) {
  return has_only_case(self, true);
}
Value islower_method(Runtime&, const Value& self, const Arguments&) {
  return has_only_case(self, false);
}
Value istitle(Runtime&, const Value& self, const Arguments&) {
  bool any = false;
  bool inside = false;
  bool wrong = false;
  for_each_code_point(self.text(), [&](std::string_view, char32_t code) {
    wrong |= (is_upper(code) && inside) || (is_lower(code) && !inside);
    inside = is_upper(code) || is_lower(code);
    any |= inside;
  });
  return any && !wrong;
}

struct Method {
  std::string_view name;
  NativeMethod method;
};
constexpr Method kMethods[] = {
    {"startswith", startswith},
    {"endswith", endswith},
    {"find", find},
    {"rfind", rfind},
    {"index", index_method},
    {"rindex", rindex_method},
    {"count", count},
    {"isalpha", isalpha_method},
    {"isalnum", isalnum_method},
    {"isdecimal", isdecimal},
    {"isnumeric", isnumeric},
    {"isspace", isspace_method},
    {"isdigit", isdigit_method},
    {"isascii", isascii_method},
    {"isprintable", isprintable},
    {"isidentifier", isidentifier},
    {"isupper", isupper_method},
    {"islower", islower_method},
    {"istitle", istitle},
};

}  // namespace

NativeMethod find_text_test_method(std::string_view name) {
  for (const Method& entry : kMethods)
    if (entry.name == name) return entry.method;
  return nullptr;
}

}  // namespace exo::jinja
