#include "text/jinja/object.h"

#include <algorithm>
#include <array>

#include "text/jinja/interpreter.h"

namespace exo::jinja {
namespace {

class Function : public Object {
 public:
  Function(std::string_view name, NativeFunction function) : name_(name), function_(function) {}
  std::string_view type_name() const override { return "function"; }
  std::string repr(Budget&) const override { return "<function " + std::string(name_) + ">"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override {
    return function_(runtime, arguments);
  }

 private:
  std::string_view name_;  // of the table of functions
  NativeFunction function_;
};

class BoundMethod : public Object {
 public:
  BoundMethod(Value self, std::string_view name, NativeMethod method)
      : self_(std::move(self)), name_(name), method_(method) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  std::string repr(Budget&) const override {
    return "<built-in method " + name_ + " of " + std::string(jinja::type_name(self_)) + " object>";
  }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override {
    charge_use(runtime, self_, arguments);
    return method_(runtime, self_, arguments);
  }
  int depth() const override { return self_.depth() + 1; }

 private:
  Value self_;
  std::string name_;
  NativeMethod method_;
};

std::string described(const Value& value) {
  return value.is_none() ? "None" : "'" + std::string(type_name(value)) + " object'";
}

Value missing_attribute(const Value& value, std::string_view name) {
  return Value::undefined(described(value) + " has no attribute '" + std::string(name) + "'");
}

Value refused_attribute(const Value& value, std::string_view name) {
  return Value::undefined("access to attribute '" + std::string(name) + "' of " + described(value) +
                          " is not allowed in a chat template");
}

// Templates must not change lists and dicts, which messages and tools are made of.
bool changes(const Value& value, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kOfLists = {
      "append", "clear", "pop", "reverse", "insert", "extend", "sort", "remove"};
  static constexpr std::array<std::string_view, 5> kOfDicts = {"clear", "pop", "popitem",
                                                               "setdefault", "update"};
  if (value.is_dict()) return std::find(kOfDicts.begin(), kOfDicts.end(), name) != kOfDicts.end();
  return value.is_sequence() && value.sequence().kind == SequenceKind::list &&
         std::find(kOfLists.begin(), kOfLists.end(), name) != kOfLists.end();
}

std::optional<Value> group_member(const Value& value, std::string_view name) {
  if (!value.is_sequence() || value.sequence().kind != SequenceKind::group) return std::nullopt;
  if (name == "grouper") return value.sequence().items[0];
  return name == "list" ? std::optional<Value>(value.sequence().items[1]) : std::nullopt;
}

// What Python's getattr() finds, by the sandbox's rules.
std::optional<Value> find_attribute(const Value& value, std::string_view name) {
  if (name.size() > 4 && name.substr(0, 2) == "__" && name.substr(name.size() - 2) == "__")
    return refused_attribute(value, name);
  if (value.is_object()) {
    if (name.substr(0, 1) == "_") return refused_attribute(value, name);
    return value.object().attribute(name);
  }
  if (changes(value, name)) return refused_attribute(value, name);
  if (auto member = group_member(value, name)) return member;
  NativeMethod method = nullptr;
  if (value.is_string()) {
    method = find_string_method(name);
    if (method == nullptr) method = find_text_test_method(name);
  } else {
    method = find_container_method(value, name);
  }
  if (method == nullptr) return std::nullopt;
  return bind_method(value, name, method);
}

}  // namespace

BoundArguments::BoundArguments(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> names, size_t required)
    : function_(function), values_(names.size(), nullptr) {
  const std::string who(function);
  if (arguments.positional.size() > names.size())
    fail(who + "() takes at most " + std::to_string(names.size()) + " arguments");
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* const known = std::find(names.begin(), names.end(), name);
    if (known == names.end()) fail(who + "() has no parameter '" + name + "'");
    const Value*& slot = values_[static_cast<size_t>(known - names.begin())];
    if (slot != nullptr) fail(who + "() got two values for '" + name + "'");
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (values_[i] == nullptr) fail(who + "() needs '" + std::string(names.begin()[i]) + "'");
}

bool BoundArguments::flag(size_t position, bool otherwise) const {
  return has(position) ? truthy(at(position)) : otherwise;
}
Int BoundArguments::integer(size_t position, Int otherwise) const {
  if (!has(position)) return otherwise;
  if (at(position).is_undefined()) fail(at(position).undefined_message());
  if (!at(position).is_integral()) fail(std::string(function_) + "() needs an integer");
  return at(position).integer();
}
std::string BoundArguments::text(size_t position, const std::string& otherwise) const {
  if (!has(position)) return otherwise;
  if (at(position).is_undefined()) fail(at(position).undefined_message());
  if (!at(position).is_string())
    fail(std::string(function_) + "() needs a string, not '" +
         std::string(type_name(at(position))) + "'");
  return at(position).text();
}

Value Object::call(Runtime&, const Arguments&) {
  fail("'" + std::string(type_name()) + "' object is not callable");
}

std::string Namespace::repr(Budget& budget) const {
  std::string out = "<Namespace {";
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, Value(entries_[i].first), budget);
    out += ": ";
    append_repr(out, entries_[i].second, budget);
  }
  return out + "}>";
}

