// ModelSource: where a model can be fetched from, as people and placements write it:
// hf.co/ORG/NAME[@REVISION][:QUANT or FILE.gguf]. A value. Without a file it is a safetensors
// checkpoint, or the hub's repo decides (see choose_files).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "download/hub_client.h"

namespace exo {

struct ModelSource {
  std::string repo;               // "org/name"
  std::string revision = "main";  // branch, tag or commit
  std::string what;               // "", a quantisation ("q4_k_m") or a .gguf file's path

  bool operator==(const ModelSource&) const = default;
};

// Nothing when the text does not begin with a hub's name (hf.co/, huggingface.co/, https://...);
// an error when it does and is no address of a model.
Result<std::optional<ModelSource>> parse_model_source(std::string_view text);
std::string to_text(const ModelSource& source);

// What a model needs of a repo: a safetensors checkpoint with its small files, or one GGUF file
// with all its parts.
struct ChosenFiles {
  std::vector<RepoFile> small;    // fetched whole
  std::vector<RepoFile> weights;  // by ranges
  bool gguf = false;
};
// not_found names what the repo has instead.
Result<ChosenFiles> choose_files(const RepoListing& listing, const std::string& what);

// The downloads folder's name for it: "org--name", "org--name--FILE" for a GGUF file.
std::string folder_name(const std::string& repo, const ChosenFiles& files);

// The record inside a downloaded folder: what it came from. Strictly read.
struct SourceRecord {
  ModelSource source;  // pinned: its revision is a commit, `what` the .gguf file or ""
  std::string asked;   // `what` as it was asked for
  ChosenFiles files;
};
std::string to_text(const SourceRecord& record);
Result<SourceRecord> parse_source_record(std::string_view text);

}  // namespace exo
