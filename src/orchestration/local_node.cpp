#include "orchestration/local_node.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/log.h"
#include "model/architecture.h"
#include "orchestration/pictures.h"
#include "orchestration/prompt.h"

namespace exo {
namespace {

constexpr int64_t kForeignSeenUs = 15'000'000;
constexpr size_t kMaxForeign = 256;
constexpr int kSpareEndMs = 15'000;  // a neighbour may take ten seconds to be given up

bool same_model(const ModelCard& a, const ModelCard& b) {
  return a.fingerprint == b.fingerprint && a.id == b.id;
}

Result<void> check_writes(const ModelCard& card) {
  if (!card.embeds) return {};
  return cannot_chat(card.id);
}

}  // namespace

LocalNode::LocalNode(NodeOptions options) : options_(std::move(options)) {
  CoreDriver::Options driver;
  driver.world = options_.world;
  driver.transport = options_.transport.get();
  driver.make_engine = options_.make_engine;
  driver.runner = options_.runner;
  driver.measure_device = options_.measure_device;
  driver.revocations = options_.revocations;
  driver.files = options_.files;
  driver.parts = parts_ = make_parts();
  driver_ = std::make_shared<CoreDriver>(std::move(driver));
}

std::shared_ptr<PartDownloads> LocalNode::make_parts() const {
  if (!options_.downloads) return nullptr;
  PartDownloads::Options parts;
  parts.self = options_.node_id;
  parts.downloads = options_.downloads;
  parts.send = [transport = options_.transport.get()](const NodeId& to, Message message) {
    return transport->send(to, std::move(message));
  };
  parts.for_others = options_.auto_download;
  parts.world = options_.world;
  return std::make_shared<PartDownloads>(std::move(parts));
}

Result<std::unique_ptr<LocalNode>> LocalNode::start(NodeOptions options) {
  CHECK(options.transport && options.models && options.make_engine, "a node needs its parts");
  TRY(make_partitioning_strategy(options.core.partitioning, options.node_id));  // the user's words
  std::unique_ptr<LocalNode> node(new LocalNode(std::move(options)));
  if (auto begun = node->begin(); !begun.ok()) return begun.error();
  return node;
}

void LocalNode::start_files() {
  if (!options_.files) return;
  FileExchange::Links links;
  links.self = options_.node_id;
  links.send = [this](const NodeId& to, Message message) {
    return options_.transport->send(to, std::move(message));
  };
  links.peers = [this] {
    std::vector<NodeId> linked;
    for (const PeerView& peer : driver_->view().peers)
      if (peer.linked) linked.push_back(peer.info.id);
    return linked;
  };
  links.busy = [this] { return computes(); };
  options_.files->start(std::move(links));
}

bool LocalNode::computes() const {
  const StageStats stats = driver_->stage_stats();
  return stats.running > 0 || stats.tail_sessions > 0;
}

void LocalNode::start_spare_layers() {
  if (!options_.spare_layers || !options_.downloads) return;
  SpareLayers::Options spare;
  spare.models = options_.models;
  spare.downloads = options_.downloads;
  spare.view = [this] { return driver_->view(); };
  spare.busy = [this] { return computes(); };
  spare.room = room_for_spare_layers;
  spare.world = options_.world;
  spare_ = std::make_unique<SpareLayers>(std::move(spare));
}

void LocalNode::watch_held_models() {
  if (!options_.downloads || options_.store.downloads.empty()) return;
  HeldModelWatch::Options watch;
  watch.store = options_.store;
  watch.fetching = [downloads = options_.downloads] { return downloads->any_running(); };
  watch.tell = [this](const std::vector<HeldModel>& held) { driver_->handle(HeldChanged{held}); };
  held_ = std::make_unique<HeldModelWatch>(std::move(watch));
  options_.downloads->set_listener([this] { held_->look(); });
}

Result<void> LocalNode::begin() {
  start_files();
  if (auto started = options_.transport->start(*driver_); !started.ok()) return started;
  started_wall_ms_ = options_.world->wall_time_ms();
  CoreOptions core = options_.core;
  core.self.id = options_.node_id;
  core.self.incarnation = static_cast<uint64_t>(started_wall_ms_);
  core.self.name = options_.name;
  core.self.software = "exo " + options_.version;
  core.self.api_port = options_.api_port;
  core.self.device = options_.device;
  if (options_.addresses) core.self.addresses = options_.addresses(node_port());
  core.seed = options_.world->random_u64();
  driver_->start(std::move(core));
  watch_held_models();
  start_spare_layers();
  if (options_.make_discovery) discovery_ = options_.make_discovery(node_port());
  if (!discovery_) return {};
  DiscoveryHandler handler;
  handler.on_peer = [this](const PeerSighting& sighting) { on_peer(sighting); };
  handler.on_foreign = [this](const ForeignSighting& sighting) { on_foreign(sighting); };
  handler.on_problem = [](const std::string& problem) { log::warn("discovery: {}", problem); };
  return discovery_->start(std::move(handler));
}

LocalNode::~LocalNode() { stop(); }

void LocalNode::stop() {
  if (stopped_.exchange(true)) return;
  if (discovery_) discovery_->stop();
  if (held_) {
    options_.downloads->set_listener(nullptr);
    held_->stop();
  }
  if (spare_) spare_->ask_to_stop();
  if (options_.files) options_.files->stop();
  if (spare_) spare_->stop();
  driver_->say_goodbye();
  driver_->stop();
  options_.transport->stop();  // lets the goodbye leave
}

void LocalNode::on_peer(const PeerSighting& sighting) {
  if (sighting.leaving || sighting.id == options_.node_id) return;
  options_.transport->connect(sighting.id, sighting.address);
}

void LocalNode::on_foreign(const ForeignSighting& sighting) {
  const int64_t now_us = options_.world->now_us();
  const std::lock_guard lock(foreign_mutex_);
  std::erase_if(foreign_,
                [&](const auto& entry) { return now_us - entry.second.seen_us > kForeignSeenUs; });
  const std::string key = sighting.host + " " + sighting.name;
  if (foreign_.size() >= kMaxForeign && !foreign_.contains(key)) return;
  foreign_[key] = {{sighting.cluster_id, sighting.name, sighting.host}, now_us};
}

void LocalNode::connect(const NodeId& peer, const PeerAddress& address) {
  options_.transport->connect(peer, address);
}

bool LocalNode::wait_until(const std::function<bool(const CoreView&)>& enough, int timeout_ms) {
  return driver_->wait_until(enough, timeout_ms);
}

bool LocalNode::wait_for_peers(size_t count, int timeout_ms) {
  const auto enough = [count](const CoreView& view) {
    const auto here = [](const PeerView& peer) {
      return peer.linked && peer.state == PeerState::alive;
    };
    return static_cast<size_t>(std::count_if(view.peers.begin(), view.peers.end(), here)) >= count;
  };
  return driver_->wait_until(enough, timeout_ms);
}

Result<std::unique_ptr<TokenStream>> LocalNode::load_model(const std::string& model) {
  const ModelCard card = TRY(find_model(model));
  TRY(check_writes(card));
  return driver_->load(card);
}

Result<void> LocalNode::unload_model(const std::string& model) {
  driver_->handle(UnloadModel{TRY(find_model(model)).id});
  return {};
}

Result<ModelCard> LocalNode::add_model(const std::string& path) {
  return options_.models->find(path);
}

Result<void> LocalNode::revoke(const std::string& node) {
  if (!options_.revocations) return unsupported("this node cannot revoke others");
  std::vector<NodeId> found;
  for (const PeerView& peer : driver_->view().peers)
    if (peer.info.id.value == node || peer.info.name == node ||
        (node.size() >= 8 && peer.info.id.value.starts_with(node)))
      found.push_back(peer.info.id);
  if (found.empty()) return not_found("no other node here is called " + node + "; see exo nodes");
  if (found.size() > 1)
    return invalid_argument("several nodes match " + node + "; give the id that exo nodes shows");
  TRY(options_.revocations->revoke(found.front()));
  driver_->tell_revocations();
  options_.transport->disconnect(found.front());
  return {};
}

Result<ModelCard> LocalNode::find_model(const std::string& model) const {
  if (!model.empty()) return options_.models->find(model);
  if (!options_.default_model.empty()) return options_.models->find(options_.default_model);
  for (const PlacementInfo& known : driver_->view().placements)
    if (known.state == PlacementState::ready)
      if (auto card = options_.models->find(known.placement.card.id); card.ok()) return card;
  if (auto demo = options_.models->find("demo"); demo.ok()) return demo;
  const std::vector<ModelCard> cards = options_.models->list();
  for (const ModelCard& card : cards)
    if (!card.embeds) return card;
  return not_found("there is no model on this machine; name one, or give the folder of one");
}

Result<std::optional<uint64_t>> LocalNode::bring_model(const std::string& model) {
  if (!options_.downloads || model.empty() || options_.models->find(model).ok())
    return std::optional<uint64_t>();
  const auto source = TRY(catalog().source_of(model));
  if (!source) return std::optional<uint64_t>();
  if (const auto card = catalog().find(*source); card && !runs_family(card->card->family))
    return unsupported(fmt::format("{} cannot be run: this exo has no {} architecture", model,
                                   card->card->family));
  if (!options_.auto_download)
    return not_found(fmt::format(
        "{} is not on this device, and this node fetches nothing by itself; fetch it with "
        "`exo download {}`",
        model, model));
  return std::optional<uint64_t>(TRY(options_.downloads->start(model, Downloads::Extent::headers)));
}

Result<uint64_t> LocalNode::download_parts(const std::string& model,
                                           const std::vector<std::string>& nodes) {
  if (!parts_) return unsupported("this node does not download");
  const ModelCard card = TRY(find_model(model));
  if (card.source.empty())
    return invalid_argument(
        fmt::format("{} came from no hub; copy its folder to the other devices", card.id));
  return parts_->start(card.source, TRY(plan_parts(driver_->view(), card, options_.core, nodes)));
}

Result<uint64_t> LocalNode::remove_model(const std::string& model) {
  ModelStore store(options_.store);
  const StoredModel stored = TRY(store.find(model));
  for (const PlacementInfo& known : driver_->view().placements)
    if (known.placement.card.id == stored.id)
      return unavailable(
          fmt::format("{} is loaded; first run `exo unload {}`", stored.id, stored.id));
  if (options_.downloads &&
      (options_.downloads->running(stored.id) || options_.downloads->running(model)))
    return unavailable(stored.id + " is being downloaded");
  if (spare_ && !spare_->wait_for_end(stored.id, kSpareEndMs))
    return unavailable(stored.id + " is still being copied; try again in a moment");
  auto freed = store.remove(stored);
  if (held_) held_->look();
  return freed;
}

std::vector<ModelStatus> LocalNode::models() const {
  const CoreView view = driver_->view();
  std::vector<ModelStatus> models;
  for (ModelCard& card : options_.models->list()) {
    const auto is_loaded = [&](const PlacementInfo& known) {
      return known.state == PlacementState::ready && same_model(known.placement.card, card);
    };
    ModelStatus status;
    status.loaded = std::any_of(view.placements.begin(), view.placements.end(), is_loaded);
    status.source = card.path;
    if (const auto record = read_source_record(card.path); record.ok() && *record)
      if (const auto held = held_bytes(card.path, **record); held.ok()) {
        status.held_bytes = held->held;
        status.file_bytes = held->total;
        status.downloading = options_.downloads && options_.downloads->running(card.id);
      }
    status.card = std::move(card);
    models.push_back(std::move(status));
  }
  return models;
}

Result<std::shared_ptr<const Tokenizer>> LocalNode::tokenizer(const std::string& model) const {
  return options_.models->tokenizer(TRY(find_model(model)));
}

SamplingParams LocalNode::sampling_defaults(const std::string& model) const {
  SamplingParams params;
  const auto card = find_model(model);
  if (!card.ok()) return params;
  const GenerationDefaults defaults = options_.models->generation_defaults(*card);
  params.temperature = defaults.temperature.value_or(params.temperature);
  params.top_p = defaults.top_p.value_or(params.top_p);
  params.min_p = defaults.min_p.value_or(params.min_p);
  params.top_k = defaults.top_k.value_or(params.top_k);
  params.repetition_penalty = defaults.repetition_penalty.value_or(params.repetition_penalty);
  return params;
}

Result<std::string> LocalNode::render(const GenerationRequest& request,
                                      const ModelCard& card) const {
  const auto with = TRY(options_.models->chat_template(card, !request.tools.empty()));
  RenderOptions how{options_.system_prompt, "", options_.world->wall_time_ms()};
  if (card.vision) {
    const auto tokenizer = TRY(options_.models->tokenizer(card));
    const std::vector<std::string>& tokens = tokenizer->vocabulary().bytes;
    const auto token = static_cast<size_t>(card.image_token);
    if (token >= tokens.size()) return corrupt(card.id + ": its tokenizer has no image token");
    how.image_token = tokens[token];
  }
  return render_chat(request, *with, how);
}

Result<std::string> LocalNode::render_prompt(const GenerationRequest& request) const {
  if (request.prompt) return *request.prompt;
  return render(request, TRY(find_model(request.model)));
}

// Also notes what kind of answer the prompt asks for.
Result<std::vector<TokenId>> LocalNode::prompt_ids(const GenerationRequest& request,
                                                   StartedGeneration& started) const {
  const ModelCard& card = started.card;
  const Tokenizer& tokenizer = *started.tokenizer;
  std::vector<TokenId> ids;
  if (request.prompt_ids) {
    ids = *request.prompt_ids;
    for (const TokenId id : ids)
      if (id < 0 || id >= card.vocab_size)
        return invalid_argument(
            fmt::format("token id {} is not one of {}'s {}", id, card.id, card.vocab_size));
  } else if (request.prompt) {
    ids = tokenizer.encode_with_special(*request.prompt);
  } else {
    const std::string text = TRY(render(request, card));
    ids = tokenizer.encode(text);  // the template brings its special tokens
    started.syntax = TRY(options_.models->chat_template(card, !request.tools.empty()))->syntax;
    if (request.add_generation_prompt) started.opened = started.syntax.opened_by(text);
  }
  if (ids.empty()) return invalid_argument("the prompt is empty");
  return ids;
}

int LocalNode::context_length(const ModelCard& card) const {
  int length = card.context_length;
  const int asked = options_.core.partition.context_length;
  if (asked > 0) length = std::min(length, asked);
  for (const PlacementInfo& known : driver_->view().placements)
    if (known.state == PlacementState::ready && same_model(known.placement.card, card))
      length = std::min(length, known.placement.context_length);
  return length;
}

Result<StartedGeneration> LocalNode::generate(GenerationRequest request) {
  StartedGeneration started;
  started.card = TRY(find_model(request.model));
  TRY(check_writes(started.card));
  started.tokenizer = TRY(options_.models->tokenizer(started.card));
  PromptIds prompt =
      TRY(expand_images(TRY(prompt_ids(request, started)), request.images, started.card));
  const int context = context_length(started.card);
  const size_t length = prompt.ids.size();
  if (length >= static_cast<size_t>(context))
    return context_exceeded(context, static_cast<int>(length));
  started.prompt_tokens = static_cast<int>(length);
  started.sampling = std::move(request.sampling);
  started.sampling.max_tokens = output_room(
      started.sampling.max_tokens, options_.max_generate_tokens, context, started.prompt_tokens);
  if (started.sampling.stop_ids.empty()) started.sampling.stop_ids = started.card.eos_ids;
  if (!request.seed_given) started.sampling.seed = options_.world->random_u64();
  started.stream = driver_->open(started.card, std::move(prompt.ids), started.sampling,
                                 std::move(prompt.images));
  return started;
}

NodeStatus LocalNode::status() const {
  NodeStatus status;
  status.core = driver_->view();
  status.cluster_id = options_.cluster_id;
  status.version = options_.version;
  status.engine = options_.engine;
  status.api_port = options_.api_port;
  status.api_urls = options_.api_urls;
  status.node_port = node_port();
  status.started_wall_ms = started_wall_ms_;
  const CoreDriver::Counters counters = driver_->counters();
  status.tokens_generated = counters.tokens;
  status.prompt_tokens_processed = counters.prompt_tokens;
  status.requests_started = counters.requests_started;
  status.requests_failed = counters.requests_failed;
  const int64_t now_us = options_.world->now_us();
  const std::lock_guard lock(foreign_mutex_);
  for (const auto& [key, foreign] : foreign_)
    if (now_us - foreign.seen_us <= kForeignSeenUs) status.foreign.push_back(foreign.node);
  return status;
}

Result<std::string> LocalNode::create_invite() {
  if (options_.create_invite) return options_.create_invite();
  return unsupported("this node cannot invite others");
}

}  // namespace exo
