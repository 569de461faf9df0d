// exo models, download, rm: which models there are, here and to be had.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>

#include "app/api_answer.h"
#include "app/api_client.h"
#include "app/console.h"
#include "app/held_text.h"
#include "app/local_model.h"
#include "app/verbs.h"

namespace exo {
namespace {

// Ctrl-C or SIGTERM: what came so far is kept. Signal handlers may only touch lock-free atomics.
std::atomic<bool> g_stop_download{false};
void on_interrupt(int) { g_stop_download.store(true); }

std::string state_of(const JsonObject& model) {
  if (flag_of(model, "loaded")) return "loaded";
  if (flag_of(model, "downloading")) return "downloading";
  const uint64_t held = bytes_of(model, "held_bytes"), all = bytes_of(model, "file_bytes");
  if (held == all) return "on disk";
  return fmt::format("{} % on disk", held * 100 / all);
}

std::string fit_of(const JsonObject& model) {
  const std::string state = text_of(model, "state");
  if (state == "fits") return "fits";
  if (state == "downloading") return state;
  if (state == "unsupported") return "cannot be run yet";
  if (state == "too_large") return "too large by " + format_bytes(bytes_of(model, "missing_bytes"));
  return "can be downloaded";
}

std::string parameters_of(const JsonObject& model) {
  const double count = number_of(model, "parameter_count");
  if (count == 0) return "-";
  return count >= 1e9 ? fmt::format("{:.1f}B", count / 1e9) : fmt::format("{:.1f}M", count / 1e6);
}

void print_models(const JsonObject& models) {
  std::vector<Row> rows;
  for (const Json& model : list_of(models, "data")) {
    const JsonObject& object = model.as_object();
    rows.push_back({text_of(object, "id") + (flag_of(object, "default") ? " *" : ""),
                    format_bytes(bytes_of(object, "size_bytes")), parameters_of(object),
                    text_of(object, "weight_dtype"),
                    fmt::format("{:.0f}", number_of(object, "context_length")), state_of(object),
                    holders_text(list_of(object, "nodes")), text_of(object, "source")});
  }
  for (const Json& model : list_of(models, "known")) {
    const JsonObject& object = model.as_object();
    const JsonArray& variants = list_of(object, "variants");
    const JsonObject none;
    const JsonObject& first = variants.empty() ? none : variants.front().as_object();
    const uint64_t bytes = bytes_of(object, "size_bytes");
    rows.push_back({text_of(object, "id"), bytes == 0 ? "-" : "~" + format_bytes(bytes),
                    parameters_of(object), text_of(first, "quantisation"),
                    fmt::format("{:.0f}", number_of(object, "context_length")), fit_of(object), "-",
                    text_of(first, "source")});
  }
  const Row header{"MODEL",   "SIZE",  "PARAMETERS",     "WEIGHTS",
                   "CONTEXT", "STATE", "LAYERS ON DISK", "SOURCE"};
  std::fputs(format_table(header, rows).c_str(), stdout);
}

// What lies on this disk, judged by the store alone.
int print_disk(const CommandLine& line) {
  const ModelStore store(model_store_options());
  std::vector<Row> rows;
  JsonArray list;
  for (const StoredModel& model : store.list()) {
    std::string state = "not from a hub";
    const auto record = read_source_record(model.path);
    if (record.ok() && *record) {
      const auto held = held_bytes(model.path, **record);
      state = !held.ok()         ? "unreadable"
              : held->complete() ? "complete, proved by its hashes"
              : held->held == 0
                  ? "begun"
                  : fmt::format("{} % here, {}", held->held * 100 / held->total,
                                held->proved >= held->held ? "proved with the others" : "unproved");
    }
    const uint64_t bytes = disk_bytes(model.path);
    rows.push_back({model.id, format_bytes(bytes), state, model.path.string()});
    list.push_back(JsonObject{
        {"id", model.id}, {"disk_bytes", bytes}, {"state", state}, {"path", model.path.string()}});
  }
  if (line.json)
    print_json(JsonObject{{"data", std::move(list)}});
  else
    std::fputs(format_table({"MODEL", "ON DISK", "STATE", "PATH"}, rows).c_str(), stdout);
  return 0;
}

std::string bar_of(const DownloadStatus& status, size_t columns) {
  const uint64_t cells = columns >= 80 ? 24 : columns >= 60 ? 12 : 6;
  const uint64_t total = status.total_bytes;
  const bool done = status.state == DownloadStatus::State::done;
  const uint64_t full = done         ? cells
                        : total == 0 ? 0
                                     : std::min(status.done_bytes, total) * cells / total;
  std::string bar;
  for (uint64_t i = 0; i < cells; ++i) bar += i < full ? "█" : "░";
  return bar;
}

struct NodeProgress {
  std::string node, layers;
  DownloadStatus status;
};

// Lines that are written over, one for each node and, of several, one for all. Each is cut to what
// the terminal shows in one line: what wraps could not be written over.
class ProgressLines {
 public:
  void show(const std::string& model, const DownloadStatus& all,
            const std::vector<NodeProgress>& nodes) {
    if (::isatty(STDERR_FILENO) != 1) return;
    const size_t columns = columns_of(stderr);
    std::vector<Row> rows;
    if (nodes.size() > 1) {
      for (const NodeProgress& one : nodes)
        rows.push_back({shortened(one.node, columns / 4), one.layers, bar_of(one.status, columns),
                        text_of(one.status)});
      rows.push_back({"all", "", bar_of(all, columns), text_of(all)});
      write(format_table({"NODE", "LAYERS", "", ""}, rows), columns);
    } else {
      write(fmt::format("{}  {}  {}\n", shortened(model, columns / 3), bar_of(all, columns),
                        text_of(all)),
            columns);
    }
  }
  void clear() {
    if (::isatty(STDERR_FILENO) == 1) write("", 0);
  }

