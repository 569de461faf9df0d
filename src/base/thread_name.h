// Names the calling thread for debuggers and top; at most 15 bytes are kept. Never fails.
#pragma once

#include <string_view>

namespace exo {

void set_thread_name(std::string_view name);

}  // namespace exo
