// Methods of list, tuple, range and dict: those that only read.
#include <algorithm>

#include "text/jinja/interpreter.h"

namespace exo::jinja {
namespace {

Value view(Runtime& runtime, const Value& self, SequenceKind kind) {
  const auto& entries = self.dict().entries();
  runtime.budget.allocate(entries.size() * 4 * sizeof(Value));
  std::vector<Value> items;
  items.reserve(entries.size());
  for (const auto& [key, value] : entries) {
    if (kind == SequenceKind::items)
      items.push_back(Value::tuple({key, value}));
    else
      items.push_back(kind == SequenceKind::keys ? key : value);
  }
  return Sequence::make(kind, std::move(items));
}
Value keys(Runtime& runtime, const Value& self, const Arguments&) {
  return view(runtime, self, SequenceKind::keys);
}
Value values(Runtime& runtime, const Value& self, const Arguments&) {
  return view(runtime, self, SequenceKind::values);
}
Value items(Runtime& runtime, const Value& self, const Arguments&) {
  return view(runtime, self, SequenceKind::items);
}
Value get(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("get", arguments, {"key", "default"}, 1);
  const Value* found = self.dict().find(bound.at(0), runtime.budget);
  if (found != nullptr) return *found;
  return bound.has(1) ? bound.at(1) : Value();
}
Value copy(Runtime&, const Value& self, const Arguments&) { return self; }

Value count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("count", arguments, {"value"}, 1);
  const auto& list = self.sequence().items;
  return std::count_if(list.begin(), list.end(),
                       [&](const Value& item) { return equal(item, bound.at(0), runtime.budget); });
}
Value index_of(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const BoundArguments bound("index", arguments, {"value"}, 1);
  const auto& list = self.sequence().items;
  const auto it = std::find_if(list.begin(), list.end(), [&](const Value& item) {
    return equal(item, bound.at(0), runtime.budget);
  });
  if (it == list.end()) fail("the value is not in the list");
  return it - list.begin();
}

struct Method {
  std::string_view name;
  NativeMethod method;
};
constexpr Method kDictMethods[] = {
    {"keys", keys}, {"values", values}, {"items", items}, {"get", get}, {"copy", copy}};
constexpr Method kListMethods[] = {{"count", count}, {"index", index_of}, {"copy", copy}};

}  // namespace

NativeMethod find_container_method(const Value& self, std::string_view name) {
  if (self.is_dict()) {
    for (const Method& entry : kDictMethods)
      if (entry.name == name) return entry.method;
  }
  if (!self.is_sequence() || self.sequence().kind >= SequenceKind::keys) return nullptr;
  const bool is_list = self.sequence().kind == SequenceKind::list;
  for (const Method& entry : kListMethods)
    if (entry.name == name && (is_list || name != "copy")) return entry.method;
  return nullptr;
}

}  // namespace exo::jinja
