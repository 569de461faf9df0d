// exo status, nodes, topology, cluster, load, unload: what runs, who is here, how models
// are split.
#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "app/api_answer.h"
#include "app/api_client.h"
#include "app/console.h"
#include "app/ring_drawing.h"
#include "app/verbs.h"
#include "base/world.h"

namespace exo {
namespace {

Result<JsonObject> fetch(std::string_view path) {
  const ApiClient client = TRY(find_local_node());
  const Json json = TRY(client.get(path));
  if (!json.is_object())
    return corrupt("the node's answer is not what this version of exo expects");
  return json.get_object();
}

// Fetches `path`; prints it as JSON when asked for, else hands it to `show`.
int show(const CommandLine& line, std::string_view path, void (*show_people)(const JsonObject&)) {
  const Result<JsonObject> answer = fetch(path);
  if (!answer.ok()) return fail(answer.error());
  if (line.json) {
    print_json(*answer);
  } else {
    show_people(*answer);
  }
  return 0;
}

std::string layers_of_node(const JsonObject& topology, std::string_view node) {
  std::string text;
  for (const Json& placement : list_of(topology, "placements"))
    for (const Json& stage : list_of(placement.as_object(), "stages")) {
      const JsonObject& object = stage.as_object();
      if (text_of(object, "node") != node) continue;
      text += fmt::format("{}{} {:.0f}-{:.0f}", text.empty() ? "" : ", ",
                          text_of(placement.as_object(), "model"), number_of(object, "layer_begin"),
                          number_of(object, "layer_end") - 1);
    }
  return text.empty() ? "-" : text;
}

std::string rtt_of_node(const JsonObject& topology, std::string_view node) {
  for (const Json& link : list_of(topology, "links")) {
    const JsonObject& object = link.as_object();
    if (text_of(object, "from") == text_of(topology, "self") && text_of(object, "to") == node &&
        number_of(object, "rtt_us") > 0)
      return format_duration_us(number_of(object, "rtt_us"));
  }
  return "-";
}

void print_nodes(const JsonObject& topology) {
  std::vector<Row> rows;
  for (const Json& node : list_of(topology, "nodes")) {
    const JsonObject& object = node.as_object();
    const std::string id = text_of(object, "id");
    rows.push_back(
        {text_of(object, "name") + (flag_of(object, "self") ? " *" : ""), id.substr(0, 8),
         text_of(object, "state"),
         fmt::format("{} free of {}", format_bytes(bytes_of(object, "memory_free_bytes")),
                     format_bytes(bytes_of(object, "memory_total_bytes"))),
         layers_of_node(topology, id), rtt_of_node(topology, id), text_of(object, "chip")});
  }
  std::fputs(format_table({"NAME", "ID", "STATE", "MEMORY", "LAYERS", "RTT", "CHIP"}, rows).c_str(),
             stdout);
}

void print_placements(const JsonObject& topology) {
  for (const Json& placement : list_of(topology, "placements")) {
    const JsonObject& object = placement.as_object();
    std::printf("%s: %.0f layers over %zu node%s, %s, %s, context %.0f tokens\n",
                text_of(object, "model").c_str(), number_of(object, "layer_count"),
                list_of(object, "stages").size(), list_of(object, "stages").size() == 1 ? "" : "s",
                text_of(object, "strategy").c_str(), text_of(object, "state").c_str(),
                number_of(object, "context_length"));
    if (const std::string why = text_of(object, "why"); !why.empty())
      std::printf("  %s\n", why.c_str());
  }
}

void print_foreign_hint(const JsonObject& topology) {
  const int count = static_cast<int>(number_of(topology, "foreign_count"));
  if (count == 0) return;
  std::printf("%d device%s of another cluster nearby: run exo invite there\n", count,
              count == 1 ? "" : "s");
}

void print_status(const JsonObject& topology) {
  std::string urls;
  for (const Json& url : list_of(topology, "api_urls")) {
    urls += urls.empty() ? "" : "  ";
    if (url.is_string()) urls += std::string(url.get_string());
  }
  std::printf("exo %s · engine %s · up %.0f s\n", text_of(topology, "version").c_str(),
              text_of(topology, "engine").c_str(), number_of(topology, "uptime_s"));
  std::printf("API and page: %s\n", urls.c_str());
  std::printf("node link: port %.0f · %zu node%s in the cluster\n",
              number_of(topology, "node_port"), list_of(topology, "nodes").size(),
              list_of(topology, "nodes").size() == 1 ? "" : "s");
  if (const auto requests = get_object(topology, "requests"); requests.ok() && *requests != nullptr)
    std::printf("requests: %.0f running, %.0f started, %.0f failed · %.0f tokens generated\n",
                number_of(**requests, "running"), number_of(**requests, "started"),
                number_of(**requests, "failed"), number_of(**requests, "tokens_generated"));
  if (list_of(topology, "placements").empty()) {
    std::printf("no model is loaded: the first question loads one, or run `exo load MODEL`\n");
  } else {
    print_placements(topology);
  }
  print_foreign_hint(topology);
}

void print_cluster(const JsonObject& topology) {
  std::printf("cluster %s · %zu member%s\n", text_of(topology, "cluster_id").c_str(),
              list_of(topology, "nodes").size(), list_of(topology, "nodes").size() == 1 ? "" : "s");
  print_nodes(topology);
  for (const Json& foreign : list_of(topology, "foreign")) {
    const JsonObject& object = foreign.as_object();
    std::printf("nearby, of cluster %s: %s (%s)\n", text_of(object, "cluster_id").c_str(),
                text_of(object, "name").c_str(), text_of(object, "host").c_str());
  }
  print_foreign_hint(topology);
}

size_t alive_nodes(const JsonObject& topology) {
  size_t count = 0;
  for (const Json& node : list_of(topology, "nodes"))
    count += flag_of(node.as_object(), "self") ||
             (text_of(node.as_object(), "state") == "alive" && flag_of(node.as_object(), "linked"));
  return count;
}

Result<JsonObject> wait_for_nodes(size_t wanted, int timeout_s) {
  const int64_t end_ms = real_world().now_ms() + int64_t{1000} * timeout_s;
  while (true) {
    JsonObject topology = TRY(fetch("/v1/topology"));
    const size_t here = alive_nodes(topology);
    if (here >= wanted) return topology;
    if (real_world().now_ms() >= end_ms)
      return Error{ErrorCode::deadline_exceeded,
                   fmt::format("{} of {} nodes are here after {} s", here, wanted, timeout_s)};
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// A path is made absolute, because the node runs in another folder.
std::string model_argument(const std::string& model) {
  std::error_code ignored;
  return std::filesystem::exists(model, ignored)
             ? std::filesystem::absolute(model, ignored).lexically_normal().string()
             : model;
}

Result<Json> post_model(std::string_view path, const std::string& model) {
  const ApiClient client = TRY(find_local_node());
  std::string id = model_argument(model);
  if (id.starts_with('/')) {
    const Json added = TRY(client.post("/v1/models/add", JsonObject{{"path", id}}));
    if (added.is_object()) id = text_of(added.get_object(), "id");
  }
  constexpr int kDayMs = 86'400'000;  // a model that is not here is fetched first
  return client.post(path, JsonObject{{"model", id}}, kDayMs);
}

}  // namespace

int run_status(const CommandLine& line) { return show(line, "/v1/topology", print_status); }
int run_cluster(const CommandLine& line) { return show(line, "/v1/topology", print_cluster); }

int run_nodes(const CommandLine& line) {
  if (line.cluster.wait_nodes > 0) {
    const Result<JsonObject> topology =
        wait_for_nodes(static_cast<size_t>(line.cluster.wait_nodes), line.cluster.timeout_s);
    if (!topology.ok()) return fail(topology.error());
  }
  return show(line, "/v1/topology", print_nodes);
}

int run_topology(const CommandLine& line) {
  return show(line, "/v1/topology", [](const JsonObject& topology) {
    std::fputs(draw_ring(topology).c_str(), stdout);
    print_placements(topology);
    print_foreign_hint(topology);
  });
}

int run_load(const CommandLine& line) {
  const Result<Json> answer = post_model("/v1/models/load", line.cluster.model);
  if (!answer.ok()) return fail(answer.error());
  if (line.json)
    print_json(*answer);
  else
    std::printf("%s is loaded; `exo topology` shows where\n", line.cluster.model.c_str());
  return 0;
}

int run_unload(const CommandLine& line) {
  const Result<Json> answer = post_model("/v1/models/unload", line.cluster.model);
  if (!answer.ok()) return fail(answer.error());
  std::printf("%s is unloaded\n", line.cluster.model.c_str());
  return 0;
}

}  // namespace exo
