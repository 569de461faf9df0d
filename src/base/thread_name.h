// Gives the calling thread a name that debuggers and `top -H` show. At most 15 characters are kept.
#pragma once

#include <string_view>

namespace exo {

void set_thread_name(std::string_view name);

}  // namespace exo
