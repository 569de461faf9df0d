// The syntax tree of a template: its statements, which execute themselves, over expressions.h. Both
// pay a step and a level of depth from the Runtime's budget. Immutable after parsing, so one tree
// serves many threads; its own depth is bounded by the parser. Failures are thrown (limits.h).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/expressions.h"

namespace exo::jinja {

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
