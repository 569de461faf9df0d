// "..." % values
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr Int kMaxWidth = 1 << 24;

struct Conversion {
  bool left = false, plus = false, space = false, zero = false, alternate = false;
  size_t width = 0;
  int precision = -1;
  char type = 's';
};

class PercentFormatter {
 public:
  PercentFormatter(const Value& format, const Value& arguments, Budget& budget)
      : text_(format.text()), markup_(format.is_markup()), arguments_(arguments), budget_(budget) {}

  std::string run() {
    while (at_ < text_.size()) {
      budget_.step();
      if (text_[at_] != '%')
        out_ += text_[at_++];
      else
        convert();
      budget_.check_size(out_.size());
    }
    const size_t given = is_tuple() ? arguments_.sequence().items.size() : has_items() ? 0 : 1;
    if (used_ < given) fail("not all arguments were used by the format string");
    return std::move(out_);
  }

 private:
  bool is_tuple() const { return arguments_.is_sequence() && arguments_.sequence().is_tuple(); }
  // Such values may stay unused: a format may name their keys, or none.
  bool has_items() const {
    return arguments_.is_undefined() || arguments_.is_dict() ||
           (arguments_.is_sequence() && arguments_.sequence().kind < SequenceKind::keys);
  }
  bool at(std::string_view characters) const {
    return at_ < text_.size() && characters.find(text_[at_]) != std::string_view::npos;
  }

  Value next_argument() {
    if (is_tuple()) {
      if (used_ >= arguments_.sequence().items.size()) fail("too few arguments for the format");
      return arguments_.sequence().items[used_++];
    }
    if (used_++ > 0) fail("too few arguments for the format");
    return arguments_;
  }

  Value keyed_argument() {
    const size_t close = text_.find(')', at_);
    if (close == std::string::npos || !arguments_.is_dict()) fail("a format requires a mapping");
    const Value* found = arguments_.dict().find(std::string_view(text_).substr(at_, close - at_));
    if (found == nullptr) fail("a format names a key that is not there");
    at_ = close + 1;
    ++used_;
    return *found;
  }

  Int number() {
    if (at("*")) {
      ++at_;
      const Value value = next_argument();
      if (!value.is_integral()) fail("* wants an integer");
      return limited(value.integer());
    }
    const size_t start = at_;
    while (at("0123456789")) ++at_;
    return limited(parse_int(std::string_view(text_).substr(start, at_ - start), 10).value_or(0));
  }
  static Int limited(Int value) {
    if (value > kMaxWidth || value < -kMaxWidth) fail_limit("a format asks for too much width");
    return value;
  }

  void scan_flags(Conversion& out) {
    for (; at("-+ 0#"); ++at_) {
      out.left |= text_[at_] == '-';
      out.plus |= text_[at_] == '+';
      out.space |= text_[at_] == ' ';
      out.zero |= text_[at_] == '0';
      out.alternate |= text_[at_] == '#';
    }
  }

  void convert() {
    ++at_;
    if (at("%")) {
      out_ += text_[at_++];
      return;
    }
    Value keyed;
    const bool has_key = at("(");
    if (has_key) {
      ++at_;
      keyed = keyed_argument();
    }
    Conversion conversion;
    scan_flags(conversion);
    const Int width = number();
    conversion.left |= width < 0;
    conversion.width = static_cast<size_t>(width < 0 ? -width : width);
    if (at(".")) {
      ++at_;
      conversion.precision = static_cast<int>(std::max<Int>(0, number()));
    }
    if (at("hlL")) ++at_;
    if (at_ >= text_.size()) fail("a format string ends too early");
    conversion.type = text_[at_++];
    if (conversion.type == '%') {
      out_ += '%';
      return;
    }
    out_ += converted(has_key ? keyed : next_argument(), conversion);
  }

  std::string converted(const Value& value, const Conversion& conversion) {
    if (std::string_view("sra").find(conversion.type) != std::string_view::npos)
      return as_text(value, conversion);
    if (conversion.type == 'c') return as_character(value, conversion);
    if (std::string_view("diuoxXeEfFgG").find(conversion.type) == std::string_view::npos)
      fail("unsupported format character '" + std::string(1, conversion.type) + "'");
    if (value.is_undefined()) fail(value.undefined_message());
    if (!value.is_number()) fail("a number format needs a number");
    return as_number(value, conversion);
  }

  std::string as_text(const Value& value, const Conversion& conversion) {
    std::string text;
    if (conversion.type != 's')
      append_repr(text, value, budget_);
    else
      text = markup_ ? escape_markup(value, budget_).text() : to_str(value, budget_);
    if (conversion.precision >= 0)
      text.resize(offset_of(text, static_cast<size_t>(conversion.precision)));
    return pad(std::move(text), conversion.width, conversion.left ? '<' : '>', " ", budget_);
  }

  std::string as_character(const Value& value, const Conversion& conversion) {
    std::string text;
    if (value.is_integral() && value.integer() >= 0 && value.integer() <= 0x10FFFF)
      append_utf8(text, static_cast<char32_t>(value.integer()));
    else if (value.is_string() && length_of(value) == size_t{1})
      text = value.text();
    else
      fail("%c needs a character");
    return pad(std::move(text), conversion.width, conversion.left ? '<' : '>', " ", budget_);
  }

  std::string as_number(Value value, const Conversion& conversion) {
    NumberStyle style;
    const bool whole = std::string_view("diuoxX").find(conversion.type) != std::string_view::npos;
    style.type = std::string_view("iu").find(conversion.type) != std::string_view::npos
                     ? 'd'
                     : conversion.type;
    style.precision = conversion.precision;
    style.alternate = conversion.alternate;
    if (whole && value.is_float()) {
      if (style.type != 'd') fail("this format needs an integer, not a float");
      if (!(std::abs(value.number()) < 1e36)) fail("a float is too large for an integer format");
      value = static_cast<Int>(value.number());
    }
    const bool negative = value.is_float() ? std::signbit(value.number()) : value.integer() < 0;
    std::string digits = format_unsigned(negative ? negate(value) : value, style);
    if (whole && conversion.precision > 0)
      digits = pad(std::move(digits), static_cast<size_t>(conversion.precision), '>', "0", budget_);
    const std::string sign = negative ? "-" : conversion.plus ? "+" : conversion.space ? " " : "";
    if (conversion.zero && !conversion.left && conversion.width > sign.size())
      return sign + pad(std::move(digits), conversion.width - sign.size(), '>', "0", budget_);
    return pad(sign + digits, conversion.width, conversion.left ? '<' : '>', " ", budget_);
  }

  const std::string& text_;
  bool markup_;
  const Value& arguments_;
  Budget& budget_;
  size_t at_ = 0;
  size_t used_ = 0;
  std::string out_;
};

}  // namespace

Value percent_format(const Value& format, const Value& arguments, Budget& budget) {
  std::string out = PercentFormatter(format, arguments, budget).run();
  budget.allocate(out.size());
  return format.is_markup() ? Value::markup(std::move(out)) : Value(std::move(out));
}

}  // namespace exo::jinja
