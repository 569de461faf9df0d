// Membership: who is here, as one node sees it. Heartbeats over each link, gossip of NodeInfo for
// those without a link, and a verdict per peer: alive, suspect, dead, left. A verdict concerns one
// life (incarnation) of a peer; dead lives are remembered as tombstones, so that gossip cannot
// bring them back. Part of the pure core: one thread, nothing here fails.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "orchestration/core_context.h"

namespace exo {

struct LostPeer {
  NodeId node;
  std::string name;
  std::string how;  // "left the cluster", "stopped answering", "restarted", "lost its connection"
  bool final = false;  // that life is over for certain: it left, or restarted
};

class Membership {
 public:
  explicit Membership(CoreContext& context);

  void link_up(const NodeId& peer);
  void link_down(const NodeId& peer);
  // False: not a peer that may speak (no link, or a life that is over); drop the message.
  bool heard_from(const NodeId& peer);
  void on_heartbeat(const NodeId& from, const Heartbeat& heartbeat);
  void on_gossip(const NodeId& from, const Gossip& gossip);
  void on_leave(const NodeId& from);
  void on_probe(const NodeId& from, const BandwidthProbe& probe);
  void on_probe_ack(const NodeId& from, const BandwidthProbeAck& ack);

  void tick(const std::vector<StageProgress>& progress);
  void say_goodbye();
  void set_device(const DeviceCapabilities& device, uint64_t free_bytes);
  void set_placements(std::vector<PlacementInfo> placements);
  void set_held(std::vector<HeldModel> held);
  void flush();  // sends own facts when they changed

  bool present(const NodeId& node) const;    // alive or suspect, by link or by hearsay; or self
  bool reachable(const NodeId& node) const;  // linked, or self
  bool healthy(const NodeId& node) const;    // linked and not suspect, or self
  bool any_suspect() const;
  const NodeInfo* info(const NodeId& node) const;  // null when unknown or gone
  const NodeInfo& self() const { return self_; }
  std::string name(const NodeId& node) const;
  std::vector<NodeId> members() const;  // present nodes with known facts, self too; sorted
  // Members, but for those so new that their links may not be known yet.
  std::vector<NodeId> settled_members() const;
  std::vector<NodeId> planning_candidates() const;  // healthy, and linked with each other
  std::vector<PeerView> peers() const;

  std::vector<LostPeer> take_lost();
  std::vector<NodeId> take_links_up();

 private:
  struct Peer {
    NodeInfo info;  // incarnation 0: facts not heard yet
    PeerState state = PeerState::alive;
    bool linked = false;
    int64_t first_seen_us = 0;
    int64_t last_heard_us = 0;  // directly
    int64_t last_news_us = 0;   // a newer version of its facts, from anybody
    int64_t link_down_us = 0;
    int64_t peer_sent_us = 0;     // its last heartbeat, to echo
    int64_t peer_sent_at_us = 0;  // when that came
    int64_t next_connect_us = 0;
    size_t next_address = 0;
    std::deque<double> rtts_us;
    double rtt_us = 0;
    double bandwidth_mb_per_s = 0;
    int64_t next_probe_us = 0;
    int probes = 0;
  };
  struct Tombstone {
    uint64_t incarnation = 0;
    uint64_t version = 0;
    bool left = false;
    int64_t since_us = 0;
  };

  void accept_info(const NodeId& from, const NodeInfo& info);
  bool buried(const NodeId& from, const NodeInfo& info) const;
  void lose(const NodeId& node, PeerState state, const std::string& how);
  void update_link_infos();
  void touch();  // own facts changed
  void gossip_to(const NodeId& peer);
  void forward_news();
  void check_silence(const NodeId& id, Peer& peer);
  void try_connect(Peer& peer);
  void try_probe(const NodeId& id, Peer& peer);
  void send_heartbeats(const std::vector<StageProgress>& progress);
  bool linked_pair(const NodeId& a, const NodeId& b) const;

  CoreContext& context_;
  NodeInfo self_;
  std::map<NodeId, Peer> peers_;
  std::map<NodeId, Tombstone> tombstones_;
  std::vector<LostPeer> lost_;
  std::vector<NodeId> links_up_;
  struct News {
    NodeId from;
    NodeId about;
  };
  std::vector<News> news_;  // to forward at the end of this event
  bool dirty_ = true;
  int64_t last_own_gossip_us_ = 0;
  int64_t next_heartbeat_us_ = 0;
  int64_t next_sync_us_ = 0;
  size_t next_sync_peer_ = 0;
};

}  // namespace exo
