// Frames from peers, and discovery datagrams from anybody. What decodes must encode again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "networking/announcement.h"
#include "networking/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const exo::Result<exo::Message> message = exo::decode_frame(bytes);
  if (message.ok() && !exo::encode_frame(*message).ok()) std::abort();
  // The control part alone: mutations of the header seldom get that far.
  const exo::Result<exo::Message> body =
      exo::decode_body({reinterpret_cast<const char*>(data), size}, nullptr);
  if (body.ok() && !exo::encode_frame(*body).ok()) std::abort();
  (void)exo::parse_announcement(bytes, "0123456789abcdef", "key").ok();
  return 0;
}
