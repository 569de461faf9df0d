// What the store and the catalogue read: records beside files, cards, addresses, headers in pieces.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "download/model_catalog.h"
#include "download/model_source.h"
#include "tensor/sparse_file.h"
#include "tensor/tensor_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto record = exo::parse_sparse_record(text); record.ok()) {
    for (const exo::ByteRange& range : record->held.ranges())
      if (range.begin >= range.end || range.end > record->size) __builtin_trap();
    const auto again = exo::parse_sparse_record(exo::to_text(*record));
    if (!again.ok() || again->held != record->held) __builtin_trap();
  }
  if (const auto record = exo::parse_source_record(text); record.ok())
    for (const exo::RepoFile& file : record->files.weights)
      if (!exo::is_safe_repo_path(file.path)) __builtin_trap();
  (void)exo::parse_cards(text);
  if (const auto source = exo::parse_model_source(text); source.ok() && *source) {
    const auto again = exo::parse_model_source(exo::to_text(**source));
    if (!again.ok() || !*again || **again != **source) __builtin_trap();
  }
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto known = exo::gguf_header_bytes(bytes); known.ok() && *known && **known > size)
    __builtin_trap();
  (void)exo::safetensors_header_bytes(bytes);
  return 0;
}
