// Object: a value with state or behaviour (function, macro, namespace, loop), and how calls pass
// arguments. Objects belong to one rendering, are owned by the values that hold them, and are not
// thread-safe. What Python would refuse throws a Failure.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace exo::jinja {

class Runtime;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Arguments matched with parameter names, as a Python function without *args would.
class BoundArguments {
 public:
  // `required`: how many of the names must be given.
  BoundArguments(std::string_view function, const Arguments& arguments,
                 std::initializer_list<std::string_view> names, size_t required = 0);
  const Value* get(size_t position) const { return values_[position]; }
  bool has(size_t position) const { return values_[position] != nullptr; }
  const Value& at(size_t position) const { return *values_[position]; }
  bool flag(size_t position, bool otherwise = false) const;
  Int integer(size_t position, Int otherwise) const;
  std::string text(size_t position, const std::string& otherwise) const;

 private:
  std::string_view function_;
  std::vector<const Value*> values_;
};

class Object : public std::enable_shared_from_this<Object> {
 public:
  virtual ~Object() = default;
  virtual std::string_view type_name() const = 0;
  virtual std::string repr(Budget&) const { return "<" + std::string(type_name()) + ">"; }
  virtual std::optional<Value> attribute(std::string_view) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& runtime, const Arguments& arguments);
  virtual std::optional<size_t> length() const { return std::nullopt; }
  virtual int depth() const { return 0; }
  virtual void release() {}  // drops what it refers to; see Runtime::adopt
};

using NativeFunction = Value (*)(Runtime&, const Arguments&);
using NativeMethod = Value (*)(Runtime&, const Value& self, const Arguments&);

// {% set ns.x = ... %} needs the one mutable thing a template has.
class Namespace : public Object {
 public:
  std::string_view type_name() const override { return "Namespace"; }
  std::string repr(Budget& budget) const override;
  std::optional<Value> attribute(std::string_view name) override;
  void release() override { entries_.clear(); }
  void set(std::string_view name, Value value);

 private:
  std::vector<std::pair<std::string, Value>> entries_;
};

Value make_function(std::string_view name, NativeFunction function);
Value bind_method(const Value& self, std::string_view name, NativeMethod method);

// x.name and x[key] with the sandbox's rules; Undefined where there is none.
Value get_attribute(Runtime& runtime, const Value& value, std::string_view name);
Value get_item(Runtime& runtime, const Value& value, const Value& key);
Value call(Runtime& runtime, const Value& callee, const Arguments& arguments);

// Methods of str, list, tuple and dict by name; nullptr where there is none.
NativeMethod find_string_method(std::string_view name);
NativeMethod find_text_test_method(std::string_view name);
NativeMethod find_container_method(const Value& self, std::string_view name);
// raise_exception, strftime_now, range, namespace ...; nullopt where there is none.
std::optional<Value> find_global(std::string_view name);

}  // namespace exo::jinja
