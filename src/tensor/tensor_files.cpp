#include "tensor/tensor_files.h"

#include <fmt/core.h>
#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "base/file.h"
#include "tensor/sparse_file.h"
#include "tensor/tensor_index.h"

namespace exo {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are mapped as they are");

constexpr size_t kIndexFileLimit = 100'000'000;  // bytes
constexpr size_t kShardLimit = 10'000;           // files

using Parse = Result<TensorIndex> (*)(std::span<const std::byte> begin, size_t file_bytes);

struct OpenFile {
  std::shared_ptr<const MappedFile> file;
  TensorIndex index;
  std::filesystem::path name;    // without ".partial"
  std::optional<RangeSet> held;  // of a file that is only partly here
};

bool is_here(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) ||
         std::filesystem::exists(record_path(path), ignored);
}

Result<OpenFile> open_file(const std::filesystem::path& path, Parse parse) {
  OpenFile open{.name = path};
  std::error_code ignored;
  std::filesystem::path actual = path;
  if (!std::filesystem::exists(path, ignored)) {
    const auto record = TRY(read_sparse_record(path));
    if (record) {
      open.held = record->held;
      actual = partial_path(path);
    }
  }
  open.file = TRY(MappedFile::open(actual));
  const auto bytes = open.file->bytes();
  auto index = parse(
      open.held ? bytes.first(std::min(bytes.size(), size_t{open.held->prefix_end()})) : bytes,
      bytes.size());
  if (!index.ok()) return index.error().in(actual.string());
  open.index = std::move(index).value();
  return open;
}

std::string digest_headers(const std::vector<OpenFile>& files) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  bool good = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (const OpenFile& open : files) {
    const uint64_t size = open.index.header_bytes;  // keeps the borders between headers
    good = good && EVP_DigestUpdate(context.get(), &size, sizeof size) == 1 &&
           EVP_DigestUpdate(context.get(), open.file->bytes().data(), size) == 1;
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  good = good && EVP_DigestFinal_ex(context.get(), digest, &length) == 1;
  CHECK(good, "SHA-256 is not available");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

class MappedTensorFiles : public TensorFiles {
 public:
  struct Location {
    size_t file;
    size_t entry;
  };

  // Files in the order of their names, so that the digest does not depend on how they were found.
  MappedTensorFiles(std::vector<OpenFile> files, std::map<std::string, Location, std::less<>> names)
      : files_(std::move(files)), names_(std::move(names)), digest_(digest_headers(files_)) {}

  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, location] : names_) all.push_back(name);
    return all;
  }
  bool contains(std::string_view name) const override { return names_.contains(name); }

  Result<TensorInfo> describe(std::string_view name) const override {
    const HostTensor tensor = TRY(find(name));
    return TensorInfo{tensor.dtype, tensor.shape};
  }

  Result<HostTensor> find(std::string_view name) const override {
    const auto found = names_.find(name);
    if (found == names_.end())
      return not_found(
          fmt::format("{}: there is no tensor '{}'", files_.front().file->path().string(), name));
    const OpenFile& open = files_[found->second.file];
    const TensorEntry& entry = open.index.entries[found->second.entry];
    if (!entry.dtype)
      return unsupported(
          fmt::format("{}: the tensor '{}' is stored as {}, which this build does "
                      "not read",
                      open.file->path().string(), name, entry.type_name));
    return HostTensor{*entry.dtype, entry.shape,
                      open.file->bytes().subspan(entry.begin, entry.end - entry.begin), open.file,
                      true};
  }

  Result<std::vector<Place>> places(std::string_view name) const override {
    const auto found = names_.find(name);
    if (found == names_.end()) return not_found(fmt::format("there is no tensor '{}'", name));
    const OpenFile& open = files_[found->second.file];
    const TensorEntry& entry = open.index.entries[found->second.entry];
    const ByteRange bytes{entry.begin, entry.end};
    return std::vector{Place{open.name, bytes, !open.held || open.held->contains(bytes)}};
  }

  const JsonObject& metadata() const override { return files_.front().index.metadata; }
  std::string header_digest() const override { return digest_; }

 private:
  std::vector<OpenFile> files_;
  std::map<std::string, Location, std::less<>> names_;
  std::string digest_;
};

