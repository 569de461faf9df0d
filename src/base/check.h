// CHECK(condition, message): our own invariants, always compiled in. A failed CHECK is a bug of
// exo: it prints where and why and aborts. Bytes from users, peers and files must never reach one.
#pragma once

#include <string_view>

namespace exo {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

}  // namespace exo

#define CHECK(condition, message)                                                     \
  do {                                                                                \
    if (!(condition)) ::exo::check_failed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
