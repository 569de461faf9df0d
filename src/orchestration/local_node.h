// LocalNode: the real Node. It puts together what the parts decide and do: discovery finds peers,
// the transport links them, CoreDriver runs the core and the engine threads, ModelLibrary knows the
// models of this machine. Owned by the application; start() gives a node that already listens.
// Thread-safe. stop() says goodbye, so that work under way moves to other nodes at once, and ends
// every thread; a second call returns at once, and the destructor calls it.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/world.h"
#include "networking/discovery.h"
#include "networking/transport.h"
#include "orchestration/core_driver.h"
#include "orchestration/held_models.h"
#include "orchestration/model_library.h"
#include "orchestration/node.h"
#include "orchestration/spare_layers.h"

namespace exo {

struct NodeOptions {
  NodeId node_id;    // of the identity the transport uses
  std::string name;  // --node-id
  std::string cluster_id;
  std::string version = "0.1.0";
  std::unique_ptr<Transport> transport;
  // Called once the transport listens. May be empty: links are made by connect() or gossip.
  std::function<std::unique_ptr<Discovery>(uint16_t node_port)> make_discovery;
  std::shared_ptr<ModelLibrary> models;
  EngineFactory make_engine;  // see engine_factory.h
  std::string engine = "cpu";
  DeviceCapabilities device;                           // as measured at the start
  std::function<DeviceCapabilities()> measure_device;  // refreshes it; quick; may be empty
  std::function<std::vector<PeerAddress>(uint16_t port)>
      addresses;  // of this machine; may be empty
  // Partitioning, formats and time limits; `self` and `seed` are filled in here.
  CoreOptions core;
  StageRunnerOptions runner;
  std::shared_ptr<Downloads> downloads;  // may be empty
  std::shared_ptr<FileExchange> files;   // between the nodes' downloads; may be empty
  bool auto_download = true;             // what a request names and is not here
  bool spare_layers = false;             // copies of other nodes' layers; needs `downloads`
  ModelStoreOptions store;               // what may be removed
  std::string default_model;             // "" = what is loaded, else demo, else the first found
  int max_generate_tokens = 10'000;      // where a request names none
  std::string system_prompt;
  uint16_t api_port = 0;
  std::vector<std::string> api_urls;
  std::function<Result<std::string>()> create_invite;  // may be empty
  std::shared_ptr<RevocationKeeper> revocations;       // may be empty
  World* world = &real_world();                        // borrowed
};

class LocalNode final : public Node {
 public:
  static Result<std::unique_ptr<LocalNode>> start(NodeOptions options);
  ~LocalNode() override;
  void stop();

  Result<StartedGeneration> generate(GenerationRequest request) override;
  std::vector<ModelStatus> models() const override;
  Result<ModelCard> find_model(const std::string& model) const override;
  Result<std::shared_ptr<const Tokenizer>> tokenizer(const std::string& model) const override;
  SamplingParams sampling_defaults(const std::string& model) const override;
  Result<std::string> render_prompt(const GenerationRequest& request) const override;
  NodeStatus status() const override;
  Result<std::string> create_invite() override;
  Result<ModelCard> add_model(const std::string& path) override;
  Result<std::unique_ptr<TokenStream>> load_model(const std::string& model) override;
  Result<void> unload_model(const std::string& model) override;
  Result<void> revoke(const std::string& node) override;
  const ModelCatalog& catalog() const override { return *options_.store.catalog; }
  Downloads* downloads() const override { return options_.downloads.get(); }
  Result<uint64_t> download_parts(const std::string& model,
                                  const std::vector<std::string>& nodes) override;
  PartDownloads* parts() const override { return parts_.get(); }
  Result<std::optional<uint64_t>> bring_model(const std::string& model) override;
  Result<uint64_t> remove_model(const std::string& model) override;
  uint64_t status_version() const override { return driver_->version(); }

  const NodeId& id() const { return options_.node_id; }
  uint16_t node_port() const { return options_.transport->port(); }
  void connect(const NodeId& peer, const PeerAddress& address);
  // `count` peers alive and linked; false when they do not come in time.
  bool wait_for_peers(size_t count, int timeout_ms);
  bool wait_until(const std::function<bool(const CoreView&)>& enough, int timeout_ms);
  StageStats stage_stats() const { return driver_->stage_stats(); }

 private:
  explicit LocalNode(NodeOptions options);
  Result<void> begin();
  std::shared_ptr<PartDownloads> make_parts() const;
  void on_peer(const PeerSighting& sighting);
  void on_foreign(const ForeignSighting& sighting);
  void start_files();
  void watch_held_models();
  void start_spare_layers();
  bool computes() const;
  Result<std::vector<TokenId>> prompt_ids(const GenerationRequest& request,
                                          StartedGeneration& started) const;
  Result<std::string> render(const GenerationRequest& request, const ModelCard& card) const;
  int context_length(const ModelCard& card) const;  // of a request, as far as is known now

  NodeOptions options_;
  std::unique_ptr<Discovery> discovery_;
  int64_t started_wall_ms_ = 0;
  std::shared_ptr<PartDownloads> parts_;  // null: without downloads
  std::shared_ptr<CoreDriver> driver_;
  std::unique_ptr<HeldModelWatch> held_;  // null: without downloads
  std::unique_ptr<SpareLayers> spare_;    // null: none are wanted
  std::atomic<bool> stopped_ = false;
  struct Foreign {
    ForeignNode node;
    int64_t seen_us = 0;
  };
  mutable std::mutex foreign_mutex_;
  std::map<std::string, Foreign> foreign_;  // by host and name
};

}  // namespace exo
