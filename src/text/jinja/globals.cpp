// The functions every chat template may call.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/strftime.h"

namespace exo::jinja {
namespace {

Value raise_exception(Runtime& runtime, const Arguments& arguments) {
  const BoundArguments bound("raise_exception", arguments, {"message"}, 1);
  throw Failure{ErrorCode::invalid_argument, to_str(bound.at(0), runtime.budget),
                runtime.budget.line};
}

Value strftime_now(Runtime& runtime, const Arguments& arguments) {
  const BoundArguments bound("strftime_now", arguments, {"format"}, 1);
  return format_time(bound.text(0, ""), runtime.now_ms(), runtime.budget);
}

Value range(Runtime& runtime, const Arguments& arguments) {
  const BoundArguments bound("range", arguments, {"start", "stop", "step"}, 1);
  const Int start = bound.has(1) ? bound.integer(0, 0) : 0;
  const Int stop = bound.has(1) ? bound.integer(1, 0) : bound.integer(0, 0);
  const Int step = bound.integer(2, 1);
  if (step == 0) fail("range() needs a step that is not zero");
  constexpr Int kFar = Int{1} << 62;
  for (const Int edge : {start, stop, step})
    if (edge > kFar || edge < -kFar) fail_limit("the chat template makes a range too long");
  std::vector<Value> items;
  for (Int i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() >= kMaxRange) fail_limit("the chat template makes a range too long");
    items.emplace_back(i);
    const Int left = step > 0 ? stop - i : i - stop;
    if (left <= (step > 0 ? step : -step)) break;
  }
  runtime.budget.allocate(items.size() * sizeof(Value));
  auto made = std::make_shared<Sequence>();
  made->kind = SequenceKind::range;
  made->items = std::move(items);
  made->range = {start, stop, step};
  return std::shared_ptr<const Sequence>(std::move(made));
}

void add_pairs(Dict& dict, const Value& source, Budget& budget) {
  if (source.is_dict()) {
    for (const auto& [key, value] : source.dict().entries()) dict.set(key, value, budget);
    return;
  }
  const auto pairs = iterate(source, budget);
  for (const Value& pair : pairs->items) {
    const auto parts = iterate(pair, budget);
    if (parts->items.size() != 2) fail("dict() needs pairs of key and value");
    dict.set(parts->items[0], parts->items[1], budget);
  }
}

Value make_dict(Runtime& runtime, const Arguments& arguments) {
  if (arguments.positional.size() > 1) fail("dict() takes at most one argument");
  auto dict = std::make_shared<Dict>();
  if (!arguments.positional.empty()) add_pairs(*dict, arguments.positional[0], runtime.budget);
  for (const auto& [name, value] : arguments.named) dict->set(Value(name), value, runtime.budget);
  return std::shared_ptr<const Dict>(std::move(dict));
}

Value make_namespace(Runtime& runtime, const Arguments& arguments) {
  const Value initial = make_dict(runtime, arguments);
  auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : initial.dict().entries()) {
    if (!key.is_string()) fail("namespace() needs names that are strings");
    space->set(key.text(), value);
  }
  runtime.adopt(space);
  return std::shared_ptr<Object>(std::move(space));
}

class Cycler : public Object {
 public:
  explicit Cycler(Value items) : items_(std::move(items)) {}
  std::string_view type_name() const override { return "Cycler"; }
  int depth() const override { return items_.depth() + 1; }
  std::optional<Value> attribute(std::string_view name) override {
    if (name == "current") return current();
    if (name == "next") return bind_method(shared_from_this(), name, next);
    return name == "reset" ? std::optional(bind_method(shared_from_this(), name, reset))
                           : std::nullopt;
  }

 private:
  Value current() const { return items_.sequence().items[at_]; }
  static Value next(Runtime&, const Value& self, const Arguments&) {
    auto& cycler = static_cast<Cycler&>(self.object());
    Value value = cycler.current();
    cycler.at_ = (cycler.at_ + 1) % cycler.items_.sequence().items.size();
    return value;
  }
  static Value reset(Runtime&, const Value& self, const Arguments&) {
    static_cast<Cycler&>(self.object()).at_ = 0;
    return {};
  }
  Value items_;
  size_t at_ = 0;
};

class Joiner : public Object {
 public:
  explicit Joiner(std::string separator) : separator_(std::move(separator)) {}
  std::string_view type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime&, const Arguments&) override {
    return std::exchange(used_, true) ? Value(separator_) : Value("");
  }

 private:
  std::string separator_;
  bool used_ = false;
};

Value make_cycler(Runtime&, const Arguments& arguments) {
  if (arguments.positional.empty()) fail("cycler() needs at least one item");
  return std::shared_ptr<Object>(std::make_shared<Cycler>(Value::tuple(arguments.positional)));
}

Value make_joiner(Runtime&, const Arguments& arguments) {
  const BoundArguments bound("joiner", arguments, {"sep"});
  return std::shared_ptr<Object>(std::make_shared<Joiner>(bound.text(0, ", ")));
}

Value lipsum(Runtime&, const Arguments&) {
  fail("lipsum() is refused: a prompt must not contain random text");
}

class TemplateReference : public Object {
 public:
  std::string_view type_name() const override { return "TemplateReference"; }
  std::string repr(Budget&) const override { return "<TemplateReference None>"; }
};

struct Global {
  std::string_view name;
  NativeFunction function;
};
constexpr Global kGlobals[] = {
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
    {"range", range},
    {"namespace", make_namespace},
    {"dict", make_dict},
    {"cycler", make_cycler},
    {"joiner", make_joiner},
    {"lipsum", lipsum},
};

}  // namespace

std::optional<Value> find_global(std::string_view name) {
  for (const Global& global : kGlobals)
    if (global.name == name) return make_function(global.name, global.function);
  if (name == "self") return std::shared_ptr<Object>(std::make_shared<TemplateReference>());
  return std::nullopt;
}

}  // namespace exo::jinja
