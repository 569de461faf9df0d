#include "text/jinja/strings.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

#include "text/jinja/unicode.h"

namespace exo::jinja {
namespace {

// Digits with single underscores between them, the underscores removed.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto is_digit = [&](size_t k) {
      return k < text.size() && std::isalnum(static_cast<unsigned char>(text[k])) != 0;
    };
    if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return std::nullopt;
  }
  return out;
}

bool take_sign(std::string_view& text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (negative || (!text.empty() && text[0] == '+')) text.remove_prefix(1);
  return negative;
}

std::optional<double> special_float(std::string_view text) {
  const std::string name = to_lower(text);
  if (name == "inf" || name == "infinity") return std::numeric_limits<double>::infinity();
  if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

bool is_plain_float(std::string_view text) {
  size_t digits = 0;
  size_t at = 0;
  const auto skip_digits = [&] {
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) ++digits;
  };
  skip_digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    skip_digits();
  }
  if (digits == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    digits = 0;
    skip_digits();
  }
  return digits > 0 && at == text.size();
}

double read_double(const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  double value = 0;
  stream >> value;
  if (std::abs(value) == std::numeric_limits<double>::max() && stream.fail())
    return std::numeric_limits<double>::infinity();
  return value;
}

// Knuth, Morris and Pratt: where `wanted` begins in `text`, both read forwards or backwards.
template <class Iterator>
size_t search(Iterator text, size_t size, Iterator wanted, size_t wanted_size) {
  std::vector<size_t> borders(wanted_size + 1, 0);
  for (size_t i = 1, k = 0; i < wanted_size; ++i) {
    const auto at = [&](size_t position) {
      return *(wanted + static_cast<std::ptrdiff_t>(position));
    };
    while (k > 0 && at(i) != at(k)) k = borders[k];
    if (at(i) == at(k)) ++k;
    borders[i + 1] = k;
  }
  size_t matched = 0;
  for (size_t i = 0; i < size; ++i, ++text) {
    const auto next = [&] { return *(wanted + static_cast<std::ptrdiff_t>(matched)); };
    while (matched > 0 && *text != next()) matched = borders[matched];
    if (*text == next()) ++matched;
    if (matched == wanted_size) return i + 1 - wanted_size;
  }
  return std::string_view::npos;
}

}  // namespace

size_t find_text(std::string_view text, std::string_view wanted, bool last) {
  constexpr size_t kShort = 64;  // for such texts the simple way is quicker and cannot be bad
  if (wanted.size() > text.size()) return std::string_view::npos;
  if (wanted.size() <= kShort) return last ? text.rfind(wanted) : text.find(wanted);
  if (!last) return search(text.begin(), text.size(), wanted.begin(), wanted.size());
  const size_t found = search(text.rbegin(), text.size(), wanted.rbegin(), wanted.size());
  return found == std::string_view::npos ? found : text.size() - found - wanted.size();
}

Value like(const Value& self, std::string_view text) {
  return self.is_markup() ? Value::markup(std::string(text)) : Value(text);
}

std::string replace_text(std::string_view text, std::string_view old, std::string_view replacement,
                         Int count, Budget& budget) {
  std::string out;
  budget.step(text.size() / 64);
  size_t at = 0;
  const auto paste = [&](size_t from, size_t to) {
    out += text.substr(from, to - from);
    out += replacement;
    budget.check_size(out.size());
    --count;
  };
  if (old.empty()) {
    for (; at < text.size() && count != 0; at += decode_at(text, at).size_bytes) {
      paste(at, at);
      out += text.substr(at, decode_at(text, at).size_bytes);
    }
    if (count != 0) paste(at, at);
    return out + std::string(text.substr(at));
  }
  const auto pieces = split_text(text, old, count, false);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) out += replacement;
    out += pieces[i];
    budget.check_size(out.size());
  }
  return out;
}

