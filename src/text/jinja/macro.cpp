// Macros and call blocks: how arguments find their parameters, and the text they return.
#include <algorithm>

#include "text/jinja/ast.h"

namespace exo::jinja {
namespace {

class Macro : public Object {
 public:
  Macro(const MacroDefinition& definition, std::shared_ptr<Scope> closure)
      : definition_(definition), closure_(std::move(closure)) {}

  std::string_view type_name() const override { return "Macro"; }
  std::string repr(Budget&) const override { return "<Macro " + repr_text(definition_.name) + ">"; }
  bool callable() const override { return true; }
  void release() override { closure_.reset(); }
  std::optional<Value> attribute(std::string_view name) override;
  Value call(Runtime& runtime, const Arguments& arguments) override;

 private:
  void bind(Frame& frame, const Arguments& arguments) const;
  void bind_parameter(Frame& frame, size_t position, const Value* given) const;
  void bind_extras(Frame& frame, const Arguments& arguments,
                   const std::vector<bool>& named_used) const;

  const MacroDefinition& definition_;
  std::shared_ptr<Scope> closure_;
};

std::optional<Value> Macro::attribute(std::string_view name) {
  const Signature& signature = definition_.signature;
  if (name == "name") return Value(definition_.name);
  if (name == "catch_kwargs") return Value(signature.uses_kwargs);
  if (name == "catch_varargs") return Value(signature.uses_varargs);
  if (name == "caller") return Value(signature.uses_caller);
  if (name != "arguments") return std::nullopt;
  return Value::tuple({signature.names.begin(), signature.names.end()});
}

void Macro::bind_parameter(Frame& frame, size_t position, const Value* given) const {
  const Signature& signature = definition_.signature;
  const std::string& name = signature.names[position];
  const size_t without_default = signature.names.size() - signature.defaults.size();
  if (given != nullptr)
    frame.scope->set(name, *given);
  else if (position >= without_default)
    frame.scope->set(name, signature.defaults[position - without_default]->evaluate(frame));
  else
    frame.scope->set(name, Value::undefined("parameter '" + name + "' was not provided"));
}

void Macro::bind_extras(Frame& frame, const Arguments& arguments,
                        const std::vector<bool>& named_used) const {
  const Signature& signature = definition_.signature;
  Value caller = Value::undefined("no caller is defined");
  auto extra = std::make_shared<Dict>();
  for (size_t i = 0; i < arguments.named.size(); ++i) {
    const auto& [name, value] = arguments.named[i];
    if (named_used[i]) continue;
    if (name == "caller" && signature.uses_caller)
      caller = value;
    else if (signature.uses_kwargs)
      extra->set(Value(name), value, frame.runtime.budget);
    else
      fail("macro '" + definition_.name + "' has no parameter '" + name + "'");
  }
  std::vector<Value> rest;
  for (size_t i = signature.names.size(); i < arguments.positional.size(); ++i)
    rest.push_back(arguments.positional[i]);
  if (!rest.empty() && !signature.uses_varargs)
    fail("macro '" + definition_.name + "' takes at most " +
         std::to_string(signature.names.size()) + " arguments");
  if (signature.uses_caller && !signature.has("caller")) frame.scope->set("caller", caller);
  if (signature.uses_kwargs && !signature.has("kwargs"))
    frame.scope->set("kwargs", std::shared_ptr<const Dict>(std::move(extra)));
  if (signature.uses_varargs && !signature.has("varargs"))
    frame.scope->set("varargs", Value::tuple(std::move(rest)));
}

void Macro::bind(Frame& frame, const Arguments& arguments) const {
  const Signature& signature = definition_.signature;
  std::vector<bool> named_used(arguments.named.size(), false);
  for (size_t i = 0; i < signature.names.size(); ++i) {
    const Value* given = i < arguments.positional.size() ? &arguments.positional[i] : nullptr;
    for (size_t k = 0; given == nullptr && k < arguments.named.size(); ++k) {
      if (arguments.named[k].first != signature.names[i]) continue;
      given = &arguments.named[k].second;
      named_used[k] = true;
    }
    bind_parameter(frame, i, given);
  }
  bind_extras(frame, arguments, named_used);
}

Value Macro::call(Runtime& runtime, const Arguments& arguments) {
  const DepthGuard guard(runtime.budget);
  std::string out;
  Frame frame{runtime, std::make_shared<Scope>(closure_), out};
  bind(frame, arguments);
  execute(definition_.body, frame);
  return out;
}

}  // namespace

bool Signature::has(std::string_view name) const {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value MacroDefinition::make(Frame& frame) const {
  auto macro = std::make_shared<Macro>(*this, frame.scope);
  frame.runtime.adopt(macro);
  return std::shared_ptr<Object>(std::move(macro));
}

}  // namespace exo::jinja
