#include "app/node_setup.h"

#include <fmt/core.h>

#include <mutex>
#include <thread>

#include "app/local_model.h"
#include "app/paths.h"
#include "base/log.h"
#include "download/model_store.h"
#include "inference/device_probe.h"
#include "networking/admission.h"
#include "networking/grpc_transport.h"
#include "networking/identity.h"
#include "networking/interfaces.h"
#include "networking/manual_discovery.h"
#include "networking/udp_discovery.h"
#include "orchestration/engine_factory.h"
#include "orchestration/file_exchange.h"
#include "orchestration/model_library.h"
#include "orchestration/revocation_keeper.h"

namespace exo {

namespace {

// Measures the device's speed once, in the background of the start.
class SpeedProbe {
 public:
  class Result {
   public:
    void set(const DeviceSpeed& speed) {
      const std::lock_guard lock(mutex_);
      speed_ = speed;
    }
    // `device` with the speed, as far as it is known, and the memory of now.
    DeviceCapabilities applied_to(DeviceCapabilities device) const {
      device.memory_free_bytes = probe_memory().free_bytes;
      const std::lock_guard lock(mutex_);
      device.read_bandwidth_gb_per_s = speed_.read_bandwidth_gb_per_s;
      device.gemm_gflops = speed_.gemm_gflops;
      return device;
    }

   private:
    mutable std::mutex mutex_;
    DeviceSpeed speed_;
  };

  explicit SpeedProbe(int threads)
      : result_(std::make_shared<Result>()),
        thread_([threads, result = result_] { result->set(measure_speed(threads)); }) {}
  ~SpeedProbe() { thread_.join(); }
  std::shared_ptr<const Result> result() const { return result_; }

