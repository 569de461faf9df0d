#include "networking/announcement.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "networking/crypto.h"
#include "networking/text_rules.h"
#include "networking/wire.pb.h"

namespace exo {
namespace {

// "EXOA" version | protobuf | HMAC-SHA256 over everything before it
constexpr std::string_view kMagic("EXOA\x01", 5);
constexpr size_t kMacBytes = 32;
constexpr size_t kMaxNodes = 1024;
constexpr int64_t kSilentUs = 5'000'000;

bool is_cluster_id(std::string_view text) {
  return text.size() == 16 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<Announcement> read_announcement(std::string_view bytes) {
  wire::Announcement in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return corrupt("an announcement that is not valid protobuf");
  if (!is_cluster_id(in.cluster_id()) || !is_node_id(in.node_id()) || in.name().size() > 256 ||
      in.interface_type().size() > 32 || in.node_port() == 0 || in.node_port() > 65535 ||
      in.api_port() > 65535)
    return corrupt("an announcement with a field out of range");
  Announcement out;
  out.cluster_id = in.cluster_id();
  out.node = {in.node_id()};
  out.name = clean_text(in.name());
  out.node_port = static_cast<uint16_t>(in.node_port());
  out.api_port = static_cast<uint16_t>(in.api_port());
  out.interface_type = clean_text(in.interface_type());
  out.incarnation = in.incarnation();
  out.sequence = in.sequence();
  out.leaving = in.leaving();
  out.nonce = in.nonce();
  return out;
}

}  // namespace

std::string encode_announcement(const Announcement& in, std::string_view key) {
  wire::Announcement out;
  out.set_cluster_id(in.cluster_id);
  out.set_node_id(in.node.value);
  out.set_name(in.name.substr(0, 256));
  out.set_node_port(in.node_port);
  out.set_api_port(in.api_port);
  out.set_interface_type(in.interface_type);
  out.set_incarnation(in.incarnation);
  out.set_sequence(in.sequence);
  out.set_leaving(in.leaving);
  out.set_nonce(in.nonce);
  std::string bytes(kMagic);
  out.AppendToString(&bytes);
  const crypto::Digest mac = crypto::hmac_sha256(key, bytes);
  bytes += crypto::view(mac);
  return bytes;
}

Result<ParsedAnnouncement> parse_announcement(std::span<const std::byte> datagram,
                                              const std::string& cluster_id, std::string_view key) {
  const std::string_view bytes = crypto::view(datagram);
  if (bytes.size() < kMagic.size() + kMacBytes || bytes.size() > kMaxAnnouncementBytes ||
      bytes.substr(0, 4) != kMagic.substr(0, 4))
    return corrupt("not an announcement of exo");
  if (bytes[4] != kMagic[4])
    return unsupported(
        fmt::format("an announcement of version {}", static_cast<uint8_t>(bytes[4])));
  const std::string_view said = bytes.substr(0, bytes.size() - kMacBytes);
  ParsedAnnouncement out;
  out.announcement = TRY(read_announcement(said.substr(kMagic.size())));
  out.foreign = out.announcement.cluster_id != cluster_id;
  if (out.foreign) return out;
  const crypto::Digest mac = crypto::hmac_sha256(key, said);
  if (!crypto::equal(crypto::view(mac), bytes.substr(bytes.size() - kMacBytes)))
    return permission_denied("an announcement with our cluster's name and a wrong signature");
  return out;
}

bool ReplayGuard::fresh(const Announcement& in, int64_t now_us) {
  auto found = heard_.find(in.node);
  const bool known = found != heard_.end() && found->second.incarnation == in.incarnation;
  if (!known) {
    if (in.leaving) return false;
    if (found == heard_.end()) {
      if (heard_.size() >= kMaxNodes) return false;
      found = heard_.emplace(in.node, Heard{}).first;
    } else if (in.incarnation < found->second.incarnation &&
               now_us - found->second.last_us < kSilentUs) {
      return false;
    }
    found->second = {in.incarnation, in.sequence, 1, now_us};
    return true;
  }
  Heard& heard = found->second;
  if (in.sequence > heard.highest) {
    const uint64_t ahead = in.sequence - heard.highest;
    heard.window = ahead >= 64 ? 1 : (heard.window << ahead) | 1;
    heard.highest = in.sequence;
  } else {
    const uint64_t behind = heard.highest - in.sequence;
    if (behind >= 64 || ((heard.window >> behind) & 1) != 0) return false;
    heard.window |= uint64_t{1} << behind;
  }
  heard.last_us = now_us;
  return true;
}

void ReplayGuard::forget_silent(int64_t now_us) {
  std::erase_if(heard_, [&](const auto& one) { return now_us - one.second.last_us > forget_us_; });
}

}  // namespace exo
