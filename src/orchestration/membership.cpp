#include "orchestration/membership.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace exo {
namespace {

constexpr size_t kMaxPeers = 256;
constexpr size_t kMaxTombstones = 512;
constexpr size_t kMaxPlacementsPerNode = 64;
constexpr size_t kRttWindow = 9;
constexpr int64_t kOwnGossipUs = 2'000'000;  // at least this often
constexpr int64_t kMinGossipGapUs = 20'000;  // changes within it travel together
constexpr int64_t kSyncUs = 5'000'000;       // everything known, to one peer in turn
constexpr int64_t kHearsayUs = 12'000'000;   // no news of an unlinked node for so long: forget
constexpr int64_t kNewcomerUs = 5'000'000;   // links to everybody may take so long
constexpr int64_t kConnectUs = 2'000'000;
constexpr int64_t kTombstoneUs = 600'000'000;
constexpr int64_t kProbeRetryUs = 5'000'000;
constexpr int kMaxProbes = 3;
constexpr uint32_t kProbeBytes = 256 * 1024;

bool newer(const NodeInfo& a, const NodeInfo& b) {
  return std::pair(a.incarnation, a.version) > std::pair(b.incarnation, b.version);
}

}  // namespace

Membership::Membership(CoreContext& context) : context_(context), self_(context.options.self) {
  self_.version = 1;
}

void Membership::touch() { dirty_ = true; }

void Membership::link_up(const NodeId& peer) {
  if (peer == context_.self()) return;
  if (!peers_.contains(peer) && peers_.size() >= kMaxPeers) {
    context_.effects.push_back(DisconnectPeer{peer});
    return;
  }
  Peer& record = peers_[peer];
  if (record.state == PeerState::dead || record.state == PeerState::left) record = Peer{};
  if (record.first_seen_us == 0) record.first_seen_us = context_.now_us;
  record.info.id = peer;
  record.linked = true;
  record.state = PeerState::alive;
  record.last_heard_us = context_.now_us;
  record.peer_sent_us = 0;
  record.probes = 0;
  record.next_probe_us = context_.now_us + context_.options.heartbeat_us * 2;
  links_up_.push_back(peer);
  update_link_infos();
  gossip_to(peer);
}

void Membership::link_down(const NodeId& peer) {
  const auto found = peers_.find(peer);
  if (found == peers_.end() || !found->second.linked) return;
  Peer& record = found->second;
  record.linked = false;
  record.link_down_us = context_.now_us;
  record.next_connect_us = context_.now_us + kConnectUs / 10;
  if (record.state == PeerState::alive) record.state = PeerState::suspect;
  update_link_infos();
}

bool Membership::heard_from(const NodeId& peer) {
  const auto found = peers_.find(peer);
  if (found == peers_.end() || !found->second.linked) return false;
  found->second.last_heard_us = context_.now_us;
  if (found->second.state == PeerState::suspect) found->second.state = PeerState::alive;
  return found->second.state == PeerState::alive;
}

void Membership::on_heartbeat(const NodeId& from, const Heartbeat& heartbeat) {
  Peer& peer = peers_[from];
  peer.peer_sent_us = heartbeat.sent_us;
  peer.peer_sent_at_us = context_.now_us;
  const auto past = [&](int64_t us) { return us >= 0 && us <= context_.now_us; };
  if (heartbeat.echo_us == 0 || !past(heartbeat.echo_us) || !past(heartbeat.held_us)) return;
  const int64_t rtt = context_.now_us - heartbeat.echo_us - heartbeat.held_us;
  if (rtt < 0 || rtt > 60'000'000) return;
  peer.rtts_us.push_back(static_cast<double>(rtt));
  if (peer.rtts_us.size() > kRttWindow) peer.rtts_us.pop_front();
  std::vector<double> sorted(peer.rtts_us.begin(), peer.rtts_us.end());
  std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
  peer.rtt_us = sorted[sorted.size() / 2];
  update_link_infos();
}

void Membership::on_probe(const NodeId& from, const BandwidthProbe& probe) {
  context_.send(from, BandwidthProbeAck{probe.sent_us, probe.size_bytes});
}

void Membership::on_probe_ack(const NodeId& from, const BandwidthProbeAck& ack) {
  Peer& peer = peers_[from];
  const double total_us = static_cast<double>(context_.now_us) - static_cast<double>(ack.sent_us);
  if (peer.probes == 0 || total_us <= 0 || ack.size_bytes != kProbeBytes) return;
  const double travel_us = std::max(1.0, total_us - peer.rtt_us);
  peer.bandwidth_mb_per_s = kProbeBytes / travel_us;  // bytes per microsecond = MB/s
  peer.probes = kMaxProbes;
  update_link_infos();
}

