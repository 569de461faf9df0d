#include "app/console.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "app/paths.h"

namespace exo {
namespace {

bool use_colour(std::FILE* to) {
  return ::isatty(::fileno(to)) == 1 && environment("NO_COLOR").empty() &&
         environment("TERM") != "dumb";
}

std::string line_of(const Row& cells, const std::vector<size_t>& widths) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    if (i + 1 < cells.size()) line.append(widths[i] - display_width(cells[i]) + 2, ' ');
  }
  return line + "\n";
}

void write_indented(const Json& value, std::string& out, int depth) {
  const std::string pad(static_cast<size_t>(depth + 1) * 2, ' ');
  const std::string close_pad(static_cast<size_t>(depth) * 2, ' ');
  if (value.is_object() && !value.get_object().empty()) {
    const char* separator = "{\n";
    for (const auto& [key, member] : value.get_object()) {
      out += separator + pad + to_text(Json(key)) + ": ";
      write_indented(member, out, depth + 1);
      separator = ",\n";
    }
    out += "\n" + close_pad + "}";
  } else if (value.is_array() && !value.get_array().empty()) {
    const char* separator = "[\n";
    for (const Json& element : value.get_array()) {
      out += separator + pad;
      write_indented(element, out, depth + 1);
      separator = ",\n";
    }
    out += "\n" + close_pad + "]";
  } else {
    out += to_text(value);
  }
}

}  // namespace

size_t display_width(std::string_view utf8) {
  return static_cast<size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string shortened(std::string_view utf8, size_t characters) {
  if (display_width(utf8) <= characters) return std::string(utf8);
  std::string out;
  for (size_t i = 0, seen = 0; i < utf8.size() && seen < characters; ++i) {
    if ((utf8[i] & 0xC0) != 0x80 && ++seen == characters) break;
    out += utf8[i];
  }
  return characters == 0 ? "" : out + "…";
}

size_t columns_of(std::FILE* terminal) {
  winsize size{};
  const bool says = ::ioctl(::fileno(terminal), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return says ? size.ws_col : 80;
}

std::string format_table(const Row& header, const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const std::string& cell : header) widths.push_back(display_width(cell));
  for (const Row& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  std::string out = line_of(header, widths);
  for (const Row& row : rows) out += line_of(row, widths);
  return out;
}

std::string format_bytes(uint64_t bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0 || value >= 100) return fmt::format("{:.0f} {}", value, units[unit]);
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string format_duration_us(double microseconds) {
  if (microseconds < 1000) return fmt::format("{:.0f} us", microseconds);
  if (microseconds < 1e6) return fmt::format("{:.1f} ms", microseconds / 1000);
  return fmt::format("{:.1f} s", microseconds / 1e6);
}

std::string dim(std::string_view text, std::FILE* to) {
  return use_colour(to) ? fmt::format("\x1b[2m{}\x1b[0m", text) : std::string(text);
}

int fail(const Error& error) {
  std::fprintf(stderr, "exo: %s\n", error.message.c_str());
  return 1;
}

void print_json(const Json& value) {
  std::string text;
  write_indented(value, text, 0);
  std::printf("%s\n", text.c_str());
}

}  // namespace exo
