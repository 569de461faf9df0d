#include "api/api_server.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <mutex>

#include "api/access.h"
#include "api/api_error.h"
#include "api/cluster_json.h"
#include "api/held_json.h"
#include "api/http_server.h"
#include "api/metrics.h"
#include "api/model_downloads.h"
#include "api/node_actions.h"
#include "api/openai.h"
#include "api/openai_reply.h"
#include "api/web_assets.h"
#include "base/log.h"
#include "base/world.h"

namespace exo {
namespace {

constexpr int kTopologyPollMs = 500;
constexpr int kEventsKeepAliveMs = 10'000;
constexpr std::string_view kModelsPrefix = "/models/";
constexpr std::string_view kDownloadsPrefix = "/models/downloads/";

using Exchange = std::shared_ptr<HttpExchange>;

std::string this_host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string();
}

HttpResponse json_response(const JsonObject& body) {
  return HttpResponse{200, "application/json", to_text(body), {}};
}

void refuse(const Exchange& exchange, int status, std::string message) {
  exchange->respond(error_response(error_of_status(status, std::move(message))));
}

std::string allowed_methods(std::string_view methods) {
  return std::string(methods) + (methods.starts_with("GET") ? ", HEAD" : "") + ", OPTIONS";
}

// "/v1/models" and "/models" are one route; so is a base URL pasted with /v1 twice.
std::string_view route_path(std::string_view path) {
  for (int i = 0; i < 2 && path.starts_with("/v1/"); ++i) path.remove_prefix(3);
  return path;
}

// Ours, or the client's if it is harmless to repeat.
std::string request_id(const HttpRequest& request) {
  const auto given = request.header("x-request-id");
  if (given && given->size() <= 128 && is_model_id(*given)) return std::string(*given);
  return fmt::format("req-{:016x}", real_world().random_u64());
}

}  // namespace

struct ApiServer::State {
  State(Node& the_node, ApiOptions the_options) : node(the_node), options(std::move(the_options)) {
    access = AccessOptions{options.allowed_hosts, options.allowed_origins, this_host_name(),
                           options.api_keys};
    add_routes();
  }

  struct Route {
    std::string_view path;     // without /v1; one that ends in '/' takes what follows
    std::string_view methods;  // as the Allow header says it, HEAD and OPTIONS aside
    bool open = false;         // no key needed
    std::function<void(const Exchange&)> answer;
  };

  void add_routes();
  void handle(const Exchange& exchange);
  const Route* find_route(std::string_view path) const;
  void route(const Exchange& exchange, const Route& route);
  void answer_options(const Exchange& exchange, const Route* route);
  void answer_file(const Exchange& exchange);
  HttpHeaders cross_origin_headers(const HttpRequest& request) const;

  void answer_models(const Exchange& exchange) const;
  void answer_model(const Exchange& exchange) const;
  void answer_topology(const Exchange& exchange) const;
  void answer_events(const Exchange& exchange);
  void watch_topology(const Exchange& exchange, uint64_t seen, int quiet_ms);
  std::string topology_event(uint64_t version);

  Node& node;
  const ApiOptions options;
  AccessOptions access;
  World& world = real_world();
  Metrics metrics;
  std::vector<Route> routes;
  std::mutex snapshot_mutex;
  uint64_t snapshot_version = 0;
  std::string snapshot;
  std::unique_ptr<HttpServer> http;  // last: its threads use the rest, and never itself
};

void ApiServer::State::add_routes() {
  const OpenAiContext openai{node, metrics, world};
  const auto health = [this](const Exchange& exchange) {
    exchange->respond(json_response(health_json(node.status())));
  };
  const auto alive = [](const Exchange& exchange) {
    exchange->respond(json_response(JsonObject{{{"status", "ok"}}}));
  };
  routes = {
      {"/chat/completions", "POST", false,
       [openai](const Exchange& e) { answer_openai(openai, OpenAiEndpoint::chat, e); }},
      {"/completions", "POST", false,
       [openai](const Exchange& e) { answer_openai(openai, OpenAiEndpoint::completions, e); }},
      {"/models", "GET", false, [this](const Exchange& e) { answer_models(e); }},
      {"/models/add", "POST", false, [this](const Exchange& e) { answer_add_model(node, e); }},
      {"/models/load", "POST", false, [this](const Exchange& e) { answer_load_model(node, e); }},
      {"/models/unload", "POST", false,
       [this](const Exchange& e) { answer_unload_model(node, e); }},
      {"/models/download", "POST", false,
       [this](const Exchange& e) { answer_download_model(node, e); }},
      {"/models/downloads", "GET", false, [this](const Exchange& e) { answer_downloads(node, e); }},
      {kDownloadsPrefix, "DELETE", false,
       [this](const Exchange& e) {
         answer_cancel_download(node, e,
                                route_path(e->request().path).substr(kDownloadsPrefix.size()));
       }},
      {kModelsPrefix, "GET, DELETE", false, [this](const Exchange& e) { answer_model(e); }},
      {"/topology", "GET", false, [this](const Exchange& e) { answer_topology(e); }},
      {"/cluster/events", "GET", false, [this](const Exchange& e) { answer_events(e); }},
      {"/cluster/invite", "POST", false, [this](const Exchange& e) { answer_invite(node, e); }},
      {"/cluster/revoke", "POST", false, [this](const Exchange& e) { answer_revoke(node, e); }},
      {"/metrics", "GET", false,
       [this](const Exchange& e) {
         e->respond(HttpResponse{200,
                                 "text/plain; version=0.0.4; charset=utf-8",
                                 metrics.render(node.status(), e->open_connections()),
                                 {}});
       }},
      {"/health", "GET", true, health},
      {"/healthcheck", "GET", true, health},
      {"/readyz", "GET", true, health},
      {"/livez", "GET", true, alive},
  };
}