std::optional<Value> Namespace::attribute(std::string_view name) {
  const auto it = std::find_if(entries_.begin(), entries_.end(),
                               [name](const auto& entry) { return entry.first == name; });
  return it == entries_.end() ? std::nullopt : std::optional<Value>(it->second);
}

void Namespace::set(std::string_view name, Value value) {
  for (auto& [known, held] : entries_) {
    if (known != name) continue;
    held = std::move(value);
    return;
  }
  if (entries_.size() >= 250) fail_limit("a namespace of the chat template has too many names");
  entries_.emplace_back(name, std::move(value));
}

Value make_function(std::string_view name, NativeFunction function) {
  return std::shared_ptr<Object>(std::make_shared<Function>(name, function));
}
Value bind_method(const Value& self, std::string_view name, NativeMethod method) {
  return std::shared_ptr<Object>(std::make_shared<BoundMethod>(self, name, method));
}

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_undefined()) fail(value.undefined_message());
  if (auto found = find_attribute(value, name)) return *std::move(found);
  if (auto found = index(value, Value(name), runtime.budget)) return *std::move(found);
  return missing_attribute(value, name);
}

Value get_item(Runtime& runtime, const Value& value, const Value& key) {
  if (value.is_undefined()) fail(value.undefined_message());
  if (auto found = index(value, key, runtime.budget)) return *std::move(found);
  if (key.is_string()) {
    if (auto found = find_attribute(value, key.text())) return *std::move(found);
    return missing_attribute(value, key.text());
  }
  std::string message = described(value) + " has no element ";
  append_repr(message, key, runtime.budget);
  return Value::undefined(std::move(message));
}

Value call(Runtime& runtime, const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) fail(callee.undefined_message());
  if (!callee.is_object() || !callee.object().callable())
    fail("'" + std::string(type_name(callee)) + "' object is not callable");
  return callee.object().call(runtime, arguments);
}

Runtime::~Runtime() {
  for (const auto& object : adopted_) object->release();
}

Value Runtime::lookup(const Scope& scope, std::string_view name) {
  for (const Scope* at = &scope; at != nullptr; at = at->parent())
    if (const Value* found = at->find(name)) return *found;
  const auto it = context_.find(std::string(name));
  if (it != context_.end()) return it->second;
  if (auto global = find_global(name)) return *std::move(global);
  return Value::undefined("'" + std::string(name) + "' is undefined");
}

void Runtime::adopt(std::shared_ptr<Object> object) {
  budget.allocate(512);
  adopted_.push_back(std::move(object));
}

}  // namespace exo::jinja
