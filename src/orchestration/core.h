// NodeCore: one participant's decisions as a pure state machine: events in, effects out. It owns
// membership, placements, sessions and recovery. It includes base, core and topology only: the
// driver (node.cpp) connects it to transport, engine threads and clocks; tests/sim connects many of
// them under a virtual clock and a hostile network. It reads no clock and draws no randomness but
// what is handed in. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/messages.h"
#include "core/stage_io.h"
#include "topology/partitioning_strategy.h"

namespace exo {

// --- events
// -----------------------------------------------------------------------------------------------

struct LinkUp {
  NodeId peer;
};
struct LinkDown {
  NodeId peer;
};
struct MessageReceived {
  NodeId from;
  Message message;
};
struct DeviceChanged {
  DeviceCapabilities device;
};  // refreshed measurements of this node
struct HeldChanged {
  std::vector<HeldModel> held;
};  // what this node has on its disk
struct ShardLoaded {
  PlacementId placement;
};  // answer to LoadShard
struct ShardLoading {
  PlacementId placement;
  std::string progress;  // for people: "downloading 34 % of 2.0 GB"
};
struct ShardLoadFailed {
  PlacementId placement;
  Error error;
};
struct StageOutput {
  PlacementId placement;
  StageEvent event;
};
struct Tick {};  // at the time asked for by next_deadline_us()

// Commands of this node's own API. `request` numbers are the driver's.
struct StartSession {
  uint64_t request = 0;
  ModelCard card;
  std::vector<TokenId> prompt_ids;
  SamplingParams sampling;
  std::vector<PlacedImage> images = {};  // in order, all within prompt_ids
};
struct CancelSession {
  uint64_t request = 0;
};
struct LoadModel {
  uint64_t request = 0;
  ModelCard card;
};  // place and load without a session
struct UnloadModel {
  std::string model_id;
};
struct StopNode {};  // say goodbye: Leave to all

using CoreEvent = std::variant<LinkUp, LinkDown, MessageReceived, DeviceChanged, HeldChanged,
                               ShardLoaded, ShardLoading, ShardLoadFailed, StageOutput, Tick,
                               StartSession, CancelSession, LoadModel, UnloadModel, StopNode>;

// --- effects
// ----------------------------------------------------------------------------------------------

struct SendMessage {
  NodeId to;
  Message message;
};
struct ConnectPeer {
  NodeId peer;
  PeerAddress address;
};  // learnt by gossip
struct DisconnectPeer {
  NodeId peer;
};  // declared dead or left
struct LoadShard {
  Placement placement;
  size_t stage_index = 0;
};  // answered by ShardLoaded / ShardLoadFailed
struct UnloadShard {
  PlacementId placement;
};
struct SubmitToStage {
  PlacementId placement;
  StageCommand command;
};
struct EmitTokens {
  uint64_t request = 0;
  TokenEvent event;
  int cached_tokens = 0;  // of the prompt, taken from the prefix cache
};                        // in order, no gaps, no repeats
struct SessionFailed {
  uint64_t request = 0;
  Error error;
};  // the last word on a request
struct SessionNotice {
  uint64_t request = 0;
  std::string text;
};  // "loading demo on 2 nodes", "node B left, continuing on A"
struct ModelReady {
  uint64_t request = 0;
  PlacementId placement;
};

using CoreEffect =
    std::variant<SendMessage, ConnectPeer, DisconnectPeer, LoadShard, UnloadShard, SubmitToStage,
                 EmitTokens, SessionFailed, SessionNotice, ModelReady>;

// --- what people may look at
// ------------------------------------------------------------------------------

enum class PeerState { alive, suspect, dead, left };

struct PeerView {
  NodeInfo info;
  PeerState state = PeerState::alive;
  bool linked = false;  // directly, now
  double rtt_us = 0;    // ours to it
  double bandwidth_mb_per_s = 0;
  int64_t last_heard_us = 0;  // on this node's clock
};

struct CoreView {
  NodeInfo self;
  std::vector<PeerView> peers;
  std::vector<PlacementInfo> placements;  // all known, ready first
  size_t running_sessions = 0;
};

struct CoreOptions {
  NodeInfo self;  // id, incarnation, name, addresses, ports
  std::string partitioning = "ring-memory-weighted";
  PartitionRequest partition;
  WeightFormat weight_format = WeightFormat::as_stored;
  WireDtype wire_dtype = WireDtype::f32;
  bool exact = false;
  uint64_t seed = 0;  // for ids of placements and sessions
  int64_t heartbeat_us = 500'000;
  int64_t suspect_us = 2'000'000;
  int64_t dead_us = 5'000'000;
  int64_t broken_link_dead_us = 1'000'000;  // link broke and did not come back
  int64_t session_deadline_us =
      10'000'000;  // a death is answered within this: moved or a clear error
};

class NodeCore {
 public:
  virtual ~NodeCore() = default;
  virtual std::vector<CoreEffect> handle(CoreEvent event, int64_t now_us) = 0;
  virtual int64_t next_deadline_us() const = 0;  // when the next Tick is due
  virtual CoreView view() const = 0;
};

std::unique_ptr<NodeCore> make_node_core(CoreOptions options, int64_t now_us);

}  // namespace exo