void Membership::on_gossip(const NodeId& from, const Gossip& gossip) {
  size_t count = 0;
  for (const NodeInfo& info : gossip.nodes) {
    if (++count > kMaxPeers) break;
    if (info.id.value.empty() || info.placements.size() > kMaxPlacementsPerNode) continue;
    accept_info(from, info);
  }
}

bool Membership::buried(const NodeId& from, const NodeInfo& info) const {
  const auto grave = tombstones_.find(info.id);
  if (grave == tombstones_.end()) return false;
  const Tombstone& tombstone = grave->second;
  if (info.incarnation != tombstone.incarnation) return info.incarnation < tombstone.incarnation;
  if (tombstone.left) return true;
  return from != info.id && info.version <= tombstone.version;
}

void Membership::accept_info(const NodeId& from, const NodeInfo& info) {
  if (info.id == context_.self()) {
    // Somebody remembers an earlier life of ours with a later clock: speak up above it.
    if (info.incarnation == self_.incarnation && info.version > self_.version) {
      self_.version = info.version;
      touch();
    }
    return;
  }
  if (buried(from, info)) return;
  const auto found = peers_.find(info.id);
  if (found == peers_.end() && peers_.size() >= kMaxPeers) return;
  if (found != peers_.end()) {
    Peer& known = found->second;
    if (known.state == PeerState::left && info.incarnation == known.info.incarnation) return;
    if (known.info.incarnation != 0 && !newer(info, known.info)) return;
    const bool reborn = known.info.incarnation != 0 && info.incarnation > known.info.incarnation &&
                        (known.state == PeerState::alive || known.state == PeerState::suspect);
    if (reborn) lost_.push_back({info.id, name(info.id), "restarted", true});
  }
  Peer& peer = peers_[info.id];
  if (peer.first_seen_us == 0) peer.first_seen_us = context_.now_us;
  peer.info = info;
  peer.last_news_us = context_.now_us;
  if (from == info.id && peer.linked) peer.last_heard_us = context_.now_us;
  if (peer.state == PeerState::dead || peer.state == PeerState::left)
    peer.state = PeerState::alive;  // alive by hearsay
  tombstones_.erase(info.id);
  news_.push_back({from, info.id});
}

void Membership::lose(const NodeId& node, PeerState state, const std::string& how) {
  Peer& peer = peers_[node];
  if (peer.state == PeerState::dead || peer.state == PeerState::left) return;
  lost_.push_back({node, name(node), how, state == PeerState::left});
  if (peer.linked) context_.effects.push_back(DisconnectPeer{node});
  peer.linked = false;
  peer.state = state;
  peer.link_down_us = context_.now_us;
  if (tombstones_.size() >= kMaxTombstones) {
    const auto oldest = std::min_element(
        tombstones_.begin(), tombstones_.end(),
        [](const auto& a, const auto& b) { return a.second.since_us < b.second.since_us; });
    tombstones_.erase(oldest);
  }
  tombstones_[node] = {peer.info.incarnation, peer.info.version, state == PeerState::left,
                       context_.now_us};
  update_link_infos();
}

void Membership::on_leave(const NodeId& from) { lose(from, PeerState::left, "left the cluster"); }

void Membership::update_link_infos() {
  std::vector<LinkInfo> links;
  bool changed = false;
  for (const auto& [id, peer] : peers_)
    if (peer.linked) links.push_back({id, peer.rtt_us, peer.bandwidth_mb_per_s});
  changed = links.size() != self_.links.size();
  for (size_t i = 0; !changed && i < links.size(); ++i) {
    const LinkInfo& old = self_.links[i];
    changed = old.to != links[i].to || old.bandwidth_mb_per_s != links[i].bandwidth_mb_per_s ||
              (old.rtt_us == 0) != (links[i].rtt_us == 0);
  }
  self_.links =
      std::move(links);  // a mere drift of round-trip times waits for the next regular send
  if (changed) touch();
}

void Membership::set_device(const DeviceCapabilities& device, uint64_t free_bytes) {
  self_.device = device;
  self_.device.memory_free_bytes = free_bytes;
  touch();
}

