// Filters that make text.
#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/strings.h"
#include "text/jinja/tojson.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr Int kMaxWidth = 1 << 24;

// The input as text; strings stay what they are, markup too.
Value soft_text(Runtime& runtime, const Value& input) {
  return input.is_string() ? input : Value(to_str(input, runtime.budget));
}

const Value& need_string(const Value& input, std::string_view filter) {
  if (input.is_undefined()) fail(input.undefined_message());
  if (!input.is_string())
    fail(std::string(filter) + " needs a string, not '" + std::string(type_name(input)) + "'");
  return input;
}

Value by_method(Runtime& runtime, const Value& input, std::string_view method, const Arguments& a) {
  return find_string_method(method)(runtime, soft_text(runtime, input), a);
}

Value upper(Runtime& r, const Value& v, const Arguments& a) { return by_method(r, v, "upper", a); }
Value lower(Runtime& r, const Value& v, const Arguments& a) { return by_method(r, v, "lower", a); }
Value trim(Runtime& r, const Value& v, const Arguments& a) { return by_method(r, v, "strip", a); }
Value capitalize_filter(Runtime& r, const Value& v, const Arguments& a) {
  const BoundArguments bound("capitalize", a, {});
  return by_method(r, v, "capitalize", a);
}
Value string(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("string", arguments, {});
  return soft_text(runtime, input);
}

Value title(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("title", arguments, {});
  static constexpr std::u32string_view kBefore = U"-({[<";
  std::string out;
  bool inside = false;
  const std::string text = to_str(input, runtime.budget);
  for_each_code_point(text, [&](std::string_view character, char32_t code) {
    const bool separator = is_space(code) || kBefore.find(code) != std::u32string_view::npos;
    if (separator)
      out += character;
    else if (inside)
      append_lower(out, code);
    else
      append_upper(out, code);
    inside = !separator;
  });
  return out;
}

Value replace(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("replace", arguments, {"old", "new", "count"}, 2);
  const Int count = bound.has(2) && !bound.at(2).is_none() ? bound.integer(2, -1) : -1;
  Budget& budget = runtime.budget;
  return replace_text(to_str(input, budget), to_str(bound.at(0), budget),
                      to_str(bound.at(1), budget), count, budget);
}

Value center(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("center", arguments, {"width"});
  Arguments width;
  width.positional.emplace_back(bound.integer(0, 80));
  return by_method(runtime, input, "center", width);
}

Value join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("join", arguments, {"d", "attribute"});
  const std::string separator = bound.has(0) ? to_str(bound.at(0), runtime.budget) : "";
  const bool by_attribute = bound.has(1) && !bound.at(1).is_none();
  const AttributePath path(by_attribute ? bound.at(1) : Value(), runtime.budget);
  const auto items = iterate(input, runtime.budget);
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    runtime.budget.step();
    if (i > 0) out += separator;
    if (by_attribute)
      append_str(out, path.get(runtime, items->items[i]), runtime.budget);
    else
      append_str(out, items->items[i], runtime.budget);
    runtime.budget.check_size(out.size());
  }
  return out;
}

Value indent(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("indent", arguments, {"width", "first", "blank"});
  if (input.is_undefined()) fail(input.undefined_message());
  if (!input.is_string())
    fail("indent needs a string, not '" + std::string(type_name(input)) + "'");
  std::string indentation;
  if (bound.has(0) && bound.at(0).is_string())
    indentation = bound.at(0).text();
  else
    indentation =
        std::string(static_cast<size_t>(std::clamp<Int>(bound.integer(0, 4), 0, kMaxWidth)), ' ');
  const bool blank = bound.flag(2);
  const std::string text = input.text() + "\n";
  const auto lines = split_lines(text);
  std::string out = bound.flag(1) ? indentation : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    runtime.budget.step();
    if (i > 0) out += "\n";
    if (i > 0 && (blank || !lines[i].empty())) out += indentation;
    out += lines[i];
    runtime.budget.check_size(out.size());
  }
  return like(input, out);
}

Value truncate(Runtime&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Int length = bound.integer(0, 255);
  const std::string end = bound.text(2, "...");
  const Int leeway = bound.has(3) && !bound.at(3).is_none() ? bound.integer(3, 5) : 5;
  const Int end_length = static_cast<Int>(count_code_points(end));
  if (length < end_length || leeway < 0) fail("truncate needs a length that holds its ending");
  const auto size = length_of(input);
  if (!size) fail("truncate needs a string, not '" + std::string(type_name(input)) + "'");
  if (static_cast<Int>(*size) <= length + leeway) return input;
  const Value& text = need_string(input, "truncate");
  std::string kept =
      text.text().substr(0, offset_of(text.text(), static_cast<size_t>(length - end_length)));
  if (!bound.flag(1)) {
    const size_t space = kept.rfind(' ');
    if (space != std::string::npos) kept.resize(space);
  }
  return like(text, kept + end);
}

