// Templates are hostile: up to the first NUL byte the input is a template, the rest is the JSON of
// its variables. Whatever comes, parsing and rendering end with a text or an error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "text/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t split = std::min(input.find('\0'), input.size());
  exo::jinja::Limits limits;
  limits.steps = 50'000;
  limits.allocated_bytes = size_t{16} << 20;
  limits.value_bytes = size_t{1} << 20;
  const auto parsed = exo::jinja::Template::parse(input.substr(0, split), limits);
  if (!parsed.ok()) return 0;
  exo::JsonObject variables;
  if (split < input.size()) {
    auto json = exo::parse_json(input.substr(split + 1));
    if (json.ok() && json->is_object()) variables = json->get_object();
  }
  (void)parsed->render(variables, 0).ok();
  return 0;
}
