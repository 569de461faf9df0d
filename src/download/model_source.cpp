#include "download/model_source.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/json.h"
#include "tensor/tensor_files.h"

namespace exo {
namespace {

constexpr std::array<std::string_view, 4> kHubPrefixes = {
    "https://huggingface.co/", "https://hf.co/", "huggingface.co/", "hf.co/"};
constexpr uint64_t kMostSmallBytes = 64u << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

bool is_gguf(std::string_view path) { return lower(path).ends_with(".gguf"); }

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 == 0
}

// Beside the weights: what tokenizer, template and generation defaults are read from.
bool is_small_file(const RepoFile& file) {
  const std::string& path = file.path;
  if (file.size > kMostSmallBytes) return false;
  if (path.starts_with("additional_chat_templates/") && path.ends_with(".jinja"))
    return path.find('/', path.find('/') + 1) == std::string::npos;
  if (path == "1_Pooling/config.json") return true;
  if (path.find('/') != std::string::npos) return false;
  return path.ends_with(".json") || path.ends_with(".jinja") || path == "merges.txt" ||
         path.ends_with(".model") || path.ends_with(".tiktoken");
}

// q4_k_m is a part of "Llama-3.2-3B-Instruct-Q4_K_M.gguf", and q4_k no part of it.
bool names_quantisation(std::string_view path, std::string_view quantisation) {
  const std::string name = lower(file_name(path)), wanted = lower(quantisation);
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  };
  for (size_t at = name.find(wanted); at != std::string::npos; at = name.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    if ((at == 0 || !is_word(name[at - 1])) && (end == name.size() || !is_word(name[end])))
      return true;
  }
  return false;
}

std::string listed(const std::vector<RepoFile>& files) {
  std::string text;
  for (const RepoFile& file : files) {
    if (text.size() > 400) return text + ", ...";
    text += (text.empty() ? "" : ", ") + file.path;
  }
  return text;
}

// Of a split file all parts in order, of any other itself; nothing when a part is missing.
std::vector<RepoFile> parts_of(const RepoFile& file, const std::vector<RepoFile>& all) {
  const std::string name(file_name(file.path));
  const auto part = parse_gguf_part_name(name);
  if (!part) return {file};
  const std::string folder = file.path.substr(0, file.path.size() - name.size());
  std::vector<RepoFile> parts;
  for (int number = 1; number <= part->count; ++number) {
    const std::string path = folder + gguf_part_name({part->base, number, part->count});
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const RepoFile& other) { return other.path == path; });
    if (found == all.end()) return {};
    parts.push_back(*found);
  }
  return parts;
}

// A file that a model can be named by: no later part, and not the eyes of a vision model.
bool begins_model(const RepoFile& file) {
  const auto part = parse_gguf_part_name(std::string(file_name(file.path)));
  return (!part || part->part == 1) &&
         lower(file_name(file.path)).find("mmproj") == std::string::npos;
}

Result<ChosenFiles> choose_gguf(const RepoListing& listing, std::vector<RepoFile> gguf,
                                const std::string& what) {
  std::vector<RepoFile> fitting;
  for (const RepoFile& file : gguf) {
    const bool exact = file.path == what || file_name(file.path) == what;
    if (exact || (!is_gguf(what) && names_quantisation(file.path, what) && begins_model(file)))
      fitting.push_back(file);
  }
  if (fitting.empty())
    return not_found(
        fmt::format("{} has no GGUF file '{}'; it has: {}", listing.repo, what, listed(gguf)));
  if (fitting.size() > 1)
    return invalid_argument(fmt::format("{} has several GGUF files '{}'; say which of {}",
                                        listing.repo, what, listed(fitting)));
  std::vector<RepoFile> parts = parts_of(fitting.front(), gguf);
  if (parts.empty())
    return not_found(fmt::format("{} lacks a part of {}", listing.repo, fitting.front().path));
  return ChosenFiles{{}, std::move(parts), true};
}

JsonArray files_json(const std::vector<RepoFile>& files) {
  JsonArray list;
  for (const RepoFile& file : files)
    list.push_back(JsonObject{{"path", file.path}, {"size", file.size}, {"oid", file.oid}});
  return list;
}

