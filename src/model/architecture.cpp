#include "model/architecture.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace exo {

#define EXO_ENTRY(name) const Architecture& arch_##name();
#include "architectures.inc"
#undef EXO_ENTRY

std::span<const Architecture* const> architectures() {
  static const auto table = std::to_array<const Architecture*>({
#define EXO_ENTRY(name) &arch_##name(),
#include "architectures.inc"
#undef EXO_ENTRY
  });
  return table;
}

namespace {

Result<const Architecture*> find(std::string_view name,
                                 std::span<const std::string_view> Architecture::*names) {
  std::string known;
  for (const Architecture* architecture : architectures()) {
    const auto list = architecture->*names;
    if (std::find(list.begin(), list.end(), name) != list.end()) return architecture;
    if (!list.empty()) known += fmt::format("{}{}", known.empty() ? "" : ", ", list.front());
  }
  return unsupported(
      fmt::format("models of the architecture '{}' cannot be run; known are: {}", name, known));
}

}  // namespace

Error cannot_chat(std::string_view model) {
  return unsupported(
      fmt::format("{} is an embedding model: it makes vectors of texts and cannot chat", model));
}

bool runs_family(std::string_view family) {
  const auto all = architectures();
  return std::any_of(all.begin(), all.end(),
                     [&](const Architecture* known) { return known->family == family; });
}
Result<const Architecture*> find_architecture(std::string_view name) {
  return find(name, &Architecture::names);
}
Result<const Architecture*> find_gguf_architecture(std::string_view name) {
  return find(name, &Architecture::gguf_names);
}

}  // namespace exo
