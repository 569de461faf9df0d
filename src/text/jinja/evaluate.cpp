// How expressions evaluate.
#include <algorithm>

#include "text/jinja/ast.h"

namespace exo::jinja {
namespace {

Value evaluate_or_none(const ExpressionPtr& expression, Frame& frame) {
  return expression == nullptr ? Value() : expression->evaluate(frame);
}

std::optional<Int> slice_bound(const ExpressionPtr& expression, Frame& frame) {
  const Value value = evaluate_or_none(expression, frame);
  if (value.is_none()) return std::nullopt;
  if (!value.is_integral()) fail("slice indices must be integers or None");
  return value.integer();
}

bool holds(Comparison comparison, const Value& a, const Value& b, Budget& budget) {
  switch (comparison) {
    case Comparison::equal:
      return equal(a, b, budget);
    case Comparison::not_equal:
      return !equal(a, b, budget);
    case Comparison::less:
      return less(a, b, budget);
    case Comparison::greater:
      return less(b, a, budget);
    case Comparison::less_equal:
      return less(a, b, budget) || equal(a, b, budget);
    case Comparison::greater_equal:
      return less(b, a, budget) || equal(a, b, budget);
    case Comparison::in:
      return contains(b, a, budget);
    case Comparison::not_in:
      return !contains(b, a, budget);
  }
  return false;
}

void add_named(Arguments& arguments, const Value& mapping) {
  if (!mapping.is_dict()) fail("the value behind ** must be a dict");
  for (const auto& [key, value] : mapping.dict().entries()) {
    if (!key.is_string()) fail("keywords must be strings");
    if (arguments.named.size() >= kMaxArguments)
      fail_limit("a call in the chat template has too many arguments");
    arguments.named.emplace_back(key.text(), value);
  }
}

}  // namespace

const Value& charge(Runtime& runtime, const Value& value) {
  if (value.is_string())
    runtime.budget.allocate(value.text().size());
  else if (value.is_sequence())
    runtime.budget.allocate(value.sequence().items.size() * sizeof(Value));
  else if (value.is_dict())
    runtime.budget.allocate(value.dict().size() * 4 * sizeof(Value));
  return value;
}

void charge_use(Runtime& runtime, const Value& value) {
  constexpr size_t kBytesPerStep = 16;
  if (value.is_string()) runtime.budget.step(value.text().size() / kBytesPerStep);
  if (value.is_sequence()) runtime.budget.step(value.sequence().items.size() / kBytesPerStep);
}

void charge_use(Runtime& runtime, const Value& value, const Arguments& arguments) {
  charge_use(runtime, value);
  for (const Value& argument : arguments.positional) charge_use(runtime, argument);
  for (const auto& [name, argument] : arguments.named) charge_use(runtime, argument);
}

Arguments CallSite::evaluate(Frame& frame) const {
  Arguments arguments;
  for (const auto& argument : positional) arguments.positional.push_back(argument->evaluate(frame));
  if (star != nullptr) {
    const auto items = iterate(star->evaluate(frame), frame.runtime.budget);
    for (const Value& item : items->items) arguments.positional.push_back(item);
  }
  for (const auto& [name, argument] : named)
    arguments.named.emplace_back(name, argument->evaluate(frame));
  if (double_star != nullptr) add_named(arguments, double_star->evaluate(frame));
  return arguments;
}

Value Name::compute(Frame& frame) const { return frame.runtime.lookup(*frame.scope, name); }

Value Attribute::compute(Frame& frame) const {
  return get_attribute(frame.runtime, object->evaluate(frame), name);
}

Value Item::compute(Frame& frame) const {
  const Value container = object->evaluate(frame);
  return get_item(frame.runtime, container, key->evaluate(frame));
}

Value SliceOf::compute(Frame& frame) const {
  const Value container = object->evaluate(frame);
  SliceBounds bounds;
  bounds.start = slice_bound(start, frame);
  bounds.stop = slice_bound(stop, frame);
  bounds.step = slice_bound(step, frame);
  if (container.is_undefined()) fail(container.undefined_message());
  const bool sliceable = container.is_string() || (container.is_sequence() &&
                                                   container.sequence().kind < SequenceKind::keys);
  if (!sliceable) fail("'" + std::string(type_name(container)) + "' object cannot be sliced");
  return charge(frame.runtime, slice(container, bounds, frame.runtime.budget));
}

Value Call::call_with(Frame& frame, const Value* caller) const {
  const Value target = callee->evaluate(frame);
  Arguments values = arguments.evaluate(frame);
  if (caller != nullptr) values.named.emplace_back("caller", *caller);
  frame.runtime.budget.line = line;
  return charge(frame.runtime, call(frame.runtime, target, values));
}

Value Filter::apply_to(Frame& frame, const Value* innermost) const {
  Value value;
  if (const auto* inner = dynamic_cast<const Filter*>(input.get()); inner != nullptr && innermost)
    value = inner->apply_to(frame, innermost);
  else
    value = input == nullptr ? *innermost : input->evaluate(frame);
  if (function == nullptr) fail("no filter is named '" + name + "'");
  const Arguments values = arguments.evaluate(frame);
  frame.runtime.budget.line = line;
  charge_use(frame.runtime, value, values);
  return charge(frame.runtime, function(frame.runtime, value, values));
}

Value Test::compute(Frame& frame) const {
  const Value value = input->evaluate(frame);
  if (function == nullptr) fail("no test is named '" + name + "'");
  const Arguments values = arguments.evaluate(frame);
  charge_use(frame.runtime, value, values);
  return function(frame.runtime, value, values) != negated;
}

Value Sign::compute(Frame& frame) const {
  const Value value = operand->evaluate(frame);
  if (negative) return negate(value);
  return negate(negate(value));  // fails for the same values
}

Value Binary::compute(Frame& frame) const {
  const Value a = left->evaluate(frame);
  const Value b = right->evaluate(frame);
  frame.runtime.budget.line = line;
  return apply(op, a, b, frame.runtime.budget);
}

Value Logical::compute(Frame& frame) const {
  Value value = left->evaluate(frame);
  return truthy(value) == is_and ? right->evaluate(frame) : value;
}

Value Compare::compute(Frame& frame) const {
  Value left = first->evaluate(frame);
  for (const auto& [comparison, expression] : rest) {
    Value right = expression->evaluate(frame);
    if (!holds(comparison, left, right, frame.runtime.budget)) return false;
    left = std::move(right);
  }
  return true;
}

Value Concat::compute(Frame& frame) const {
  std::string out;
  for (const auto& part : parts) {
    append_str(out, part->evaluate(frame), frame.runtime.budget);
    frame.runtime.budget.check_size(out.size());
  }
  frame.runtime.budget.allocate(out.size());
  return out;
}

Value Conditional::compute(Frame& frame) const {
  if (truthy(condition->evaluate(frame))) return yes->evaluate(frame);
  if (no != nullptr) return no->evaluate(frame);
  return Value::undefined("the condition was false and there is no 'else'");
}

Value ListLiteral::compute(Frame& frame) const {
  frame.runtime.budget.allocate(items.size() * sizeof(Value));
  std::vector<Value> values;
  values.reserve(items.size());
  for (const auto& item : items) values.push_back(item->evaluate(frame));
  return is_tuple ? Value::tuple(std::move(values)) : Value::list(std::move(values));
}

Value DictLiteral::compute(Frame& frame) const {
  frame.runtime.budget.allocate(entries.size() * 4 * sizeof(Value));
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) {
    Value key_value = key->evaluate(frame);
    dict->set(std::move(key_value), value->evaluate(frame), frame.runtime.budget);
  }
  return std::shared_ptr<const Dict>(std::move(dict));
}

}  // namespace exo::jinja
