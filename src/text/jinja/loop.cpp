#include "text/jinja/loop.h"

#include <algorithm>

namespace exo::jinja {
namespace {

Value cycle_method(Runtime&, const Value& self, const Arguments& arguments) {
  return static_cast<Loop&>(self.object()).cycle(arguments);
}
Value changed_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return static_cast<Loop&>(self.object()).changed(runtime, arguments);
}

}  // namespace

Value Loop::neighbour(bool exists, size_t index, std::string_view which) const {
  if (exists) return items_->items[index];
  return Value::undefined("there is no " + std::string(which) + " item");
}

std::string Loop::repr(Budget&) const {
  return "<LoopContext " + std::to_string(index_ + 1) + "/" + std::to_string(items_->items.size()) +
         ">";
}

std::optional<Value> Loop::attribute(std::string_view name) {
  const size_t count = items_->items.size();
  if (name == "index") return Value(index_ + 1);
  if (name == "index0") return Value(index_);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(index_ + 1 >= count);
  if (name == "length") return Value(count);
  if (name == "revindex") return Value(count - index_);
  if (name == "revindex0") return Value(count - index_ - 1);
  if (name == "depth") return Value(level_ + 1);
  if (name == "depth0") return Value(level_);
  if (name == "previtem") return neighbour(index_ > 0, index_ - 1, "previous");
  if (name == "nextitem") return neighbour(index_ + 1 < count, index_ + 1, "next");
  if (name == "cycle") return bind_method(shared_from_this(), name, cycle_method);
  if (name == "changed") return bind_method(shared_from_this(), name, changed_method);
  return std::nullopt;
}

Value Loop::cycle(const Arguments& arguments) const {
  if (arguments.positional.empty()) fail("cycle() needs values to cycle through");
  return arguments.positional[index_ % arguments.positional.size()];
}

Value Loop::changed(Runtime& runtime, const Arguments& arguments) {
  Value now = Value::tuple(arguments.positional);
  if (has_changed_ && equal(now, last_changed_, runtime.budget)) return false;
  if (now.depth() > 2) runtime.adopt(shared_from_this());
  last_changed_ = std::move(now);
  has_changed_ = true;
  return true;
}

Value Loop::call(Runtime& runtime, const Arguments& arguments) {
  const BoundArguments bound("loop", arguments, {"iterable"}, 1);
  const DepthGuard guard(runtime.budget);
  std::string out;
  Frame frame{runtime, scope_, out};
  statement_.loop(frame, bound.at(0), level_ + 1);
  return out;
}

}  // namespace exo::jinja
