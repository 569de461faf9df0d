#include "app/ring_drawing.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "app/api_answer.h"
#include "app/console.h"
#include "app/held_text.h"

namespace exo {
namespace {

struct Box {
  std::string id;
  std::vector<std::string> lines;
};

std::vector<std::string> describe(const JsonObject& node, const std::string& layers) {
  const Json* self = node.if_contains("self");
  std::vector<std::string> lines;
  lines.push_back(text_of(node, "name") +
                  (self != nullptr && *self == true ? "  (this node)" : ""));
  lines.push_back(text_of(node, "chip"));
  lines.push_back(fmt::format(
      "{} free of {}", format_bytes(static_cast<uint64_t>(number_of(node, "memory_free_bytes"))),
      format_bytes(static_cast<uint64_t>(number_of(node, "memory_total_bytes")))));
  if (!layers.empty()) lines.push_back(layers);
  if (const std::string state = text_of(node, "state"); state != "alive") lines.push_back(state);
  return lines;
}

// What lies on its disk, largest first.
void add_held(const JsonObject& node, std::vector<std::string>& lines) {
  constexpr size_t kMostShown = 4;
  const JsonArray& held = list_of(node, "held");
  for (size_t i = 0; i < held.size() && i < kMostShown; ++i)
    if (held[i].is_object()) lines.push_back(held_text(held[i].get_object()));
  if (held.size() > kMostShown)
    lines.push_back(fmt::format("and {} more models on disk", held.size() - kMostShown));
}

std::string stage_line(const JsonObject& placement, const JsonObject& stage) {
  const int begin = static_cast<int>(number_of(stage, "layer_begin"));
  const int end = static_cast<int>(number_of(stage, "layer_end"));
  return fmt::format("{}: layers {}-{} ({} of {}), {}", text_of(placement, "model"), begin, end - 1,
                     end - begin, static_cast<int>(number_of(placement, "layer_count")),
                     format_bytes(static_cast<uint64_t>(number_of(stage, "bytes"))));
}

std::optional<double> rtt_us(const JsonObject& topology, const std::string& a,
                             const std::string& b) {
  for (const Json& link : list_of(topology, "links")) {
    if (!link.is_object()) continue;
    const std::string from = text_of(link.get_object(), "from"),
                      to = text_of(link.get_object(), "to");
    const double rtt = number_of(link.get_object(), "rtt_us");
    if (((from == a && to == b) || (from == b && to == a)) && rtt > 0) return rtt;
  }
  return std::nullopt;
}

// Boxes in ring order of the first placement, then nodes without layers.
std::vector<Box> boxes_of(const JsonObject& topology, size_t& in_ring) {
  std::vector<Box> boxes;
  const JsonArray& placements = list_of(topology, "placements");
  const auto add = [&](const std::string& id) {
    if (std::any_of(boxes.begin(), boxes.end(), [&](const Box& box) { return box.id == id; }))
      return;
    for (const Json& node : list_of(topology, "nodes")) {
      if (!node.is_object() || text_of(node.get_object(), "id") != id) continue;
      Box box{id, describe(node.get_object(), "")};
      for (const Json& placement : placements)
        for (const Json& stage : list_of(placement.as_object(), "stages"))
          if (text_of(stage.as_object(), "node") == id)
            box.lines.push_back(stage_line(placement.as_object(), stage.as_object()));
      add_held(node.get_object(), box.lines);
      boxes.push_back(std::move(box));
    }
  };
  if (!placements.empty())
    for (const Json& stage : list_of(placements.front().as_object(), "stages"))
      add(text_of(stage.as_object(), "node"));
  in_ring = boxes.size();
  for (const Json& node : list_of(topology, "nodes")) add(text_of(node.as_object(), "id"));
  return boxes;
}

std::string repeated(const char* piece, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += piece;
  return out;
}

std::string draw_box(const Box& box, size_t width, bool in_ring) {
  const char* const left = in_ring ? "│ " : "  ";
  std::string out = std::string(left) + "┌" + repeated("─", width + 2) + "┐\n";
  for (const std::string& line : box.lines)
    out += std::string(left) + "│ " + line + std::string(width - display_width(line), ' ') + " │\n";
  return out + left + "└" + repeated("─", width + 2) + "┘\n";
}

}  // namespace

std::string draw_ring(const JsonObject& topology) {
  size_t ring_size = 0;
  const std::vector<Box> boxes = boxes_of(topology, ring_size);
  size_t width = 0;
  for (const Box& box : boxes)
    for (const std::string& line : box.lines) width = std::max(width, display_width(line));
  std::string out;
  const bool closed = ring_size > 1;
  for (size_t i = 0; i < boxes.size(); ++i) {
    const bool inside = closed && i < ring_size;
    if (inside && i == 0) out += "╭" + repeated("─", 6) + "◀ token\n";
    out += draw_box(boxes[i], width, inside);
    if (inside && i + 1 < ring_size) {
      const auto rtt = rtt_us(topology, boxes[i].id, boxes[i + 1].id);
      out += fmt::format("│     ▼ hidden states{}\n",
                         rtt ? ", round trip " + format_duration_us(*rtt) : "");
    }
    if (inside && i + 1 == ring_size) out += "╰" + repeated("─", 6) + "▶ token\n";
  }
  return out;
}

}  // namespace exo
