#include "download/ollama_store.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "base/file.h"
#include "core/json.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostManifests = 2000;
constexpr size_t kMostManifestBytes = 1u << 20;
constexpr std::string_view kModelLayer = "application/vnd.ollama.image.model";

// The blob that holds the weights.
Result<fs::path> model_blob(const fs::path& folder, const fs::path& manifest) {
  const Json json = TRY(parse_json(TRY(read_file(manifest, kMostManifestBytes)), 16));
  if (!json.is_object()) return corrupt("no JSON object");
  const JsonArray* layers = TRY(get_array(json.get_object(), "layers"));
  if (layers == nullptr) return corrupt("'layers' is missing");
  for (const Json& layer : *layers) {
    if (!layer.is_object()) continue;
    if (TRY(get_string(layer.get_object(), "mediaType")).value_or("") != kModelLayer) continue;
    std::string digest = TRY(get_string(layer.get_object(), "digest")).value_or("");
    const std::string hex = digest.substr(std::min(digest.size(), sizeof("sha256:") - 1));
    if (!digest.starts_with("sha256:") || hex.size() != 64 ||
        hex.find_first_not_of("0123456789abcdef") != std::string::npos)
      return corrupt("'digest' is no SHA-256");
    return folder / "blobs" / ("sha256-" + hex);
  }
  return not_found("it has no weights of its own");
}

// HOST/NAMESPACE/NAME/TAG -> the id.
std::string model_id(const fs::path& relative) {
  std::vector<std::string> parts;
  for (const fs::path& part : relative) parts.push_back(part.string());
  if (parts.size() != 4) return {};
  const bool usual = parts[0] == "registry.ollama.ai";
  const std::string space =
      usual ? (parts[1] == "library" ? "" : parts[1] + "/") : parts[0] + "/" + parts[1] + "/";
  return fmt::format("ollama/{}{}:{}", space, parts[2], parts[3]);
}

}  // namespace

std::vector<OllamaModel> list_ollama_models(const fs::path& folder) {
  std::vector<OllamaModel> models;
  if (folder.empty()) return models;
  const fs::path manifests = folder / "manifests";
  std::error_code error;
  fs::recursive_directory_iterator entry(manifests, fs::directory_options::skip_permission_denied,
                                         error);
  size_t seen = 0;
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (entry.depth() > 4 || ++seen > kMostManifests) break;
    std::error_code ignored;
    if (entry.depth() != 3 || !entry->is_regular_file(ignored)) continue;
    const std::string id = model_id(entry->path().lexically_relative(manifests));
    const auto blob = model_blob(folder, entry->path());
    if (!id.empty() && blob.ok() && fs::is_regular_file(*blob, ignored))
      models.push_back({id, *blob});
  }
  std::sort(models.begin(), models.end(),
            [](const OllamaModel& a, const OllamaModel& b) { return a.id < b.id; });
  return models;
}

fs::path default_ollama_folder() {
  if (const char* models = std::getenv("OLLAMA_MODELS"); models != nullptr && *models != 0)
    return models;
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0)
    return fs::path(home) / ".ollama" / "models";
  return {};
}

}  // namespace exo