std::vector<std::string_view> split_text(std::string_view text, std::string_view separator,
                                         Int limit, bool from_right) {
  std::vector<std::string_view> pieces;
  while (limit-- != 0) {
    const size_t found = find_text(text, separator, from_right);
    if (found == std::string_view::npos) break;
    const size_t after = found + separator.size();
    pieces.push_back(from_right ? text.substr(after) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(after);
  }
  pieces.push_back(text);
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<std::string_view> split_space(std::string_view text, Int limit, bool from_right) {
  std::vector<std::string_view> pieces;
  const auto characters = split_code_points(text);
  const auto space_at = [&](size_t i) { return is_space(decode_at(characters[i], 0).code); };
  size_t first = 0;
  size_t last = characters.size();
  const auto piece = [&](size_t from, size_t to) {
    const char* begin = characters[from].data();
    const char* end = characters[to - 1].data() + characters[to - 1].size();
    pieces.emplace_back(begin, static_cast<size_t>(end - begin));
  };
  while (first < last) {
    while (first < last && space_at(from_right ? last - 1 : first)) from_right ? --last : ++first;
    if (first == last) break;
    size_t from = first;
    size_t to = last;
    if (limit-- == 0) {
      while (space_at(from)) ++from;
      while (space_at(to - 1)) --to;
      // Python keeps the blanks at the far end.
      piece(from_right ? first : from, from_right ? to : last);
      break;
    }
    if (from_right) {
      for (from = last; from > first && !space_at(from - 1);) --from;
      last = from;
    } else {
      for (to = first; to < last && !space_at(to);) ++to;
      first = to;
    }
    piece(from, to);
  }
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::string center_text(const std::string& text, size_t width, std::string_view fill,
                        Budget& budget) {
  const size_t length = count_code_points(text);
  if (length >= width) return text;
  const size_t missing = width - length;
  budget.allocate(missing * fill.size() + text.size());
  const size_t left = missing / 2 + (missing & width & 1);  // where Python puts the odd one
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (size_t i = left; i < missing; ++i) out += fill;
  return out;
}

std::optional<double> parse_float(std::string_view text) {
  text = strip_space(text);
  const bool negative = take_sign(text);
  auto value = special_float(text);
  if (!value) {
    const auto digits = without_underscores(text);
    if (!digits || !is_plain_float(*digits)) return std::nullopt;
    value = read_double(*digits);
  }
  return negative ? -*value : *value;
}

std::optional<Int> parse_python_int(std::string_view text, int base) {
  text = strip_space(text);
  const bool negative = take_sign(text);
  const auto has_prefix = [&](char letter) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == letter;
  };
  if (base == 0) {
    base = has_prefix('x') ? 16 : has_prefix('o') ? 8 : has_prefix('b') ? 2 : 10;
    if (base != 10) text.remove_prefix(2);
  } else if ((base == 16 && has_prefix('x')) || (base == 8 && has_prefix('o')) ||
             (base == 2 && has_prefix('b'))) {
    text.remove_prefix(2);
  }
  const auto digits = without_underscores(text);
  const auto value = digits ? parse_int(*digits, base) : std::nullopt;
  if (!value) return std::nullopt;
  return negative ? -*value : *value;
}

namespace {

struct Chunk {
  std::string_view text;
  size_t length;
  bool space;
};

// Words and the blanks between them; words also end behind their hyphens.
std::vector<Chunk> chunks_of(std::string_view line, bool break_on_hyphens) {
  std::vector<Chunk> chunks;
  const auto characters = split_code_points(line);
  const auto code_at = [&](size_t i) { return decode_at(characters[i], 0).code; };
  const auto letter = [&](size_t i) { return i < characters.size() && is_alpha(code_at(i)); };
  bool fresh = true;
  for (size_t i = 0; i < characters.size(); ++i) {
    const bool space = is_space(code_at(i));
    if (fresh || space != chunks.back().space)
      chunks.push_back({characters[i].substr(0, 0), 0, space});
    Chunk& chunk = chunks.back();  // grows by the character behind it
    chunk.text = {chunk.text.data(), chunk.text.size() + characters[i].size()};
    ++chunk.length;
    fresh = break_on_hyphens && characters[i] == "-" && i >= 2 && letter(i - 1) && letter(i - 2) &&
            letter(i + 1) && letter(i + 2);
  }
  return chunks;
}

}  // namespace

std::vector<std::string> wrap_text(std::string_view line, const WrapOptions& options) {
  std::vector<std::string> lines;
  auto chunks = chunks_of(line, options.break_on_hyphens);
  for (size_t i = 0; i < chunks.size();) {
    std::vector<Chunk> row;
    size_t length = 0;
    if (chunks[i].space && !lines.empty()) ++i;
    for (; i < chunks.size() && length + chunks[i].length <= options.width; ++i) {
      length += chunks[i].length;
      row.push_back(chunks[i]);
    }
    if (i < chunks.size() && chunks[i].length > options.width) {
      if (options.break_long_words && options.width > length) {
        const size_t taken = offset_of(chunks[i].text, options.width - length);
        row.push_back({chunks[i].text.substr(0, taken), options.width - length, false});
        chunks[i].text.remove_prefix(taken);
        chunks[i].length -= options.width - length;
      } else if (row.empty()) {
        row.push_back(chunks[i++]);
      }
    }
    if (!row.empty() && row.back().space) row.pop_back();
    std::string text;
    for (const Chunk& chunk : row) text += chunk.text;
    if (!row.empty()) lines.push_back(std::move(text));
  }
  return lines;
}

}  // namespace exo::jinja