Value wordwrap(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("wordwrap", arguments,
                             {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  WrapOptions options;
  options.width = static_cast<size_t>(std::clamp<Int>(bound.integer(0, 79), 0, kMaxWidth));
  if (options.width == 0) fail("wordwrap needs a positive width");
  options.break_long_words = bound.flag(1, true);
  options.break_on_hyphens = bound.flag(3, true);
  const bool has_separator = bound.has(2) && !bound.at(2).is_none();
  const std::string separator = has_separator ? bound.text(2, "\n") : "\n";
  const Value& text = need_string(input, "wordwrap");
  runtime.budget.step(text.text().size());
  runtime.budget.check_size(text.text().size() * 64);
  std::string out;
  bool first = true;
  for (const std::string_view line : split_lines(text.text())) {
    auto rows = wrap_text(line, options);
    if (rows.empty()) rows.emplace_back();
    for (const std::string& row : rows) {
      if (!std::exchange(first, false)) out += separator;
      out += row;
      runtime.budget.check_size(out.size());
    }
  }
  return out;
}

Value wordcount(Runtime& runtime, const Value& input, const Arguments&) {
  size_t words = 0;
  bool inside = false;
  const Value text = soft_text(runtime, input);
  for_each_code_point(text.text(), [&](std::string_view, char32_t code) {
    words += is_word(code) && !inside ? 1 : 0;
    inside = is_word(code);
  });
  return words;
}

Value escape(Runtime& runtime, const Value& input, const Arguments&) {
  return escape_markup(input, runtime.budget);
}
Value forceescape(Runtime& runtime, const Value& input, const Arguments&) {
  return escape_markup(Value(to_str(input, runtime.budget)), runtime.budget);
}
Value safe(Runtime& runtime, const Value& input, const Arguments&) {
  return Value::markup(to_str(input, runtime.budget));
}

Value striptags(Runtime& runtime, const Value& input, const Arguments&) {
  const std::string text = to_str(input, runtime.budget);
  std::string bare;
  for (size_t at = 0; at < text.size();) {
    const bool comment = text.compare(at, 4, "<!--") == 0;
    const size_t close = text[at] == '<' ? text.find(comment ? "-->" : ">", at) : std::string::npos;
    if (close == std::string::npos)
      bare += text[at++];
    else
      at = close + (comment ? 3 : 1);
  }
  std::string out;
  for (const std::string_view word : split_space(bare, -1, false)) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&lt;", "<"},    {"&gt;", ">"},  {"&#34;", "\""},
      {"&quot;", "\""}, {"&#39;", "'"}, {"&amp;", "&"}};
  for (const auto& [entity, character] : kEntities)
    out = replace_text(out, entity, character, -1, runtime.budget);
  return out;
}

Value urlencode(Runtime& runtime, const Value& input, const Arguments&) {
  const auto quote = [&](const Value& value, bool query) {
    static constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string out;
    for (const char c : to_str(value, runtime.budget)) {
      const auto byte = static_cast<unsigned char>(c);
      const bool plain = byte < 0x80 && (std::isalnum(byte) || c == '_' || c == '.' || c == '-' ||
                                         c == '~' || (c == '/' && !query));
      if (plain)
        out += c;
      else if (c == ' ' && query)
        out += '+';
      else
        out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
    return out;
  };
  if (input.is_string() || !is_iterable(input)) return quote(input, false);
  const Value pairs =
      input.is_dict() ? find_container_method(input, "items")(runtime, input, {}) : input;
  std::string out;
  const auto source = iterate(pairs, runtime.budget);
  for (const Value& pair : source->items) {
    const auto parts = iterate(pair, runtime.budget);
    if (parts->items.size() != 2) fail("urlencode needs pairs of key and value");
    if (!out.empty()) out += '&';
    out += quote(parts->items[0], true) + '=' + quote(parts->items[1], true);
    runtime.budget.check_size(out.size());
  }
  return out;
}

Value xmlattr(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("xmlattr", arguments, {"autospace"});
  if (!input.is_dict()) fail("xmlattr needs a dict");
  std::string out;
  for (const auto& [key, value] : input.dict().entries()) {
    if (value.is_none() || value.is_undefined()) continue;
    if (!out.empty() || bound.flag(0, true)) out += ' ';
    out += escape_markup(key, runtime.budget).text() + "=\"" +
           escape_markup(value, runtime.budget).text() + '"';
  }
  return out;
}

Value format(Runtime& runtime, const Value& input, const Arguments& arguments) {
  Value values = Value::tuple(arguments.positional);
  if (!arguments.named.empty()) {
    if (!arguments.positional.empty()) fail("format takes positions or names, not both");
    auto dict = std::make_shared<Dict>();
    for (const auto& [name, value] : arguments.named) dict->set(Value(name), value, runtime.budget);
    values = std::shared_ptr<const Dict>(std::move(dict));
  }
  return percent_format(soft_text(runtime, input), values, runtime.budget);
}

// In the order in which Hugging Face's own tojson takes them.
Value tojson(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("tojson", arguments,
                             {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.flag(0);
  if (bound.has(1) && !bound.at(1).is_none()) {
    if (bound.at(1).is_string())
      style.indent = bound.at(1).text();
    else
      style.indent =
          std::string(static_cast<size_t>(std::clamp<Int>(bound.integer(1, 0), 0, 1000)), ' ');
    style.item_separator = ",";
  }
  if (bound.has(2) && !bound.at(2).is_none()) {
    const auto pair = iterate(bound.at(2), runtime.budget);
    if (pair->items.size() != 2 || !pair->items[0].is_string() || !pair->items[1].is_string())
      fail("tojson needs two separators");
    style.item_separator = pair->items[0].text();
    style.key_separator = pair->items[1].text();
  }
  style.sort_keys = bound.flag(3);
  return to_json(input, style, runtime.budget);
}

constexpr NamedFilter kFilters[] = {
    {"upper", upper},
    {"lower", lower},
    {"trim", trim},
    {"capitalize", capitalize_filter},
    {"string", string},
    {"title", title},
    {"replace", replace},
    {"center", center},
    {"join", join},
    {"indent", indent},
    {"truncate", truncate},
    {"wordwrap", wordwrap},
    {"wordcount", wordcount},
    {"escape", escape},
    {"e", escape},
    {"forceescape", forceescape},
    {"safe", safe},
    {"striptags", striptags},
    {"urlencode", urlencode},
    {"xmlattr", xmlattr},
    {"format", format},
    {"tojson", tojson},
};

}  // namespace

std::span<const NamedFilter> string_filters() { return kFilters; }

}  // namespace exo::jinja
