#include "app/held_text.h"

#include <fmt/core.h>

#include "app/api_answer.h"
#include "app/console.h"

namespace exo {

std::string spans_text(const JsonArray& spans) {
  std::string text;
  for (const Json& span : spans) {
    if (!span.is_object()) continue;
    const double begin = number_of(span.get_object(), "layer_begin");
    const double last = number_of(span.get_object(), "layer_end") - 1;
    if (!text.empty()) text += ", ";
    text +=
        begin == last ? fmt::format("{:.0f}", begin) : fmt::format("{:.0f}-{:.0f}", begin, last);
  }
  return text;
}

std::string held_text(const JsonObject& held) {
  const std::string layers = spans_text(list_of(held, "layers"));
  const std::string spare = spans_text(list_of(held, "spare"));
  std::string text = text_of(held, "model") + ": ";
  if (flag_of(held, "complete"))
    text += "all of it";
  else if (layers.empty())
    text += "no whole layer";
  else
    text += fmt::format("layers {} of {:.0f}", layers, number_of(held, "layer_count"));
  text += " on disk, " + format_bytes(bytes_of(held, "held_bytes"));
  return spare.empty() ? text : text + ", spare: " + spare;
}

std::string holders_text(const JsonArray& nodes) {
  std::string text;
  for (const Json& node : nodes) {
    if (!node.is_object()) continue;
    const JsonObject& object = node.get_object();
    const std::string layers = spans_text(list_of(object, "layers"));
    const std::string spare = spans_text(list_of(object, "spare"));
    if (!text.empty()) text += "; ";
    text += text_of(object, "name") + " " +
            (flag_of(object, "complete") ? "all"
             : layers.empty()            ? "a part"
                                         : layers);
    if (!spare.empty()) text += " (spare " + spare + ")";
  }
  return text.empty() ? "-" : text;
}

}  // namespace exo
