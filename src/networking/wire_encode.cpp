#include "networking/wire_convert.h"

namespace exo {
namespace {

void put(const PeerAddress& in, wire::PeerAddress& out) {
  out.set_host(in.host);
  out.set_port(in.port);
  out.set_interface_type(in.interface_type);
}

void put(const ByteRange& in, wire::ByteRange& out) {
  out.set_begin(in.begin);
  out.set_end(in.end);
}

void put(const LinkInfo& in, wire::LinkInfo& out) {
  out.set_to(in.to.value);
  out.set_rtt_us(in.rtt_us);
  out.set_bandwidth_mb_per_s(in.bandwidth_mb_per_s);
}

void put(const DeviceCapabilities& in, wire::DeviceCapabilities& out) {
  out.set_host_name(in.host_name);
  out.set_os(in.os);
  out.set_arch(in.arch);
  out.set_chip(in.chip);
  out.set_isa(in.isa);
  out.set_cores(in.cores);
  out.set_memory_total_bytes(in.memory_total_bytes);
  out.set_memory_free_bytes(in.memory_free_bytes);
  out.set_read_bandwidth_gb_per_s(in.read_bandwidth_gb_per_s);
  out.set_gemm_gflops(in.gemm_gflops);
  for (const Accelerator& accelerator : in.accelerators) {
    wire::Accelerator& one = *out.add_accelerators();
    one.set_name(accelerator.name);
    one.set_memory_total_bytes(accelerator.memory_total_bytes);
    one.set_memory_free_bytes(accelerator.memory_free_bytes);
  }
}

void put(const Shard& in, wire::Shard& out) {
  out.set_model_id(in.model_id);
  out.set_layer_begin(in.layer_begin);
  out.set_layer_end(in.layer_end);
  out.set_layer_count(in.layer_count);
  out.set_rank(in.rank);
  out.set_world(in.world);
}

void put(const ModelCard& in, wire::ModelCard& out) {
  out.set_id(in.id);
  out.set_path(in.path);
  out.set_fingerprint(in.fingerprint);
  out.set_source(in.source);
  out.set_family(in.family);
  out.set_weight_dtype(in.weight_dtype);
  out.set_layer_count(in.layer_count);
  out.set_hidden_size(in.hidden_size);
  out.set_vocab_size(in.vocab_size);
  out.set_context_length(in.context_length);
  out.set_parameter_count(in.parameter_count);
  out.mutable_layer_bytes()->Assign(in.layer_bytes.begin(), in.layer_bytes.end());
  out.set_embedding_bytes(in.embedding_bytes);
  out.set_head_bytes(in.head_bytes);
  out.set_kv_bytes_per_token_per_layer(in.kv_bytes_per_token_per_layer);
  out.set_has_chat_template(in.has_chat_template);
  out.set_embeds(in.embeds);
  out.set_vision(in.vision);
  out.set_image_size(in.image_size);
  out.set_image_tokens(in.image_tokens);
  out.set_image_token(in.image_token);
  out.set_tied_embedding(in.tied_embedding);
  out.mutable_eos_ids()->Assign(in.eos_ids.begin(), in.eos_ids.end());
}

void put(const Placement& in, wire::Placement& out) {
  out.set_id(in.id.value);
  out.set_epoch(in.epoch);
  put(in.card, *out.mutable_card());
  for (const Stage& stage : in.stages) {
    wire::Stage& one = *out.add_stages();
    one.set_node(stage.node.value);
    put(stage.shard, *one.mutable_shard());
  }
  for (const NodeId& node : in.considered) out.add_considered(node.value);
  out.set_strategy(in.strategy);
  out.set_weight_format(static_cast<uint32_t>(in.weight_format));
  out.set_wire_dtype(static_cast<uint32_t>(in.wire_dtype));
  out.set_exact(in.exact);
  out.set_context_length(in.context_length);
  out.set_kv_capacity_tokens(in.kv_capacity_tokens);
}

void put(const HeldModel& in, wire::HeldModel& out) {
  out.set_source(in.source);
  out.set_model(in.model);
  out.set_layer_count(in.layer_count);
  for (const LayerSpan& span : in.layers.spans) {
    wire::LayerSpan& one = *out.add_spans();
    one.set_begin(span.begin);
    one.set_end(span.end);
  }
  out.set_embedding(in.layers.embedding);
  out.set_head(in.layers.head);
  out.set_held_bytes(in.held_bytes);
  out.set_total_bytes(in.total_bytes);
  out.set_complete(in.complete);
}

void put(const NodeInfo& in, wire::NodeInfo& out) {
  out.set_id(in.id.value);
  out.set_incarnation(in.incarnation);
  out.set_version(in.version);
  out.set_name(in.name);
  out.set_software(in.software);
  out.set_api_port(in.api_port);
  for (const PeerAddress& address : in.addresses) put(address, *out.add_addresses());
  put(in.device, *out.mutable_device());
  for (const LinkInfo& link : in.links) put(link, *out.add_links());
  for (const PlacementInfo& info : in.placements) {
    wire::PlacementInfo& one = *out.add_placements();
    put(info.placement, *one.mutable_placement());
    one.set_state(static_cast<uint32_t>(info.state));
    one.set_why(info.why);
    one.set_idle_us(info.idle_us);
  }
  for (const HeldModel& held : in.held) put(held, *out.add_held());
}

void put(const Error& in, wire::Failure& out) {
  out.set_code(static_cast<uint32_t>(in.code));
  out.set_message(in.message);
}

void put(const SamplingParams& in, wire::SamplingParams& out) {
  out.set_temperature(in.temperature);
  out.set_top_k(in.top_k);
  out.set_top_p(in.top_p);
  out.set_min_p(in.min_p);
  out.set_repetition_penalty(in.repetition_penalty);
  out.set_presence_penalty(in.presence_penalty);
  out.set_frequency_penalty(in.frequency_penalty);
  for (const auto& [id, bias] : in.logit_bias) {
    wire::LogitBias& one = *out.add_logit_bias();
    one.set_id(id);
    one.set_bias(bias);
  }
  out.set_seed(in.seed);
  out.set_max_tokens(in.max_tokens);
  out.set_top_logprobs(in.top_logprobs);
  out.set_ignore_eos(in.ignore_eos);
  out.mutable_stop_ids()->Assign(in.stop_ids.begin(), in.stop_ids.end());
}

void put(const TokenEvent& in, wire::TokenEvent& out) {
  out.set_session(in.session.value);
  out.set_position(in.position);
  out.mutable_ids()->Assign(in.ids.begin(), in.ids.end());
  for (const TokenLogprobs& logprobs : in.logprobs) {
    wire::TokenLogprobs& one = *out.add_logprobs();
    one.set_logprob(logprobs.logprob);
    for (const Logprob& top : logprobs.top) {
      wire::Logprob& alternative = *one.add_top();
      alternative.set_id(top.id);
      alternative.set_logprob(top.logprob);
    }
  }
  out.set_finish(static_cast<uint32_t>(in.finish));
}

struct PutCommand {
  wire::CacheCommand& out;
  void operator()(const TrimSequence& in) const {
    out.set_kind(wire::CacheCommand::TRIM);
    out.set_session(in.session.value);
    out.set_length(in.length);
  }
  void operator()(const ReleaseSequence& in) const {
    out.set_kind(wire::CacheCommand::RELEASE);
    out.set_session(in.session.value);
  }
  void operator()(const ShareSequence& in) const {
    out.set_kind(wire::CacheCommand::SHARE);
    out.set_session(in.from.value);
    out.set_to(in.to.value);
    out.set_length(in.length);
  }
};

void put(const Forward& in, wire::Forward& out) {
  out.set_placement(in.batch.placement.value);
  out.set_epoch(in.batch.epoch);
  out.set_run(in.batch.run);
  out.set_number(in.batch.number);
  for (const CacheCommand& command : in.batch.commands)
    std::visit(PutCommand{*out.add_commands()}, command);
  for (const BatchEntry& entry : in.batch.entries) {
    wire::BatchEntry& one = *out.add_entries();
    one.set_session(entry.session.value);
    one.set_first_position(entry.first_position);
    one.mutable_ids()->Assign(entry.ids.begin(), entry.ids.end());
    one.set_count(entry.count);
    one.set_logit_rows(entry.logit_rows);
    one.set_sequence_length(entry.sequence_length);
  }
  out.set_dtype(static_cast<uint32_t>(in.hidden.dtype));
  out.set_rows(in.hidden.rows);
  out.set_width(in.hidden.width);
}

// One overload per Message alternative.
struct PutMessage {
  wire::Control& out;

