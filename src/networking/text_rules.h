// What names and addresses from outside must look like before anyone prints, stores or dials them.
// Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace exo {

// Control characters and bytes that are not UTF-8 become '?' (line breaks and tabs stay), so that a
// peer's name cannot steer a terminal or break JSON.
std::string clean_text(std::string_view text);

bool is_node_id(std::string_view text);  // 32 lower-case hex digits
bool is_host(std::string_view text);     // shape only: IPv4, IPv6 (with %scope), or a DNS name

}  // namespace exo
