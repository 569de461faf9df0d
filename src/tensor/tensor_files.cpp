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
         std::filesystem::exists(partial_path(path), ignored);
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
                      open.file->bytes().subspan(entry.begin, entry.end - entry.begin), open.file};
  }

  Result<Place> place(std::string_view name) const override {
    const auto found = names_.find(name);
    if (found == names_.end()) return not_found(fmt::format("there is no tensor '{}'", name));
    const OpenFile& open = files_[found->second.file];
    const TensorEntry& entry = open.index.entries[found->second.entry];
    const ByteRange bytes{entry.begin, entry.end};
    return Place{open.name, bytes, !open.held || open.held->contains(bytes)};
  }

  const JsonObject& metadata() const override { return files_.front().index.metadata; }
  std::string header_digest() const override { return digest_; }

 private:
  std::vector<OpenFile> files_;
  std::map<std::string, Location, std::less<>> names_;
  std::string digest_;
};

Result<std::shared_ptr<const TensorFiles>> open_single(const std::filesystem::path& path,
                                                       Parse parse) {
  std::vector<OpenFile> files;
  files.push_back(TRY(open_file(path, parse)));
  std::map<std::string, MappedTensorFiles::Location, std::less<>> names;
  const auto& entries = files.front().index.entries;
  for (size_t i = 0; i < entries.size(); ++i)
    names.emplace(entries[i].name, MappedTensorFiles::Location{0, i});
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

}  // namespace

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
  return open_single(file, parse_safetensors_begin);
}

Result<std::shared_ptr<const TensorFiles>> open_gguf(const std::filesystem::path& file) {
  return open_single(file, parse_gguf_begin);
}

}  // namespace exo
