// The checking half: a peer's numbers are believed only inside their ranges.
#include <fmt/core.h>

#include <cmath>

#include "networking/text_rules.h"
#include "networking/wire_convert.h"

namespace exo {
namespace {

constexpr int kMaxNodes = 1024;
constexpr int kMaxLayers = 10'000;
constexpr int kMaxTokens = 4 << 20;  // ids in one message, positions in a sequence
constexpr int kMaxRows = 1 << 20;
constexpr int kMaxWidth = 1 << 20;
constexpr uint64_t kMaxBytes = uint64_t{1} << 60;  // memory of a device, size of a model
constexpr uint64_t kMaxLayerBytes = uint64_t{1} << 45;
constexpr int kMaxRanges = 1 << 16;
constexpr int kMaxHeldModels = 256;
constexpr int kMaxSpans = 256;                 // of held layers
constexpr uint64_t kMaxReadBytes = 4u << 20;   // of a file, in one message
constexpr uint64_t kMaxHashBytes = 64u << 20;  // of a file, for one answer
constexpr size_t kHashStateBytes = 128;
constexpr int kMaxParts = 1024;
constexpr int kMaxImageEdge = 4096;
constexpr size_t kNameBytes = 256;
constexpr size_t kSentenceBytes = 4096;

// Remembers the first thing that was wrong; afterwards values are zero and the caller gives up.
class Reader {
 public:
  bool ok() const { return problem_.empty(); }
  const std::string& problem() const { return problem_; }
  void fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
  }

  template <class T>
  T range(T value, T least, T most, const char* what) {
    if (value >= least && value <= most) return value;
    fail(fmt::format("{} is {}, outside [{}, {}]", what, value, least, most));
    return least;
  }
  int natural(int value, const char* what, int most = kMaxTokens) {
    return range(value, 0, most, what);
  }
  uint64_t bytes(uint64_t value, const char* what) {
    return range(value, uint64_t{0}, kMaxBytes, what);
  }
  double number(double value, const char* what) {
    if (std::isfinite(value)) return value;
    fail(fmt::format("{} is not a finite number", what));
    return 0;
  }
  float log_number(float value, const char* what) {  // -inf is a probability of zero
    if (!std::isnan(value)) return value;
    fail(fmt::format("{} is not a number", what));
    return 0;
  }
  bool count(int size, int most, const char* what) {
    if (size > most) fail(fmt::format("{} {}; at most {} are allowed", size, what, most));
    return ok();
  }
  std::string text(const std::string& value, const char* what, size_t most = kNameBytes) {
    if (value.size() <= most) return clean_text(value);
    fail(fmt::format("{} has {} bytes; at most {} are allowed", what, value.size(), most));
    return {};
  }
  std::string raw(const std::string& value, const char* what, size_t most) {
    if (value.size() > most) fail(fmt::format("{} of more than {} bytes", what, most));
    return value.size() > most ? std::string() : value;
  }
  NodeId node(const std::string& value, const char* what) {
    if (is_node_id(value)) return NodeId{value};
    fail(fmt::format("{} is not a node id", what));
    return {};
  }
  template <class E>
  E enumeration(uint32_t value, E last, const char* what) {
    return static_cast<E>(range(value, uint32_t{0}, static_cast<uint32_t>(last), what));
  }
  template <class Field>
  std::vector<TokenId> ids(const Field& field, const char* what) {
    if (!count(field.size(), kMaxTokens, what)) return {};
    std::vector<TokenId> out(field.begin(), field.end());
    for (const TokenId id : out)
      if (id < 0) fail(fmt::format("{} holds the id {}", what, id));
    return out;
  }

