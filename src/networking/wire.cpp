#include "networking/wire.h"

#include <fmt/core.h>

#include <cstring>

#include "networking/wire_convert.h"

namespace exo {
namespace {

// Header: 'E' 'X' 'O' version | control_bytes u32 | payload_bytes u32 | zero u32, little endian.
void put_u32(char* out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}

uint32_t get_u32(const std::byte* in) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= std::to_integer<uint32_t>(in[i]) << (8 * i);
  return value;
}

Result<Payload> pixels_of(const SessionOpen& open) {
  if (open.images.empty()) return Payload();
  auto bytes = std::make_shared<std::vector<std::byte>>();
  for (const PlacedImage& placed : open.images) {
    const Image& image = *placed.image;
    const auto pixels = std::as_bytes(std::span(image.rgb));
    if (pixels.size() != size_t{3} * image.width * image.height)
      return invalid_argument(fmt::format("a picture of {} x {} with {} bytes", image.width,
                                          image.height, pixels.size()));
    bytes->insert(bytes->end(), pixels.begin(), pixels.end());
  }
  if (open.images.size() > kMaxImages || bytes->size() > kMaxImageBytes)
    return resource_exhausted("more pictures than one message carries");
  return Payload(std::move(bytes));
}

Result<Payload> payload_of(const Message& message) {
  if (const auto* forward = std::get_if<Forward>(&message)) {
    const HiddenStates& hidden = forward->hidden;
    const size_t expected = static_cast<size_t>(hidden.rows) * static_cast<size_t>(hidden.width) *
                            (hidden.dtype == WireDtype::f32 ? 4 : 2);
    const size_t present = hidden.bytes ? hidden.bytes->size() : 0;
    if (expected != present)
      return invalid_argument(fmt::format("hidden states of {} x {} with {} bytes", hidden.rows,
                                          hidden.width, present));
    return present == 0 ? Payload() : hidden.bytes;
  }
  if (const auto* open = std::get_if<SessionOpen>(&message)) return pixels_of(*open);
  if (const auto* probe = std::get_if<BandwidthProbe>(&message)) {
    if (!probe->filler.empty())
      return std::make_shared<const std::vector<std::byte>>(probe->filler);
  }
  if (const auto* reply = std::get_if<FileReply>(&message)) {
    if (!reply->bytes.empty()) return std::make_shared<const std::vector<std::byte>>(reply->bytes);
  }
  return Payload();
}

}  // namespace

Result<Frame> encode_frame(const Message& message) {
  const WireLimits limits;
  Frame frame;
  frame.payload = TRY(payload_of(message));
  wire::Control control;
  to_wire(message, control);
  const size_t control_bytes = control.ByteSizeLong();
  const size_t payload_bytes = frame.payload ? frame.payload->size() : 0;
  if (control_bytes > limits.control_bytes || payload_bytes > limits.payload_bytes)
    return resource_exhausted(
        fmt::format("a message of {} + {} bytes is more than a link carries ({} + {})",
                    control_bytes, payload_bytes, limits.control_bytes, limits.payload_bytes));
  frame.head.resize(kFrameHeaderBytes + control_bytes);
  std::memcpy(frame.head.data(), "EXO", 3);
  frame.head[3] = static_cast<char>(kWireVersion);
  put_u32(&frame.head[4], static_cast<uint32_t>(control_bytes));
  put_u32(&frame.head[8], static_cast<uint32_t>(payload_bytes));
  put_u32(&frame.head[12], 0);
  control.SerializeWithCachedSizesToArray(
      reinterpret_cast<uint8_t*>(frame.head.data() + kFrameHeaderBytes));
  return frame;
}

Result<FrameHeader> decode_header(std::span<const std::byte> bytes, size_t frame_bytes) {
  if (bytes.size() < kFrameHeaderBytes || frame_bytes < kFrameHeaderBytes)
    return corrupt(fmt::format("a frame of {} bytes is shorter than its header", frame_bytes));
  if (std::memcmp(bytes.data(), "EXO", 3) != 0) return corrupt("not a frame of exo");
  const int version = std::to_integer<int>(bytes[3]);
  if (version != kWireVersion)
    return unsupported(
        fmt::format("the peer speaks protocol version {}, this exo speaks {}: update the older one",
                    version, int{kWireVersion}));
  const WireLimits limits;
  FrameHeader header{get_u32(bytes.data() + 4), get_u32(bytes.data() + 8)};
  if (get_u32(bytes.data() + 12) != 0) return corrupt("reserved header bytes are set");
  if (header.control_bytes > limits.control_bytes || header.payload_bytes > limits.payload_bytes)
    return corrupt(fmt::format("a frame of {} + {} bytes is over the limit", header.control_bytes,
                               header.payload_bytes));
  const size_t expected = kFrameHeaderBytes + header.control_bytes + header.payload_bytes;
  if (frame_bytes != expected)
    return corrupt(fmt::format("a frame of {} bytes says it has {}", frame_bytes, expected));
  return header;
}

Result<Message> decode_body(std::string_view control, Payload payload) {
  wire::Control parsed;
  if (!parsed.ParseFromArray(control.data(), static_cast<int>(control.size())))
    return corrupt("the control part is not valid protobuf");
  return from_wire(parsed, std::move(payload));
}

Result<Message> decode_frame(std::span<const std::byte> frame) {
  const FrameHeader header = TRY(decode_header(frame, frame.size()));
  const std::span<const std::byte> control = frame.subspan(kFrameHeaderBytes, header.control_bytes);
  const std::span<const std::byte> raw = frame.subspan(kFrameHeaderBytes + header.control_bytes);
  Payload payload;
  if (!raw.empty())
    payload = std::make_shared<const std::vector<std::byte>>(raw.begin(), raw.end());
  return decode_body({reinterpret_cast<const char*>(control.data()), control.size()},
                     std::move(payload));
}

}  // namespace exo