 private:
  static std::string text_of(const DownloadStatus& status) {
    if (status.state == DownloadStatus::State::done) return "here";
    if (status.state == DownloadStatus::State::failed) return status.error.message;
    return describe(status);
  }
  // At once, lest it flickers. The last column stays empty: some terminals wrap behind it.
  void write(std::string_view text, size_t columns) {
    std::string out = lines_ > 0 ? fmt::format("\x1b[{}A", lines_) : "";
    for (lines_ = 0; !text.empty(); ++lines_) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(line.size() + 1, text.size()));
      out += shortened(line, columns - 1) + "\x1b[K\n";
    }
    out += "\x1b[J";
    std::fputs(out.c_str(), stderr);
  }
  int lines_ = 0;
};

DownloadStatus status_of_json(const JsonObject& object) {
  DownloadStatus status;
  status.id = bytes_of(object, "id");
  status.model = text_of(object, "model");
  const std::string state = text_of(object, "state");
  for (const auto known : {DownloadStatus::State::done, DownloadStatus::State::failed,
                           DownloadStatus::State::cancelled})
    if (state == to_string(known)) status.state = known;
  status.error = unavailable(text_of(object, "error"));
  status.total_bytes = bytes_of(object, "total_bytes");
  status.done_bytes = bytes_of(object, "done_bytes");
  status.fetched_bytes = bytes_of(object, "fetched_bytes");
  status.bytes_per_s = number_of(object, "bytes_per_s");
  return status;
}

std::vector<NodeProgress> nodes_of_json(const JsonObject& object) {
  std::vector<NodeProgress> nodes;
  for (const Json& entry : list_of(object, "nodes")) {
    if (!entry.is_object()) continue;
    const JsonObject& node = entry.get_object();
    nodes.push_back({text_of(node, "name"),
                     fmt::format("layers {:.0f}-{:.0f}", number_of(node, "layer_begin"),
                                 number_of(node, "layer_end") - 1),
                     status_of_json(node)});
  }
  return nodes;
}

struct Outcome {
  DownloadStatus status;
  JsonArray nodes;  // as the node that runs here tells them
};