const ApiServer::State::Route* ApiServer::State::find_route(std::string_view path) const {
  for (const Route& route : routes) {
    const bool prefix = route.path.back() == '/';
    if (prefix ? path.size() > route.path.size() && path.starts_with(route.path)
               : path == route.path)
      return &route;
  }
  return nullptr;
}

HttpHeaders ApiServer::State::cross_origin_headers(const HttpRequest& request) const {
  HttpHeaders headers;
  if (judge_origin(request, access) != OriginVerdict::allowed) return headers;
  headers.emplace_back("Access-Control-Allow-Origin", std::string(*request.header("origin")));
  headers.emplace_back("Vary", "Origin");
  headers.emplace_back("Access-Control-Expose-Headers", "Retry-After, X-Request-Id");
  return headers;
}

void ApiServer::State::handle(const Exchange& exchange) {
  const HttpRequest& request = exchange->request();
  const Route* found = find_route(route_path(request.path));
  HttpHeaders headers = cross_origin_headers(request);
  headers.emplace_back("X-Request-Id", request_id(request));
  const std::string_view name = found == nullptr ? "other" : found->path;
  exchange->prepare_answer(std::move(headers), [this, name](int status) {
    log::debug("api: {} {}", name, status);
    metrics.request_answered(name, status);
  });
  if (!host_allowed(request, access))
    return refuse(exchange, 403,
                  "this Host is not one this node answers to; use localhost or the address it "
                  "listens on");
  if (judge_origin(request, access) == OriginVerdict::foreign)
    return refuse(exchange, 403, "pages of other sites may not use this node");
  if (request.method == "OPTIONS") return answer_options(exchange, found);
  if (found == nullptr) return answer_file(exchange);
  route(exchange, *found);
}

void ApiServer::State::route(const Exchange& exchange, const Route& route) {
  const HttpRequest& request = exchange->request();
  if (!route.open && !key_accepted(request, access)) {
    const bool given = request.header("authorization") || request.header("x-api-key");
    return refuse(exchange, 401,
                  given ? "this API key is not accepted"
                        : "this node asks for an API key: send 'Authorization: Bearer KEY'");
  }
  const bool reads = route.methods.starts_with("GET");
  const bool fits =
      request.method == "HEAD"
          ? reads
          : (", " + std::string(route.methods) + ",").find(", " + request.method + ",") !=
                std::string::npos;
  if (!fits) {
    HttpResponse response = error_response(
        error_of_status(405, fmt::format("{} takes {} only", route.path, route.methods)));
    response.headers.emplace_back("Allow", allowed_methods(route.methods));
    return exchange->respond(std::move(response));
  }
  if (request.method == "POST" && is_form_content(request))
    return refuse(exchange, 415,
                  "send JSON with 'Content-Type: application/json'; forms are not taken");
  const auto encoding = request.header("content-encoding");
  if (encoding && !equals_ignoring_case(*encoding, "identity"))
    return refuse(exchange, 415, "compressed request bodies are not taken");
  route.answer(exchange);
}

void ApiServer::State::answer_options(const Exchange& exchange, const Route* route) {
  const HttpRequest& request = exchange->request();
  HttpResponse response{204, "", "", {}};
  response.headers.emplace_back("Allow",
                                allowed_methods(route == nullptr ? "GET" : route->methods));
  if (judge_origin(request, access) == OriginVerdict::allowed) {
    response.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    if (const auto wanted = request.header("access-control-request-headers"))
      response.headers.emplace_back("Access-Control-Allow-Headers", std::string(*wanted));
    response.headers.emplace_back("Access-Control-Max-Age", "600");
  }
  exchange->respond(std::move(response));
}

void ApiServer::State::answer_file(const Exchange& exchange) {
  const HttpRequest& request = exchange->request();
  if (request.method == "GET" || request.method == "HEAD") {
    if (auto file = serve_asset(web_assets(), request)) return exchange->respond(std::move(*file));
    const bool api = request.path == "/v1" || request.path.starts_with("/v1/");
    if (!api)
      if (auto page = serve_page(web_assets(), request)) return exchange->respond(std::move(*page));
  }
  refuse(
      exchange, 404,
      fmt::format("there is nothing at {} {}", request.method, replace_invalid_utf8(request.path)));
}

