// Texts that people hand over: a peers file, an invite code, a cluster key.
#include <cstddef>
#include <cstdint>
#include <string>

#include "networking/admission.h"
#include "networking/identity.h"
#include "networking/manual_discovery.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)exo::parse_peers(text).ok();
  (void)exo::parse_invite(text).ok();
  (void)exo::parse_invite("exo1-" + text).ok();
  (void)exo::cluster_id_of_key(text).ok();
  (void)exo::node_id_of_certificate(text).ok();
  return 0;
}
