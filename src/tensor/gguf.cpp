// GGUF v2 and v3, little endian: magic, version, tensor count, key count; keys with typed values;
// tensor infos (name, dims innermost first, type, offset); then, aligned, the data.
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "tensor/ggml_types.h"
#include "tensor/tensor_index.h"

namespace exo {
namespace {

constexpr uint64_t kKeyLimit = 65'536;
constexpr uint64_t kTensorLimit = 1'000'000;
constexpr uint64_t kNameLimit = 1024;         // bytes of a key or a tensor name
constexpr uint64_t kStringLimit = 16u << 20;  // bytes of a value
constexpr uint64_t kValueLimit = 8'000'000;   // values of all arrays together
constexpr int kNestingLimit = 4;
constexpr uint64_t kAlignmentLimit = 65'536;

// Takes values off the front of the file; every read is checked.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  bool ran_out() const { return ran_out_; }  // a longer file might have been read
  Error end_of_file(std::string what = "the file ends inside its header; fetch it again") {
    ran_out_ = true;
    return corrupt(std::move(what));
  }

  template <class T>
  Result<T> number() {
    if (left() < sizeof(T)) return end_of_file();
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }
  Result<std::string_view> text(uint64_t limit) {
    const uint64_t size = TRY(number<uint64_t>());
    if (size > limit) return corrupt(fmt::format("a text of {} bytes (at most {})", size, limit));
    if (size > left()) return end_of_file();
    const std::string_view view(reinterpret_cast<const char*>(bytes_.data()) + position_, size);
    position_ += size;
    return view;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  bool ran_out_ = false;
};

class Parser {
 public:
  Parser(std::span<const std::byte> begin, size_t file_bytes)
      : file_bytes_(file_bytes), reader_(begin) {}
  bool ran_out() const { return reader_.ran_out(); }

  Result<TensorIndex> parse() {
    const uint64_t alignment = TRY(parse_header());
    TRY(place_tensors(alignment));
    TRY(finish_index(index_));
    return std::move(index_);
  }

  // Up to the data; the alignment that this has.
  Result<uint64_t> parse_header() {
    TRY(check_version());
    const uint64_t tensors = TRY(reader_.number<uint64_t>());
    const uint64_t keys = TRY(reader_.number<uint64_t>());
    if (tensors > kTensorLimit || keys > kKeyLimit)
      return corrupt(fmt::format("it lists {} tensors and {} keys; at most {} and {} are read",
                                 tensors, keys, kTensorLimit, kKeyLimit));
    for (uint64_t i = 0; i < keys; ++i) TRY(parse_key());
    const uint64_t alignment = TRY(data_alignment());
    for (uint64_t i = 0; i < tensors; ++i) TRY(parse_tensor(alignment));
    index_.header_bytes = reader_.position();
    return alignment;
  }
  size_t header_bytes() const { return index_.header_bytes; }

 private:
  Result<void> check_version() {
    const uint32_t magic = TRY(reader_.number<uint32_t>());
    if (magic != 0x46554747u) return corrupt("it does not begin with 'GGUF': no GGUF file");
    const uint32_t version = TRY(reader_.number<uint32_t>());
    if (version == 2 || version == 3) return {};
    if ((version & 0xffffu) == 0 && version != 0)
      return unsupported("a big-endian GGUF file; convert it to little endian");
    return unsupported(fmt::format("GGUF version {}; versions 2 and 3 are read", version));
  }

  Result<void> parse_key() {
    const std::string key(TRY(reader_.text(kNameLimit)));
    const uint32_t type = TRY(reader_.number<uint32_t>());
    auto value = parse_value(type, 0);
    if (!value.ok()) return value.error().in(fmt::format("key '{}'", key));
    if (!index_.metadata.emplace(key, std::move(value).value()).second)
      return corrupt(fmt::format("the key '{}' is there twice", key));
    return {};
  }

  template <class T>
  Result<Json> json_number() {
    return Json(TRY(reader_.number<T>()));
  }

  Result<Json> parse_value(uint32_t type, int depth) {
    switch (type) {
      case 0:
        return json_number<uint8_t>();
      case 1:
        return json_number<int8_t>();
      case 2:
        return json_number<uint16_t>();
      case 3:
        return json_number<int16_t>();
      case 4:
        return json_number<uint32_t>();
      case 5:
        return json_number<int32_t>();
      case 6:
        return Json(static_cast<double>(TRY(reader_.number<float>())));
      case 7:
        return Json(TRY(reader_.number<uint8_t>()) != 0);
      case 8:
        return Json(boost::json::string_view(TRY(reader_.text(kStringLimit))));
      case 9:
        return parse_array(depth);
      case 10:
        return json_number<uint64_t>();
      case 11:
        return json_number<int64_t>();
      case 12:
        return json_number<double>();
      default:
        return corrupt(fmt::format("unknown value type {}", type));
    }
  }

