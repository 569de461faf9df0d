#include "networking/interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace exo {
namespace {

std::string dotted(const sockaddr* address) {
  if (address == nullptr || address->sa_family != AF_INET) return {};
  char text[INET_ADDRSTRLEN] = {};
  const auto* ipv4 = reinterpret_cast<const sockaddr_in*>(address);
  return ::inet_ntop(AF_INET, &ipv4->sin_addr, text, sizeof text) != nullptr ? text : "";
}

bool starts_with_one_of(const std::string& name, std::initializer_list<const char*> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const char* prefix) { return name.rfind(prefix, 0) == 0; });
}

int rank(const std::string& type) {
  constexpr const char* kOrder[] = {"thunderbolt", "ethernet", "wifi", "other", "loopback"};
  const auto* found = std::find(std::begin(kOrder), std::end(kOrder), type);
  return static_cast<int>(found - std::begin(kOrder));
}

}  // namespace

std::string interface_type_of(const std::string& name) {
  if (name == "lo" || starts_with_one_of(name, {"lo0", "lo:"})) return "loopback";
  // Linux names Thunderbolt networking thunderbolt0; macOS joins the ports in bridge0.
  if (name == "bridge0" || starts_with_one_of(name, {"thunderbolt", "tb", "nx", "ten"}))
    return "thunderbolt";
  if (starts_with_one_of(name, {"wl", "wifi", "ath", "ra"})) return "wifi";
  if (starts_with_one_of(name, {"eth", "en", "em", "usb"})) return "ethernet";
  return "other";
}

Result<std::vector<NetworkInterface>> list_interfaces() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0)
    return unavailable(std::string("cannot list the network interfaces: ") + std::strerror(errno));
  std::vector<NetworkInterface> out;
  for (const ifaddrs* one = first; one != nullptr && out.size() < 64; one = one->ifa_next) {
    if ((one->ifa_flags & IFF_UP) == 0) continue;
    NetworkInterface found;
    found.name = one->ifa_name;
    found.address = dotted(one->ifa_addr);
    if (found.address.empty()) continue;
    const bool loopback = (one->ifa_flags & IFF_LOOPBACK) != 0;
    found.type = loopback ? "loopback" : interface_type_of(found.name);
    if ((one->ifa_flags & IFF_BROADCAST) != 0) found.broadcast = dotted(one->ifa_broadaddr);
    out.push_back(std::move(found));
  }
  ::freeifaddrs(first);
  return out;
}

std::vector<PeerAddress> reachable_addresses(const std::string& host, uint16_t port) {
  std::vector<PeerAddress> out;
  const Result<std::vector<NetworkInterface>> interfaces = list_interfaces();
  if (!interfaces.ok()) return out;
  const bool any = host == "0.0.0.0" || host == "::";
  for (const NetworkInterface& one : *interfaces)
    if (any || host == one.address) out.push_back({one.address, port, one.type});
  std::stable_sort(out.begin(), out.end(), [](const PeerAddress& a, const PeerAddress& b) {
    return rank(a.interface_type) < rank(b.interface_type);
  });
  return out;
}

}  // namespace exo
