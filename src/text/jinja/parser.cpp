#include "text/jinja/parser.h"

#include <algorithm>

#include "text/jinja/parser_nesting.h"

namespace exo::jinja {
namespace {

struct NamedComparison {
  std::string_view symbol;
  Comparison comparison;
};
constexpr NamedComparison kComparisons[] = {
    {"==", Comparison::equal},  {"!=", Comparison::not_equal},
    {"<", Comparison::less},    {"<=", Comparison::less_equal},
    {">", Comparison::greater}, {">=", Comparison::greater_equal},
};

struct NamedOperator {
  std::string_view symbol;
  Operator op;
};
constexpr NamedOperator kOperators[] = {
    {"+", Operator::add},    {"-", Operator::subtract},      {"*", Operator::multiply},
    {"/", Operator::divide}, {"//", Operator::floor_divide}, {"%", Operator::modulo},
    {"**", Operator::power},
};

}  // namespace

const Token& Parser::take() {
  const Token& token = tokens_[at_];
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}
bool Parser::at_symbol(std::string_view symbol) const {
  return current().type == TokenType::symbol && current().text == symbol;
}
bool Parser::at_name(std::string_view name) const {
  return current().type == TokenType::name && current().text == name;
}
bool Parser::skip_symbol(std::string_view symbol) {
  const bool found = at_symbol(symbol);
  if (found) take();
  return found;
}
bool Parser::skip_name(std::string_view name) {
  const bool found = at_name(name);
  if (found) take();
  return found;
}
void Parser::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) unexpected("'" + std::string(symbol) + "'");
}
void Parser::expect_name(std::string_view name) {
  if (!skip_name(name)) unexpected("'" + std::string(name) + "'");
}
void Parser::expect(TokenType type, std::string_view what) {
  if (current().type != type) unexpected(what);
  take();
}
std::string Parser::take_identifier() {
  if (current().type != TokenType::name) unexpected("a name");
  return take().text;
}

void Parser::unexpected(std::string_view wanted) const {
  static constexpr std::string_view kKinds[] = {"text",
                                                "'{{'",
                                                "'}}'",
                                                "'{%'",
                                                "'%}'",
                                                "",
                                                "a string",
                                                "a number",
                                                "a number",
                                                "",
                                                "the end of the template"};
  const Token& token = current();
  const std::string_view kind = kKinds[static_cast<size_t>(token.type)];
  const std::string found = kind.empty() ? "'" + token.text + "'" : std::string(kind);
  fail("expected " + std::string(wanted) + ", found " + found, token.line);
}

void Parser::add_child(Expression& parent, const ExpressionPtr& child) const {
  if (child == nullptr) return;
  parent.depth = std::max(parent.depth, child->depth + 1);
  if (parent.depth > kMaxSyntaxDepth) fail_limit("the chat template's expressions nest too deeply");
}

bool Parser::at_tuple_end(Words ends) const {
  const TokenType type = current().type;
  if (type == TokenType::variable_end || type == TokenType::block_end || at_symbol(")"))
    return true;
  return std::any_of(ends.begin(), ends.end(), [this](auto end) { return at_name(end); });
}

ExpressionPtr Parser::parse_tuple(bool conditional, bool parenthesized, Words ends) {
  const Nesting nesting(*this);
  auto tuple = make<ListLiteral>();
  tuple->is_tuple = true;
  bool comma = false;
  while (!at_tuple_end(ends)) {
    tuple->items.push_back(conditional ? parse_expression() : parse_or());
    add_child(*tuple, tuple->items.back());
    if (!skip_symbol(",")) break;
    comma = true;
  }
  if (!comma && tuple->items.size() == 1) return std::move(tuple->items.front());
  if (tuple->items.empty() && !parenthesized) unexpected("an expression");
  return tuple;
}

ExpressionPtr Parser::parse_expression() { return parse_conditional(); }

ExpressionPtr Parser::parse_conditional() {
  const Nesting nesting(*this);
  const size_t unknown_before = unknown_.size();
  ExpressionPtr value = parse_or();
  while (skip_name("if")) {
    auto node = make<Conditional>();
    node->yes = std::move(value);
    node->condition = parse_or();
    if (skip_name("else")) node->no = parse_conditional();
    for (const auto* child : {&node->yes, &node->condition, &node->no}) add_child(*node, *child);
    value = std::move(node);
    unknown_.resize(unknown_before);
  }
  return value;
}

ExpressionPtr Parser::parse_or() {
  ExpressionPtr left = parse_and();
  while (at_name("or")) {
    auto node = make<Logical>();
    take();
    node->left = std::move(left);
    node->right = parse_and();
    add_child(*node, node->left);
    add_child(*node, node->right);
    left = std::move(node);
  }
  return left;
}

ExpressionPtr Parser::parse_and() {
  ExpressionPtr left = parse_not();
  while (at_name("and")) {
    auto node = make<Logical>();
    node->is_and = true;
    take();
    node->left = std::move(left);
    node->right = parse_not();
    add_child(*node, node->left);
    add_child(*node, node->right);
    left = std::move(node);
  }
  return left;
}

ExpressionPtr Parser::parse_not() {
  if (!at_name("not")) return parse_compare();
  const Nesting nesting(*this);
  auto node = make<Not>();
  take();
  node->operand = parse_not();
  add_child(*node, node->operand);
  return node;
}