void Membership::set_placements(std::vector<PlacementInfo> placements) {
  bool changed = placements.size() != self_.placements.size();
  for (size_t i = 0; !changed && i < placements.size(); ++i)
    changed = placements[i].placement.id != self_.placements[i].placement.id ||
              placements[i].state != self_.placements[i].state ||
              (placements[i].idle_us > 0) != (self_.placements[i].idle_us > 0);
  self_.placements = std::move(placements);
  if (changed) touch();
}

void Membership::set_held(std::vector<HeldModel> held) {
  if (held == self_.held) return;
  self_.held = std::move(held);
  touch();
}

void Membership::gossip_to(const NodeId& peer) {
  Gossip gossip;
  gossip.nodes.push_back(self_);
  for (const auto& [id, other] : peers_)
    if (id != peer && other.info.incarnation != 0 && present(id))
      gossip.nodes.push_back(other.info);
  context_.send(peer, std::move(gossip));
}

void Membership::forward_news() {
  std::map<NodeId, Gossip> out;
  for (const News& item : news_) {
    const NodeInfo& about = peers_[item.about].info;
    for (const auto& [id, peer] : peers_) {
      if (!peer.linked || id == item.from || id == item.about) continue;
      const bool told = std::any_of(about.links.begin(), about.links.end(),
                                    [&to = id](const LinkInfo& link) { return link.to == to; });
      if (!told) out[id].nodes.push_back(about);
    }
  }
  news_.clear();
  for (auto& [id, gossip] : out) context_.send(id, std::move(gossip));
}

void Membership::flush() {
  forward_news();
  if (!dirty_ || context_.now_us - last_own_gossip_us_ < kMinGossipGapUs) return;
  dirty_ = false;
  last_own_gossip_us_ = context_.now_us;
  ++self_.version;
  for (const auto& [id, peer] : peers_)
    if (peer.linked) context_.send(id, Gossip{{self_}});
}

void Membership::check_silence(const NodeId& id, Peer& peer) {
  const CoreOptions& options = context_.options;
  if (peer.linked) {
    const int64_t silent_us = context_.now_us - peer.last_heard_us;
    if (silent_us >= options.dead_us)
      lose(id, PeerState::dead, "stopped answering");
    else if (silent_us >= options.suspect_us)
      peer.state = PeerState::suspect;
    return;
  }
  if (peer.link_down_us != 0 && peer.state == PeerState::suspect &&
      context_.now_us - peer.link_down_us >= options.broken_link_dead_us)
    lose(id, PeerState::dead, "lost its connection");
  else if (peer.link_down_us == 0 || peer.state == PeerState::alive) {
    if (context_.now_us - peer.last_news_us >= kHearsayUs)
      lose(id, PeerState::dead, "has not been heard of any more");
  }
}

void Membership::try_connect(Peer& peer) {
  if (peer.linked || peer.info.addresses.empty() || context_.now_us < peer.next_connect_us) return;
  peer.next_connect_us = context_.now_us + kConnectUs;
  const auto& addresses = peer.info.addresses;
  context_.effects.push_back(
      ConnectPeer{peer.info.id, addresses[peer.next_address++ % addresses.size()]});
}

void Membership::try_probe(const NodeId& id, Peer& peer) {
  if (!peer.linked || peer.probes >= kMaxProbes || peer.rtts_us.empty() ||
      context_.now_us < peer.next_probe_us)
    return;
  ++peer.probes;
  peer.next_probe_us = context_.now_us + kProbeRetryUs;
  context_.send(id, BandwidthProbe{context_.now_us, kProbeBytes,
                                   std::vector<std::byte>(kProbeBytes, std::byte{0x5a})});
}

void Membership::send_heartbeats(const std::vector<StageProgress>& progress) {
  if (context_.now_us < next_heartbeat_us_) return;
  next_heartbeat_us_ = context_.now_us + context_.options.heartbeat_us;
  for (const auto& [id, peer] : peers_) {
    if (!peer.linked) continue;
    Heartbeat heartbeat{context_.now_us, peer.peer_sent_us, 0, progress};
    if (peer.peer_sent_us != 0) heartbeat.held_us = context_.now_us - peer.peer_sent_at_us;
    context_.send(id, std::move(heartbeat));
  }
}