// By the node that runs here, and others: each its layers.
Result<Outcome> download_by_nodes(const ApiClient& client, const CommandLine& line) {
  const std::string& model = line.cluster.model;
  Outcome last;
  ProgressLines lines;
  ApiClient::StreamHandlers handlers;
  handlers.on_data = [&](std::string_view data) {
    const auto json = parse_json(data);
    if (!json.ok() || !json->is_object()) return;
    last = {status_of_json(json->get_object()), list_of(json->get_object(), "nodes")};
    lines.show(model, last.status, nodes_of_json(json->get_object()));
  };
  handlers.stop = &g_stop_download;
  JsonArray nodes;
  for (const std::string& node : line.cluster.nodes) nodes.emplace_back(node);
  auto streamed = client.post_stream(
      "/v1/models/download",
      JsonObject{{"model", model}, {"stream", true}, {"nodes", std::move(nodes)}}, handlers);
  lines.clear();
  TRY(std::move(streamed));
  if (g_stop_download) {
    (void)client.remove(fmt::format("/v1/models/downloads/{}", last.status.id));
    last.status.state = DownloadStatus::State::cancelled;
  }
  return last;
}

Result<Outcome> download_here(const std::string& model, bool offline) {
  ProgressLines lines;
  const auto downloads = make_downloads(model_store_options(), offline);
  const uint64_t id = TRY(downloads->start(model, Downloads::Extent::all));
  DownloadStatus status;
  do {
    status = downloads->wait(id, 250);
    lines.show(model, status, {});
    if (g_stop_download) downloads->cancel(id);
  } while (status.state == DownloadStatus::State::running);
  lines.clear();
  return Outcome{std::move(status), {}};
}

}  // namespace

int run_models(const CommandLine& line) {
  if (line.cluster.disk_models) return print_disk(line);
  const Result<ApiClient> client = find_local_node();
  if (!client.ok()) return fail(client.error());
  const Result<Json> answer =
      client->get(line.cluster.all_models ? "/v1/models?all=1" : "/v1/models");
  if (!answer.ok()) return fail(answer.error());
  if (!answer->is_object()) return fail(corrupt("the node's answer is not understood"));
  if (line.json)
    print_json(*answer);
  else
    print_models(answer->get_object());
  return 0;
}

int report_download(const CommandLine& line, const Outcome& outcome) {
  const std::string& model = line.cluster.model;
  const DownloadStatus& status = outcome.status;
  if (line.json) {
    JsonObject out{{"model", model},
                   {"state", std::string(to_string(status.state))},
                   {"total_bytes", status.total_bytes},
                   {"fetched_bytes", status.fetched_bytes}};
    if (!outcome.nodes.empty()) out["nodes"] = outcome.nodes;
    print_json(out);
  }
  switch (status.state) {
    case DownloadStatus::State::failed:
      return fail(status.error);
    case DownloadStatus::State::done:
      if (!line.json)
        std::printf(
            "%s is here%s: %s, %s of it fetched now\n", model.c_str(),
            outcome.nodes.size() > 1 ? fmt::format(", on {} nodes", outcome.nodes.size()).c_str()
                                     : "",
            format_bytes(status.total_bytes).c_str(), format_bytes(status.fetched_bytes).c_str());
      return 0;
    default:
      std::fprintf(stderr, "stopped; `exo download %s` goes on where it was\n", model.c_str());
      return 130;
  }
}

int run_download(const CommandLine& line) {
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, on_interrupt);
  const Result<ApiClient> client = find_local_node();
  if (!client.ok() && !line.cluster.nodes.empty()) return fail(client.error());
  const Result<Outcome> outcome = client.ok() && !line.node.offline
                                      ? download_by_nodes(*client, line)
                                      : download_here(line.cluster.model, line.node.offline);
  return outcome.ok() ? report_download(line, *outcome) : fail(outcome.error());
}

int run_rm(const CommandLine& line) {
  const std::string& model = line.cluster.model;
  uint64_t freed = 0;
  if (const Result<ApiClient> client = find_local_node(); client.ok()) {
    const Result<Json> answer = client->remove("/v1/models/" + model);
    if (!answer.ok()) return fail(answer.error());
    if (answer->is_object()) freed = bytes_of(answer->get_object(), "freed_bytes");
  } else {
    ModelStore store(model_store_options());
    const auto stored = store.find(model);
    if (!stored.ok()) return fail(stored.error());
    const auto bytes = store.remove(*stored);
    if (!bytes.ok()) return fail(bytes.error());
    freed = *bytes;
  }
  if (line.json)
    print_json(JsonObject{{"model", model}, {"freed_bytes", freed}});
  else
    std::printf("%s is removed; that frees %s\n", model.c_str(), format_bytes(freed).c_str());
  return 0;
}

}  // namespace exo
