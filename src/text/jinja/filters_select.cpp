// Filters that apply an attribute, another filter or a test to every item; and the lookup of all.
#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

Arguments rest_of(const Arguments& arguments, size_t used) {
  Arguments rest;
  rest.named = arguments.named;
  for (size_t i = used; i < arguments.positional.size(); ++i)
    rest.positional.push_back(arguments.positional[i]);
  return rest;
}

const std::string& name_at(const Arguments& arguments, size_t position) {
  const Value& name = arguments.positional[position];
  if (!name.is_string()) fail("the name of a filter or a test must be a string");
  return name.text();
}

const Value* named(const Arguments& arguments, std::string_view name) {
  for (const auto& [key, value] : arguments.named)
    if (key == name) return &value;
  return nullptr;
}

Value map_attribute(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("map", arguments, {"attribute", "default"}, 1);
  const AttributePath path(bound.at(0), runtime.budget);
  const bool has_default = bound.has(1) && !bound.at(1).is_none();
  std::vector<Value> out;
  const auto source = iterate(input, runtime.budget);
  for (const Value& item : source->items) {
    runtime.budget.step();
    Value value = path.get(runtime, item);
    out.push_back(has_default && value.is_undefined() ? bound.at(1) : std::move(value));
  }
  return Value::generator(std::move(out));
}

Value map(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!truthy(input)) return Value::generator({});
  if (arguments.positional.empty() && named(arguments, "attribute") != nullptr)
    return map_attribute(runtime, input, arguments);
  if (arguments.positional.empty()) fail("map needs a filter or an attribute");
  const FilterFunction function = find_filter(name_at(arguments, 0));
  if (function == nullptr) fail("no filter is named '" + name_at(arguments, 0) + "'");
  const Arguments rest = rest_of(arguments, 1);
  std::vector<Value> out;
  const DepthGuard guard(runtime.budget);  // map("map", ...) is recursive
  const auto source = iterate(input, runtime.budget);
  for (const Value& item : source->items) {
    runtime.budget.step();
    charge_use(runtime, item, rest);
    out.push_back(charge(runtime, function(runtime, item, rest)));
  }
  return Value::generator(std::move(out));
}

struct Selection {
  bool wanted = true;
  bool by_attribute = false;
};

Value select_if(Runtime& runtime, const Value& input, const Arguments& arguments,
                const Selection& selection) {
  if (!truthy(input)) return Value::generator({});
  const size_t used = selection.by_attribute ? 1 : 0;
  if (arguments.positional.size() < used) fail("selectattr and rejectattr need an attribute");
  const AttributePath path(used > 0 ? arguments.positional[0] : Value(""), runtime.budget);
  TestFunction test = nullptr;
  if (arguments.positional.size() > used) {
    test = find_test(name_at(arguments, used));
    if (test == nullptr) fail("no test is named '" + name_at(arguments, used) + "'");
  }
  const Arguments rest = rest_of(arguments, used + 1);
  std::vector<Value> out;
  const auto source = iterate(input, runtime.budget);
  for (const Value& item : source->items) {
    runtime.budget.step();
    const Value value = selection.by_attribute ? path.get(runtime, item) : item;
    charge_use(runtime, value, rest);
    const bool holds = test == nullptr ? truthy(value) : test(runtime, value, rest);
    if (holds == selection.wanted) out.push_back(item);
  }
  return Value::generator(std::move(out));
}

Value select(Runtime& r, const Value& v, const Arguments& a) {
  return select_if(r, v, a, {true, false});
}
Value reject(Runtime& r, const Value& v, const Arguments& a) {
  return select_if(r, v, a, {false, false});
}
Value selectattr(Runtime& r, const Value& v, const Arguments& a) {
  return select_if(r, v, a, {true, true});
}
Value rejectattr(Runtime& r, const Value& v, const Arguments& a) {
  return select_if(r, v, a, {false, true});
}

Value groupby(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const BoundArguments bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(bound.at(0), runtime.budget);
  const bool has_default = bound.has(1) && !bound.at(1).is_none();
  struct Member {
    Value key, shown, item;
  };
  std::vector<Member> members;
  const auto source = iterate(input, runtime.budget);
  for (const Value& item : source->items) {
    Value shown = path.get(runtime, item);
    if (has_default && shown.is_undefined()) shown = bound.at(1);
    members.push_back({bound.flag(2) ? shown : ignore_case(shown, runtime.budget), shown, item});
  }
  runtime.budget.allocate(members.size() * sizeof(Member));
  std::stable_sort(members.begin(), members.end(), [&](const Member& a, const Member& b) {
    return less(a.key, b.key, runtime.budget);
  });
  std::vector<Value> groups;
  for (size_t i = 0; i < members.size();) {
    std::vector<Value> items;
    const Member& head = members[i];
    for (; i < members.size() && equal(members[i].key, head.key, runtime.budget); ++i)
      items.push_back(members[i].item);
    groups.push_back(
        Sequence::make(SequenceKind::group, {head.shown, Value::list(std::move(items))}));
  }
  return Value::list(std::move(groups));
}

constexpr NamedFilter kFilters[] = {
    {"map", map},
    {"select", select},
    {"reject", reject},
    {"selectattr", selectattr},
    {"rejectattr", rejectattr},
    {"groupby", groupby},
};

}  // namespace

AttributePath::AttributePath(const Value& path, Budget& budget) {
  if (!path.is_string()) {
    parts_.push_back(path);
    return;
  }
  const std::string& text = path.text();
  for (size_t at = 0; at <= text.size();) {
    budget.step();
    const size_t dot = std::min(text.find('.', at), text.size());
    const std::string_view part = std::string_view(text).substr(at, dot - at);
    const auto number = parse_int(part, 10);
    parts_.push_back(number ? Value(*number) : Value(part));
    at = dot + 1;
  }
}

Value AttributePath::get(Runtime& runtime, const Value& item) const {
  Value value = item;
  for (const Value& part : parts_) value = get_item(runtime, value, part);
  return value;
}

Value ignore_case(const Value& value, Budget& budget) {
  if (!value.is_string()) return value;
  budget.allocate(value.text().size());
  return to_lower(value.text());
}

std::span<const NamedFilter> selecting_filters() { return kFilters; }

FilterFunction find_filter(std::string_view name) {
  for (const auto table :
       {string_filters(), number_filters(), sequence_filters(), selecting_filters()})
    for (const NamedFilter& entry : table)
      if (entry.name == name) return entry.function;
  return nullptr;
}

}  // namespace exo::jinja
