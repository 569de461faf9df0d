// What follows an expression: attributes, subscripts, calls, filters and tests.
#include <algorithm>

#include "text/jinja/parser.h"
#include "text/jinja/parser_nesting.h"

namespace exo::jinja {

ExpressionPtr Parser::parse_postfix(ExpressionPtr node) {
  while (true) {
    if (at_symbol("."))
      node = parse_dot(std::move(node));
    else if (at_symbol("["))
      node = parse_subscript(std::move(node));
    else if (at_symbol("("))
      node = parse_call(std::move(node));
    else
      return node;
  }
}

ExpressionPtr Parser::parse_dot(ExpressionPtr object) {
  const int line = take().line;
  if (current().type == TokenType::name) {
    auto node = std::make_unique<Attribute>();
    node->line = line;
    node->name = take().text;
    node->object = std::move(object);
    add_child(*node, node->object);
    return node;
  }
  if (current().type != TokenType::integer) unexpected("a name or a number");
  auto node = std::make_unique<Item>();
  auto key = make<Constant>();
  key->value = take().number;
  node->line = line;
  node->object = std::move(object);
  node->key = std::move(key);
  add_child(*node, node->object);
  return node;
}

ExpressionPtr Parser::parse_slice_bound() {
  if (at_symbol(":") || at_symbol("]") || at_symbol(",")) return nullptr;
  return parse_expression();
}

ExpressionPtr Parser::parse_slice(ExpressionPtr object, ExpressionPtr start) {
  auto node = make<SliceOf>();
  node->object = std::move(object);
  node->start = std::move(start);
  expect_symbol(":");
  node->stop = parse_slice_bound();
  if (skip_symbol(":")) node->step = parse_slice_bound();
  for (const auto* child : {&node->object, &node->start, &node->stop, &node->step})
    add_child(*node, *child);
  expect_symbol("]");
  return node;
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr object) {
  auto node = make<Item>();
  take();
  ExpressionPtr key = parse_slice_bound();
  if (at_symbol(":")) return parse_slice(std::move(object), std::move(key));
  if (key == nullptr) unexpected("an expression");
  if (at_symbol(",")) {
    auto tuple = make<ListLiteral>();
    tuple->is_tuple = true;
    tuple->items.push_back(std::move(key));
    while (skip_symbol(",")) tuple->items.push_back(parse_expression());
    for (const auto& item : tuple->items) add_child(*tuple, item);
    key = std::move(tuple);
  }
  expect_symbol("]");
  node->object = std::move(object);
  node->key = std::move(key);
  add_child(*node, node->object);
  add_child(*node, node->key);
  return node;
}

ExpressionPtr Parser::parse_call(ExpressionPtr callee) {
  auto node = make<Call>();
  node->callee = std::move(callee);
  add_child(*node, node->callee);
  node->arguments = parse_arguments(*node);
  return node;
}

void Parser::parse_argument(Expression& parent, CallSite& site) {
  const bool named =
      current().type == TokenType::name && next().type == TokenType::symbol && next().text == "=";
  if (at_symbol("**")) {
    if (site.double_star) unexpected("one ** argument");
    take();
    site.double_star = parse_expression();
    return add_child(parent, site.double_star);
  }
  if (site.double_star || (site.star && !named)) unexpected("no more positional arguments");
  if (skip_symbol("*")) {
    site.star = parse_expression();
    return add_child(parent, site.star);
  }
  if (named) {
    const std::string name = take().text;
    take();
    site.named.emplace_back(name, parse_expression());
    return add_child(parent, site.named.back().second);
  }
  if (!site.named.empty()) unexpected("a named argument");
  site.positional.push_back(parse_expression());
  add_child(parent, site.positional.back());
}

CallSite Parser::parse_arguments(Expression& parent) {
  const Nesting nesting(*this);
  CallSite site;
  expect_symbol("(");
  while (!at_symbol(")")) {
    parse_argument(parent, site);
    if (site.positional.size() + site.named.size() > kMaxArguments)
      fail_limit("a call in the chat template has too many arguments");
    if (!skip_symbol(",")) break;
  }
  expect_symbol(")");
  return site;
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr node) {
  while (true) {
    if (at_symbol("|"))
      node = parse_filter(std::move(node), false);
    else if (at_name("is"))
      node = parse_test(std::move(node));
    else if (at_symbol("("))
      node = parse_call(std::move(node));
    else
      return node;
  }
}

std::string Parser::parse_dotted_name() {
  std::string name = take_identifier();
  while (skip_symbol(".")) name += "." + take_identifier();
  return name;
}

// A chain of filters; `name_first` where the chain begins without a bar, as in {% filter upper %}.
ExpressionPtr Parser::parse_filter(ExpressionPtr input, bool name_first) {
  while (name_first || skip_symbol("|")) {
    name_first = false;
    auto node = make<Filter>();
    node->input = std::move(input);
    add_child(*node, node->input);
    node->name = parse_dotted_name();
    node->function = find_filter(node->name);
    if (node->function == nullptr)
      unknown_.push_back(
          {ErrorCode::corrupt, "no filter is named '" + node->name + "'", node->line});
    if (at_symbol("(")) node->arguments = parse_arguments(*node);
    input = std::move(node);
  }
  return input;
}

bool Parser::at_test_argument() const {
  const TokenType type = current().type;
  if (type == TokenType::string || type == TokenType::integer || type == TokenType::real)
    return true;
  if (type == TokenType::symbol) return at_symbol("[") || at_symbol("{");
  return type == TokenType::name && !at_name("else") && !at_name("or") && !at_name("and");
}

ExpressionPtr Parser::parse_test(ExpressionPtr input) {
  auto node = make<Test>();
  take();
  node->negated = skip_name("not");
  node->input = std::move(input);
  add_child(*node, node->input);
  node->name = parse_dotted_name();
  node->function = find_test(node->name);
  if (node->function == nullptr)
    unknown_.push_back({ErrorCode::corrupt, "no test is named '" + node->name + "'", node->line});
  if (at_symbol("(")) {
    node->arguments = parse_arguments(*node);
  } else if (at_test_argument()) {
    if (at_name("is")) unexpected("something else: tests cannot be chained");
    node->arguments.positional.push_back(parse_postfix(parse_primary()));
    add_child(*node, node->arguments.positional.back());
  }
  return node;
}

}  // namespace exo::jinja
