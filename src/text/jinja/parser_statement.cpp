// Statements: the tags between {% and %}.
#include <algorithm>

#include "text/jinja/parser.h"
#include "text/jinja/parser_nesting.h"

namespace exo::jinja {

Body Parser::parse() {
  Body body = parse_body({});
  if (current().type == TokenType::block_begin) {
    take();
    fail("unexpected tag '" + current().text + "'", current().line);
  }
  if (!unknown_.empty()) throw unknown_.front();
  return body;
}

// Up to a tag that is one of the ends (left current, behind its "{%"), or the end of the template.
Body Parser::parse_body(Words ends) {
  const Nesting nesting(*this);
  Body body;
  while (current().type != TokenType::end) {
    const bool at_end = current().type == TokenType::block_begin &&
                        next().type == TokenType::name &&
                        std::find(ends.begin(), ends.end(), next().text) != ends.end();
    if (at_end) {
      take();
      return body;
    }
    parse_piece(body);
  }
  if (ends.size() > 0) unexpected("'{% " + std::string(*(ends.end() - 1)) + " %}'");
  return body;
}

void Parser::parse_piece(Body& body) {
  if (current().type == TokenType::data) {
    auto node = make<TextOutput>();
    node->text = take().text;
    body.push_back(std::move(node));
  } else if (current().type == TokenType::variable_begin) {
    body.push_back(parse_output());
  } else {
    expect(TokenType::block_begin, "a tag");
    body.push_back(parse_statement());
    expect(TokenType::block_end, "'%}'");
  }
}

StatementPtr Parser::parse_output() {
  auto node = make<Print>();
  take();
  node->values.push_back(parse_tuple(true, false, {}));
  expect(TokenType::variable_end, "'}}'");
  return node;
}

// The rest of an opening tag, then its body up to one of the end words (left current).
Body Parser::parse_block(Words ends) {
  skip_symbol(":");
  expect(TokenType::block_end, "'%}'");
  return parse_body(ends);
}

Body Parser::parse_block_to(std::string_view end) {
  Body body = parse_block({end});
  take();
  return body;
}

StatementPtr Parser::parse_statement() {
  struct Tag {
    std::string_view name;
    StatementPtr (Parser::*parse)();
  };
  static constexpr Tag kTags[] = {
      {"for", &Parser::parse_for},
      {"if", &Parser::parse_if},
      {"set", &Parser::parse_set},
      {"macro", &Parser::parse_macro},
      {"call", &Parser::parse_call_block},
      {"filter", &Parser::parse_filter_block},
      {"with", &Parser::parse_with},
      {"print", &Parser::parse_print},
      {"block", &Parser::parse_named_block},
      {"generation", &Parser::parse_generation},
      {"autoescape", &Parser::parse_autoescape},
      {"break", &Parser::parse_break},
      {"continue", &Parser::parse_continue},
      {"include", &Parser::parse_loading},
      {"import", &Parser::parse_loading},
      {"from", &Parser::parse_loading},
      {"extends", &Parser::parse_loading},
  };
  for (const Tag& tag : kTags)
    if (at_name(tag.name)) return (this->*tag.parse)();
  if (current().type != TokenType::name) unexpected("the name of a tag");
  fail("unknown tag '" + current().text + "'", current().line);
}

StatementPtr Parser::parse_for() {
  auto node = make<For>();
  take();
  node->target = parse_target(false);
  expect_name("in");
  node->iterable = parse_tuple(false, false, {"recursive"});
  if (skip_name("if")) node->condition = parse_expression();
  node->recursive = skip_name("recursive");
  ++loops_;
  node->body = parse_block({"else", "endfor"});
  --loops_;
  if (take().text == "else") node->otherwise = parse_block_to("endfor");
  return node;
}

StatementPtr Parser::parse_if() {
  auto node = make<If>();
  const size_t unknown_before = unknown_.size();
  while (at_name("if") || at_name("elif")) {
    take();
    ExpressionPtr condition = parse_tuple(false, false, {});
    Body body = parse_block({"elif", "else", "endif"});
    node->branches.emplace_back(std::move(condition), std::move(body));
  }
  if (take().text == "else") node->otherwise = parse_block_to("endif");
  unknown_.resize(unknown_before);
  return node;
}

StatementPtr Parser::parse_set() {
  const int line = take().line;
  Target target = parse_target(true);
  if (skip_symbol("=")) {
    auto node = std::make_unique<Set>();
    node->line = line;
    node->target = std::move(target);
    node->value = parse_tuple(true, false, {});
    return node;
  }
  auto node = std::make_unique<SetBlock>();
  node->line = line;
  node->target = std::move(target);
  node->filters = parse_filter(nullptr, false);
  node->body = parse_block_to("endset");
  return node;
}

Target Parser::parse_target_item() {
  Target target;
  if (skip_symbol("(")) {
    target = parse_target(false);
    expect_symbol(")");
    return target;
  }
  target.name = take_identifier();
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"})
    if (target.name == constant) fail("cannot assign to '" + target.name + "'", current().line);
  return target;
}

Target Parser::parse_target(bool with_attribute) {
  const Nesting nesting(*this);
  Target first = parse_target_item();
  if (with_attribute && !first.is_tuple && skip_symbol(".")) {
    first.attribute = take_identifier();
    return first;
  }
  if (!at_symbol(",")) return first;
  Target tuple;
  tuple.is_tuple = true;
  tuple.items.push_back(std::move(first));
  while (skip_symbol(",") && !at_tuple_end({"in"}) && !at_symbol("="))
    tuple.items.push_back(parse_target_item());
  return tuple;
}

Signature Parser::parse_signature() {
  Signature signature;
  expect_symbol("(");
  while (!at_symbol(")")) {
    signature.names.push_back(take_identifier());
    if (signature.names.size() > kMaxArguments) fail_limit("a macro has too many parameters");
    if (skip_symbol("="))
      signature.defaults.push_back(parse_expression());
    else if (!signature.defaults.empty())
      unexpected("'=': parameters behind one with a default need one too");
    if (!skip_symbol(",")) break;
  }
  expect_symbol(")");
  return signature;
}

Body Parser::parse_macro_body(Signature& signature, std::string_view end) {
  macros_.push_back(&signature);
  const int outer_loops = std::exchange(loops_, 0);
  Body body = parse_block_to(end);
  loops_ = outer_loops;
  macros_.pop_back();
  return body;
}

StatementPtr Parser::parse_macro() {
  auto node = make<MacroDefinition>();
  take();
  node->name = take_identifier();
  node->signature = parse_signature();
  node->body = parse_macro_body(node->signature, "endmacro");
  return node;
}

StatementPtr Parser::parse_call_block() {
  auto node = make<CallBlock>();
  node->caller.line = take().line;
  if (at_symbol("(")) node->caller.signature = parse_signature();
  ExpressionPtr expression = parse_expression();
  auto* call = dynamic_cast<Call*>(expression.get());
  if (call == nullptr) unexpected("a call");
  expression.release();
  node->call.reset(call);
  node->caller.body = parse_macro_body(node->caller.signature, "endcall");
  return node;
}

StatementPtr Parser::parse_filter_block() {
  auto node = make<FilterBlock>();
  take();
  node->filters = parse_filter(nullptr, true);
  node->body = parse_block_to("endfilter");
  return node;
}

StatementPtr Parser::parse_with() {
  auto node = make<ScopeBlock>();
  take();
  while (current().type != TokenType::block_end && !at_symbol(":")) {
    if (!node->variables.empty()) expect_symbol(",");
    Target target = parse_target_item();
    expect_symbol("=");
    node->variables.emplace_back(std::move(target), parse_expression());
  }
  node->body = parse_block_to("endwith");
  return node;
}

StatementPtr Parser::parse_named_block() {
  auto node = make<ScopeBlock>();
  take();
  const std::string name = take_identifier();
  skip_name("scoped");
  skip_name("required");
  node->body = parse_block_to("endblock");
  skip_name(name);
  return node;
}

// Marks what the assistant said, for training; it renders as its body.
StatementPtr Parser::parse_generation() {
  auto node = make<ScopeBlock>();
  take();
  node->body = parse_block_to("endgeneration");
  return node;
}

StatementPtr Parser::parse_autoescape() {
  auto node = make<ScopeBlock>();
  take();
  if (!skip_name("false") && !skip_name("False"))
    fail("only {% autoescape false %} is supported", current().line);
  node->body = parse_block_to("endautoescape");
  return node;
}

StatementPtr Parser::parse_print() {
  auto node = make<Print>();
  take();
  while (current().type != TokenType::block_end) {
    node->values.push_back(parse_expression());
    if (!skip_symbol(",")) break;
  }
  return node;
}

StatementPtr Parser::parse_loop_control(Flow flow) {
  auto node = make<LoopControl>();
  node->flow = flow;
  if (loops_ == 0) fail("'" + current().text + "' outside of a loop", current().line);
  take();
  return node;
}
StatementPtr Parser::parse_break() { return parse_loop_control(Flow::break_loop); }
StatementPtr Parser::parse_continue() { return parse_loop_control(Flow::continue_loop); }

StatementPtr Parser::parse_loading() {
  auto node = make<Refusal>();
  node->message = "'" + take().text + "' is refused: a chat template cannot load other templates";
  while (current().type != TokenType::block_end && current().type != TokenType::end) take();
  return node;
}

}  // namespace exo::jinja
