// Python's operators on values: checked 128-bit integers, floor division, repetition, escaping
// concatenation of markup, indexing and slicing.
#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/object.h"
#include "text/jinja/unicode.h"
#include "text/jinja/value.h"

namespace exo::jinja {
namespace {

constexpr std::array<std::string_view, 7> kSymbols = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void fail_operands(Operator op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is_undefined()) fail(value->undefined_message());
  fail("unsupported operand types for " + std::string(kSymbols[static_cast<size_t>(op)]) + ": '" +
       std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

// By reference: the overflowing builtins fill in the value while the arguments are evaluated.
Int checked(bool overflow, const Int& value) {
  if (overflow) fail_limit("an integer of the chat template has more than 127 bits");
  return value;
}

Int floor_divide(Int a, Int b) {
  if (b == 0) fail("division by zero");
  if (b == -1) return checked(__builtin_sub_overflow(Int{0}, a, &a), a);
  const Int quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

Int floor_modulo(Int a, Int b) {
  if (b == 0) fail("division by zero");
  if (b == -1) return 0;
  const Int rest = a % b;
  return (rest != 0 && (rest < 0) != (b < 0)) ? rest + b : rest;
}

Value integer_power(Int base, Int exponent, Budget& budget) {
  if (exponent < 0) {
    if (base == 0) fail("zero cannot be raised to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base == 0 || base == 1) return exponent == 0 ? Int{1} : base;
  if (base == -1) return exponent % 2 == 0 ? Int{1} : Int{-1};
  Int result = 1;
  for (Int i = 0; i < exponent; ++i) {  // at most 127 rounds before it overflows
    budget.step();
    result = checked(__builtin_mul_overflow(result, base, &result), result);
  }
  return result;
}

Value on_integers(Operator op, Int a, Int b, Budget& budget) {
  Int result = 0;
  switch (op) {
    case Operator::add:
      return checked(__builtin_add_overflow(a, b, &result), result);
    case Operator::subtract:
      return checked(__builtin_sub_overflow(a, b, &result), result);
    case Operator::multiply:
      return checked(__builtin_mul_overflow(a, b, &result), result);
    case Operator::divide:
      if (b == 0) fail("division by zero");
      return static_cast<double>(a) / static_cast<double>(b);
    case Operator::floor_divide:
      return floor_divide(a, b);
    case Operator::modulo:
      return floor_modulo(a, b);
    case Operator::power:
      return integer_power(a, b, budget);
  }
  return {};
}

double float_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_floor_divide(double a, double b) {
  const double quotient = (a - float_modulo(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double float_power(double a, double b) {
  if (a == 0 && b < 0) fail("zero cannot be raised to a negative power");
  if (a < 0 && std::isfinite(b) && std::floor(b) != b) fail("complex numbers are not supported");
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("the result is too large");
  return result;
}

Value on_floats(Operator op, double a, double b) {
  const bool divides = op == Operator::divide || op == Operator::floor_divide;
  if (b == 0 && (divides || op == Operator::modulo)) fail("division by zero");
  switch (op) {
    case Operator::add:
      return a + b;
    case Operator::subtract:
      return a - b;
    case Operator::multiply:
      return a * b;
    case Operator::divide:
      return a / b;
    case Operator::floor_divide:
      return float_floor_divide(a, b);
    case Operator::modulo:
      return float_modulo(a, b);
    case Operator::power:
      return float_power(a, b);
  }
  return {};
}

Value concatenate(const Value& a, const Value& b, Budget& budget) {
  if (a.is_string()) {
    budget.allocate(a.text().size() + b.text().size());
    if (!a.is_markup() && !b.is_markup()) return a.text() + b.text();
    return Value::markup(escape_markup(a, budget).text() + escape_markup(b, budget).text());
  }
  const auto& left = a.sequence().items;
  const auto& right = b.sequence().items;
  budget.allocate((left.size() + right.size()) * sizeof(Value));
  budget.step((left.size() + right.size()) / 8);
  std::vector<Value> items;
  items.reserve(left.size() + right.size());
  items.insert(items.end(), left.begin(), left.end());
  items.insert(items.end(), right.begin(), right.end());
  return a.sequence().is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

bool concatenable(const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return true;
  if (!a.is_sequence() || !b.is_sequence()) return false;
  const Sequence& left = a.sequence();
  const Sequence& right = b.sequence();
  return (left.kind == SequenceKind::list && right.kind == SequenceKind::list) ||
         (left.is_tuple() && right.is_tuple());
}

bool repeatable(const Value& value) {
  return value.is_string() ||
         (value.is_sequence() &&
          (value.sequence().is_tuple() || value.sequence().kind == SequenceKind::list));
}

Value repeat(const Value& value, Int count, Budget& budget) {
  if (count < 0) count = 0;
  if (count > Int{1} << 40) count = Int{1} << 40;  // far beyond the limit, within size_t
  const auto times = static_cast<size_t>(count);
  const size_t size = value.is_string() ? value.text().size() : value.sequence().items.size();
  if (size > 0 && times > (size_t{1} << 40) / size) fail_limit("a repetition is too large");
  if (value.is_string()) {
    budget.allocate(size * times);
    std::string out;
    out.reserve(size * times);
    for (size_t i = 0; size > 0 && i < times; ++i) out += value.text();
    return value.is_markup() ? Value::markup(std::move(out)) : Value(std::move(out));
  }
  budget.allocate(size * times * sizeof(Value));
  budget.step(size * times / 8);
  const auto& items = value.sequence().items;
  std::vector<Value> out;
  for (size_t i = 0; size > 0 && i < times; ++i) out.insert(out.end(), items.begin(), items.end());
  return value.sequence().is_tuple() ? Value::tuple(std::move(out)) : Value::list(std::move(out));
}

Int clamp(Int value, Int low, Int high) { return std::min(std::max(value, low), high); }

struct Stride {
  Int start, stop, step;
};

// Python's slice.indices().
Stride indices(size_t length, const SliceBounds& bounds) {
  const Int step = bounds.step.value_or(1);
  if (step == 0) fail("slice step cannot be zero");
  const Int size = static_cast<Int>(length);
  const Int low = step > 0 ? 0 : -1;
  const Int high = step > 0 ? size : size - 1;
  const auto resolve = [&](const std::optional<Int>& bound, Int otherwise) {
    if (!bound) return otherwise;
    return clamp(*bound < 0 ? *bound + size : *bound, low, high);
  };
  return {resolve(bounds.start, step > 0 ? low : high), resolve(bounds.stop, step > 0 ? high : low),
          clamp(step, -size - 1, size + 1)};
}

std::vector<size_t> picked(size_t length, const SliceBounds& bounds) {
  const auto [start, stop, step] = indices(length, bounds);
  std::vector<size_t> positions;
  for (Int i = start; step > 0 ? i < stop : i > stop; i += step)
    positions.push_back(static_cast<size_t>(i));
  return positions;
}

Value slice_text(const Value& value, const SliceBounds& bounds, Budget& budget) {
  const std::string& text = value.text();
  budget.allocate(text.size());
  std::string out;
  if (value.text_data().ascii && bounds.step.value_or(1) == 1) {
    budget.step(text.size() / 64);
    const auto [start, stop, step] = indices(text.size(), bounds);
    if (start < stop)
      out = text.substr(static_cast<size_t>(start), static_cast<size_t>(stop - start));
  } else {
    budget.step(text.size() / 8);
    budget.check_size(text.size() * 4);  // what the characters take while it works
    const auto characters = split_code_points(text);
    for (const size_t i : picked(characters.size(), bounds)) out += characters[i];
  }
  return value.is_markup() ? Value::markup(std::move(out)) : Value(std::move(out));
}

Value slice_of_range(const Sequence& range, const SliceBounds& bounds, std::vector<Value> items) {
  const auto [start, stop, step] = indices(range.items.size(), bounds);
  const auto& [first, last, stride] = range.range;
  auto made = std::make_shared<Sequence>();
  made->kind = SequenceKind::range;
  made->items = std::move(items);
  made->range = {first + start * stride, first + stop * stride, step * stride};
  return std::shared_ptr<const Sequence>(std::move(made));
}

std::optional<size_t> position(Int key, size_t length) {
  const Int at = key < 0 ? key + static_cast<Int>(length) : key;
  if (at < 0 || at >= static_cast<Int>(length)) return std::nullopt;
  return static_cast<size_t>(at);
}

std::optional<Value> character_at(const Value& value, Int key, Budget& budget) {
  const Text& text = value.text_data();
  if (!text.ascii) budget.step(text.bytes.size() / 16);
  const auto at = position(key, *length_of(value));
  if (!at) return std::nullopt;
  const size_t offset = text.ascii ? *at : offset_of(text.bytes, *at);
  const size_t size = decode_at(text.bytes, offset).size_bytes;
  std::string character = text.bytes.substr(offset, size);
  return text.markup ? Value::markup(std::move(character)) : Value(std::move(character));
}

}  // namespace

Value apply(Operator op, const Value& a, const Value& b, Budget& budget) {
  if (a.is_integral() && b.is_integral()) return on_integers(op, a.integer(), b.integer(), budget);
  if (a.is_number() && b.is_number()) return on_floats(op, a.number(), b.number());
  if (op == Operator::add && concatenable(a, b)) return concatenate(a, b, budget);
  if (op == Operator::multiply) {
    if (repeatable(a) && b.is_integral()) return repeat(a, b.integer(), budget);
    if (repeatable(b) && a.is_integral()) return repeat(b, a.integer(), budget);
  }
  if (op == Operator::modulo && a.is_string()) return percent_format(a, b, budget);
  fail_operands(op, a, b);
}

Value negate(const Value& value) {
  if (value.is_integral()) {
    Int result = 0;
    return checked(__builtin_sub_overflow(Int{0}, value.integer(), &result), result);
  }
  if (value.is_float()) return -value.number();
  if (value.is_undefined()) fail(value.undefined_message());
  fail("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
}

Value escape_markup(const Value& value, Budget& budget) {
  if (value.is_markup()) return value;
  std::string out;
  for (const char c : to_str(value, budget)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  budget.allocate(out.size());
  return Value::markup(std::move(out));
}

Value slice(const Value& value, const SliceBounds& bounds, Budget& budget) {
  if (value.is_string()) return slice_text(value, bounds, budget);
  const Sequence& sequence = value.sequence();
  budget.allocate(sequence.items.size() * sizeof(Value));
  budget.step(sequence.items.size() / 8);
  std::vector<Value> out;
  for (const size_t i : picked(sequence.items.size(), bounds)) out.push_back(sequence.items[i]);
  if (sequence.kind == SequenceKind::range) return slice_of_range(sequence, bounds, std::move(out));
  return sequence.is_tuple() ? Value::tuple(std::move(out)) : Value::list(std::move(out));
}

std::optional<Value> index(const Value& value, const Value& key, Budget& budget) {
  if (value.is_dict()) {
    const bool hashable = !key.is_dict() && !(key.is_sequence() && !key.sequence().is_tuple());
    const Value* found = hashable ? value.dict().find(key, budget) : nullptr;
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (!key.is_integral()) return std::nullopt;
  if (value.is_string()) return character_at(value, key.integer(), budget);
  if (!value.is_sequence() || value.sequence().kind >= SequenceKind::keys) return std::nullopt;
  const auto at = position(key.integer(), value.sequence().items.size());
  return at ? std::optional<Value>(value.sequence().items[*at]) : std::nullopt;
}

}  // namespace exo::jinja
