// What a rendering carries along: variables in scopes, the budget, the objects to release at its
// end. One Runtime per rendering; nothing here is thread-safe. Failures are thrown (limits.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/object.h"

namespace exo::jinja {

// Variables of one block; what is not here is looked up in the parent, as closures do. Names are
// borrowed from the syntax tree, which outlives the rendering.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}
  void set(std::string_view name, Value value) { values_[name] = std::move(value); }
  const Value* find(std::string_view name) const {
    const auto it = values_.find(name);
    return it == values_.end() ? nullptr : &it->second;
  }
  const Scope* parent() const { return parent_.get(); }
  void clear() { values_.clear(); }

 private:
  std::shared_ptr<Scope> parent_;
  std::unordered_map<std::string_view, Value> values_;
};

using Context = std::unordered_map<std::string, Value>;

class Runtime {
 public:
  Runtime(const Limits& limits, const Context& context, int64_t now_ms)
      : budget(limits), context_(context), now_ms_(now_ms) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Value lookup(const Scope& scope, std::string_view name);
  // Namespaces and macros can refer to each other in circles; they are emptied at the end.
  void adopt(std::shared_ptr<Object> object);
  int64_t now_ms() const { return now_ms_; }

  Budget budget;

 private:
  const Context& context_;
  int64_t now_ms_;
  std::vector<std::shared_ptr<Object>> adopted_;
};

struct Frame {
  Runtime& runtime;
  std::shared_ptr<Scope> scope;
  std::string& out;
};

using FilterFunction = Value (*)(Runtime&, const Value& input, const Arguments&);
using TestFunction = bool (*)(Runtime&, const Value& input, const Arguments&);
FilterFunction find_filter(std::string_view name);  // nullptr where there is none
TestFunction find_test(std::string_view name);

// Pays for reading a value, and the arguments with it, before a filter, test or method does.
void charge_use(Runtime& runtime, const Value& value);
void charge_use(Runtime& runtime, const Value& value, const Arguments& arguments);
// Pays for a value that has just been made.
const Value& charge(Runtime& runtime, const Value& value);

}  // namespace exo::jinja
