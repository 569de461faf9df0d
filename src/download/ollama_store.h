// Models that Ollama has pulled on this machine, as GGUF files where they lie; read only, nothing
// is copied. Its store: manifests/HOST/NAMESPACE/NAME/TAG (JSON) name blobs/sha256-HEX.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace exo {

struct OllamaModel {
  std::string id;  // "ollama/llama3.2:latest"; models of a namespace: "ollama/NAMESPACE/NAME:TAG"
  std::filesystem::path blob;
};

// Sorted; what cannot be read is left out.
std::vector<OllamaModel> list_ollama_models(const std::filesystem::path& folder);
// $OLLAMA_MODELS, else ~/.ollama/models.
std::filesystem::path default_ollama_folder();

}  // namespace exo
