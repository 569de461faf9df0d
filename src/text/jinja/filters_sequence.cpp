// Filters about lists and dicts.
#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

using Items = std::vector<Value>;

const Items& paid(Runtime& runtime, const std::shared_ptr<const Sequence>& sequence) {
  runtime.budget.step(sequence->items.size() + 1);
  runtime.budget.allocate(sequence->items.size() * sizeof(Value));
  return sequence->items;
}

Value length(Runtime&, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("length", arguments, {});
  const auto size = length_of(input);
  if (!size) fail("'" + std::string(type_name(input)) + "' object has no length");
  return *size;
}

Value list(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("list", arguments, {});
  return Value::list(paid(runtime, iterate(input, runtime.budget)));
}

Value first(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("first", arguments, {});
  if (input.is_sequence() && input.sequence().kind == SequenceKind::generator) {
    const Sequence& generator = input.sequence();
    if (generator.consumed < generator.items.size()) return generator.items[generator.consumed++];
    return Value::undefined("there is no first item");
  }
  if (input.is_string() && !input.text().empty())
    return input.text().substr(0, decode_at(input.text(), 0).size_bytes);
  const auto items = iterate(input, runtime.budget);
  return items->items.empty() ? Value::undefined("there is no first item") : items->items.front();
}

Value last(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("last", arguments, {});
  if (input.is_sequence() && input.sequence().kind == SequenceKind::generator)
    fail("'generator' object is not reversible");
  const auto items = iterate(input, runtime.budget);
  return items->items.empty() ? Value::undefined("there is no last item") : items->items.back();
}

Value reverse(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("reverse", arguments, {});
  if (input.is_string()) {
    SliceBounds backwards;
    backwards.step = -1;
    return slice(input, backwards, runtime.budget);
  }
  Items items = paid(runtime, iterate(input, runtime.budget));
  std::reverse(items.begin(), items.end());
  const bool reversible = !input.is_sequence() || input.sequence().kind != SequenceKind::generator;
  return reversible ? Value::generator(std::move(items)) : Value::list(std::move(items));
}

Value items_filter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("items", arguments, {});
  if (input.is_undefined()) return Value::generator({});
  if (!input.is_dict()) fail("items needs a dict, not '" + std::string(type_name(input)) + "'");
  const Value view = find_container_method(input, "items")(runtime, input, {});
  return Value::generator(view.sequence().items);
}

// Sorted by keys, stable; the keys are computed once.
Items sorted(Runtime& runtime, const Items& items, const Items& keys, bool backwards) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return backwards ? less(keys[b], keys[a], runtime.budget)
                     : less(keys[a], keys[b], runtime.budget);
  });
  Items out;
  for (const size_t i : order) out.push_back(items[i]);
  return out;
}

// By one attribute, or by several: "age,name". Lists compare equal parts first, so that two
// Undefined are no error when sorting; single values are for sets and extremes.
template <bool kAsLists>
Items keys_by(Runtime& runtime, const Items& items, const Value* attribute, bool with_case) {
  std::vector<AttributePath> paths;
  const bool by_attribute = attribute != nullptr && !attribute->is_none();
  if (by_attribute && attribute->is_string()) {
    const std::string& text = attribute->text();
    for (size_t at = 0; at <= text.size();) {
      const size_t comma = std::min(text.find(',', at), text.size());
      paths.emplace_back(Value(text.substr(at, comma - at)), runtime.budget);
      at = comma + 1;
    }
  } else if (by_attribute) {
    paths.emplace_back(*attribute, runtime.budget);
  }
  Items keys;
  for (const Value& item : items) {
    Items parts;
    for (const auto& path : paths) parts.push_back(path.get(runtime, item));
    if (paths.empty()) parts.push_back(item);
    if (!with_case)
      for (Value& part : parts) part = ignore_case(part, runtime.budget);
    keys.push_back(kAsLists ? Value::list(std::move(parts)) : parts[0]);
  }
  return keys;
}

Value sort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const auto source = iterate(input, runtime.budget);
  const Items& items = paid(runtime, source);
  const Items keys = keys_by<true>(runtime, items, bound.get(2), bound.flag(1));
  return Value::list(sorted(runtime, items, keys, bound.flag(0)));
}

Value dictsort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  if (input.is_undefined()) fail(input.undefined_message());
  if (!input.is_dict()) fail("dictsort needs a dict, not '" + std::string(type_name(input)) + "'");
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") fail("dictsort sorts by \"key\" or \"value\"");
  const Value view = find_container_method(input, "items")(runtime, input, {});
  const Items& items = paid(runtime, view.shared_sequence());
  Items keys;
  for (const Value& item : items) {
    const Value& key = item.sequence().items[by == "key" ? 0 : 1];
    keys.push_back(bound.flag(0) ? key : ignore_case(key, runtime.budget));
  }
  return Value::list(sorted(runtime, items, keys, bound.flag(2)));
}

