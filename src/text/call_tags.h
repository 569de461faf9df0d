// Tool calls written in tags: <function=NAME><parameter=KEY>VALUE</parameter></function>,
// <invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke> (also with DeepSeek's DSML
// mark in the tags), NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>. Values are plain text;
// the tool's schema says what they mean. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace exo {

struct TaggedCall {
  struct Parameter {
    std::string name, value;
    std::optional<bool> is_string;  // where the tag says so
  };
  std::string name;
  std::vector<Parameter> parameters;
  std::string json_arguments;  // <function=NAME>{...}</function>
};

bool has_call_tags(std::string_view text);
std::optional<std::vector<TaggedCall>> read_call_tags(std::string_view text);

std::string_view tool_name(const Json& tool);  // "" where there is none
// The schema of one parameter, null where the tools do not tell.
const JsonObject* parameter_schema(const JsonArray& tools, std::string_view function,
                                   std::string_view parameter);
// A string where the schema or the tag says so, else the value it reads as, else a string.
std::string parameter_json(const TaggedCall::Parameter& parameter, const JsonObject* schema);

}  // namespace exo
