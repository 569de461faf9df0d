// The discovery datagram: who a node is and where it listens, signed with a key that only members
// of its cluster can derive, so that strangers are told apart and old datagrams do nothing. Pure
// functions and a small table; not thread-safe (discovery's thread owns it).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "core/ids.h"

namespace exo {

inline constexpr size_t kMaxAnnouncementBytes = 1024;  // one packet on any link

struct Announcement {
  std::string cluster_id;
  NodeId node;
  std::string name;
  uint16_t node_port = 0;
  uint16_t api_port = 0;
  std::string interface_type;
  uint64_t incarnation = 0;  // of the process; larger = newer start
  uint64_t sequence = 0;     // rises with every datagram of an incarnation
  bool leaving = false;
  uint64_t nonce = 0;
};

std::string encode_announcement(const Announcement& announcement, std::string_view key);

struct ParsedAnnouncement {
  Announcement announcement;
  bool foreign = false;  // of another cluster: nothing in it is proven
};
// An error for anything malformed, and for our cluster's id with a wrong signature.
Result<ParsedAnnouncement> parse_announcement(std::span<const std::byte> datagram,
                                              const std::string& cluster_id, std::string_view key);

// Which announcements are new. A node's earlier incarnation counts only when the later one has been
// silent (its clock may have been set back); a goodbye only from the incarnation that was heard.
class ReplayGuard {
 public:
  explicit ReplayGuard(int64_t forget_us) : forget_us_(forget_us) {}
  bool fresh(const Announcement& announcement, int64_t now_us);
  void forget_silent(int64_t now_us);

 private:
  struct Heard {
    uint64_t incarnation = 0;
    uint64_t highest = 0;
    uint64_t window = 0;  // bit i: highest - i was seen
    int64_t last_us = 0;
  };
  const int64_t forget_us_;
  std::map<NodeId, Heard> heard_;
};

}  // namespace exo
