#include "api/metrics.h"

#include <fmt/core.h>

namespace exo {
namespace {

std::string label(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out.push_back('\\');
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out;
}

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class Value>
void single(std::string& out, std::string_view name, std::string_view type, std::string_view help,
            Value value) {
  head(out, name, type, help);
  out += fmt::format("{} {}\n", name, value);
}

void node_lines(std::string& out, const NodeInfo& node) {
  const std::string name = label(node.name);
  const auto line = [&](std::string_view kind, uint64_t bytes) {
    out += fmt::format("exo_node_memory_bytes{{node=\"{}\",name=\"{}\",kind=\"{}\"}} {}\n",
                       label(node.id.value), name, kind, bytes);
  };
  line("total", node.device.memory_total_bytes);
  line("free", node.device.memory_free_bytes);
}

void render_cluster(const NodeStatus& status, std::string& out) {
  size_t alive = 1;
  for (const PeerView& peer : status.core.peers) alive += peer.state == PeerState::alive ? 1 : 0;
  single(out, "exo_nodes", "gauge", "Nodes of this cluster that are alive, this one included.",
         alive);
  single(out, "exo_foreign_nodes", "gauge", "Nodes of other clusters nearby.",
         status.foreign.size());
  head(out, "exo_node_memory_bytes", "gauge", "Memory of each node.");
  node_lines(out, status.core.self);
  for (const PeerView& peer : status.core.peers) node_lines(out, peer.info);
  head(out, "exo_link_rtt_seconds", "gauge", "Round trip from this node to its peers.");
  for (const PeerView& peer : status.core.peers)
    if (peer.linked)
      out += fmt::format("exo_link_rtt_seconds{{from=\"{}\",to=\"{}\"}} {}\n",
                         label(status.core.self.id.value), label(peer.info.id.value),
                         peer.rtt_us / 1e6);
  single(out, "exo_sessions_running", "gauge", "Sessions this node asked for and that run.",
         status.core.running_sessions);
  head(out, "exo_build_info", "gauge", "The software of this node.");
  out += fmt::format("exo_build_info{{version=\"{}\",engine=\"{}\"}} 1\n", label(status.version),
                     label(status.engine));
}

}  // namespace

void Histogram::observe(double value) {
  ++count_;
  sum_ += value;
  for (size_t i = 0; i < kBounds.size(); ++i)
    if (value <= kBounds[i]) {
      ++counts_[i];
      return;
    }
}

void Histogram::render(std::string_view name, std::string_view help, std::string& out) const {
  head(out, name, "histogram", help);
  uint64_t below = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    below += counts_[i];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], below);
  }
  out += fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, count_,
                     sum_);
}

void Metrics::request_answered(std::string_view route, int status) {
  const std::lock_guard lock(mutex_);
  ++answers_[{std::string(route), status}];
}

void Metrics::generation_started() {
  const std::lock_guard lock(mutex_);
  ++waiting_;
}

void Metrics::first_token(double seconds_since_start) {
  const std::lock_guard lock(mutex_);
  --waiting_;
  ++running_;
  first_token_.observe(seconds_since_start);
}

void Metrics::inter_token(double seconds) {
  const std::lock_guard lock(mutex_);
  inter_token_.observe(seconds);
}

void Metrics::generation_finished(const Finished& finished) {
  const std::lock_guard lock(mutex_);
  --(finished.had_first_token ? running_ : waiting_);
  ++generations_[{std::string(finished.model), std::string(finished.reason)}];
  prompt_tokens_ += static_cast<uint64_t>(finished.prompt_tokens);
  cached_tokens_ += static_cast<uint64_t>(finished.cached_tokens);
  generation_tokens_ += static_cast<uint64_t>(finished.completion_tokens);
  duration_.observe(finished.seconds);
}

std::string Metrics::render(const NodeStatus& status, size_t connections) const {
  std::string out;
  const std::lock_guard lock(mutex_);
  head(out, "exo_requests_total", "counter", "HTTP requests answered, by route and status.");
  for (const auto& [key, count] : answers_)
    out += fmt::format("exo_requests_total{{route=\"{}\",code=\"{}\"}} {}\n", label(key.first),
                       key.second, count);
  head(out, "exo_generations_total", "counter", "Generated choices, by model and how they ended.");
  for (const auto& [key, count] : generations_)
    out += fmt::format("exo_generations_total{{model=\"{}\",finished_reason=\"{}\"}} {}\n",
                       label(key.first), label(key.second), count);
  single(out, "exo_prompt_tokens_total", "counter", "Prompt tokens of finished generations.",
         prompt_tokens_);
  single(out, "exo_prompt_tokens_cached_total", "counter",
         "Prompt tokens taken from the prefix cache.", cached_tokens_);
  single(out, "exo_generation_tokens_total", "counter", "Tokens generated.", generation_tokens_);
  single(out, "exo_requests_waiting", "gauge", "Generations before their first token.", waiting_);
  single(out, "exo_requests_running", "gauge", "Generations after their first token.", running_);
  single(out, "exo_http_connections", "gauge", "Open connections to the API.", connections);
  first_token_.render("exo_time_to_first_token_seconds", "From the request to its first token.",
                      out);
  inter_token_.render("exo_inter_token_seconds", "Between two tokens of one generation.", out);
  duration_.render("exo_generation_seconds", "From the request to its last token.", out);
  render_cluster(status, out);
  return out;
}

}  // namespace exo