 private:
  std::shared_ptr<Result> result_;
  std::thread thread_;
};

}  // namespace

struct NodeSetup::Parts {
  explicit Parts(int threads) : speed(threads) {}
  SpeedProbe speed;
  std::shared_ptr<const Identity> identity;
  std::shared_ptr<ModelLibrary> models;
  std::shared_ptr<RevocationKeeper> revocations;
  std::unique_ptr<Inviter> inviter;
};

namespace {

constexpr int kInviteLifetimeS = 15 * 60;

std::string node_name(const NodeFlags& flags, const DeviceCapabilities& device) {
  return flags.node_name.empty() ? device.host_name : flags.node_name;
}

Result<CoreOptions> core_options(const NodeFlags& flags) {
  CoreOptions core;
  core.partitioning = flags.partitioning;
  core.partition.context_length = flags.context_length;
  core.partition.kv_capacity_tokens = flags.kv_tokens;
  core.partition.allow_disk = flags.allow_disk;
  core.weight_format = TRY(parse_weight_format(flags.quantize));
  core.partition.weight_format = core.weight_format;
  core.wire_dtype = flags.wire_dtype == "bf16" ? WireDtype::bf16 : WireDtype::f32;
  core.exact = flags.exact;
  return core;
}

std::unique_ptr<Discovery> make_discovery(const NodeFlags& flags,
                                          const std::shared_ptr<const Identity>& identity,
                                          const std::string& name, uint16_t node_port,
                                          uint16_t api_port) {
  if (flags.discovery_module == "udp") {
    UdpDiscoveryOptions options;
    options.identity = identity;
    options.name = name;
    options.node_port = node_port;
    options.api_port = api_port;
    options.listen_port = static_cast<uint16_t>(flags.listen_port);
    options.broadcast_port = static_cast<uint16_t>(flags.broadcast_port);
    options.node_id_filter = flags.node_id_filter;
    options.interface_type_filter = flags.interface_type_filter;
    options.discovery_timeout_s = flags.discovery_timeout_s;
    options.loopback_only = flags.node_host.starts_with("127.");
    return std::make_unique<UdpDiscovery>(std::move(options));
  }
  if (flags.discovery_module == "manual") {
    ManualDiscoveryOptions options;
    options.path = flags.discovery_config_path;
    options.self = identity->node_id();
    options.self_name = name;
    options.node_port = node_port;
    return std::make_unique<ManualDiscovery>(std::move(options));
  }
  return nullptr;
}

Result<void> check(const NodeFlags& flags) {
  if (flags.discovery_module == "manual" && flags.discovery_config_path.empty())
    return invalid_argument(
        "--discovery-module manual needs --discovery-config-path FILE (docs/exo_usage.md shows "
        "one)");
  return {};
}

}  // namespace

Result<std::unique_ptr<NodeSetup>> NodeSetup::start(const NodeFlags& flags, uint16_t api_port,
                                                    std::vector<std::string> api_urls) {
  TRY(check(flags));
  std::unique_ptr<NodeSetup> setup(new NodeSetup);
  setup->parts_ = std::make_unique<Parts>(flags.threads);
  Parts& parts = *setup->parts_;
  parts.identity = TRY(Identity::open({config_dir(), environment("EXO_CLUSTER_KEY")}));
  const ModelStoreOptions store = model_store_options();
  parts.models = make_disk_model_library(store);
  const auto files = std::make_shared<FileExchange>(store.downloads);
  const std::shared_ptr<Downloads> downloads = make_downloads(store, flags.offline, files);

  NodeOptions options;
  options.device = probe_device();
  options.measure_device = [device = options.device, speed = parts.speed.result()] {
    return speed->applied_to(device);
  };
  options.node_id = parts.identity->node_id();
  options.name = node_name(flags, options.device);
  options.cluster_id = parts.identity->cluster_id();
  options.version = EXO_VERSION;
  auto transport = std::make_unique<GrpcTransport>(GrpcTransportOptions{
      parts.identity, flags.node_host, static_cast<uint16_t>(flags.node_port)});
  GrpcTransport& links = *transport;
  parts.revocations = TRY(RevocationKeeper::open(
      parts.identity, [&links](const std::vector<NodeId>& nodes) { links.set_revoked(nodes); }));
  options.revocations = parts.revocations;
  options.transport = std::move(transport);
  options.make_discovery = [flags, identity = parts.identity, name = options.name,
                            api_port](uint16_t node_port) {
    return make_discovery(flags, identity, name, node_port, api_port);
  };
  parts.inviter = std::make_unique<Inviter>(
      InviterOptions{parts.identity, flags.node_host, 0, kInviteLifetimeS, {}});
  options.create_invite = [&inviter = *parts.inviter]() -> Result<std::string> {
    return TRY(inviter.invite()).code;
  };
  options.addresses = [host = flags.node_host](uint16_t port) {
    return reachable_addresses(host, port);
  };
  options.models = parts.models;
  options.downloads = downloads;
  options.files = files;
  options.auto_download = flags.auto_download;
  // A node that `exo run` starts for a moment has no API and keeps no copies for others.
  options.spare_layers = flags.spare_layers == "auto" && flags.auto_download && api_port != 0;
  options.store = store;
  EngineFactoryOptions engines{flags.inference_engine, flags.threads, {}};
  if (flags.allow_disk)
    engines.scratch_folder = default_downloads_folder().parent_path() / "scratch";
  options.make_engine = make_engine_factory(parts.models, flags.auto_download ? downloads : nullptr,
                                            std::move(engines));
  options.engine = flags.inference_engine;
  options.core = TRY(core_options(flags));
  options.default_model = flags.default_model;
  options.max_generate_tokens = flags.max_generate_tokens;
  options.system_prompt = flags.system_prompt;
  options.api_port = api_port;
  options.api_urls = std::move(api_urls);
  setup->node_ = TRY(LocalNode::start(std::move(options)));
  return setup;
}

NodeSetup::~NodeSetup() {
  if (node_) node_->stop();
}

Result<std::shared_ptr<Node>> start_temporary_node(const NodeFlags& flags) {
  std::shared_ptr<NodeSetup> setup = TRY(NodeSetup::start(flags, 0, {}));
  constexpr int kPeerTimeoutMs = 30'000;
  if (flags.wait_for_peers > 0 &&
      !setup->node().wait_for_peers(static_cast<size_t>(flags.wait_for_peers), kPeerTimeoutMs))
    return unavailable(fmt::format("{} peers were wanted; they did not come within {} s",
                                   flags.wait_for_peers, kPeerTimeoutMs / 1000));
  return std::shared_ptr<Node>(setup, &setup->node());
}

}  // namespace exo