// Whole files; no two may hold a tensor of the same name.
Result<std::shared_ptr<const TensorFiles>> open_whole(std::vector<OpenFile> files) {
  std::map<std::string, MappedTensorFiles::Location, std::less<>> names;
  for (size_t file = 0; file < files.size(); ++file) {
    const auto& entries = files[file].index.entries;
    for (size_t i = 0; i < entries.size(); ++i)
      if (!names.emplace(entries[i].name, MappedTensorFiles::Location{file, i}).second)
        return corrupt(fmt::format("{}: the tensor '{}' is in another file, too",
                                   files[file].file->path().string(), entries[i].name));
  }
  return std::shared_ptr<const TensorFiles>(
      std::make_shared<MappedTensorFiles>(std::move(files), std::move(names)));
}

// The index is data from outside: its file names must stay inside the folder.
Result<void> check_shard_name(std::string_view name) {
  const bool plain = !name.empty() && name.front() != '.' && name.ends_with(".safetensors") &&
                     name.size() <= 255 &&
                     name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos &&
                     name.find("..") == std::string_view::npos;
  if (plain) return {};
  return corrupt(fmt::format("'{}' is no name of a .safetensors file in the same folder", name));
}

struct ShardIndex {
  std::map<std::string, std::string> file_of;  // tensor -> file name
  std::set<std::string> files;
};

Result<ShardIndex> parse_shard_index(std::string_view text) {
  const Json json = TRY(parse_json(text, 8));
  if (!json.is_object() || count_members(json) != count_json(text).members)
    return corrupt("not a JSON object, or it repeats a key");
  const JsonObject* map = TRY(get_object(json.get_object(), "weight_map"));
  if (map == nullptr || map->empty()) return corrupt("'weight_map' is missing or empty");
  ShardIndex index;
  for (const auto& member : *map) {
    if (!member.value().is_string()) return corrupt("'weight_map' must map names to file names");
    const std::string file(member.value().get_string());
    TRY(check_shard_name(file));
    index.files.insert(file);
    index.file_of.emplace(member.key(), file);
  }
  if (index.files.size() > kShardLimit)
    return corrupt(fmt::format("it names {} files", index.files.size()));
  return index;
}

Result<std::shared_ptr<const TensorFiles>> open_sharded(const std::filesystem::path& folder,
                                                        const std::filesystem::path& index_path) {
  const std::string text = TRY(read_file(index_path, kIndexFileLimit));
  auto index = parse_shard_index(text);
  if (!index.ok()) return index.error().in(index_path.string());
  std::vector<OpenFile> files;
  std::map<std::string, size_t> number;
  for (const std::string& name : index->files) {
    number.emplace(name, files.size());
    files.push_back(TRY(open_file(folder / name, parse_safetensors_begin)));
  }
  std::map<std::string, MappedTensorFiles::Location, std::less<>> names;
  for (const auto& [tensor, file] : index->file_of) {
    const size_t at = number.at(file);
    const auto entry = files[at].index.by_name.find(tensor);
    if (entry == files[at].index.by_name.end())
      return corrupt(
          fmt::format("{}: the tensor '{}' is not in {}", index_path.string(), tensor, file));
    names.emplace(tensor, MappedTensorFiles::Location{at, entry->second});
  }
  return std::shared_ptr<const TensorFiles>(
      std::make_shared<MappedTensorFiles>(std::move(files), std::move(names)));
}

// What a GGUF file says of the parts it is split into, as llama-gguf-split writes them.
struct GgufSplit {
  int part = 1;  // from 1, as in file names; the key counts from 0
  int count = 1;
  int64_t tensors = 0;  // of all parts
};

Result<GgufSplit> read_split(const OpenFile& open) {
  const auto read = [&]() -> Result<GgufSplit> {
    const JsonObject& metadata = open.index.metadata;
    const int64_t count = TRY(get_int(metadata, "split.count")).value_or(1);
    const int64_t number = TRY(get_int(metadata, "split.no")).value_or(0);
    const int64_t tensors = TRY(get_int(metadata, "split.tensors.count")).value_or(0);
    if (count <= 1) return GgufSplit{};
    if (count > static_cast<int64_t>(kShardLimit) || number < 0 || number >= count)
      return corrupt(fmt::format("it says that it is part {} of {}", number + 1, count));
    return GgufSplit{static_cast<int>(number) + 1, static_cast<int>(count), tensors};
  };
  auto split = read();
  return split.ok() ? std::move(split) : split.error().in(open.file->path().string());
}

Result<OpenFile> open_part(const std::filesystem::path& path, const GgufSplit& expected) {
  auto opened = open_file(path, parse_gguf_begin);
  if (!opened.ok() && opened.error().code == ErrorCode::not_found)
    return not_found(fmt::format("part {} of {} is missing: there is no {}", expected.part,
                                 expected.count, path.string()));
  OpenFile open = TRY(std::move(opened));
  const GgufSplit found = TRY(read_split(open));
  if (found.part != expected.part || found.count != expected.count ||
      found.tensors != expected.tensors)
    return corrupt(
        fmt::format("{} does not belong to the other parts of the model: it says that it "
                    "is part {} of {} with {} tensors",
                    path.string(), found.part, found.count, found.tensors));
  return open;
}