 private:
  std::string problem_;
};

PeerAddress get(const wire::PeerAddress& in, Reader& r) {
  PeerAddress out{r.text(in.host(), "host"),
                  static_cast<uint16_t>(r.range(in.port(), 0u, 65535u, "port")),
                  r.text(in.interface_type(), "interface_type")};
  if (!is_host(out.host)) r.fail("host is neither an address nor a name");
  return out;
}

DeviceCapabilities get(const wire::DeviceCapabilities& in, Reader& r) {
  DeviceCapabilities out;
  out.host_name = r.text(in.host_name(), "host_name");
  out.os = r.text(in.os(), "os");
  out.arch = r.text(in.arch(), "arch");
  out.chip = r.text(in.chip(), "chip");
  out.isa = r.text(in.isa(), "isa");
  out.cores = r.natural(in.cores(), "cores");
  out.memory_total_bytes = r.bytes(in.memory_total_bytes(), "memory_total_bytes");
  out.memory_free_bytes = r.bytes(in.memory_free_bytes(), "memory_free_bytes");
  out.read_bandwidth_gb_per_s = r.number(in.read_bandwidth_gb_per_s(), "read_bandwidth_gb_per_s");
  out.gemm_gflops = r.number(in.gemm_gflops(), "gemm_gflops");
  if (!r.count(in.accelerators_size(), 64, "accelerators")) return out;
  for (const wire::Accelerator& accelerator : in.accelerators())
    out.accelerators.push_back({r.text(accelerator.name(), "accelerator"),
                                r.bytes(accelerator.memory_total_bytes(), "memory_total_bytes"),
                                r.bytes(accelerator.memory_free_bytes(), "memory_free_bytes")});
  return out;
}

ModelCard get(const wire::ModelCard& in, Reader& r) {
  ModelCard out;
  out.id = r.text(in.id(), "model id", kSentenceBytes);
  out.path = r.text(in.path(), "model path", kSentenceBytes);
  out.fingerprint = r.text(in.fingerprint(), "fingerprint");
  out.source = r.text(in.source(), "model source", kSentenceBytes);
  out.family = r.text(in.family(), "family");
  out.weight_dtype = r.text(in.weight_dtype(), "weight_dtype");
  out.layer_count = r.range(in.layer_count(), 1, kMaxLayers, "layer_count");
  out.hidden_size = r.natural(in.hidden_size(), "hidden_size", kMaxWidth);
  out.vocab_size = r.natural(in.vocab_size(), "vocab_size", 1 << 26);
  out.context_length = r.natural(in.context_length(), "context_length", 1 << 30);
  out.parameter_count = r.bytes(in.parameter_count(), "parameter_count");
  out.embedding_bytes = r.range(in.embedding_bytes(), uint64_t{0}, kMaxLayerBytes, "embedding");
  out.head_bytes = r.range(in.head_bytes(), uint64_t{0}, kMaxLayerBytes, "head_bytes");
  out.kv_bytes_per_token_per_layer =
      r.range(in.kv_bytes_per_token_per_layer(), uint64_t{0}, uint64_t{1} << 30, "kv bytes");
  out.has_chat_template = in.has_chat_template();
  out.embeds = in.embeds();
  out.vision = in.vision();
  out.image_size = r.natural(in.image_size(), "image_size", kMaxImageEdge);
  out.image_tokens = r.natural(in.image_tokens(), "image_tokens");
  out.image_token = r.range(in.image_token(), -1, 1 << 26, "image_token");
  out.tied_embedding = in.tied_embedding();
  if (in.layer_bytes_size() != out.layer_count) r.fail("layer_bytes and layer_count differ");
  if (!r.ok() || !r.count(in.eos_ids_size(), 1024, "eos_ids")) return out;
  for (const uint64_t bytes : in.layer_bytes())
    out.layer_bytes.push_back(r.range(bytes, uint64_t{0}, kMaxLayerBytes, "layer_bytes"));
  out.eos_ids = r.ids(in.eos_ids(), "eos_ids");
  return out;
}

Shard get(const wire::Shard& in, Reader& r) {
  Shard out;
  out.model_id = r.text(in.model_id(), "model id", kSentenceBytes);
  out.layer_count = r.range(in.layer_count(), 1, kMaxLayers, "layer_count");
  out.layer_begin = r.range(in.layer_begin(), 0, out.layer_count - 1, "layer_begin");
  out.layer_end = r.range(in.layer_end(), out.layer_begin + 1, out.layer_count, "layer_end");
  out.world = r.range(in.world(), 1, kMaxNodes, "world");
  out.rank = r.range(in.rank(), 0, out.world - 1, "rank");
  return out;
}

// Every layer exactly once and in order (ranks of one range stand side by side).
void check_stages(const Placement& placement, Reader& r) {
  if (placement.stages.empty()) return r.fail("a placement without stages");
  int next = 0;
  int begin = 0;
  for (const Stage& stage : placement.stages) {
    if (stage.shard.layer_count != placement.card.layer_count)
      return r.fail("a shard's layer_count is not the model's");
    if (stage.shard.rank == 0) begin = next;
    if (stage.shard.layer_begin != begin) return r.fail("shards leave a gap or overlap");
    next = stage.shard.layer_end;
  }
  if (next != placement.card.layer_count) r.fail("the shards do not cover the model");
}

Placement get(const wire::Placement& in, Reader& r) {
  Placement out;
  out.id = {in.id()};
  out.epoch = in.epoch();
  out.card = get(in.card(), r);
  if (!r.count(in.stages_size(), kMaxNodes, "stages")) return out;
  for (const wire::Stage& stage : in.stages())
    out.stages.push_back({r.node(stage.node(), "stage.node"), get(stage.shard(), r)});
  if (!r.count(in.considered_size(), kMaxNodes, "considered nodes")) return out;
  for (const std::string& node : in.considered()) out.considered.push_back(r.node(node, "node"));
  out.strategy = r.text(in.strategy(), "strategy", kSentenceBytes);
  out.weight_format = r.enumeration(in.weight_format(), WeightFormat::q4_0, "weight_format");
  out.wire_dtype = r.enumeration(in.wire_dtype(), WireDtype::bf16, "wire_dtype");
  out.exact = in.exact();
  out.context_length = r.natural(in.context_length(), "context_length", 1 << 30);
  out.kv_capacity_tokens = r.natural(in.kv_capacity_tokens(), "kv_capacity_tokens", 1 << 30);
  if (r.ok()) check_stages(out, r);
  return out;
}

HeldModel get(const wire::HeldModel& in, Reader& r) {
  HeldModel out;
  out.source = r.text(in.source(), "held model's source", kSentenceBytes);
  out.model = r.text(in.model(), "held model", kSentenceBytes);
  out.layer_count = r.natural(in.layer_count(), "layer_count", kMaxLayers);
  out.held_bytes = r.bytes(in.held_bytes(), "held_bytes");
  out.total_bytes = r.bytes(in.total_bytes(), "total_bytes");
  out.layers.embedding = in.embedding();
  out.layers.head = in.head();
  out.complete = in.complete();
  if (!r.count(in.spans_size(), kMaxSpans, "spans of held layers")) return out;
  int next = 0;
  for (const wire::LayerSpan& span : in.spans()) {
    const int begin = r.range(span.begin(), next, out.layer_count, "a held layer");
    const int end = r.range(span.end(), begin + 1, out.layer_count, "the end of held layers");
    out.layers.spans.push_back({begin, end});
    next = end + 1;  // those that touch are one
  }
  return out;
}

NodeInfo get(const wire::NodeInfo& in, Reader& r) {
  NodeInfo out;
  out.id = r.node(in.id(), "id");
  out.incarnation = in.incarnation();
  out.version = in.version();
  out.name = r.text(in.name(), "name");
  out.software = r.text(in.software(), "software");
  out.api_port = static_cast<uint16_t>(r.range(in.api_port(), 0u, 65535u, "api_port"));
  out.device = get(in.device(), r);
  if (!r.count(in.addresses_size(), 256, "addresses") ||
      !r.count(in.links_size(), kMaxNodes, "links") ||
      !r.count(in.placements_size(), 64, "placements") ||
      !r.count(in.held_size(), kMaxHeldModels, "held models"))
    return out;
  for (const wire::PeerAddress& address : in.addresses()) out.addresses.push_back(get(address, r));
  for (const wire::LinkInfo& link : in.links())
    out.links.push_back({r.node(link.to(), "link.to"), r.number(link.rtt_us(), "rtt_us"),
                         r.number(link.bandwidth_mb_per_s(), "bandwidth_mb_per_s")});
  for (const wire::PlacementInfo& info : in.placements())
    out.placements.push_back({get(info.placement(), r),
                              r.enumeration(info.state(), PlacementState::failed, "state"),
                              r.text(info.why(), "why", kSentenceBytes), info.idle_us()});
  for (const wire::HeldModel& held : in.held()) out.held.push_back(get(held, r));
  return out;
}

Error get(const wire::Failure& in, Reader& r) {
  return {r.enumeration(in.code(), ErrorCode::internal, "error code"),
          r.text(in.message(), "error message", kSentenceBytes)};
}

SamplingParams get(const wire::SamplingParams& in, Reader& r) {
  SamplingParams out;
  out.temperature = r.number(in.temperature(), "temperature");
  out.top_k = r.natural(in.top_k(), "top_k", 1 << 30);
  out.top_p = r.number(in.top_p(), "top_p");
  out.min_p = r.number(in.min_p(), "min_p");
  out.repetition_penalty = r.number(in.repetition_penalty(), "repetition_penalty");
  out.presence_penalty = r.number(in.presence_penalty(), "presence_penalty");
  out.frequency_penalty = r.number(in.frequency_penalty(), "frequency_penalty");
  out.seed = in.seed();
  out.max_tokens = r.natural(in.max_tokens(), "max_tokens", 1 << 30);
  out.top_logprobs = r.range(in.top_logprobs(), -1, 100, "top_logprobs");
  out.ignore_eos = in.ignore_eos();
  if (!r.count(in.logit_bias_size(), 1 << 16, "logit_bias entries") ||
      !r.count(in.stop_ids_size(), 1024, "stop_ids"))
    return out;
  for (const wire::LogitBias& one : in.logit_bias())
    out.logit_bias.emplace_back(r.natural(one.id(), "logit_bias id", INT32_MAX),
                                r.log_number(one.bias(), "logit_bias"));
  out.stop_ids = r.ids(in.stop_ids(), "stop_ids");
  return out;
}

TokenEvent get(const wire::TokenEvent& in, Reader& r) {
  TokenEvent out;
  out.session = {in.session()};
  out.position = r.natural(in.position(), "position", 1 << 30);
  out.ids = r.ids(in.ids(), "token ids");
  out.finish = r.enumeration(in.finish(), FinishReason::error, "finish");
  if (in.logprobs_size() != 0 && in.logprobs_size() != in.ids_size())
    r.fail("logprobs and ids differ in number");
  if (!r.ok()) return out;
  for (const wire::TokenLogprobs& logprobs : in.logprobs()) {
    TokenLogprobs& one = out.logprobs.emplace_back();
    one.logprob = r.log_number(logprobs.logprob(), "logprob");
    if (!r.count(logprobs.top_size(), 100, "top logprobs")) return out;
    for (const wire::Logprob& top : logprobs.top())
      one.top.push_back(
          {r.natural(top.id(), "logprob id", INT32_MAX), r.log_number(top.logprob(), "logprob")});
  }
  return out;
}

template <class Field>
std::vector<TokenEvent> get_events(const Field& field, Reader& r) {
  std::vector<TokenEvent> out;
  if (!r.count(field.size(), 1 << 16, "token events")) return out;
  for (const wire::TokenEvent& event : field) out.push_back(get(event, r));
  return out;
}

CacheCommand get(const wire::CacheCommand& in, Reader& r) {
  const int length = r.natural(in.length(), "length", 1 << 30);
  switch (in.kind()) {
    case wire::CacheCommand::TRIM:
      return TrimSequence{{in.session()}, length};
    case wire::CacheCommand::RELEASE:
      return ReleaseSequence{{in.session()}};
    case wire::CacheCommand::SHARE:
      return ShareSequence{{in.session()}, {in.to()}, length};
    default:
      r.fail(fmt::format("unknown cache command {}", in.kind()));
      return {};
  }
}

BatchEntry get(const wire::BatchEntry& in, Reader& r) {
  BatchEntry out;
  out.session = {in.session()};
  out.first_position = r.natural(in.first_position(), "first_position", 1 << 30);
  out.count = r.range(in.count(), 1, kMaxRows, "count");
  out.logit_rows = r.range(in.logit_rows(), 0, out.count, "logit_rows");
  out.sequence_length = r.natural(in.sequence_length(), "sequence_length", 1 << 30);
  if (in.ids_size() != 0 && in.ids_size() != out.count) r.fail("ids and count differ");
  out.ids = r.ids(in.ids(), "batch ids");
  return out;
}

Forward get(const wire::Forward& in, Payload payload, Reader& r) {
  Forward out;
  out.batch.placement = {in.placement()};
  out.batch.epoch = in.epoch();
  out.batch.run = in.run();
  out.batch.number = in.number();
  if (!r.count(in.commands_size(), 1 << 16, "cache commands") ||
      !r.count(in.entries_size(), 1 << 16, "batch entries"))
    return out;
  for (const wire::CacheCommand& command : in.commands())
    out.batch.commands.push_back(get(command, r));
  int64_t rows = 0;  // at most 2^16 entries of 2^20 rows
  for (const wire::BatchEntry& entry : in.entries()) {
    out.batch.entries.push_back(get(entry, r));
    rows += out.batch.entries.back().count;
  }
  out.hidden.dtype = r.enumeration(in.dtype(), WireDtype::bf16, "dtype");
  out.hidden.rows = r.natural(in.rows(), "rows", kMaxRows);
  out.hidden.width = r.natural(in.width(), "width", kMaxWidth);
  if (rows != out.hidden.rows) r.fail("hidden rows and the batch's rows differ");
  const uint64_t element_bytes = out.hidden.dtype == WireDtype::f32 ? 4 : 2;
  const uint64_t expected = element_bytes * static_cast<uint64_t>(out.hidden.rows) *
                            static_cast<uint64_t>(out.hidden.width);  // at most 2^42
  const uint64_t present = payload ? payload->size() : 0;
  if (expected != present)
    r.fail(fmt::format("{} x {} hidden states need {} bytes, the payload has {}", out.hidden.rows,
                       out.hidden.width, expected, present));
  out.hidden.bytes =
      payload ? std::move(payload) : std::make_shared<const std::vector<std::byte>>();
  return out;
}

Message get(const wire::Heartbeat& in, Reader& r) {
  Heartbeat out{in.sent_us(), in.echo_us(), in.held_us(), {}};
  if (!r.count(in.progress_size(), 1024, "progress entries")) return out;
  for (const wire::StageProgress& one : in.progress())
    out.progress.push_back({{one.placement()}, one.run(), one.next_number(), one.computing()});
  return out;
}

Message get(const wire::Gossip& in, Reader& r) {
  Gossip out;
  if (!r.count(in.nodes_size(), kMaxNodes, "nodes")) return out;
  for (const wire::NodeInfo& node : in.nodes()) {
    out.nodes.push_back(get(node, r));
    if (!r.ok()) break;
  }
  return out;
}

Message get(const wire::Revocations& in, Reader& r) {
  Revocations out;
  out.version = in.version();
  if (!r.count(in.nodes_size(), 1 << 16, "revoked nodes")) return out;
  for (const std::string& node : in.nodes()) out.nodes.push_back(r.node(node, "revoked node"));
  out.signature = r.raw(in.signature(), "a signature", 256);
  return out;
}

Message get(const wire::BandwidthProbe& in, Payload payload, Reader& r) {
  BandwidthProbe out{in.sent_us(), in.size_bytes(), {}};
  if (payload) out.filler.assign(payload->begin(), payload->end());
  if (out.filler.size() != out.size_bytes) r.fail("a bandwidth probe of another size than it says");
  return out;
}

ByteRange get(const wire::ByteRange& in, Reader& r) {
  return {r.range(in.begin(), uint64_t{0}, in.end(), "the begin of a range"),
          r.bytes(in.end(), "the end of a range")};
}

// In order and disjoint.
template <class Field>
std::vector<ByteRange> get_ranges(const Field& in, Reader& r) {
  std::vector<ByteRange> out;
  if (!r.count(in.size(), kMaxRanges, "ranges")) return out;
  uint64_t end = 0;
  for (const wire::ByteRange& range : in) {
    out.push_back(get(range, r));
    if (out.back().begin < end) r.fail("ranges that overlap");
    end = out.back().end;
    if (!r.ok()) break;
  }
  return out;
}

Message get(const wire::FileRequest& in, Reader& r) {
  FileRequest out{in.request(),
                  r.text(in.source(), "model source", kSentenceBytes),
                  r.text(in.file(), "file", kSentenceBytes),
                  get_ranges(in.wanted(), r),
                  get(in.read(), r),
                  get(in.hash(), r),
                  r.raw(in.hash_state(), "a hash's state", kHashStateBytes)};
  if (r.ok() && out.read.size() > kMaxReadBytes) r.fail("more than 4 MiB asked for at once");
  if (r.ok() && !out.hash_state.empty() && out.hash.size() > kMaxHashBytes)
    r.fail("more than 64 MiB to hash at once");
  return out;
}

Message get(const wire::FileReply& in, const Payload& payload, Reader& r) {
  FileReply out{in.request(),
                get_ranges(in.held(), r),
                get_ranges(in.coming(), r),
                {},
                r.bytes(in.hashed_end(), "hashed_end"),
                r.raw(in.hash_state(), "a hash's state", kHashStateBytes)};
  if (!payload) return out;
  if (payload->size() > kMaxReadBytes) r.fail("more than 4 MiB of a file at once");
  out.bytes = *payload;
  return out;
}

Message get(const wire::FileProof& in, Reader& r) {
  FileProof out{r.text(in.source(), "model source", kSentenceBytes),
                r.text(in.file(), "file", kSentenceBytes),
                in.right(),
                {}};
  if (!r.count(in.parts_size(), kMaxParts, "parts of a file")) return out;
  for (const wire::FilePart& part : in.parts())
    out.parts.push_back({r.node(part.node(), "the holder of a part"), get(part.range(), r)});
  return out;
}

Message get(const wire::PartRequest& in, Reader& r) {
  return PartRequest{in.request(), r.text(in.source(), "model source", kSentenceBytes),
                     get(in.shard(), r), in.cancel()};
}

Message get(const wire::PartStatus& in, Reader& r) {
  return PartStatus{in.request(),
                    r.enumeration(in.state(), DownloadState::cancelled, "state"),
                    get(in.error(), r),
                    r.bytes(in.total_bytes(), "total_bytes"),
                    r.bytes(in.done_bytes(), "done_bytes"),
                    r.bytes(in.fetched_bytes(), "fetched_bytes"),
                    r.number(in.bytes_per_s(), "bytes_per_s")};
}

Message get(const wire::PlacementAnswer& in, Reader& r) {
  return PlacementAnswer{{in.placement()},
                         in.accepted(),
                         in.loaded(),
                         get(in.error(), r),
                         r.bytes(in.missing_bytes(), "missing_bytes")};
}

// Their pixels lie in the payload, one picture after another.
std::vector<PlacedImage> get_images(const wire::SessionOpen& in, const Payload& payload,
                                    Reader& r) {
  std::vector<PlacedImage> out;
  const size_t present = payload ? payload->size() : 0;
  if (!r.count(in.images_size(), kMaxImages, "pictures")) return out;
  if (present > kMaxImageBytes) r.fail(fmt::format("pictures of {} bytes", present));
  size_t at = 0;
  for (const wire::PlacedImage& one : in.images()) {
    PlacedImage placed;
    placed.first_position = r.natural(one.first_position(), "first_position");
    placed.token_count = r.range(one.token_count(), 1, kMaxTokens, "token_count");
    auto image = std::make_shared<Image>();
    image->width = r.range(one.width(), 1, kMaxImageEdge, "width");
    image->height = r.range(one.height(), 1, kMaxImageEdge, "height");
    const size_t size = size_t{3} * image->width * image->height;  // at most 48 MiB
    if (size > present - at) r.fail("a picture is larger than what is left of the payload");
    if (!r.ok()) return out;
    const auto* pixels = reinterpret_cast<const uint8_t*>(payload->data()) + at;
    image->rgb.assign(pixels, pixels + size);
    at += size;
    placed.image = std::move(image);
    out.push_back(std::move(placed));
  }
  if (at != present) r.fail(fmt::format("{} bytes of pictures, {} in the payload", at, present));
  return out;
}

Message get(const wire::SessionOpen& in, const Payload& payload, Reader& r) {
  SessionOpen out;
  out.placement = {in.placement()};
  out.epoch = in.epoch();
  out.session = {in.session()};
  out.asker = r.node(in.asker(), "asker");
  out.for_tail = in.for_tail();
  out.sampling = get(in.sampling(), r);
  out.prompt_ids = r.ids(in.prompt_ids(), "prompt_ids");
  out.emitted_ids = r.ids(in.emitted_ids(), "emitted_ids");
  out.images = get_images(in, payload, r);
  return out;
}

template <class Out, class In>
Message get_session(const In& in) {
  return Out{{in.placement()}, {in.session()}};
}

Message get_session_message(const wire::Control& in, Reader& r) {
  switch (in.body_case()) {
    case wire::Control::kSessionReady:
      return get_session<SessionReady>(in.session_ready());
    case wire::Control::kSessionClose:
      return get_session<SessionClose>(in.session_close());
    case wire::Control::kSessionClosed:
      return get_session<SessionClosed>(in.session_closed());
    case wire::Control::kSessionAccepted:
      return SessionAccepted{{in.session_accepted().placement()},
                             {in.session_accepted().session()},
                             r.natural(in.session_accepted().cached_tokens(), "cached_tokens")};
    case wire::Control::kSessionRefused:
      return SessionRefused{{in.session_refused().placement()},
                            {in.session_refused().session()},
                            get(in.session_refused().error(), r)};
    case wire::Control::kSessionResume:
      return SessionResume{
          {in.session_resume().placement()},
          {in.session_resume().session()},
          r.natural(in.session_resume().next_position(), "next_position", 1 << 30)};
    default:
      r.fail("a message of an unknown kind");
      return Leave{};
  }
}

Message get_placement_message(const wire::Control& in, Reader& r) {
  switch (in.body_case()) {
    case wire::Control::kPlacementPropose:
      return PlacementPropose{get(in.placement_propose().placement(), r)};
    case wire::Control::kPlacementAnswer:
      return get(in.placement_answer(), r);
    case wire::Control::kPlacementCommit:
      return PlacementCommit{{in.placement_commit().placement()}, in.placement_commit().epoch()};
    case wire::Control::kPlacementDrop:
      return PlacementDrop{{in.placement_drop().placement()},
                           r.text(in.placement_drop().reason(), "reason", kSentenceBytes)};
    case wire::Control::kPlacementGone:
      return PlacementGone{{in.placement_gone().placement()}};
    default:
      return get_session_message(in, r);
  }
}

Message get_control_message(const wire::Control& in, Reader& r) {
  switch (in.body_case()) {
    case wire::Control::kHeartbeat:
      return get(in.heartbeat(), r);
    case wire::Control::kGossip:
      return get(in.gossip(), r);
    case wire::Control::kLeave:
      return Leave{r.text(in.leave().reason(), "reason", kSentenceBytes)};
    case wire::Control::kRevocations:
      return get(in.revocations(), r);
    case wire::Control::kBandwidthProbeAck:
      return BandwidthProbeAck{in.bandwidth_probe_ack().sent_us(),
                               in.bandwidth_probe_ack().size_bytes()};
    case wire::Control::kBatchResult:
      return BatchResult{{in.batch_result().placement()},
                         in.batch_result().epoch(),
                         in.batch_result().run(),
                         in.batch_result().number(),
                         get_events(in.batch_result().tokens(), r)};
    case wire::Control::kTokens:
      return Tokens{{in.tokens().placement()}, get_events(in.tokens().events(), r)};
    case wire::Control::kBatchGap:
      return BatchGap{
          {in.batch_gap().placement()}, in.batch_gap().run(), in.batch_gap().expected_number()};
    case wire::Control::kStageError:
      return StageError{{in.stage_error().placement()},
                        in.stage_error().run(),
                        in.stage_error().number(),
                        get(in.stage_error().error(), r)};
    case wire::Control::kFileRequest:
      return get(in.file_request(), r);
    case wire::Control::kFileProof:
      return get(in.file_proof(), r);
    case wire::Control::kPartRequest:
      return get(in.part_request(), r);
    case wire::Control::kPartStatus:
      return get(in.part_status(), r);
    default:
      return get_placement_message(in, r);
  }
}

}  // namespace

Result<Message> from_wire(const wire::Control& in, Payload payload) {
  Reader r;
  Message out;
  if (in.body_case() == wire::Control::kForward) {
    out = get(in.forward(), std::move(payload), r);
  } else if (in.body_case() == wire::Control::kBandwidthProbe) {
    out = get(in.bandwidth_probe(), std::move(payload), r);
  } else if (in.body_case() == wire::Control::kSessionOpen) {
    out = get(in.session_open(), payload, r);
  } else if (in.body_case() == wire::Control::kFileReply) {
    out = get(in.file_reply(), payload, r);
  } else if (payload) {
    r.fail("a payload on a message that has none");
  } else {
    out = get_control_message(in, r);
  }
  if (!r.ok()) return corrupt("malformed message: " + r.problem());
  return out;
}

}  // namespace exo
