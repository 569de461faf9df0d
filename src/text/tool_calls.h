// Tool calls as models write them -> name and arguments. One function reads every form there is: a
// JSON object or list, a name and then JSON, Python calls, tags with parameters. Pure; the text is
// a model's and may be anything: what is no call gives nullopt.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/generation.h"
#include "core/json.h"

namespace exo {

// `tools` as in a request: the schemas say which parameters without quotes are strings.
std::optional<std::vector<ToolCall>> read_tool_calls(std::string_view text, const JsonArray& tools);

bool has_tool(const JsonArray& tools, std::string_view name);

}  // namespace exo
