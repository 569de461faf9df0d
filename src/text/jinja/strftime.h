// strftime for templates: the directives of C's strftime and glibc's flags (-, _, 0, ^, #), in
// English whatever the locale. The time is local, without a zone, as Python's datetime.now() is.
// Pays for its text from the budget.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/limits.h"

namespace exo::jinja {

std::string format_time(std::string_view format, int64_t now_ms, Budget& budget);

}  // namespace exo::jinja
