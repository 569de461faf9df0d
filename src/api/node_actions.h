// What a person may ask a node to do, beside answering: invite and revoke devices, add, load and
// unload models. Each answers its exchange, at once or when the node is done.
#pragma once

#include <memory>

#include "api/http_server.h"
#include "orchestration/node.h"

namespace exo {

// Only for clients on this device: 403 otherwise.
void answer_invite(Node& node, const std::shared_ptr<HttpExchange>& exchange);
void answer_revoke(Node& node, const std::shared_ptr<HttpExchange>& exchange);
void answer_add_model(Node& node, const std::shared_ptr<HttpExchange>& exchange);

void answer_load_model(Node& node, const std::shared_ptr<HttpExchange>& exchange);
void answer_unload_model(Node& node, const std::shared_ptr<HttpExchange>& exchange);

}  // namespace exo
