// safetensors' element types by name, with their sizes: facts of the format, for its reader and its
// writer. Constant.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace exo {

struct SafetensorsType {
  std::string_view name;
  int bytes;
  std::optional<DType> dtype;  // nothing: known by its size only
};
inline constexpr std::array<SafetensorsType, 15> kSafetensorsTypes = {{
    {"F32", 4, DType::f32},
    {"F16", 2, DType::f16},
    {"BF16", 2, DType::bf16},
    {"I32", 4, DType::i32},
    {"U32", 4, DType::u32},
    {"I64", 8, DType::i64},
    {"U8", 1, DType::u8},
    {"I8", 1, DType::i8},
    {"F8_E4M3", 1, DType::f8_e4m3},
    {"F8_E5M2", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},
    {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},
    {"F64", 8, std::nullopt},
    {"U64", 8, std::nullopt},
}};

inline const SafetensorsType* safetensors_type(std::string_view name) {
  for (const SafetensorsType& type : kSafetensorsTypes)
    if (type.name == name) return &type;
  return nullptr;
}
inline const SafetensorsType* safetensors_type(DType dtype) {
  for (const SafetensorsType& type : kSafetensorsTypes)
    if (type.dtype == dtype) return &type;
  return nullptr;
}

}  // namespace exo
