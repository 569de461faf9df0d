// A device that holds the ranges of its stage and nothing else must have all that the stage loads.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "model/model_files.h"
#include "model/weights.h"
#include "tensor/range_set.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

using Held = std::map<std::string, RangeSet>;  // by file name

bool loads(const WeightSpec& spec, const Shard& shard) {
  if (spec.part == Part::embedding) return shard.first();
  if (spec.part == Part::head) return shard.last();
  return spec.layer >= shard.layer_begin && spec.layer < shard.layer_end;
}

Held ranges_of(const ModelFiles& model, const Shard& shard) {
  Held held;
  for (const std::string& name :
       tensors_of_shard(*model.architecture, model.config, *model.tensors, shard)) {
    const auto places = model.tensors->places(name).value();
    for (const auto& place : places) held[place.file.filename().string()].add(place.bytes);
  }
  return held;
}

// `from` in `to`, with zeros in place of all data that is not held. GPTQ's order of inputs, which
// opening reads, comes with the headers.
void copy_held(const fs::path& from, const fs::path& to, Held held) {
  fs::remove_all(to);
  fs::copy(from, to, fs::copy_options::recursive);
  const auto stored = open_safetensors(from).value();
  std::map<std::string, std::string> files;
  for (const std::string& name : stored->names()) {
    const auto place = stored->places(name).value().front();
    const std::string file = place.file.filename().string();
    std::string& bytes = files[file];
    if (bytes.empty()) bytes = read_file(from / file, 64 << 20).value();
    if (!name.ends_with(".g_idx") && !held[file].contains(place.bytes))
      std::memset(bytes.data() + place.bytes.begin, 0, place.bytes.size());
  }
  for (const auto& [file, bytes] : files) ASSERT_TRUE(write_file(to / file, bytes).ok());
}

Result<HostTensor> load(const WeightSpec& spec, const ModelFiles& model) {
  return spec.made ? model.architecture->read(spec, model.config, *model.tensors)
                   : read_weight(spec, *model.tensors);
}

TEST(ShardRanges, HoldAllThatTheirStageLoads) {
  const fs::path copy = fs::temp_directory_path() / ("exo_ranges_" + std::to_string(::getpid()));
  int models = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(EXO_SOURCE_DIR) / "tests/golden/models")) {
    if (entry.path().filename() != "config.json") continue;
    const fs::path folder = entry.path().parent_path();
    if (!fs::exists(folder / "model.safetensors") &&
        !fs::exists(folder / "model.safetensors.index.json"))
      continue;
    SCOPED_TRACE(folder.string());
    const ModelFiles whole = open_model(folder).value();
    const int layers = whole.config.layer_count, cut = std::max(1, layers / 2);
    for (const Shard& shard :
         {Shard{.layer_begin = 0, .layer_end = cut, .layer_count = layers},
          Shard{.layer_begin = cut, .layer_end = layers, .layer_count = layers}}) {
      if (shard.layers() == 0) continue;
      copy_held(folder, copy, ranges_of(whole, shard));
      const ModelFiles part = open_model(copy).value();
      EXPECT_EQ(part.card.layer_bytes, whole.card.layer_bytes);
      for (const WeightSpec& spec :
           declared_weights(*whole.architecture, whole.config, *whole.tensors)) {
        if (!loads(spec, shard)) continue;
        const HostTensor expected = load(spec, whole).value(), found = load(spec, part).value();
        EXPECT_EQ(expected.dtype, found.dtype) << spec.name;
        EXPECT_TRUE(std::ranges::equal(expected.bytes, found.bytes)) << spec.name;
      }
    }
    ++models;
  }
  fs::remove_all(copy);
  EXPECT_GE(models, 15);
}

}  // namespace
}  // namespace exo