  void operator()(const Heartbeat& in) const {
    wire::Heartbeat& body = *out.mutable_heartbeat();
    body.set_sent_us(in.sent_us);
    body.set_echo_us(in.echo_us);
    body.set_held_us(in.held_us);
    for (const StageProgress& progress : in.progress) {
      wire::StageProgress& one = *body.add_progress();
      one.set_placement(progress.placement.value);
      one.set_run(progress.run);
      one.set_next_number(progress.next_number);
      one.set_computing(progress.computing);
    }
  }
  void operator()(const Gossip& in) const {
    wire::Gossip& body = *out.mutable_gossip();
    for (const NodeInfo& node : in.nodes) put(node, *body.add_nodes());
  }
  void operator()(const Leave& in) const { out.mutable_leave()->set_reason(in.reason); }
  void operator()(const Revocations& in) const {
    wire::Revocations& body = *out.mutable_revocations();
    body.set_version(in.version);
    for (const NodeId& node : in.nodes) body.add_nodes(node.value);
    body.set_signature(in.signature);
  }
  void operator()(const BandwidthProbe& in) const {
    out.mutable_bandwidth_probe()->set_sent_us(in.sent_us);
    out.mutable_bandwidth_probe()->set_size_bytes(in.size_bytes);
  }
  void operator()(const BandwidthProbeAck& in) const {
    out.mutable_bandwidth_probe_ack()->set_sent_us(in.sent_us);
    out.mutable_bandwidth_probe_ack()->set_size_bytes(in.size_bytes);
  }
  void operator()(const PlacementPropose& in) const {
    put(in.placement, *out.mutable_placement_propose()->mutable_placement());
  }
  void operator()(const PlacementAnswer& in) const {
    wire::PlacementAnswer& body = *out.mutable_placement_answer();
    body.set_placement(in.placement.value);
    body.set_accepted(in.accepted);
    body.set_loaded(in.loaded);
    put(in.error, *body.mutable_error());
    body.set_missing_bytes(in.missing_bytes);
  }
  void operator()(const PlacementCommit& in) const {
    out.mutable_placement_commit()->set_placement(in.placement.value);
    out.mutable_placement_commit()->set_epoch(in.epoch);
  }
  void operator()(const PlacementDrop& in) const {
    out.mutable_placement_drop()->set_placement(in.placement.value);
    out.mutable_placement_drop()->set_reason(in.reason);
  }
  void operator()(const PlacementGone& in) const {
    out.mutable_placement_gone()->set_placement(in.placement.value);
  }
  void operator()(const SessionOpen& in) const {
    wire::SessionOpen& body = *out.mutable_session_open();
    body.set_placement(in.placement.value);
    body.set_epoch(in.epoch);
    body.set_session(in.session.value);
    body.set_asker(in.asker.value);
    body.set_for_tail(in.for_tail);
    put(in.sampling, *body.mutable_sampling());
    body.mutable_prompt_ids()->Assign(in.prompt_ids.begin(), in.prompt_ids.end());
    body.mutable_emitted_ids()->Assign(in.emitted_ids.begin(), in.emitted_ids.end());
    for (const PlacedImage& placed : in.images) {
      wire::PlacedImage& one = *body.add_images();
      one.set_first_position(placed.first_position);
      one.set_token_count(placed.token_count);
      one.set_width(placed.image->width);
      one.set_height(placed.image->height);
    }
  }
  template <class In, class Body>
  static void put_session(const In& in, Body& body) {
    body.set_placement(in.placement.value);
    body.set_session(in.session.value);
  }
  void operator()(const SessionReady& in) const { put_session(in, *out.mutable_session_ready()); }
  void operator()(const SessionAccepted& in) const {
    put_session(in, *out.mutable_session_accepted());
    out.mutable_session_accepted()->set_cached_tokens(in.cached_tokens);
  }
  void operator()(const SessionRefused& in) const {
    put_session(in, *out.mutable_session_refused());
    put(in.error, *out.mutable_session_refused()->mutable_error());
  }
  void operator()(const SessionClose& in) const { put_session(in, *out.mutable_session_close()); }
  void operator()(const SessionClosed& in) const { put_session(in, *out.mutable_session_closed()); }
  void operator()(const SessionResume& in) const {
    put_session(in, *out.mutable_session_resume());
    out.mutable_session_resume()->set_next_position(in.next_position);
  }
  void operator()(const Forward& in) const { put(in, *out.mutable_forward()); }
  void operator()(const BatchResult& in) const {
    wire::BatchResult& body = *out.mutable_batch_result();
    body.set_placement(in.placement.value);
    body.set_epoch(in.epoch);
    body.set_run(in.run);
    body.set_number(in.number);
    for (const TokenEvent& event : in.tokens) put(event, *body.add_tokens());
  }
  void operator()(const Tokens& in) const {
    out.mutable_tokens()->set_placement(in.placement.value);
    for (const TokenEvent& event : in.events) put(event, *out.mutable_tokens()->add_events());
  }
  void operator()(const BatchGap& in) const {
    wire::BatchGap& body = *out.mutable_batch_gap();
    body.set_placement(in.placement.value);
    body.set_run(in.run);
    body.set_expected_number(in.expected_number);
  }
  void operator()(const StageError& in) const {
    wire::StageError& body = *out.mutable_stage_error();
    body.set_placement(in.placement.value);
    body.set_run(in.run);
    body.set_number(in.number);
    put(in.error, *body.mutable_error());
  }
  void operator()(const FileRequest& in) const {
    wire::FileRequest& body = *out.mutable_file_request();
    body.set_request(in.request);
    body.set_source(in.source);
    body.set_file(in.file);
    for (const ByteRange& range : in.wanted) put(range, *body.add_wanted());
    put(in.read, *body.mutable_read());
    put(in.hash, *body.mutable_hash());
    body.set_hash_state(in.hash_state);
  }
  void operator()(const FileReply& in) const {
    wire::FileReply& body = *out.mutable_file_reply();
    body.set_request(in.request);
    for (const ByteRange& range : in.held) put(range, *body.add_held());
    for (const ByteRange& range : in.coming) put(range, *body.add_coming());
    body.set_hashed_end(in.hashed_end);
    body.set_hash_state(in.hash_state);
  }
  void operator()(const FileProof& in) const {
    wire::FileProof& body = *out.mutable_file_proof();
    body.set_source(in.source);
    body.set_file(in.file);
    body.set_right(in.right);
    for (const FilePart& part : in.parts) {
      wire::FilePart& put_part = *body.add_parts();
      put_part.set_node(part.node.value);
      put(part.range, *put_part.mutable_range());
    }
  }
  void operator()(const PartRequest& in) const {
    wire::PartRequest& body = *out.mutable_part_request();
    body.set_request(in.request);
    body.set_source(in.source);
    put(in.shard, *body.mutable_shard());
    body.set_cancel(in.cancel);
  }
  void operator()(const PartStatus& in) const {
    wire::PartStatus& body = *out.mutable_part_status();
    body.set_request(in.request);
    body.set_state(static_cast<uint32_t>(in.state));
    put(in.error, *body.mutable_error());
    body.set_total_bytes(in.total_bytes);
    body.set_done_bytes(in.done_bytes);
    body.set_fetched_bytes(in.fetched_bytes);
    body.set_bytes_per_s(in.bytes_per_s);
  }
};

}  // namespace

void to_wire(const Message& message, wire::Control& out) { std::visit(PutMessage{out}, message); }

}  // namespace exo
