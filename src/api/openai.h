// POST /v1/chat/completions and /v1/completions: parses, asks the Node, and writes the answer as
// one body or as a stream of events. A client that goes away cancels its sequences at once. The
// Node, Metrics and World outlive every exchange (ApiServer sees to it).
#pragma once

#include <memory>

#include "api/http_server.h"
#include "api/metrics.h"
#include "api/openai_request.h"
#include "base/world.h"
#include "orchestration/node.h"

namespace exo {

struct OpenAiContext {
  Node& node;
  Metrics& metrics;
  World& world;
};

void answer_openai(OpenAiContext context, OpenAiEndpoint endpoint,
                   std::shared_ptr<HttpExchange> exchange);

}  // namespace exo
