// The specification behind the colon: [[fill]align][sign][#][0][width][,][.precision][type].
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

constexpr Int kMaxWidth = 1 << 24;

struct Specification {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool alternate = false;
  bool zero = false;  // the fill and alignment are those of a leading 0
  size_t width = 0;
  char grouping = '\0';
  int precision = -1;
  char type = '\0';
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Specification scan() {
    Specification out;
    scan_alignment(out);
    if (at("+- ")) out.sign = take();
    if (at("z")) fail("the format option 'z' is not supported");
    if (at("#")) out.alternate = take() == '#';
    if (at("0")) {
      if (out.align == '\0') {
        out.align = '=';
        out.fill = "0";
        out.zero = true;
      }
      take();
    }
    out.width = static_cast<size_t>(number());
    if (at(",_")) out.grouping = take();
    if (at(".")) {
      take();
      if (!at("0123456789")) fail("a format needs digits behind the point");
      out.precision = static_cast<int>(number());
    }
    if (position_ < text_.size()) out.type = take();
    if (position_ < text_.size()) fail("bad format specification '" + std::string(text_) + "'");
    return out;
  }

 private:
  bool at(std::string_view characters) const {
    return position_ < text_.size() && characters.find(text_[position_]) != std::string_view::npos;
  }
  char take() { return text_[position_++]; }
  Int number() {
    const size_t start = position_;
    while (at("0123456789")) ++position_;
    const Int value = parse_int(text_.substr(start, position_ - start), 10).value_or(0);
    if (value > kMaxWidth) fail_limit("a format asks for too much width");
    return value;
  }
  void scan_alignment(Specification& out) {
    static constexpr std::string_view kAligns = "<>=^";
    if (text_.empty()) return;
    const size_t fill = decode_at(text_, 0).size_bytes;
    if (fill < text_.size() && kAligns.find(text_[fill]) != std::string_view::npos) {
      out.fill = text_.substr(0, fill);
      position_ = fill;
    }
    if (at(kAligns)) out.align = take();
  }

  std::string_view text_;
  size_t position_ = 0;
};

std::string format_text(const Value& value, const Specification& spec, Budget& budget) {
  if (spec.type != '\0' && spec.type != 's') fail("unknown format code for a string");
  if (spec.align == '=' && !spec.zero) fail("'=' alignment is for numbers");
  if (spec.sign != '-' || spec.grouping != '\0') fail("signs and grouping are for numbers");
  std::string text = to_str(value, budget);
  if (spec.precision >= 0) text.resize(offset_of(text, static_cast<size_t>(spec.precision)));
  const bool left = spec.align == '\0' || spec.align == '=';
  return pad(std::move(text), spec.width, left ? '<' : spec.align, spec.fill, budget);
}

NumberStyle number_style(const Value& value, const Specification& spec) {
  NumberStyle style;
  style.type = spec.type;
  if (spec.type == 'n') style.type = value.is_float() ? 'g' : 'd';
  if (spec.type == '\0') style.type = value.is_float() ? 'r' : 'd';
  const bool whole = std::string_view("dboxX").find(style.type) != std::string_view::npos;
  if (!whole && std::string_view("eEfFgG%r").find(style.type) == std::string_view::npos)
    fail("unknown format code '" + std::string(1, style.type) + "' for a number");
  if (whole && value.is_float()) fail("a float cannot be formatted as an integer");
  if (whole && spec.precision >= 0) fail("an integer format takes no precision");
  style.precision = spec.precision;
  style.alternate = spec.alternate;
  style.grouping = spec.grouping;
  return style;
}

std::string format_number(const Value& value, const Specification& spec, Budget& budget) {
  const bool negative = value.is_float() ? std::signbit(value.number()) : value.integer() < 0;
  std::string digits = format_unsigned(negative ? negate(value) : value, number_style(value, spec));
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  if (spec.align != '=')
    return pad(sign + digits, spec.width, spec.align == '\0' ? '>' : spec.align, spec.fill, budget);
  const size_t width = spec.width > sign.size() ? spec.width - sign.size() : 0;
  return sign + pad(std::move(digits), width, '>', spec.fill, budget);
}

}  // namespace

std::string format_value(const Value& value, std::string_view specification, Budget& budget) {
  if (specification.empty()) return to_str(value, budget);
  const Specification spec = Scanner(specification).scan();
  if (value.is_string() || value.is_undefined()) return format_text(value, spec, budget);
  if (value.is_number()) return format_number(value, spec, budget);
  fail("'" + std::string(type_name(value)) + "' takes no format specification");
}

}  // namespace exo::jinja