  Result<Json> parse_array(int depth) {
    if (depth >= kNestingLimit) return corrupt("arrays nested too deeply");
    const uint32_t type = TRY(reader_.number<uint32_t>());
    const uint64_t count = TRY(reader_.number<uint64_t>());
    if (count > reader_.left()) {
      if (count > kValueLimit) return corrupt("an array longer than the file");
      return reader_.end_of_file("an array longer than the file");
    }
    values_ += count;
    if (values_ > kValueLimit)
      return corrupt(fmt::format("more than {} array values", kValueLimit));
    JsonArray array;
    array.reserve(count);
    for (uint64_t i = 0; i < count; ++i) array.push_back(TRY(parse_value(type, depth + 1)));
    return Json(std::move(array));
  }

  Result<uint64_t> data_alignment() const {
    const auto value = TRY(get_int(index_.metadata, "general.alignment")).value_or(32);
    if (value < 1 || value > static_cast<int64_t>(kAlignmentLimit) ||
        !std::has_single_bit(static_cast<uint64_t>(value)))
      return corrupt(fmt::format("general.alignment is {}: no usable power of two", value));
    return static_cast<uint64_t>(value);
  }

  Result<void> parse_tensor(uint64_t alignment) {
    TensorEntry entry{.name = std::string(TRY(reader_.text(kNameLimit)))};
    const std::string who = fmt::format("tensor '{}'", entry.name);
    const uint32_t rank = TRY(reader_.number<uint32_t>());
    if (rank < 1 || rank > 4) return corrupt(fmt::format("{} has {} dimensions", who, rank));
    for (uint32_t i = 0; i < rank; ++i) {
      const uint64_t extent = TRY(reader_.number<uint64_t>());
      if (extent < 1 || extent > static_cast<uint64_t>(INT64_MAX))
        return corrupt(fmt::format("{} has a dimension of {}", who, extent));
      entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(extent));
    }
    const uint32_t type_id = TRY(reader_.number<uint32_t>());
    const uint64_t offset = TRY(reader_.number<uint64_t>());
    if (offset % alignment != 0)
      return corrupt(fmt::format("{}: its offset {} is not aligned to {}", who, offset, alignment));
    const GgmlType* type = ggml_type(type_id);
    entry.type_name = type ? std::string(type->name) : fmt::format("ggml type {}", type_id);
    std::optional<uint64_t> bytes;
    if (type) {
      entry.dtype = type->dtype;
      bytes = checked_bytes(entry.shape, type->block_size, type->block_bytes);
    } else if (checked_elements(entry.shape)) {
      bytes = 0;  // nobody can ask for it
    }
    if (!bytes) return corrupt(fmt::format("{}: its shape does not fit {}", who, entry.type_name));
    entry.begin = offset;
    if (__builtin_add_overflow(offset, *bytes, &entry.end))
      return corrupt(fmt::format("{}: its offset {} is beyond any file", who, offset));
    index_.entries.push_back(std::move(entry));
    return {};
  }

  Result<void> place_tensors(uint64_t alignment) {
    const uint64_t base = (index_.header_bytes + alignment - 1) / alignment * alignment;
    for (TensorEntry& entry : index_.entries) {
      if (base > file_bytes_ || entry.end > file_bytes_ - base)
        return corrupt(
            fmt::format("tensor '{}' lies beyond the end of the file, which is cut "
                        "short: fetch it again",
                        entry.name));
      entry.begin += base;
      entry.end += base;
    }
    return {};
  }

  size_t file_bytes_;
  Reader reader_;
  TensorIndex index_;
  uint64_t values_ = 0;
};

}  // namespace

Result<TensorIndex> parse_gguf_begin(std::span<const std::byte> begin, size_t file_bytes) {
  return Parser(begin, file_bytes).parse();
}

Result<TensorIndex> parse_gguf(std::span<const std::byte> file_bytes) {
  return parse_gguf_begin(file_bytes, file_bytes.size());
}

Result<std::optional<uint64_t>> gguf_header_bytes(std::span<const std::byte> begin) {
  Parser parser(begin, begin.size());
  const auto alignment = parser.parse_header();
  if (!alignment.ok() && parser.ran_out()) return std::optional<uint64_t>();
  if (!alignment.ok()) return alignment.error();
  return std::optional<uint64_t>(parser.header_bytes());
}

}  // namespace exo
