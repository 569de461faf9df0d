#include "tensor/tensor_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "tensor/ggml_types.h"
#include "tensor/safetensors_types.h"

namespace exo {
namespace {

constexpr uint64_t kGgufAlignment = 32;

uint64_t aligned(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

// Numbers and texts as GGUF has them: little endian, texts behind their length.
class GgufText {
 public:
  template <class T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    number<uint64_t>(value.size());
    bytes_ += value;
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

enum GgufType : uint32_t {
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kText = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11
};

struct Range {
  int64_t low = 0;
  uint64_t high = 0;
  bool text = false, flag = false, whole = false, real = false, other = false;

  void add(const Json& value) {
    if (value.is_string())
      text = true;
    else if (value.is_bool())
      flag = true;
    else if (value.is_double())
      real = true;
    else if (value.is_int64()) {
      whole = true;
      low = std::min(low, value.get_int64());
      high = std::max(high, static_cast<uint64_t>(std::max<int64_t>(0, value.get_int64())));
    } else if (value.is_uint64()) {
      whole = true;
      high = std::max(high, value.get_uint64());
    } else {
      other = true;
    }
  }
};

// What holds every one of `range`. Whole numbers of arrays are signed, as ggml's readers expect.
Result<GgufType> type_of(const Range& range, bool in_array) {
  if (range.other || range.text + range.flag + (range.real || range.whole) > 1)
    return unsupported("a value that is no text, number or flag, or an array of several kinds");
  if (range.text) return kText;
  if (range.flag) return kBool;
  if (range.real) return kF32;
  if (range.high > INT64_MAX) {
    if (range.low < 0) return unsupported("whole numbers that no type of GGUF holds together");
    return kU64;
  }
  if (range.low < 0 || in_array)
    return range.low >= INT32_MIN && range.high <= INT32_MAX ? kI32 : kI64;
  return range.high <= UINT32_MAX ? kU32 : kU64;
}

void put_value(GgufText& out, GgufType type, const Json& value) {
  switch (type) {
    case kText:
      return out.text(std::string_view(value.get_string()));
    case kBool:
      return out.number<uint8_t>(value.get_bool() ? 1 : 0);
    case kF32:
      return out.number(static_cast<float>(value.to_number<double>()));
    case kU32:
      return out.number(value.to_number<uint32_t>());
    case kI32:
      return out.number(value.to_number<int32_t>());
    case kU64:
      return out.number(value.to_number<uint64_t>());
    default:
      return out.number(value.to_number<int64_t>());
  }
}

Result<void> put_key(GgufText& out, std::string_view key, const Json& value) {
  Range range;
  out.text(key);
  if (!value.is_array()) {
    range.add(value);
    const GgufType type = TRY(type_of(range, false));
    out.number<uint32_t>(type);
    put_value(out, type, value);
    return {};
  }
  const JsonArray& array = value.get_array();
  for (const Json& item : array) range.add(item);
  const GgufType type = TRY(type_of(range, true));
  out.number<uint32_t>(kArray);
  out.number<uint32_t>(type);
  out.number<uint64_t>(array.size());
  for (const Json& item : array) put_value(out, type, item);
  return {};
}

Result<std::string> gguf_header(const JsonObject& metadata,
                                const std::vector<PlannedTensor>& plan) {
  GgufText out;
  out.number<uint32_t>(0x46554747);  // "GGUF"
  out.number<uint32_t>(3);
  out.number<uint64_t>(plan.size());
  out.number<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    const auto put = put_key(out, key, value);
    if (!put.ok()) return put.error().in(fmt::format("the key '{}'", std::string_view(key)));
  }
  uint64_t offset = 0;
  for (const PlannedTensor& tensor : plan) {
    const GgmlType* type = ggml_type(tensor.info.dtype);
    if (type == nullptr)
      return unsupported(
          fmt::format("'{}': GGUF has no type {}", tensor.name, traits(tensor.info.dtype).name));
    out.text(tensor.name);
    out.number(static_cast<uint32_t>(tensor.info.shape.size()));
    for (size_t i = tensor.info.shape.size(); i-- > 0;)
      out.number(static_cast<uint64_t>(tensor.info.shape[i]));
    out.number(type->id);
    out.number(offset);
    offset += aligned(tensor.size_bytes(), kGgufAlignment);
  }
  std::string header = out.take();
  header.resize(aligned(header.size(), kGgufAlignment));
  return header;
}

}  // namespace

uint64_t PlannedTensor::size_bytes() const {
  return row_bytes(info.dtype, HostTensor{.shape = info.shape}.elements());
}

bool gguf_holds(DType dtype) { return ggml_type(dtype) != nullptr; }

Result<TensorWriter> TensorWriter::create_gguf(const std::filesystem::path& path,
                                               const JsonObject& metadata,
                                               std::vector<PlannedTensor> plan) {
  auto header = gguf_header(metadata, plan);
  if (!header.ok()) return header.error().in(path.string());
  return create(path, *header, std::move(plan), kGgufAlignment);
}

Result<TensorWriter> TensorWriter::create_safetensors(const std::filesystem::path& path,
                                                      const JsonObject& metadata,
                                                      std::vector<PlannedTensor> plan) {
  JsonObject header;
  header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const PlannedTensor& tensor : plan) {
    const SafetensorsType* type = safetensors_type(tensor.info.dtype);
    if (type == nullptr)
      return unsupported(fmt::format("{}: safetensors have no type {} ('{}')", path.string(),
                                     traits(tensor.info.dtype).name, tensor.name));
    const uint64_t end = offset + tensor.size_bytes();
    header[tensor.name] = {
        {"dtype", boost::json::string_view(type->name.data(), type->name.size())},
        {"shape", JsonArray(tensor.info.shape.begin(), tensor.info.shape.end())},
        {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = to_text(Json(std::move(header)));
  text.resize(aligned(text.size(), 8), ' ');
  const uint64_t size = text.size();
  return create(path, std::string(reinterpret_cast<const char*>(&size), sizeof size) + text,
                std::move(plan), 1);
}

Result<TensorWriter> TensorWriter::create(const std::filesystem::path& path,
                                          const std::string& header,
                                          std::vector<PlannedTensor> plan, uint64_t alignment) {
  uint64_t total = header.size();
  for (const PlannedTensor& tensor : plan) total += aligned(tensor.size_bytes(), alignment);
  TensorWriter writer(TRY(PartialFile::create(path, total)), std::move(plan), alignment);
  writer.total_bytes_ = total;
  TRY(writer.file_.write(header));
  TRY(writer.pad());
  return writer;
}

// Steps over tensors that are whole.
Result<void> TensorWriter::pad() {
  while (tensor_ < plan_.size() && tensor_bytes_ == plan_[tensor_].size_bytes()) {
    TRY(file_.write(std::string(aligned(tensor_bytes_, alignment_) - tensor_bytes_, '\0')));
    ++tensor_;
    tensor_bytes_ = 0;
  }
  return {};
}

Result<void> TensorWriter::write(std::span<const std::byte> bytes) {
  CHECK(tensor_ < plan_.size() && tensor_bytes_ + bytes.size() <= plan_[tensor_].size_bytes(),
        "more bytes than were planned");
  TRY(file_.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  tensor_bytes_ += bytes.size();
  return pad();
}

Result<void> TensorWriter::finish() {
  CHECK(tensor_ == plan_.size(), "fewer bytes than were planned");
  return file_.finish();
}

}  // namespace exo
