// How statements execute.
#include <algorithm>

#include "text/jinja/ast.h"
#include "text/jinja/loop.h"

namespace exo::jinja {
namespace {

void assign_attribute(Frame& frame, const Target& target, const Value& value) {
  const Value object = frame.runtime.lookup(*frame.scope, target.name);
  auto* space = object.is_object() ? dynamic_cast<Namespace*>(&object.object()) : nullptr;
  if (space == nullptr) fail("'" + target.name + "' is no namespace: its attributes cannot be set");
  space->set(target.attribute, value);
}

// The body's text; its variables are its own.
std::string capture(const Body& body, Frame& frame, Flow& flow) {
  std::string out;
  Frame inner{frame.runtime, std::make_shared<Scope>(frame.scope), out};
  flow = execute(body, inner);
  frame.runtime.budget.allocate(out.size());
  return out;
}

Value filtered(const ExpressionPtr& filters, Frame& frame, Value value) {
  if (filters == nullptr) return value;
  return static_cast<const Filter&>(*filters).apply_to(frame, &value);
}

void write(Frame& frame, const Value& value) {
  const size_t before = frame.out.size();
  append_str(frame.out, value, frame.runtime.budget);
  frame.runtime.budget.check_size(frame.out.size());
  frame.runtime.budget.allocate(frame.out.size() - before);
}

}  // namespace

Flow execute(const Body& body, Frame& frame) {
  for (const auto& statement : body) {
    const Flow flow = statement->execute(frame);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

void Target::assign(Frame& frame, const Value& value) const {
  if (!is_tuple) {
    if (!attribute.empty()) return assign_attribute(frame, *this, value);
    return frame.scope->set(name, value);
  }
  const auto values = iterate(value, frame.runtime.budget);
  if (values->items.size() != items.size())
    fail("cannot unpack " + std::to_string(values->items.size()) + " values into " +
         std::to_string(items.size()) + " names");
  for (size_t i = 0; i < items.size(); ++i) items[i].assign(frame, values->items[i]);
}

Flow TextOutput::run(Frame& frame) const {
  frame.out += text;
  frame.runtime.budget.allocate(text.size());
  frame.runtime.budget.check_size(frame.out.size());
  return Flow::next;
}

Flow Print::run(Frame& frame) const {
  for (const auto& value : values) write(frame, value->evaluate(frame));
  return Flow::next;
}

Flow If::run(Frame& frame) const {
  for (const auto& [condition, body] : branches)
    if (truthy(condition->evaluate(frame))) return jinja::execute(body, frame);
  return jinja::execute(otherwise, frame);
}

Flow Set::run(Frame& frame) const {
  target.assign(frame, value->evaluate(frame));
  return Flow::next;
}

Flow SetBlock::run(Frame& frame) const {
  Flow flow = Flow::next;
  Value text = capture(body, frame, flow);
  if (flow == Flow::next) target.assign(frame, filtered(filters, frame, std::move(text)));
  return flow;
}

Flow FilterBlock::run(Frame& frame) const {
  Flow flow = Flow::next;
  Value text = capture(body, frame, flow);
  if (flow == Flow::next) write(frame, filtered(filters, frame, std::move(text)));
  return flow;
}

Flow ScopeBlock::run(Frame& frame) const {
  Frame inner{frame.runtime, std::make_shared<Scope>(frame.scope), frame.out};
  for (const auto& [target, value] : variables) target.assign(inner, value->evaluate(frame));
  return jinja::execute(body, inner);
}

Flow MacroDefinition::run(Frame& frame) const {
  frame.scope->set(name, make(frame));
  return Flow::next;
}

Flow CallBlock::run(Frame& frame) const {
  const Value macro = caller.make(frame);
  write(frame, call->call_with(frame, &macro));
  return Flow::next;
}

Flow For::run(Frame& frame) const { return loop(frame, iterable->evaluate(frame), 0); }

std::shared_ptr<const Sequence> For::select(Frame& frame, const Value& values) const {
  auto items = iterate(values, frame.runtime.budget);
  if (condition == nullptr) return items;
  Frame inner{frame.runtime, std::make_shared<Scope>(frame.scope), frame.out};
  std::vector<Value> selected;
  for (const Value& item : items->items) {
    target.assign(inner, item);
    if (truthy(condition->evaluate(inner))) selected.push_back(item);
  }
  frame.runtime.budget.allocate(selected.size() * sizeof(Value));
  return Sequence::make(SequenceKind::list, std::move(selected));
}

Flow For::loop(Frame& frame, const Value& values, int level) const {
  auto items = select(frame, values);
  auto state = std::make_shared<Loop>(*this, frame.scope, items, level);
  Frame inner{frame.runtime, nullptr, frame.out};
  for (size_t i = 0; i < items->items.size(); ++i) {
    frame.runtime.budget.step();
    if (inner.scope.use_count() == 1)  // no macro has kept the last round's variables
      inner.scope->clear();
    else
      inner.scope = std::make_shared<Scope>(frame.scope);
    state->move_to(i);
    target.assign(inner, items->items[i]);
    inner.scope->set("loop", std::shared_ptr<Object>(state));
    if (jinja::execute(body, inner) == Flow::break_loop) break;
  }
  if (!items->items.empty()) return Flow::next;
  Frame outer{frame.runtime, std::make_shared<Scope>(frame.scope), frame.out};
  return jinja::execute(otherwise, outer);
}

}  // namespace exo::jinja