ExpressionPtr Parser::parse_compare() {
  auto node = make<Compare>();
  node->first = parse_sum();
  while (true) {
    const auto* known = std::find_if(std::begin(kComparisons), std::end(kComparisons),
                                     [this](const auto& entry) { return at_symbol(entry.symbol); });
    const bool negated = at_name("not") && next().type == TokenType::name && next().text == "in";
    Comparison comparison = negated ? Comparison::not_in : Comparison::in;
    if (known != std::end(kComparisons))
      comparison = known->comparison;
    else if (!negated && !at_name("in"))
      break;
    take();
    if (negated) take();
    node->rest.emplace_back(comparison, parse_sum());
    add_child(*node, node->rest.back().second);
  }
  if (node->rest.empty()) return std::move(node->first);
  add_child(*node, node->first);
  return node;
}

ExpressionPtr Parser::parse_binary(BinaryRule operand, Words symbols) {
  ExpressionPtr left = (this->*operand)();
  while (current().type == TokenType::symbol &&
         std::find(symbols.begin(), symbols.end(), current().text) != symbols.end()) {
    auto node = make<Binary>();
    const std::string symbol = take().text;
    node->op = std::find_if(std::begin(kOperators), std::end(kOperators), [&](const auto& entry) {
                 return entry.symbol == symbol;
               })->op;
    node->left = std::move(left);
    node->right = (this->*operand)();
    add_child(*node, node->left);
    add_child(*node, node->right);
    left = std::move(node);
  }
  return left;
}

ExpressionPtr Parser::parse_sum() { return parse_binary(&Parser::parse_concat, {"+", "-"}); }

ExpressionPtr Parser::parse_concat() {
  ExpressionPtr first = parse_product();
  if (!at_symbol("~")) return first;
  auto node = make<Concat>();
  node->parts.push_back(std::move(first));
  while (skip_symbol("~")) node->parts.push_back(parse_product());
  for (const auto& part : node->parts) add_child(*node, part);
  return node;
}

ExpressionPtr Parser::parse_product() {
  return parse_binary(&Parser::parse_power, {"*", "/", "//", "%"});
}

ExpressionPtr Parser::parse_power() {
  ExpressionPtr left = parse_unary();
  while (at_symbol("**")) {
    auto node = make<Binary>();
    take();
    node->op = Operator::power;
    node->left = std::move(left);
    node->right = parse_unary();
    add_child(*node, node->left);
    add_child(*node, node->right);
    left = std::move(node);
  }
  return left;
}

ExpressionPtr Parser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  ExpressionPtr node;
  if (at_symbol("-") || at_symbol("+")) {
    auto sign = make<Sign>();
    sign->negative = take().text == "-";
    sign->operand = parse_unary(false);
    add_child(*sign, sign->operand);
    node = std::move(sign);
  } else {
    node = parse_primary();
  }
  node = parse_postfix(std::move(node));
  return with_filters ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

ExpressionPtr Parser::parse_name() {
  const Token& token = take();
  auto constant = std::make_unique<Constant>();
  constant->line = token.line;
  const std::string& name = token.text;
  if (name == "true" || name == "True")
    constant->value = true;
  else if (name == "false" || name == "False")
    constant->value = false;
  else if (name != "none" && name != "None")
    constant = nullptr;
  if (constant != nullptr) return constant;
  for (Signature* macro : macros_) {
    macro->uses_caller |= name == "caller";
    macro->uses_kwargs |= name == "kwargs";
    macro->uses_varargs |= name == "varargs";
  }
  auto node = std::make_unique<Name>();
  node->line = token.line;
  node->name = name;
  return node;
}

ExpressionPtr Parser::parse_primary() {
  if (current().type == TokenType::name) return parse_name();
  auto node = make<Constant>();
  if (current().type == TokenType::string) {
    std::string text;
    while (current().type == TokenType::string) text += take().text;
    node->value = std::move(text);
    return node;
  }
  if (current().type == TokenType::integer || current().type == TokenType::real) {
    node->value = take().number;
    return node;
  }
  if (skip_symbol("(")) {
    ExpressionPtr inner = parse_tuple(true, true, {});
    expect_symbol(")");
    return inner;
  }
  if (at_symbol("[")) return parse_list();
  if (at_symbol("{")) return parse_dict();
  unexpected("an expression");
}

ExpressionPtr Parser::parse_list() {
  auto node = make<ListLiteral>();
  expect_symbol("[");
  while (!at_symbol("]")) {
    node->items.push_back(parse_expression());
    add_child(*node, node->items.back());
    if (!skip_symbol(",")) break;
  }
  expect_symbol("]");
  return node;
}

ExpressionPtr Parser::parse_dict() {
  auto node = make<DictLiteral>();
  expect_symbol("{");
  while (!at_symbol("}")) {
    ExpressionPtr key = parse_expression();
    expect_symbol(":");
    node->entries.emplace_back(std::move(key), parse_expression());
    add_child(*node, node->entries.back().first);
    add_child(*node, node->entries.back().second);
    if (!skip_symbol(",")) break;
  }
  expect_symbol("}");
  return node;
}

Body parse_template(std::string_view source) { return Parser(tokenize(source)).parse(); }

}  // namespace exo::jinja
