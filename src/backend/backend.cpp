#include "backend/backend.h"

#include <fmt/core.h>

#include <array>

namespace exo {

#define EXO_ENTRY(name) const BackendFactory& backend_##name();
#include "backends.inc"
#undef EXO_ENTRY

std::span<const BackendFactory* const> backend_factories() {
  static const auto factories = std::to_array<const BackendFactory*>({
#define EXO_ENTRY(name) &backend_##name(),
#include "backends.inc"
#undef EXO_ENTRY
  });
  return factories;
}

Result<std::unique_ptr<Backend>> make_backend(std::string_view name,
                                              const BackendOptions& options) {
  std::string known;
  for (const BackendFactory* factory : backend_factories()) {
    if (factory->name == name) return factory->make(options);
    if (factory->for_users) known += fmt::format("{}{}", known.empty() ? "" : ", ", factory->name);
  }
  return invalid_argument(fmt::format("there is no backend '{}'; this build has: {}", name, known));
}

}  // namespace exo
