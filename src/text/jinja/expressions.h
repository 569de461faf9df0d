// Expressions of the syntax tree: they evaluate themselves and pay a step and a level of depth from
// the Runtime's budget. Immutable after parsing, so one tree serves many threads; its depth is
// bounded by the parser (kMaxSyntaxDepth). What Python would refuse throws a Failure.
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

}  // namespace exo::jinja
