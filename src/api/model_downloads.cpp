#include "api/model_downloads.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "api/api_error.h"
#include "api/openai_reply.h"
#include "model/architecture.h"
#include "topology/memory_need.h"
#include "topology/topology.h"

namespace exo {
namespace {

using Exchange = std::shared_ptr<HttpExchange>;

constexpr int kProgressEveryMs = 500, kPollMs = 100;

HttpResponse json_answer(const JsonObject& body) {
  return HttpResponse{200, "application/json", to_text(body), {}};
}
void refuse(const Exchange& exchange, const Error& error) {
  exchange->respond(error_response(to_api_error(error)));
}

struct DownloadRequest {
  std::string model;
  bool stream = false;
  std::optional<std::vector<std::string>> nodes;  // empty: all
};

Result<DownloadRequest> read_request(const Exchange& exchange) {
  auto body = parse_json(exchange->take_body());
  if (!body.ok()) return invalid_argument("the request body is " + body.error().message);
  if (!body->is_object()) return invalid_argument("the request body must be a JSON object");
  DownloadRequest request;
  request.model = TRY(get_string(body->get_object(), "model")).value_or("");
  request.stream = TRY(get_bool(body->get_object(), "stream")).value_or(false);
  if (request.model.empty()) return invalid_argument("'model' is missing");
  if (const JsonArray* nodes = TRY(get_array(body->get_object(), "nodes"))) {
    request.nodes.emplace();
    for (const Json& node : *nodes) {
      if (!node.is_string()) return invalid_argument("'nodes' must be a list of names or ids");
      request.nodes->emplace_back(node.get_string());
    }
  }
  return request;
}

// Memory that models may use on the nodes that are here now.
uint64_t usable_bytes(const Node& node) {
  const CoreView view = node.status().core;
  uint64_t sum = usable_memory_bytes(view.self.device);
  for (const PeerView& peer : view.peers)
    if (peer.linked && peer.state == PeerState::alive) sum += usable_memory_bytes(peer.info.device);
  return sum;
}

JsonObject card_json(const CatalogCard& card) {
  JsonArray aliases, capabilities, variants;
  for (const std::string& alias : card.aliases) aliases.emplace_back(alias);
  for (const std::string& word : card.capabilities) capabilities.emplace_back(word);
  for (const CatalogVariant& variant : card.variants)
    variants.push_back(JsonObject{{"format", variant.format},
                                  {"quantisation", variant.quantisation},
                                  {"source", to_text(variant.source)},
                                  {"size_bytes", estimated_bytes(card, variant)}});
  return JsonObject{{"id", card.id},
                    {"object", "model"},
                    {"owned_by", "exo"},
                    {"family", card.family},
                    {"parameter_count", card.parameters},
                    {"context_length", card.context_length},
                    {"licence", card.licence},
                    {"aliases", std::move(aliases)},
                    {"capabilities", std::move(capabilities)},
                    {"variants", std::move(variants)}};
}

std::string_view state_of(const Node& node, const CatalogCard& card, uint64_t bytes,
                          uint64_t usable) {
  if (!runs_family(card.family)) return "unsupported";
  if (node.downloads() != nullptr && node.downloads()->running(card.id)) return "downloading";
  if (bytes == 0) return "unknown";
  return bytes <= usable ? "fits" : "too_large";
}

struct Progress {
  DownloadStatus status;
  JsonObject json;
};
// Nothing when the download is not known any more.
using Look = std::function<std::optional<Progress>()>;

// Tells a client how far a download is, until it has ended.
void follow(const Exchange& exchange, const Look& look, bool stream) {
  auto progress = look();
  const bool over = !progress || progress->status.state != DownloadStatus::State::running;
  if (stream) {
    if (progress) exchange->write(to_event(progress->json));
    if (over) {
      exchange->write("data: [DONE]\n\n");
      exchange->end();
    }
  } else if (over) {
    if (progress && progress->status.state == DownloadStatus::State::failed)
      refuse(exchange, progress->status.error);
    else
      exchange->respond(json_answer(progress ? std::move(progress->json) : JsonObject()));
  }
  if (over) return;
  exchange->set_timer(kProgressEveryMs,
                      [exchange, look, stream] { follow(exchange, look, stream); });
}

void begin_to_follow(const Exchange& exchange, const Look& look, bool stream) {
  if (stream)
    exchange->begin_stream(
        HttpResponse{200,
                     "text/event-stream; charset=utf-8",
                     "",
                     {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}});
  exchange->needs_no_grace();
  follow(exchange, look, stream);
}

JsonObject parts_json(const PartsStatus& parts) {
  JsonArray nodes;
  for (const NodePart& part : parts.nodes) {
    JsonObject entry = download_json(part.status);
    for (const char* key : {"id", "object", "model"}) entry.erase(key);
    entry["node"] = part.node.value;
    entry["name"] = part.name;
    entry["layer_begin"] = part.shard.layer_begin;
    entry["layer_end"] = part.shard.layer_end;
    nodes.push_back(std::move(entry));
  }
  JsonObject out = download_json(parts.all);
  out["nodes"] = std::move(nodes);
  return out;
}

// On a worker; the model can be opened.
void start_parts(Node& node, const Exchange& exchange, const DownloadRequest& request) {
  const auto id = node.download_parts(request.model, *request.nodes);
  if (!id.ok()) return refuse(exchange, id.error());
  const Look look = [parts = node.parts(), id = *id]() -> std::optional<Progress> {
    const auto status = parts->status(id);
    if (!status) return std::nullopt;
    return Progress{status->all, parts_json(*status)};
  };
  exchange->post(
      [exchange, look, stream = request.stream] { begin_to_follow(exchange, look, stream); });
}

}  // namespace

JsonObject download_json(const DownloadStatus& status) {
  JsonObject out{{"id", status.id},
                 {"object", "download"},
                 {"model", status.model},
                 {"state", std::string(to_string(status.state))},
                 {"total_bytes", status.total_bytes},
                 {"done_bytes", status.done_bytes},
                 {"fetched_bytes", status.fetched_bytes},
                 {"bytes_per_s", status.bytes_per_s}};
  if (!status.purpose.empty()) out["purpose"] = status.purpose;
  if (const auto left = status.seconds_left()) out["seconds_left"] = *left;
  if (status.state == DownloadStatus::State::failed) out["error"] = status.error.message;
  return out;
}

void after_download(const Downloads& downloads, const Exchange& exchange, uint64_t id,
                    std::function<void(std::optional<Error>)> next) {
  const auto status = downloads.status(id);
  if (!status || status->state == DownloadStatus::State::done) return next(std::nullopt);
  if (status->state == DownloadStatus::State::failed) return next(status->error);
  if (status->state == DownloadStatus::State::cancelled)
    return next(unavailable("the download of " + status->model + " was cancelled"));
  exchange->set_timer(kPollMs, [&downloads, exchange, id, next = std::move(next)]() mutable {
    after_download(downloads, exchange, id, std::move(next));
  });
}

JsonArray known_models_json(const Node& node) {
  JsonArray known;
  const uint64_t usable = usable_bytes(node);
  const std::vector<ModelStatus> here = node.models();
  for (const CatalogCard& card : node.catalog().cards()) {
    const auto is_it = [&](const ModelStatus& model) { return model.card.id == card.id; };
    if (std::any_of(here.begin(), here.end(), is_it)) continue;
    const uint64_t bytes = estimated_bytes(card, card.variants.front());
    JsonObject entry = card_json(card);
    entry["size_bytes"] = bytes;
    entry["state"] = state_of(node, card, bytes, usable);
    if (entry["state"] == "too_large") entry["missing_bytes"] = bytes - usable;
    known.push_back(std::move(entry));
  }
  return known;
}

void answer_download_model(Node& node, const Exchange& exchange) {
  exchange->run_on_worker([&node, exchange] {
    const auto request = read_request(exchange);
    if (!request.ok()) return refuse(exchange, request.error());
    Downloads* downloads = node.downloads();
    if (downloads == nullptr) return refuse(exchange, unsupported("this node does not download"));
    const auto extent = request->nodes ? Downloads::Extent::headers : Downloads::Extent::all;
    const auto id = downloads->start(request->model, extent);
    if (!id.ok()) return refuse(exchange, id.error());
    if (request->nodes)
      return exchange->post([&node, downloads, exchange, id = *id, request = *request] {
        after_download(*downloads, exchange, id, [&node, exchange, request](auto problem) {
          if (problem) return refuse(exchange, *problem);
          exchange->run_on_worker(
              [&node, exchange, request] { start_parts(node, exchange, request); });
        });
      });
    exchange->post([downloads, exchange, id = *id, stream = request->stream] {
      const Look look = [downloads, id]() -> std::optional<Progress> {
        const auto status = downloads->status(id);
        if (!status) return std::nullopt;
        return Progress{*status, download_json(*status)};
      };
      begin_to_follow(exchange, look, stream);
    });
  });
}

void answer_downloads(const Node& node, const Exchange& exchange) {
  JsonArray data;
  if (const Downloads* downloads = node.downloads())
    for (const DownloadStatus& status : downloads->list()) data.push_back(download_json(status));
  if (PartDownloads* parts = node.parts())
    for (const PartsStatus& status : parts->list()) data.push_back(parts_json(status));
  exchange->respond(json_answer({{"object", "list"}, {"data", std::move(data)}}));
}

void answer_cancel_download(Node& node, const Exchange& exchange, std::string_view id) {
  uint64_t number = 0;
  const auto read = std::from_chars(id.data(), id.data() + id.size(), number);
  Downloads* downloads = node.downloads();
  PartDownloads* parts = node.parts();
  if (read.ec != std::errc() || read.ptr != id.data() + id.size() || downloads == nullptr ||
      !(downloads->cancel(number) || (parts != nullptr && parts->cancel(number))))
    return refuse(exchange, not_found("there is no such download; GET /v1/models/downloads lists "
                                      "them"));
  exchange->respond(json_answer({{"id", number}, {"object", "download"}, {"cancelled", true}}));
}

void answer_remove_model(Node& node, const Exchange& exchange, std::string_view model) {
  exchange->run_on_worker([&node, exchange, model = std::string(model)] {
    const auto freed = node.remove_model(model);
    if (!freed.ok()) return refuse(exchange, freed.error());
    exchange->respond(json_answer({{"id", model}, {"deleted", true}, {"freed_bytes", *freed}}));
  });
}

}  // namespace exo
