// Algorithms on text that string methods and filters share. Pure, apart from the budget they pay.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace exo::jinja {

// A string that is markup where `self` is.
Value like(const Value& self, std::string_view text);

// The first or the last occurrence; npos where there is none. Linear in both sizes, whatever the
// texts are, unlike std::string::find.
size_t find_text(std::string_view text, std::string_view wanted, bool last);
// At most `count` occurrences, from the left; all where it is negative.
std::string replace_text(std::string_view text, std::string_view old, std::string_view replacement,
                         Int count, Budget& budget);
std::vector<std::string_view> split_text(std::string_view text, std::string_view separator,
                                         Int limit, bool from_right);
std::vector<std::string_view> split_space(std::string_view text, Int limit, bool from_right);
std::string center_text(const std::string& text, size_t width, std::string_view fill,
                        Budget& budget);
// Lines of at most `width` characters, as Python's textwrap makes them.
struct WrapOptions {
  size_t width = 79;
  bool break_long_words = true;
  bool break_on_hyphens = true;
};
std::vector<std::string> wrap_text(std::string_view line, const WrapOptions& options);
// Python's float(text) and int(text, base).
std::optional<double> parse_float(std::string_view text);
std::optional<Int> parse_python_int(std::string_view text, int base);

}  // namespace exo::jinja