void ApiServer::State::answer_models(const Exchange& exchange) const {
  JsonArray data;
  const NodeStatus status = node.status();
  const int64_t created = status.started_wall_ms / 1000;
  const auto standard = node.find_model("");
  for (const ModelStatus& model : node.models()) {
    JsonObject entry = model_json(model, created, exchange->request().remote_loopback);
    entry["default"] = standard.ok() && standard->id == model.card.id;
    if (model.file_bytes > 0) entry["nodes"] = holders_json(status.core, model.card.source);
    data.push_back(std::move(entry));
  }
  JsonObject body{{"object", "list"}, {"data", std::move(data)}};
  if (query_value(exchange->request().query, "all") == "1") body["known"] = known_models_json(node);
  exchange->respond(json_response(body));
}

void ApiServer::State::answer_model(const Exchange& exchange) const {
  const HttpRequest& request = exchange->request();
  const auto id = route_path(request.path).substr(kModelsPrefix.size());
  if (request.method == "DELETE") return answer_remove_model(node, exchange, id);
  const auto named = is_model_id(id) ? node.find_model(std::string(id)) : not_found("");
  const std::string_view known = named.ok() ? std::string_view(named->id) : id;
  const int64_t created = node.status().started_wall_ms / 1000;
  for (const ModelStatus& model : node.models())
    if (model.card.id == known)
      return exchange->respond(json_response(model_json(model, created, request.remote_loopback)));
  exchange->respond(error_response(to_api_error(
      not_found(fmt::format("the model '{}' does not exist here", replace_invalid_utf8(id))))));
}

void ApiServer::State::answer_topology(const Exchange& exchange) const {
  exchange->respond(
      json_response(topology_json(node.status(), world.now_us(), world.wall_time_ms())));
}

std::string ApiServer::State::topology_event(uint64_t version) {
  const std::lock_guard lock(snapshot_mutex);
  if (snapshot.empty() || snapshot_version != version) {
    snapshot_version = version;
    snapshot = "event: topology\n" +
               to_event(topology_json(node.status(), world.now_us(), world.wall_time_ms()));
  }
  return snapshot;
}

void ApiServer::State::answer_events(const Exchange& exchange) {
  HttpResponse head{200,
                    "text/event-stream; charset=utf-8",
                    "",
                    {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}};
  if (exchange->request().method == "HEAD") return exchange->respond(std::move(head));
  exchange->begin_stream(std::move(head));
  const uint64_t version = node.status_version();
  exchange->write(topology_event(version));
  // The callbacks keep the exchange alive until the client leaves.
  exchange->set_callbacks(
      [exchange](CloseReason reason) {
        if (reason == CloseReason::server_stopping) exchange->end();
      },
      nullptr);
  exchange->needs_no_grace();
  watch_topology(exchange, version, 0);
}

void ApiServer::State::watch_topology(const Exchange& exchange, uint64_t seen, int quiet_ms) {
  const std::weak_ptr<HttpExchange> weak = exchange;
  exchange->set_timer(kTopologyPollMs, [this, weak, seen, quiet_ms] {
    const auto watched = weak.lock();
    if (!watched) return;
    const uint64_t version = node.status_version();
    int quiet = quiet_ms + kTopologyPollMs;
    if (version != seen && !watched->write_buffer_full()) {
      watched->write(topology_event(version));
      quiet = 0;
    } else if (quiet >= kEventsKeepAliveMs) {
      watched->write(to_comment("keep-alive"));
      quiet = 0;
    }
    watch_topology(watched, quiet == 0 ? version : seen, quiet);
  });
}

ApiServer::ApiServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<ApiServer>> ApiServer::start(Node& node, ApiOptions options) {
  if (!is_loopback_host(options.host) && options.api_keys.empty())
    return invalid_argument(
        fmt::format("listening on {} lets others on the network in: give an API key as well, or "
                    "listen on 127.0.0.1",
                    options.host));
  for (const std::string& key : options.api_keys)
    if (key.empty()) return invalid_argument("an API key must not be empty");
  auto state = std::make_unique<State>(node, std::move(options));
  HttpServerOptions http;
  http.host = state->options.host;
  http.port = state->options.port;
  http.common_headers = {{"X-Content-Type-Options", "nosniff"},
                         {"Referrer-Policy", "no-referrer"},
                         {"Cross-Origin-Resource-Policy", "same-origin"}};
  http.make_error = [](int status, const std::string& message) {
    return error_response(error_of_status(status, message));
  };
  state->http = TRY(HttpServer::start(
      std::move(http), [state = state.get()](Exchange exchange) { state->handle(exchange); }));
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(state)));
}

ApiServer::~ApiServer() { stop(0); }
void ApiServer::stop(int grace_ms) { state_->http->stop(grace_ms); }
uint16_t ApiServer::port() const { return state_->http->port(); }

}  // namespace exo