Result<std::vector<RepoFile>> files_of(const JsonObject& object, std::string_view key) {
  const JsonArray* list = TRY(get_array(object, key));
  if (list == nullptr) return corrupt(fmt::format("'{}' is missing", key));
  std::vector<RepoFile> files;
  for (const Json& item : *list) {
    if (!item.is_object()) return corrupt(fmt::format("'{}' does not list files", key));
    RepoFile file;
    file.path = TRY(get_string(item.get_object(), "path")).value_or("");
    file.oid = TRY(get_string(item.get_object(), "oid")).value_or("");
    const int64_t size = TRY(get_int(item.get_object(), "size")).value_or(-1);
    if (!is_safe_repo_path(file.path) || size < 0)
      return corrupt(fmt::format("'{}' lists something that is no file", key));
    file.size = static_cast<uint64_t>(size);
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

Result<std::optional<ModelSource>> parse_model_source(std::string_view text) {
  const auto prefix = std::find_if(kHubPrefixes.begin(), kHubPrefixes.end(),
                                   [&](std::string_view p) { return text.starts_with(p); });
  if (prefix == kHubPrefixes.end()) return std::optional<ModelSource>();
  std::string_view rest = text.substr(prefix->size());
  ModelSource source;
  const size_t colon = rest.find(':');
  if (colon != std::string_view::npos) {
    source.what = std::string(rest.substr(colon + 1));
    rest = rest.substr(0, colon);
  }
  const size_t at = rest.find('@');
  if (at != std::string_view::npos) {
    source.revision = std::string(rest.substr(at + 1));
    rest = rest.substr(0, at);
  }
  while (rest.ends_with('/')) rest.remove_suffix(1);
  source.repo = std::string(rest);
  const bool what_fits =
      source.what.empty() ? colon == std::string_view::npos : is_safe_repo_path(source.what);
  if (!is_repo_name(source.repo) || !is_safe_repo_path(source.revision) || !what_fits)
    return invalid_argument(fmt::format(
        "'{}' is no model of a hub; write hf.co/ORG/NAME, hf.co/ORG/NAME:QUANTISATION or "
        "hf.co/ORG/NAME:FILE.gguf",
        text.substr(0, 300)));
  return std::optional<ModelSource>(std::move(source));
}

std::string to_text(const ModelSource& source) {
  return fmt::format("hf.co/{}{}{}", source.repo,
                     source.revision == "main" ? "" : "@" + source.revision,
                     source.what.empty() ? "" : ":" + source.what);
}

Result<ChosenFiles> choose_files(const RepoListing& listing, const std::string& what) {
  std::vector<RepoFile> gguf;
  ChosenFiles chosen;
  bool config = false, index = false;
  for (const RepoFile& file : listing.files) {
    const bool top = file.path.find('/') == std::string::npos;
    config |= file.path == "config.json";
    index |= file.path == "model.safetensors.index.json";
    if (is_gguf(file.path)) gguf.push_back(file);
    if (top && file.path.ends_with(".safetensors")) chosen.weights.push_back(file);
    if (is_small_file(file)) chosen.small.push_back(file);
  }
  if (!index)
    std::erase_if(chosen.weights,
                  [](const RepoFile& file) { return file.path != "model.safetensors"; });
  const bool checkpoint = config && !chosen.weights.empty();
  if (what.empty() ? checkpoint : lower(what) == "safetensors") {
    if (checkpoint) return chosen;
    return not_found(listing.repo + " has no safetensors checkpoint");
  }
  if (!what.empty()) return choose_gguf(listing, std::move(gguf), what);
  if (std::count_if(gguf.begin(), gguf.end(), begins_model) == 1)
    return choose_gguf(listing, gguf, std::find_if(gguf.begin(), gguf.end(), begins_model)->path);
  if (!gguf.empty())
    return invalid_argument(
        fmt::format("{} has several GGUF files; say which: hf.co/{}:QUANTISATION or :FILE, of {}",
                    listing.repo, listing.repo, listed(gguf)));
  return unsupported(fmt::format(
      "{} has neither a safetensors checkpoint (config.json and model.safetensors) nor GGUF files",
      listing.repo));
}

std::string folder_name(const std::string& repo, const ChosenFiles& files) {
  std::string name = repo;
  name.replace(name.find('/'), 1, "--");
  if (!files.gguf) return name;
  std::string file = files.weights.front().path;
  for (size_t slash = file.find('/'); slash != std::string::npos; slash = file.find('/'))
    file.replace(slash, 1, "--");
  return name + "--" + file.substr(0, file.size() - 5);
}

std::string to_text(const SourceRecord& record) {
  return to_text(Json(JsonObject{{"source", to_text(record.source)},
                                 {"asked", record.asked},
                                 {"gguf", record.files.gguf},
                                 {"small", files_json(record.files.small)},
                                 {"weights", files_json(record.files.weights)}}));
}

Result<SourceRecord> parse_source_record(std::string_view text) {
  const Json json = TRY(parse_json(text, 8));
  if (!json.is_object()) return corrupt("it is no JSON object");
  const JsonObject& object = json.get_object();
  SourceRecord record;
  const auto source = TRY(parse_model_source(TRY(get_string(object, "source")).value_or("")));
  if (!source) return corrupt("'source' names no model of a hub");
  record.source = *source;
  record.asked = TRY(get_string(object, "asked")).value_or("");
  record.files.gguf = TRY(get_bool(object, "gguf")).value_or(false);
  record.files.small = TRY(files_of(object, "small"));
  record.files.weights = TRY(files_of(object, "weights"));
  if (record.files.weights.empty()) return corrupt("it lists no weights");
  return record;
}

}  // namespace exo