void Membership::tick(const std::vector<StageProgress>& progress) {
  send_heartbeats(progress);
  for (auto& [id, peer] : peers_) {
    if (peer.state == PeerState::dead || peer.state == PeerState::left) continue;
    check_silence(id, peer);
    if (peer.state == PeerState::dead) continue;
    try_connect(peer);
    try_probe(id, peer);
  }
  const int64_t now_us = context_.now_us;
  std::erase_if(peers_,
                [&](const auto& entry) {  // the graves remember; the list shows them a while
                  const Peer& peer = entry.second;
                  return (peer.state == PeerState::dead || peer.state == PeerState::left) &&
                         !peer.linked && now_us - peer.link_down_us > 60'000'000;
                });
  std::erase_if(tombstones_,
                [&](const auto& entry) { return now_us - entry.second.since_us > kTombstoneUs; });
  if (now_us - last_own_gossip_us_ >= kOwnGossipUs) touch();
  if (now_us >= next_sync_us_) {
    next_sync_us_ = now_us + kSyncUs;
    std::vector<NodeId> linked;
    for (const auto& [id, peer] : peers_)
      if (peer.linked) linked.push_back(id);
    if (!linked.empty()) gossip_to(linked[next_sync_peer_++ % linked.size()]);
  }
}

void Membership::say_goodbye() {
  for (const auto& [id, peer] : peers_)
    if (peer.linked) context_.send(id, Leave{"stopping"});
}

bool Membership::present(const NodeId& node) const {
  if (node == context_.self()) return true;
  const auto found = peers_.find(node);
  return found != peers_.end() &&
         (found->second.state == PeerState::alive || found->second.state == PeerState::suspect);
}

bool Membership::reachable(const NodeId& node) const {
  if (node == context_.self()) return true;
  const auto found = peers_.find(node);
  return found != peers_.end() && found->second.linked && present(node);
}

bool Membership::healthy(const NodeId& node) const {
  if (node == context_.self()) return true;
  const auto found = peers_.find(node);
  return found != peers_.end() && found->second.linked && found->second.state == PeerState::alive;
}

bool Membership::any_suspect() const {
  return std::any_of(peers_.begin(), peers_.end(),
                     [](const auto& entry) { return entry.second.state == PeerState::suspect; });
}

const NodeInfo* Membership::info(const NodeId& node) const {
  if (node == context_.self()) return &self_;
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.info.incarnation == 0 || !present(node))
    return nullptr;
  return &found->second.info;
}

std::string Membership::name(const NodeId& node) const {
  if (node == context_.self()) return self_.name.empty() ? node.value : self_.name;
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.info.name.empty()) return node.value;
  return found->second.info.name;
}

std::vector<NodeId> Membership::members() const {
  std::vector<NodeId> nodes{context_.self()};
  for (const auto& [id, peer] : peers_)
    if (info(id) != nullptr) nodes.push_back(id);
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

std::vector<NodeId> Membership::settled_members() const {
  std::vector<NodeId> nodes = members();
  const std::vector<NodeId> meshed = planning_candidates();
  std::erase_if(nodes, [&](const NodeId& id) {
    return !std::binary_search(meshed.begin(), meshed.end(), id) &&
           context_.now_us - peers_.at(id).first_seen_us < kNewcomerUs;
  });
  return nodes;
}

bool Membership::linked_pair(const NodeId& a, const NodeId& b) const {
  const auto lists = [&](const NodeId& from, const NodeId& to) {
    const NodeInfo* facts = info(from);
    return facts != nullptr && std::any_of(facts->links.begin(), facts->links.end(),
                                           [&](const LinkInfo& link) { return link.to == to; });
  };
  return lists(a, b) || lists(b, a);
}

std::vector<NodeId> Membership::planning_candidates() const {
  std::vector<NodeId> chosen{context_.self()};
  for (const auto& [id, peer] : peers_) {
    if (!healthy(id) || info(id) == nullptr) continue;
    const bool meshed =
        std::all_of(chosen.begin(), chosen.end(), [this, &node = id](const NodeId& other) {
          return other == context_.self() || linked_pair(node, other);
        });
    if (meshed) chosen.push_back(id);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<PeerView> Membership::peers() const {
  std::vector<PeerView> views;
  for (const auto& [id, peer] : peers_)
    views.push_back({peer.info, peer.state, peer.linked, peer.rtt_us, peer.bandwidth_mb_per_s,
                     peer.last_heard_us});
  return views;
}

std::vector<LostPeer> Membership::take_lost() { return std::exchange(lost_, {}); }
std::vector<NodeId> Membership::take_links_up() { return std::exchange(links_up_, {}); }

}  // namespace exo
