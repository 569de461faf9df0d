#include <pthread.h>

#include <string>

#include "base/thread_name.h"

namespace exo {

void set_thread_name(std::string_view name) {
  const std::string text(name.substr(0, 15));
#if defined(__APPLE__)
  ::pthread_setname_np(text.c_str());
#else
  ::pthread_setname_np(::pthread_self(), text.c_str());
#endif
}

}  // namespace exo