// All parts of the model that `file` is, or is one part of.
Result<std::vector<OpenFile>> open_parts(const std::filesystem::path& file) {
  OpenFile first = TRY(open_file(file, parse_gguf_begin));
  const GgufSplit split = TRY(read_split(first));
  std::vector<OpenFile> files;
  if (split.count == 1) {
    files.push_back(std::move(first));
    return files;
  }
  const auto name = parse_gguf_part_name(file.filename().string());
  if (!name || name->part != split.part || name->count != split.count)
    return corrupt(fmt::format(
        "{} says that it is part {} of {}: its name must end in '-{:05}-of-{:05}.gguf', "
        "so that the others are found",
        file.string(), split.part, split.count, split.part, split.count));
  size_t tensors = 0;
  for (int part = 1; part <= split.count; ++part) {
    const auto path = file.parent_path() / gguf_part_name({name->base, part, split.count});
    files.push_back(TRY(open_part(path, {part, split.count, split.tensors})));
    tensors += files.back().index.entries.size();
  }
  if (split.tensors > 0 && tensors != static_cast<size_t>(split.tensors))
    return corrupt(fmt::format("{}: the parts hold {} tensors together, but {} belong to the model",
                               file.string(), tensors, split.tensors));
  return files;
}

}  // namespace

Result<HostTensor> TensorFiles::find_rows(std::string_view name, int64_t begin,
                                          int64_t count) const {
  HostTensor tensor = TRY(find(name));
  CHECK(!tensor.shape.empty(), "a scalar has no rows");
  const int64_t width = tensor.shape.back();
  const size_t row = row_bytes(tensor.dtype, width);
  CHECK(begin >= 0 && count >= 0 && static_cast<size_t>(begin + count) * row <= tensor.bytes.size(),
        "rows outside their tensor");
  tensor.bytes =
      tensor.bytes.subspan(static_cast<size_t>(begin) * row, static_cast<size_t>(count) * row);
  tensor.shape = {count, width};
  return tensor;
}

std::optional<GgufPartName> parse_gguf_part_name(std::string_view file_name) {
  constexpr std::string_view kEnd = "-00000-of-00000.gguf";
  if (file_name.size() <= kEnd.size()) return std::nullopt;
  const std::string_view end = file_name.substr(file_name.size() - kEnd.size());
  for (size_t i = 0; i < kEnd.size(); ++i)
    if (kEnd[i] == '0' ? end[i] < '0' || end[i] > '9' : end[i] != kEnd[i]) return std::nullopt;
  GgufPartName name{std::string(file_name.substr(0, file_name.size() - kEnd.size())), 0, 0};
  for (size_t i = 0; i < 5; ++i) {
    name.part = name.part * 10 + (end[1 + i] - '0');
    name.count = name.count * 10 + (end[10 + i] - '0');
  }
  if (name.part < 1 || name.part > name.count) return std::nullopt;
  return name;
}

std::string gguf_part_name(const GgufPartName& name) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", name.base, name.part, name.count);
}

Result<std::shared_ptr<const TensorFiles>> open_safetensors(const std::filesystem::path& folder) {
  std::error_code ignored;
  const auto single = folder / "model.safetensors";
  if (is_here(single)) return open_safetensors_file(single);
  const auto index = folder / "model.safetensors.index.json";
  if (std::filesystem::exists(index, ignored)) return open_sharded(folder, index);
  return not_found(fmt::format("{} has neither model.safetensors nor model.safetensors.index.json",
                               folder.string()));
}

Result<std::shared_ptr<const TensorFiles>> open_safetensors_file(
    const std::filesystem::path& file) {
  std::vector<OpenFile> files;
  files.push_back(TRY(open_file(file, parse_safetensors_begin)));
  return open_whole(std::move(files));
}

Result<std::shared_ptr<const TensorFiles>> open_gguf(const std::filesystem::path& file,
                                                     const std::filesystem::path& tower) {
  std::vector<OpenFile> files = TRY(open_parts(file));
  if (!tower.empty()) {
    OpenFile second = TRY(open_file(tower, parse_gguf_begin));
    for (const auto& [key, value] : second.index.metadata)
      if (key.starts_with("clip.")) files[0].index.metadata[key] = value;
    files.push_back(std::move(second));
  }
  return open_whole(std::move(files));
}

}  // namespace exo
