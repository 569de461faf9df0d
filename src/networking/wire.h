// Message <-> bytes. A frame is a 16-byte header, a protobuf control part and a raw payload (hidden
// states, probe filler) that never passes through protobuf and is shared, not copied, when sending.
// Pure functions, thread-safe. Every limit of WireLimits is checked before memory is taken; a frame
// that breaks one is an Error{corrupt} that says which, and the sender's link should be closed.
// docs/protocol.md describes the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/messages.h"

namespace exo {

struct WireLimits {
  size_t control_bytes = 8u << 20;
  size_t payload_bytes = 64u << 20;
  size_t frame_bytes() const { return control_bytes + payload_bytes + 16; }
};

inline constexpr uint8_t kWireVersion = 1;
inline constexpr size_t kFrameHeaderBytes = 16;

using Payload = std::shared_ptr<const std::vector<std::byte>>;

struct Frame {
  std::string head;  // header and control part
  Payload payload;   // null when there is none
  size_t size_bytes() const { return head.size() + (payload ? payload->size() : 0); }
};

struct FrameHeader {
  uint32_t control_bytes = 0;
  uint32_t payload_bytes = 0;
};

// Fails only for messages beyond the limits or with a payload that contradicts its shape.
Result<Frame> encode_frame(const Message& message);

// Decoding in steps, for transports that hold a frame in pieces; sizes are checked by the first.
Result<FrameHeader> decode_header(std::span<const std::byte> bytes, size_t frame_bytes);
Result<Message> decode_body(std::string_view control, Payload payload);

// The same for a frame in one piece.
Result<Message> decode_frame(std::span<const std::byte> frame);

}  // namespace exo
