// Tokens -> syntax tree, by jinja2's grammar. Recursion is bounded, so hostile nesting ends in a
// Failure and not on the stack. Pure.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace exo::jinja {

Body parse_template(std::string_view source);

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Body parse();

 private:
  using Words = std::initializer_list<std::string_view>;
  using BinaryRule = ExpressionPtr (Parser::*)();
  struct Nesting;

  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& take();
  bool at_symbol(std::string_view symbol) const;
  bool at_name(std::string_view name) const;
  bool skip_symbol(std::string_view symbol);
  bool skip_name(std::string_view name);
  void expect_symbol(std::string_view symbol);
  void expect_name(std::string_view name);
  void expect(TokenType type, std::string_view what);
  std::string take_identifier();
  [[noreturn]] void unexpected(std::string_view wanted) const;

  // Statements (parser_statement.cpp).
  Body parse_body(Words ends);
  void parse_piece(Body& body);
  Body parse_block(Words ends);
  Body parse_block_to(std::string_view end);
  StatementPtr parse_statement();
  StatementPtr parse_for();
  StatementPtr parse_if();
  StatementPtr parse_set();
  StatementPtr parse_macro();
  StatementPtr parse_call_block();
  StatementPtr parse_filter_block();
  StatementPtr parse_with();
  StatementPtr parse_named_block();
  StatementPtr parse_generation();
  StatementPtr parse_autoescape();
  StatementPtr parse_print();
  StatementPtr parse_break();
  StatementPtr parse_continue();
  StatementPtr parse_loading();
  StatementPtr parse_loop_control(Flow flow);
  StatementPtr parse_output();
  Signature parse_signature();
  Body parse_macro_body(Signature& signature, std::string_view end);
  Target parse_target(bool with_attribute);
  Target parse_target_item();

  // Expressions (parser.cpp).
  ExpressionPtr parse_tuple(bool conditional, bool parenthesized, Words ends);
  ExpressionPtr parse_expression();
  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary(bool with_filters = true);
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr node);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_dot(ExpressionPtr object);
  ExpressionPtr parse_slice(ExpressionPtr object, ExpressionPtr start);
  ExpressionPtr parse_slice_bound();
  ExpressionPtr parse_filters_and_tests(ExpressionPtr node);
  ExpressionPtr parse_filter(ExpressionPtr input, bool name_first);
  ExpressionPtr parse_test(ExpressionPtr input);
  ExpressionPtr parse_call(ExpressionPtr callee);
  void parse_argument(Expression& parent, CallSite& site);
  CallSite parse_arguments(Expression& parent);
  std::string parse_dotted_name();
  bool at_test_argument() const;
  bool at_tuple_end(Words ends) const;
  ExpressionPtr parse_binary(BinaryRule operand, Words symbols);
  void add_child(Expression& parent, const ExpressionPtr& child) const;
  template <class Node>
  std::unique_ptr<Node> make() const {
    auto node = std::make_unique<Node>();
    node->line = current().line;
    return node;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // around the current place, inside the current macro
  // Unknown filters and tests; those inside conditions fail only when they are reached.
  std::vector<Failure> unknown_;
  std::vector<Signature*> macros_;
};

}  // namespace exo::jinja
