// A parsed template and its rendering: the engine's door. Everything behind it throws Failures;
// here they become Errors whose message names the line. Immutable, render() is thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/json.h"
#include "text/jinja/ast.h"

namespace exo::jinja {

class Template {
 public:
  static Result<Template> parse(std::string_view source, const Limits& limits = {});
  Result<std::string> render(const JsonObject& variables, int64_t now_ms) const;

 private:
  Template(Body body, const Limits& limits) : body_(std::move(body)), limits_(limits) {}
  Body body_;
  Limits limits_;
};

}  // namespace exo::jinja
