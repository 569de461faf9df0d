// The syntax tree of a template. Expressions evaluate themselves, statements execute themselves;
// both pay a step and a level of depth from the Runtime's budget. Immutable after parsing, so one
// tree serves many threads; its own depth is bounded by the parser (kMaxSyntaxDepth).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/interpreter.h"

namespace exo::jinja {

class Expression {
 public:
  virtual ~Expression() = default;
  Value evaluate(Frame& frame) const {
    const DepthGuard guard(frame.runtime.budget);
    frame.runtime.budget.line = line;
    return compute(frame);
  }
  int line = 0;
  int depth = 1;

 protected:
  virtual Value compute(Frame& frame) const = 0;
};
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Flow { next, break_loop, continue_loop };

class Statement {
 public:
  virtual ~Statement() = default;
  Flow execute(Frame& frame) const {
    const DepthGuard guard(frame.runtime.budget);
    frame.runtime.budget.line = line;
    return run(frame);
  }
  int line = 0;

 protected:
  virtual Flow run(Frame& frame) const = 0;
};
using StatementPtr = std::unique_ptr<Statement>;
using Body = std::vector<StatementPtr>;
Flow execute(const Body& body, Frame& frame);

struct CallSite {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr star, double_star;
  Arguments evaluate(Frame& frame) const;
};

struct Constant : Expression {
  Value value;
  Value compute(Frame&) const override { return value; }
};
struct Name : Expression {
  std::string name;
  Value compute(Frame& frame) const override;
};
struct Attribute : Expression {
  ExpressionPtr object;
  std::string name;
  Value compute(Frame& frame) const override;
};
struct Item : Expression {
  ExpressionPtr object, key;
  Value compute(Frame& frame) const override;
};
struct SliceOf : Expression {
  ExpressionPtr object, start, stop, step;  // any of the last three may be absent
  Value compute(Frame& frame) const override;
};
struct Call : Expression {
  ExpressionPtr callee;
  CallSite arguments;
  Value compute(Frame& frame) const override { return call_with(frame, nullptr); }
  Value call_with(Frame& frame, const Value* caller) const;
};
struct Filter : Expression {
  ExpressionPtr input;  // absent in {% filter %} and {% set x | f %}
  std::string name;
  FilterFunction function = nullptr;
  CallSite arguments;
  Value compute(Frame& frame) const override { return apply_to(frame, nullptr); }
  Value apply_to(Frame& frame, const Value* innermost) const;
};
struct Test : Expression {
  ExpressionPtr input;
  std::string name;
  TestFunction function = nullptr;
  bool negated = false;
  CallSite arguments;
  Value compute(Frame& frame) const override;
};
struct Not : Expression {
  ExpressionPtr operand;
  Value compute(Frame& frame) const override { return !truthy(operand->evaluate(frame)); }
};
struct Sign : Expression {
  ExpressionPtr operand;
  bool negative = false;
  Value compute(Frame& frame) const override;
};
struct Binary : Expression {
  Operator op = Operator::add;
  ExpressionPtr left, right;
  Value compute(Frame& frame) const override;
};
struct Logical : Expression {
  bool is_and = false;
  ExpressionPtr left, right;
  Value compute(Frame& frame) const override;
};
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
struct Compare : Expression {
  ExpressionPtr first;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
  Value compute(Frame& frame) const override;
};
struct Concat : Expression {
  std::vector<ExpressionPtr> parts;
  Value compute(Frame& frame) const override;
};
struct Conditional : Expression {
  ExpressionPtr condition, yes, no;  // `no` may be absent
  Value compute(Frame& frame) const override;
};
struct ListLiteral : Expression {
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  Value compute(Frame& frame) const override;
};
struct DictLiteral : Expression {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
  Value compute(Frame& frame) const override;
};

// a, ns.attribute, or (b, c).
struct Target {
  std::string name, attribute;
  std::vector<Target> items;
  bool is_tuple = false;
  void assign(Frame& frame, const Value& value) const;
};

struct TextOutput : Statement {
  std::string text;
  Flow run(Frame& frame) const override;
};
struct Print : Statement {
  std::vector<ExpressionPtr> values;
  Flow run(Frame& frame) const override;
};
struct If : Statement {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
  Flow run(Frame& frame) const override;
};
struct For : Statement {
  Target target;
  ExpressionPtr iterable, condition;  // the condition may be absent
  Body body, otherwise;
  bool recursive = false;
  Flow run(Frame& frame) const override;
  Flow loop(Frame& frame, const Value& values, int level) const;

 private:
  std::shared_ptr<const Sequence> select(Frame& frame, const Value& values) const;
};
struct Set : Statement {
  Target target;
  ExpressionPtr value;
  Flow run(Frame& frame) const override;
};
struct SetBlock : Statement {
  Target target;
  ExpressionPtr filters;  // a chain of Filter, or absent
  Body body;
  Flow run(Frame& frame) const override;
};
struct Signature {
  std::vector<std::string> names;
  std::vector<ExpressionPtr> defaults;  // of the last names
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  bool has(std::string_view name) const;
};
struct MacroDefinition : Statement {
  std::string name;
  Signature signature;
  Body body;
  Flow run(Frame& frame) const override;
  Value make(Frame& frame) const;
};
struct CallBlock : Statement {
  MacroDefinition caller;
  std::unique_ptr<Call> call;
  Flow run(Frame& frame) const override;
};
struct FilterBlock : Statement {
  ExpressionPtr filters;
  Body body;
  Flow run(Frame& frame) const override;
};
// {% with %}, and other tags whose body has variables of its own.
struct ScopeBlock : Statement {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Body body;
  Flow run(Frame& frame) const override;
};
struct LoopControl : Statement {
  Flow flow = Flow::next;
  Flow run(Frame&) const override { return flow; }
};
// A tag that is right but cannot work here, such as include: fails when it is reached.
struct Refusal : Statement {
  std::string message;
  Flow run(Frame&) const override { fail(message); }
};

}  // namespace exo::jinja
