#include "api/node_actions.h"

#include <fmt/core.h>

#include <atomic>
#include <string>
#include <string_view>

#include "api/api_error.h"
#include "api/model_downloads.h"

namespace exo {
namespace {

using Exchange = std::shared_ptr<HttpExchange>;

// {key: text}, and perhaps {flag: value} beside it.
HttpResponse done_response(std::string_view key, const std::string& text,
                           std::string_view flag = {}, bool value = false) {
  JsonObject body;
  body[key] = text;
  if (!flag.empty()) body[flag] = value;
  return HttpResponse{200, "application/json", to_text(body), {}};
}
HttpResponse failure(const Error& error) { return error_response(to_api_error(error)); }

bool from_this_device(const Exchange& exchange) {
  if (exchange->request().remote_loopback) return true;
  exchange->respond(
      error_response(error_of_status(403, "this can be asked for on the device itself only")));
  return false;
}

// One string of a small JSON object.
Result<std::string> read_field(const Exchange& exchange, std::string_view key) {
  auto body = parse_json(exchange->take_body());
  if (!body.ok()) return invalid_argument("the request body is " + body.error().message);
  if (!body->is_object()) return invalid_argument("the request body must be a JSON object");
  const auto value = TRY(get_string(body->get_object(), key));
  if (!value || value->empty()) return invalid_argument(fmt::format("'{}' is missing", key));
  return *value;
}

// Waits for a model that is being placed and loaded. A client that leaves lets go of it.
class Loading : public std::enable_shared_from_this<Loading> {
 public:
  Loading(std::string model, Exchange exchange, std::unique_ptr<TokenStream> stream)
      : model_(std::move(model)), exchange_(std::move(exchange)), stream_(std::move(stream)) {}

  void begin() {
    const std::weak_ptr<Loading> weak = weak_from_this();
    stream_->set_waker([weak] {
      const auto self = weak.lock();
      if (self && !self->awake_.exchange(true)) self->exchange_->post([self] { self->look(); });
    });
    exchange_->set_callbacks([self = shared_from_this()](CloseReason) { self->stream_.reset(); },
                             nullptr);
    look();
  }

 private:
  void look() {
    awake_ = false;
    while (stream_) {
      const auto item = stream_->try_next();
      if (!item) return;
      if (item->kind == TokenStream::Item::Kind::notice) continue;
      if (item->kind == TokenStream::Item::Kind::failed)
        exchange_->respond(failure(item->error));
      else
        exchange_->respond(done_response("model", model_, "loaded", true));
      stream_.reset();
    }
  }

  const std::string model_;
  const Exchange exchange_;
  std::unique_ptr<TokenStream> stream_;
  std::atomic<bool> awake_{false};
};

// On a worker thread, once what opens the model is here.
void load(Node& node, const Exchange& exchange, const std::string& model) {
  auto stream = node.load_model(model);
  if (!stream.ok()) return exchange->respond(failure(stream.error()));
  auto loading = std::make_shared<Loading>(model, exchange, std::move(stream).value());
  exchange->post([loading] { loading->begin(); });
}

}  // namespace

void answer_invite(Node& node, const Exchange& exchange) {
  if (!from_this_device(exchange)) return;
  exchange->run_on_worker([&node, exchange] {
    const auto code = node.create_invite();
    exchange->respond(code.ok() ? done_response("code", *code) : failure(code.error()));
  });
}

void answer_revoke(Node& node, const Exchange& exchange) {
  if (!from_this_device(exchange)) return;
  exchange->run_on_worker([&node, exchange] {
    const auto name = read_field(exchange, "node");
    if (!name.ok()) return exchange->respond(failure(name.error()));
    const auto done = node.revoke(*name);
    exchange->respond(done.ok() ? done_response("node", *name, "revoked", true)
                                : failure(done.error()));
  });
}

void answer_add_model(Node& node, const Exchange& exchange) {
  if (!from_this_device(exchange)) return;
  exchange->run_on_worker([&node, exchange] {
    const auto path = read_field(exchange, "path");
    if (!path.ok()) return exchange->respond(failure(path.error()));
    const auto card = node.add_model(*path);
    exchange->respond(card.ok() ? done_response("id", card->id) : failure(card.error()));
  });
}

void answer_load_model(Node& node, const Exchange& exchange) {
  exchange->run_on_worker([&node, exchange] {
    const auto model = read_field(exchange, "model");
    if (!model.ok()) return exchange->respond(failure(model.error()));
    const auto coming = node.bring_model(*model);
    if (!coming.ok()) return exchange->respond(failure(coming.error()));
    if (!*coming) return load(node, exchange, *model);
    exchange->post([&node, exchange, model = *model, id = **coming] {
      after_download(*node.downloads(), exchange, id, [&node, exchange, model](auto problem) {
        if (problem) return exchange->respond(failure(*problem));
        exchange->run_on_worker([&node, exchange, model] { load(node, exchange, model); });
      });
    });
  });
}

void answer_unload_model(Node& node, const Exchange& exchange) {
  exchange->run_on_worker([&node, exchange] {
    const auto model = read_field(exchange, "model");
    if (!model.ok()) return exchange->respond(failure(model.error()));
    const auto done = node.unload_model(*model);
    exchange->respond(done.ok() ? done_response("model", *model, "loaded", false)
                                : failure(done.error()));
  });
}

}  // namespace exo
