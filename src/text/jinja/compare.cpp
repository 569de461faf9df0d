// Equality, order, hashing and membership with Python's rules. Values are directed acyclic graphs
// that can unfold exponentially, so every visited node is paid for.
#include <algorithm>
#include <cmath>
#include <functional>

#include "text/jinja/object.h"
#include "text/jinja/strings.h"
#include "text/jinja/value.h"

namespace exo::jinja {
namespace {

constexpr size_t kBytesPerStep = 64;

bool equal_items(const std::vector<Value>& a, const std::vector<Value>& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!equal(a[i], b[i], budget)) return false;
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key, budget);
    if (other == nullptr || !equal(value, *other, budget)) return false;
  }
  return true;
}

bool comparable(const Sequence& a, const Sequence& b) {
  if (a.is_tuple() && b.is_tuple()) return true;
  return a.kind == b.kind && (a.kind == SequenceKind::list || a.kind == SequenceKind::range);
}

bool less_items(const std::vector<Value>& a, const std::vector<Value>& b, Budget& budget) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (!equal(a[i], b[i], budget)) return less(a[i], b[i], budget);
  return a.size() < b.size();
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_float() || b.is_float()) return a.number() == b.number();
  return a.integer() == b.integer();
}

size_t hash_number(const Value& value) {
  const double number = value.number();
  if (std::floor(number) != number || std::abs(number) > 9e15) return std::hash<double>()(number);
  const auto mixed = static_cast<uint64_t>(static_cast<int64_t>(number)) * 0x9E3779B97F4A7C15U;
  return static_cast<size_t>(mixed ^ (mixed >> 32));
}

size_t hash_tuple(const Sequence& items, Budget& budget) {
  size_t hash = 0x9E3779B9;
  for (const Value& item : items.items) hash = hash * 1000003 ^ hash_of(item, budget);
  return hash;
}

}  // namespace

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.is_string() && b.is_string()) {
    budget.step(std::min(a.text().size(), b.text().size()) / kBytesPerStep);
    return a.text() == b.text();
  }
  if (a.is_sequence() && b.is_sequence()) {
    if (&a.sequence() == &b.sequence()) return true;
    return comparable(a.sequence(), b.sequence()) &&
           equal_items(a.sequence().items, b.sequence().items, budget);
  }
  if (a.is_dict() && b.is_dict()) return equal_dicts(a.dict(), b.dict(), budget);
  if (a.is_undefined() && b.is_undefined()) return true;
  return a.same_as(b);
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer();
  if (a.is_number() && b.is_number()) return a.number() < b.number();
  if (a.is_string() && b.is_string()) {
    budget.step(std::min(a.text().size(), b.text().size()) / kBytesPerStep);
    return a.text() < b.text();  // byte order of UTF-8 is code point order
  }
  if (a.is_undefined()) fail(a.undefined_message());
  if (b.is_undefined()) fail(b.undefined_message());
  if (a.is_sequence() && b.is_sequence() && comparable(a.sequence(), b.sequence()) &&
      a.sequence().kind != SequenceKind::range)
    return less_items(a.sequence().items, b.sequence().items, budget);
  fail("cannot order '" + std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

size_t hash_of(const Value& value, Budget& budget) {
  budget.step();
  if (value.is_string()) {
    budget.step(value.text().size() / kBytesPerStep);
    return std::hash<std::string_view>()(value.text());
  }
  if (value.is_number()) return hash_number(value);
  if (value.is_sequence() && value.sequence().is_tuple())
    return hash_tuple(value.sequence(), budget);
  if (value.is_dict() || (value.is_sequence() && value.sequence().kind == SequenceKind::list))
    fail("unhashable type: '" + std::string(type_name(value)) + "'");
  return value.is_none() ? 1 : 2;
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_string()) {
    if (!item.is_string())
      fail("'in <string>' requires a string, not '" + std::string(type_name(item)) + "'");
    budget.step((container.text().size() + item.text().size()) / kBytesPerStep);
    return find_text(container.text(), item.text(), false) != std::string_view::npos;
  }
  if (container.is_dict()) return container.dict().find(item, budget) != nullptr;
  const auto items = iterate(container, budget);
  return std::any_of(items->items.begin(), items->items.end(),
                     [&](const Value& other) { return equal(item, other, budget); });
}

}  // namespace exo::jinja
