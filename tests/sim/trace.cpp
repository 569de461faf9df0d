#include "trace.h"

#include <fmt/core.h>

namespace exo::sim {
namespace {

unsigned short_id(uint64_t value) { return static_cast<unsigned>(value % 0xfffff); }

std::string tokens_text(const std::vector<TokenEvent>& events) {
  std::string text;
  for (const TokenEvent& event : events)
    text += fmt::format(" s{:x}@{}x{}{}", short_id(event.session.value), event.position,
                        event.ids.size(), event.finish == FinishReason::none ? "" : "!");
  return text;
}

std::string batch_text(const Batch& batch) {
  std::string text =
      fmt::format("p{:x} run {} #{}", short_id(batch.placement.value), batch.run, batch.number);
  for (const BatchEntry& entry : batch.entries)
    text += fmt::format(" s{:x}@{}+{}", short_id(entry.session.value), entry.first_position,
                        entry.count);
  return text;
}

struct Describe {
  std::string operator()(const Heartbeat&) const { return "Heartbeat"; }
  std::string operator()(const Gossip& m) const {
    std::string text = "Gossip";
    for (const NodeInfo& node : m.nodes) text += fmt::format(" {}v{}", node.name, node.version);
    return text;
  }
  std::string operator()(const Leave&) const { return "Leave"; }
  std::string operator()(const Revocations&) const { return "Revocations"; }
  std::string operator()(const FileRequest&) const { return "FileRequest"; }
  std::string operator()(const FileReply&) const { return "FileReply"; }
  std::string operator()(const FileProof&) const { return "FileProof"; }
  std::string operator()(const PartRequest&) const { return "PartRequest"; }
  std::string operator()(const PartStatus&) const { return "PartStatus"; }
  std::string operator()(const BandwidthProbe&) const { return "BandwidthProbe"; }
  std::string operator()(const BandwidthProbeAck&) const { return "BandwidthProbeAck"; }
  std::string operator()(const PlacementPropose& m) const {
    std::string text = fmt::format("PlacementPropose p{:x} epoch {}",
                                   short_id(m.placement.id.value), m.placement.epoch);
    for (const Stage& stage : m.placement.stages)
      text += fmt::format(" {}:{}-{}", stage.node.value, stage.shard.layer_begin,
                          stage.shard.layer_end);
    return text;
  }
  std::string operator()(const PlacementAnswer& m) const {
    return fmt::format("PlacementAnswer p{:x} {}{} {}", short_id(m.placement.value),
                       m.accepted ? "accepted" : "refused", m.loaded ? " loaded" : "",
                       m.error.message);
  }
  std::string operator()(const PlacementCommit& m) const {
    return fmt::format("PlacementCommit p{:x}", short_id(m.placement.value));
  }
  std::string operator()(const PlacementDrop& m) const {
    return fmt::format("PlacementDrop p{:x} ({})", short_id(m.placement.value), m.reason);
  }
  std::string operator()(const PlacementGone& m) const {
    return fmt::format("PlacementGone p{:x}", short_id(m.placement.value));
  }
  std::string operator()(const SessionOpen& m) const {
    return fmt::format("SessionOpen p{:x} s{:x} {} prompt {} emitted {} pictures {}",
                       short_id(m.placement.value), short_id(m.session.value),
                       m.for_tail ? "tail" : "head", m.prompt_ids.size(), m.emitted_ids.size(),
                       m.images.size());
  }
  std::string operator()(const SessionReady& m) const {
    return fmt::format("SessionReady s{:x}", short_id(m.session.value));
  }
  std::string operator()(const SessionAccepted& m) const {
    return fmt::format("SessionAccepted s{:x}", short_id(m.session.value));
  }
  std::string operator()(const SessionRefused& m) const {
    return fmt::format("SessionRefused s{:x} {}", short_id(m.session.value), m.error.message);
  }
  std::string operator()(const SessionClose& m) const {
    return fmt::format("SessionClose s{:x}", short_id(m.session.value));
  }
  std::string operator()(const SessionClosed& m) const {
    return fmt::format("SessionClosed s{:x}", short_id(m.session.value));
  }
  std::string operator()(const SessionResume& m) const {
    return fmt::format("SessionResume s{:x} from {}", short_id(m.session.value), m.next_position);
  }
  std::string operator()(const Forward& m) const { return "Forward " + batch_text(m.batch); }
  std::string operator()(const BatchResult& m) const {
    return fmt::format("BatchResult p{:x} run {} #{}{}", short_id(m.placement.value), m.run,
                       m.number, tokens_text(m.tokens));
  }
  std::string operator()(const Tokens& m) const { return "Tokens" + tokens_text(m.events); }
  std::string operator()(const BatchGap& m) const {
    return fmt::format("BatchGap p{:x} run {} #{}", short_id(m.placement.value), m.run,
                       m.expected_number);
  }
  std::string operator()(const StageError& m) const {
    return fmt::format("StageError p{:x} run {} #{} {}", short_id(m.placement.value), m.run,
                       m.number, m.error.message);
  }
  std::string operator()(const StartNewRun&) const { return "StartNewRun"; }

  std::string operator()(const SendMessage& e) const {
    return "-> " + e.to.value + " " + describe(e.message);
  }
  std::string operator()(const ConnectPeer& e) const { return "ConnectPeer " + e.peer.value; }
  std::string operator()(const DisconnectPeer& e) const { return "DisconnectPeer " + e.peer.value; }
  std::string operator()(const LoadShard& e) const {
    return fmt::format("LoadShard p{:x} stage {}", short_id(e.placement.id.value), e.stage_index);
  }
  std::string operator()(const UnloadShard& e) const {
    return fmt::format("UnloadShard p{:x}", short_id(e.placement.value));
  }
  std::string operator()(const SubmitToStage& e) const {
    return "Submit " + std::visit(*this, e.command);
  }
  std::string operator()(const EmitTokens& e) const {
    return fmt::format("EmitTokens r{}{}", e.request, tokens_text({e.event}));
  }
  std::string operator()(const SessionFailed& e) const {
    return fmt::format("SessionFailed r{} {}: {}", e.request, to_string(e.error.code),
                       e.error.message);
  }
  std::string operator()(const SessionNotice& e) const {
    return fmt::format("SessionNotice r{} {}", e.request, e.text);
  }
  std::string operator()(const ModelReady& e) const {
    return fmt::format("ModelReady r{}", e.request);
  }
};

}  // namespace

std::string describe(const Message& message) { return std::visit(Describe{}, message); }
std::string describe(const CoreEffect& effect) { return std::visit(Describe{}, effect); }
std::string describe(const StageEvent& event) { return std::visit(Describe{}, event); }

}  // namespace exo::sim