Value unique(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("unique", arguments, {"case_sensitive", "attribute"});
  const auto source = iterate(input, runtime.budget);
  const Items& items = paid(runtime, source);
  const Items keys = keys_by<false>(runtime, items, bound.get(1), bound.flag(0));
  Dict seen;
  Items out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (seen.find(keys[i], runtime.budget) != nullptr) continue;
    seen.set(keys[i], true, runtime.budget);
    out.push_back(items[i]);
  }
  return Value::generator(std::move(out));
}

Value extreme(Runtime& runtime, const Value& input, const Arguments& arguments, bool largest) {
  const BoundArguments bound("min", arguments, {"case_sensitive", "attribute"});
  const auto source = iterate(input, runtime.budget);
  const Items& items = paid(runtime, source);
  if (items.empty()) return Value::undefined("the sequence was empty");
  const Items keys = keys_by<false>(runtime, items, bound.get(1), bound.flag(0));
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    const bool better = largest ? less(keys[best], keys[i], runtime.budget)
                                : less(keys[i], keys[best], runtime.budget);
    if (better) best = i;
  }
  return items[best];
}
Value min(Runtime& r, const Value& v, const Arguments& a) { return extreme(r, v, a, false); }
Value max(Runtime& r, const Value& v, const Arguments& a) { return extreme(r, v, a, true); }

Value sum(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("sum", arguments, {"attribute", "start"});
  Value total = bound.has(1) ? bound.at(1) : Value(0);
  const auto items = iterate(input, runtime.budget);
  const bool by_attribute = bound.has(0) && !bound.at(0).is_none();
  const AttributePath path(by_attribute ? bound.at(0) : Value(), runtime.budget);
  if (total.is_string()) fail("sum cannot add strings: use join");
  for (const Value& item : items->items) {
    runtime.budget.step();
    const Value part = by_attribute ? path.get(runtime, item) : item;
    total = apply(Operator::add, total, part, runtime.budget);
  }
  return total;
}

Value batch(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const Int size = bound.integer(0, 1);
  const auto source = iterate(input, runtime.budget);
  const Items& items = paid(runtime, source);
  Items out;
  Items row;
  for (const Value& item : items) {
    if (static_cast<Int>(row.size()) == size) out.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (row.empty()) return Value::generator(std::move(out));
  if (bound.has(1) && !bound.at(1).is_none()) {
    const Int missing = std::max<Int>(0, size - static_cast<Int>(row.size()));
    if (missing > 1'000'000) fail_limit("batch fills up too many items");
    runtime.budget.allocate(static_cast<size_t>(missing) * sizeof(Value));
    row.resize(row.size() + static_cast<size_t>(missing), bound.at(1));
  }
  out.push_back(Value::list(std::move(row)));
  return Value::generator(std::move(out));
}

Value slice_filter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("slice", arguments, {"slices", "fill_with"}, 1);
  const Int wanted = bound.integer(0, 1);
  if (wanted == 0) fail("division by zero");
  if (wanted > static_cast<Int>(kMaxRange)) fail_limit("slice makes too many lists");
  const auto slices = static_cast<size_t>(std::max<Int>(wanted, 0));
  const auto source = iterate(input, runtime.budget);
  const Items& items = paid(runtime, source);
  runtime.budget.allocate(slices * 2 * sizeof(Value));
  Items out;
  size_t at = 0;
  for (size_t i = 0; i < slices; ++i) {
    const bool longer = i < items.size() % slices;
    const size_t count = items.size() / slices + (longer ? 1 : 0);
    const auto begin = items.begin() + static_cast<std::ptrdiff_t>(at);
    Items part(begin, begin + static_cast<std::ptrdiff_t>(count));
    if (!longer && bound.has(1) && !bound.at(1).is_none()) part.push_back(bound.at(1));
    out.push_back(Value::list(std::move(part)));
    at += count;
  }
  return Value::generator(std::move(out));
}

Value attribute(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("attr", arguments, {"name"}, 1);
  const std::string name = bound.text(0, "");
  if (input.is_dict() && find_container_method(input, name) == nullptr)
    return Value::undefined("'dict' object has no attribute '" + name + "'");
  return get_attribute(runtime, input, name);
}

constexpr NamedFilter kFilters[] = {
    {"length", length},
    {"count", length},
    {"list", list},
    {"first", first},
    {"last", last},
    {"reverse", reverse},
    {"items", items_filter},
    {"sort", sort},
    {"dictsort", dictsort},
    {"unique", unique},
    {"min", min},
    {"max", max},
    {"sum", sum},
    {"batch", batch},
    {"slice", slice_filter},
    {"attr", attribute},
};

}  // namespace

std::span<const NamedFilter> sequence_filters() { return kFilters; }

}  // namespace exo::jinja
