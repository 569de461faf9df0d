// Everything nodes say to each other, as plain structs: networking/ turns them into bytes,
// orchestration/ reacts to them, docs/protocol.md describes them. A message about a loaded model
// names its placement and epoch; a receiver that does not know them answers PlacementGone, so that
// stale senders learn. Times are microseconds of the sender's own monotonic clock, if nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "core/batch.h"
#include "core/device.h"
#include "core/file_messages.h"
#include "core/held_model.h"
#include "core/ids.h"
#include "core/placement.h"
#include "core/sampling.h"
#include "core/token_event.h"

namespace exo {

// --- membership ---

struct PeerAddress {
  std::string host;  // numeric IPv4 or IPv6, or a host name from a peers file
  uint16_t port = 0;
  std::string interface_type;  // "thunderbolt", "ethernet", "wifi", "loopback", "other"
};

struct LinkInfo {  // as measured by the node that reports it
  NodeId to;
  double rtt_us = 0;              // median of recent heartbeats
  double bandwidth_mb_per_s = 0;  // one probe after the link came up; 0 = not measured yet
};

enum class PlacementState { proposed, loading, ready, draining, failed };
struct PlacementInfo {
  Placement placement;
  PlacementState state = PlacementState::proposed;
  std::string why;      // for people: failed: what went wrong; loading: how far it is
  int64_t idle_us = 0;  // the head says for how long no session has run on it; 0 = in use
};

// One node's facts, written only by it; the higher version wins. Others pass them on.
struct NodeInfo {
  NodeId id;
  uint64_t incarnation = 0;  // random per process start, larger = newer start (wall clock ms)
  uint64_t version = 0;      // rises with each change
  std::string name;          // --node-id or the host's name
  std::string software;      // "exo 0.1.0"
  uint16_t api_port = 0;
  std::vector<PeerAddress> addresses;
  DeviceCapabilities device;
  std::vector<LinkInfo> links;
  std::vector<PlacementInfo> placements;  // that this node takes part in
  std::vector<HeldModel> held;            // on its disk, of models from a hub
};

struct StageProgress {  // lets the head tell a slow stage from a lost batch
  PlacementId placement;
  uint64_t run = 0;
  uint64_t next_number = 0;  // first batch of the run not received yet
  bool computing = false;
};
struct Heartbeat {
  int64_t sent_us = 0;
  int64_t echo_us = 0;  // the peer's last sent_us, 0 when none yet
  int64_t held_us = 0;  // how long the echo lay here
  std::vector<StageProgress> progress;
};
struct Gossip {
  std::vector<NodeInfo> nodes;
};
struct Leave {
  std::string reason;
};  // "stopping": the sender's work moves at once
// Nodes shut out of the cluster, signed by the cluster's key (networking/identity.h checks it); the
// higher version wins. Sent when a link comes up and when it changes.
struct Revocations {
  uint64_t version = 0;  // 0 = the empty list, unsigned
  std::vector<NodeId> nodes;
  std::string signature;  // ECDSA, DER
};
struct BandwidthProbe {
  int64_t sent_us = 0;
  uint32_t size_bytes = 0;
  std::vector<std::byte> filler;
};
struct BandwidthProbeAck {
  int64_t sent_us = 0;
  uint32_t size_bytes = 0;
};

// --- placements ---

struct PlacementPropose {
  Placement placement;
};                        // proposer -> each stage's node
struct PlacementAnswer {  // each -> proposer, and again when loaded
  PlacementId placement;
  bool accepted = false;
  bool loaded = false;
  Error error;                 // refused or failed to load
  uint64_t missing_bytes = 0;  // refused for lack of memory: how much more is needed
};
struct PlacementCommit {
  PlacementId placement;
  uint64_t epoch = 0;
};  // every stage has loaded it: use it
struct PlacementDrop {
  PlacementId placement;
  std::string reason;
};  // unload
struct PlacementGone {
  PlacementId placement;
};  // "I do not hold that"

// --- sessions ---

// To the tail first (answer SessionReady), then to the head (answer SessionAccepted or
// SessionRefused). Sent again until answered; a repeat changes nothing.
struct SessionOpen {
  PlacementId placement;
  uint64_t epoch = 0;
  SessionId session;
  NodeId asker;
  bool for_tail = false;  // who is addressed: both may be one node
  SamplingParams sampling;
  std::vector<TokenId> prompt_ids;
  std::vector<TokenId> emitted_ids;  // on fail-over: forced, never sampled again
  std::vector<PlacedImage> images;   // to the head only; in order, all within prompt_ids
};
struct SessionReady {
  PlacementId placement;
  SessionId session;
};
struct SessionAccepted {
  PlacementId placement;
  SessionId session;
  int cached_tokens = 0;
};
struct SessionRefused {
  PlacementId placement;
  SessionId session;
  Error error;
};
struct SessionClose {
  PlacementId placement;
  SessionId session;
};  // asker -> head and tail: finished or cancelled
struct SessionClosed {
  PlacementId placement;
  SessionId session;
};
// Asker -> head when tokens stay out. Answer: Tokens from next_position on, or SessionRefused.
struct SessionResume {
  PlacementId placement;
  SessionId session;
  int next_position = 0;
};

// --- the token's way ---

struct Forward {
  Batch batch;
  HiddenStates hidden;
};                    // stage -> next stage; hidden travels as raw bytes
struct BatchResult {  // tail -> head: the batch is done; tokens sampled by it
  PlacementId placement;
  uint64_t epoch = 0;
  uint64_t run = 0;
  uint64_t number = 0;
  std::vector<TokenEvent> tokens;
};
struct Tokens {
  PlacementId placement;
  std::vector<TokenEvent> events;
};                 // tail (or head, resent) -> asker
struct BatchGap {  // stage -> head: batches are missing, please start a new run
  PlacementId placement;
  uint64_t run = 0;
  uint64_t expected_number = 0;
};
struct StageError {
  PlacementId placement;
  uint64_t run = 0;
  uint64_t number = 0;
  Error error;
};  // compute failed

using Message =
    std::variant<Heartbeat, Gossip, Leave, Revocations, BandwidthProbe, BandwidthProbeAck,
                 PlacementPropose, PlacementAnswer, PlacementCommit, PlacementDrop, PlacementGone,
                 SessionOpen, SessionReady, SessionAccepted, SessionRefused, SessionClose,
                 SessionClosed, SessionResume, Forward, BatchResult, Tokens, BatchGap, StageError,
                 FileRequest, FileReply, FileProof, PartRequest, PartStatus>;

}  // namespace exo
