// What commands print: tables and sizes for people, JSON for machines. Data goes to stdout,
// everything else to stderr; colours only on a terminal, and never with NO_COLOR.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/json.h"

namespace exo {

using Row = std::vector<std::string>;
// Columns are as wide as their widest cell (counted in characters); the last one is not padded.
std::string format_table(const Row& header, const std::vector<Row>& rows);

std::string format_bytes(uint64_t bytes);             // "10.5 MB", decimal
std::string format_duration_us(double microseconds);  // "84 us", "1.2 ms", "3.4 s"
// Grey where `to`, which it is printed to, is a terminal with colours.
std::string dim(std::string_view text, std::FILE* to);
size_t display_width(std::string_view utf8);  // characters, for padding
// At most so many characters, the last one "…" where something is left out.
std::string shortened(std::string_view utf8, size_t characters);
size_t columns_of(std::FILE* terminal);  // 80 where it does not say

int fail(const Error& error);        // "exo: message" on stderr; exit code 1
void print_json(const Json& value);  // indented, one newline at the end

}  // namespace exo
