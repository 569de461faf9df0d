#include "text/jinja/strftime.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <ctime>

namespace exo::jinja {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

struct Moment {
  std::tm local{};
  int64_t now_ms = 0;
};

struct Field {
  std::string text;
  int64_t number = 0;
  int width = 0;       // of a number; 0 for a text
  char padding = '0';  // of a number
};

Field number(int64_t value, int width, char padding = '0') { return {"", value, width, padding}; }
Field text(std::string value) { return {std::move(value), 0, 0, '0'}; }

struct IsoWeek {
  int64_t year;
  int week;
};

bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

IsoWeek iso_week(const std::tm& local) {
  const int weekday = (local.tm_wday + 6) % 7;  // Monday is 0
  const int64_t year = local.tm_year + 1900;
  const int week = (local.tm_yday - weekday + 10) / 7;
  const auto weeks_in = [](int64_t y, int first_weekday) {
    return first_weekday == 3 || (first_weekday == 2 && is_leap(y)) ? 53 : 52;
  };
  const int first = ((weekday - local.tm_yday) % 7 + 7) % 7;  // of January 1st
  if (week < 1) {
    const int days = is_leap(year - 1) ? 366 : 365;
    return {year - 1, weeks_in(year - 1, ((first - days) % 7 + 7) % 7)};
  }
  if (week > weeks_in(year, first)) return {year + 1, 1};
  return {year, week};
}

std::string clock_text(const std::tm& t, bool seconds) {
  return seconds ? fmt::format("{:02}:{:02}:{:02}", t.tm_hour, t.tm_min, t.tm_sec)
                 : fmt::format("{:02}:{:02}", t.tm_hour, t.tm_min);
}

std::string short_date(const std::tm& t) {
  return fmt::format("{:02}/{:02}/{:02}", t.tm_mon + 1, t.tm_mday, t.tm_year % 100);
}

std::string long_date(const std::tm& t) {
  return fmt::format("{} {} {:2} {} {}", kDays[static_cast<size_t>(t.tm_wday)].substr(0, 3),
                     kMonths[static_cast<size_t>(t.tm_mon)].substr(0, 3), t.tm_mday,
                     clock_text(t, true), t.tm_year + 1900);
}

int hour12(const std::tm& t) { return t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12; }

bool names_field(char directive, const std::tm& t, Field& out) {
  const std::string_view day = kDays[static_cast<size_t>(t.tm_wday)];
  const std::string_view month = kMonths[static_cast<size_t>(t.tm_mon)];
  switch (directive) {
    case 'a':
      out = text(std::string(day.substr(0, 3)));
      return true;
    case 'A':
      out = text(std::string(day));
      return true;
    case 'b':
    case 'h':
      out = text(std::string(month.substr(0, 3)));
      return true;
    case 'B':
      out = text(std::string(month));
      return true;
    case 'p':
      out = text(t.tm_hour < 12 ? "AM" : "PM");
      return true;
    case 'P':
      out = text(t.tm_hour < 12 ? "am" : "pm");
      return true;
    case 'c':
      out = text(long_date(t));
      return true;
    case 'D':
    case 'x':
      out = text(short_date(t));
      return true;
    case 'F':
      out = text(fmt::format("{}-{:02}-{:02}", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday));
      return true;
    case 'r':
      out = text(fmt::format("{:02}:{:02}:{:02} {}", hour12(t), t.tm_min, t.tm_sec,
                             t.tm_hour < 12 ? "AM" : "PM"));
      return true;
    case 'R':
      out = text(clock_text(t, false));
      return true;
    case 'T':
    case 'X':
      out = text(clock_text(t, true));
      return true;
    case 'n':
      out = text("\n");
      return true;
    case 't':
      out = text("\t");
      return true;
    case '%':
      out = text("%");
      return true;
    case 'z':
    case 'Z':
      out = text("");
      return true;
    default:
      return false;
  }
}

bool number_field(char directive, const Moment& moment, Field& out) {
  const std::tm& t = moment.local;
  const int64_t year = t.tm_year + 1900;
  switch (directive) {
    case 'C':
      out = number(year / 100, 2);
      return true;
    case 'd':
      out = number(t.tm_mday, 2);
      return true;
    case 'e':
      out = number(t.tm_mday, 2, ' ');
      return true;
    case 'f':
      out = number(moment.now_ms % 1000 * 1000, 6);
      return true;
    case 'g':
      out = number(iso_week(t).year % 100, 2);
      return true;
    case 'G':
      out = number(iso_week(t).year, 1);
      return true;
    case 'H':
      out = number(t.tm_hour, 2);
      return true;
    case 'I':
      out = number(hour12(t), 2);
      return true;
    case 'j':
      out = number(t.tm_yday + 1, 3);
      return true;
    case 'k':
      out = number(t.tm_hour, 2, ' ');
      return true;
    case 'l':
      out = number(hour12(t), 2, ' ');
      return true;
    case 'm':
      out = number(t.tm_mon + 1, 2);
      return true;
    case 'M':
      out = number(t.tm_min, 2);
      return true;
    case 's':
      out = number(moment.now_ms / 1000, 1);
      return true;
    case 'S':
      out = number(t.tm_sec, 2);
      return true;
    case 'u':
      out = number(t.tm_wday == 0 ? 7 : t.tm_wday, 1);
      return true;
    case 'U':
      out = number((t.tm_yday + 7 - t.tm_wday) / 7, 2);
      return true;
    case 'V':
      out = number(iso_week(t).week, 2);
      return true;
    case 'w':
      out = number(t.tm_wday, 1);
      return true;
    case 'W':
      out = number((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7, 2);
      return true;
    case 'y':
      out = number(year % 100, 2);
      return true;
    case 'Y':
      out = number(year, 1);
      return true;
    default:
      return false;
  }
}

std::string finish(const Field& field, char flag) {
  if (field.width > 0) {
    std::string digits = std::to_string(field.number);
    const char padding = flag == '_' ? ' ' : flag == '0' ? '0' : field.padding;
    const auto width = static_cast<size_t>(flag == '-' ? 0 : field.width);
    if (digits.size() < width) digits.insert(0, width - digits.size(), padding);
    return digits;
  }
  std::string out = field.text;
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (flag == '^') c = static_cast<char>(std::toupper(byte));
    if (flag == '#')
      c = static_cast<char>(std::isupper(byte) ? std::tolower(byte) : std::toupper(byte));
  }
  return out;
}

}  // namespace

std::string format_time(std::string_view format, int64_t now_ms, Budget& budget) {
  Moment moment;
  moment.now_ms = now_ms;
  const auto seconds = static_cast<std::time_t>(now_ms / 1000);
  if (localtime_r(&seconds, &moment.local) == nullptr) fail("the clock shows an impossible time");
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    budget.step();
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    size_t at = i + 1;
    char flag = '\0';
    if (at < format.size() && std::string_view("-_0^#").find(format[at]) != std::string_view::npos)
      flag = format[at++];
    Field field;
    const bool known = at < format.size() && (names_field(format[at], moment.local, field) ||
                                              number_field(format[at], moment, field));
    out += known ? finish(field, flag) : std::string(format.substr(i, at - i + 1));
    i = at;
  }
  budget.allocate(out.size());
  return out;
}

}  // namespace exo::jinja
