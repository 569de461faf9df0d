// The `loop` variable: where a for loop is, and the loop itself as a function when it is recursive.
// Lives for one rendering.
#pragma once

#include <memory>

#include "text/jinja/ast.h"

namespace exo::jinja {

class Loop : public Object {
 public:
  Loop(const For& statement, std::shared_ptr<Scope> scope, std::shared_ptr<const Sequence> items,
       int level)
      : statement_(statement), scope_(std::move(scope)), items_(std::move(items)), level_(level) {}

  void move_to(size_t index) { index_ = index; }
  std::string_view type_name() const override { return "LoopContext"; }
  std::string repr(Budget& budget) const override;
  std::optional<Value> attribute(std::string_view name) override;
  bool callable() const override { return statement_.recursive; }
  Value call(Runtime& runtime, const Arguments& arguments) override;
  std::optional<size_t> length() const override { return items_->items.size(); }
  int depth() const override { return items_->depth; }

  Value cycle(const Arguments& arguments) const;
  Value changed(Runtime& runtime, const Arguments& arguments);

 private:
  Value neighbour(bool exists, size_t index, std::string_view which) const;

  const For& statement_;
  std::shared_ptr<Scope> scope_;
  std::shared_ptr<const Sequence> items_;
  size_t index_ = 0;
  int level_;
  Value last_changed_;
  bool has_changed_ = false;
};

}  // namespace exo::jinja
