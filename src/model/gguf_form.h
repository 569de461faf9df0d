// GgufForm: a network as llama.cpp's files describe it: the keys of its architecture, the tensors
// beside the declared ones, and which rows lie in another order. Families say theirs through
// Architecture::to_gguf; the names and shapes of tensors are those they declare for Config::gguf.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/architecture.h"

namespace exo {

struct GgufForm {
  std::string architecture;  // general.architecture
  JsonObject keys;           // below "ARCHITECTURE."
  Config config;             // the same network, with `gguf`: what declare() is asked with
  // Layer slots whose rows are reordered, so that rotary pairs are neighbours, and their heads.
  std::map<int, int> turned;
  std::vector<std::pair<std::string, std::vector<float>>> tensors;  // beside the declared ones
};

// What all families of Llama's build share; a family adds its own keys.
GgufForm basic_gguf_form(std::string_view architecture, const Config& config);
// The window of the layers that have one.
void add_window(GgufForm& form);

// The names, types and shapes of a file that is not written yet, with its keys: enough for a family
// to parse it.
class PlannedFiles : public TensorFiles {
 public:
  explicit PlannedFiles(const GgufForm& form);
  void add(const std::string& name, TensorInfo info) { infos_[name] = std::move(info); }
  std::vector<std::string> names() const override;
  bool contains(std::string_view name) const override { return infos_.contains(name); }
  Result<TensorInfo> describe(std::string_view name) const override;
  Result<HostTensor> find(std::string_view name) const override;
  Result<std::vector<Place>> places(std::string_view) const override {
    return std::vector<Place>();
  }
  const JsonObject& metadata() const override { return metadata_; }
  std::string header_digest() const override { return ""; }

 private:
  JsonObject metadata_;
  std::map<std::string, TensorInfo, std::less<>> infos_;
  std::map<std::string, std::vector<float>, std::less<>> values_;
};

// Refuses by name what the form, read back, would make another network of.
Result<void> check_gguf_form(const GgufForm& form, const Config& config, const PlannedFiles& files);

}  // namespace exo
