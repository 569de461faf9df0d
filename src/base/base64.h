// Base64 (RFC 4648, the standard alphabet). Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace exo {

std::string to_base64(std::string_view bytes);
// Padding may be left out; anything else that is not base64, white space too, gives nothing.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace exo
