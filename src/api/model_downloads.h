// Downloads by HTTP: start one and follow it, list, cancel; remove a model; and what could be
// fetched (docs/api.md). Each answers its exchange.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "api/http_server.h"
#include "core/json.h"
#include "orchestration/node.h"

namespace exo {

JsonObject download_json(const DownloadStatus& status);
// The cards of models that are not on this device: {id, state: fits | too_large | unknown, ...}.
JsonArray known_models_json(const Node& node);

// Calls `next` on the exchange's executor once the download has ended: with nothing when it is
// done, else with why not. Not at all when the client leaves before.
void after_download(const Downloads& downloads, const std::shared_ptr<HttpExchange>& exchange,
                    uint64_t id, std::function<void(std::optional<Error>)> next);

// {"model", "stream"}: answers at the end, or follows it as server-sent events. The download goes
// on when the client leaves.
void answer_download_model(Node& node, const std::shared_ptr<HttpExchange>& exchange);
void answer_downloads(const Node& node, const std::shared_ptr<HttpExchange>& exchange);
void answer_cancel_download(Node& node, const std::shared_ptr<HttpExchange>& exchange,
                            std::string_view id);
void answer_remove_model(Node& node, const std::shared_ptr<HttpExchange>& exchange,
                         std::string_view model);

}  // namespace exo
