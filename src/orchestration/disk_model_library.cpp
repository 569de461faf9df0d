#include <fmt/core.h>

#include <list>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "download/shard_downloader.h"
#include "model/model_files.h"
#include "orchestration/model_library.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxOpen = 64;

// What was read of one model. Cards are read when asked for, the rest when first needed.
struct OpenModel {
  std::string id;
  fs::path path;
  std::optional<fs::file_time_type> changed;  // of the file that tells when it is another model
  ModelFiles files;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const LoadedTemplate> plain_template, tools_template;
};

fs::path witness(const fs::path& path) {
  std::error_code ignored;
  const fs::path config = path / "config.json";
  return fs::exists(config, ignored) ? config : path;
}

std::optional<fs::file_time_type> last_change(const fs::path& path) {
  std::error_code error;
  const fs::file_time_type time = fs::last_write_time(witness(path), error);
  if (error) return std::nullopt;
  return time;
}

bool is_gguf(const OpenModel& model) { return !model.files.tensors->metadata().empty(); }

Result<std::optional<ChatTemplateSource>> template_source(const OpenModel& model, bool with_tools) {
  std::error_code ignored;
  if (fs::is_directory(model.path, ignored)) {
    auto found = TRY(find_chat_template(model.path, with_tools));
    if (found) return found;
  }
  return chat_template_of_gguf(model.files.tensors->metadata(), with_tools);
}

class DiskModelLibrary final : public ModelLibrary {
 public:
  explicit DiskModelLibrary(ModelStoreOptions options) : store_(std::move(options)) {}

  Result<ModelCard> find(const std::string& model) override {
    const StoredModel stored = TRY(store_.find(model));
    const std::lock_guard lock(mutex_);
    const OpenModel* open = TRY(opened(stored));
    return open->files.card;
  }

  std::vector<ModelCard> list() override {
    std::vector<ModelCard> cards;
    for (const StoredModel& stored : store_.list()) {
      const std::lock_guard lock(mutex_);
      const auto open = opened(stored);
      if (open.ok())
        cards.push_back((*open)->files.card);
      else
        log::debug("{} is not listed: {}", stored.path.string(), open.error().message);
    }
    return cards;
  }

  Result<fs::path> locate(const ModelCard& card) override {
    // What came from a hub is looked for in this node's own store, wherever another node has it.
    std::error_code ignored;
    if (card.source.empty() && !card.path.empty() && fs::exists(card.path, ignored)) {
      const std::lock_guard lock(mutex_);
      const auto open = opened({card.id, card.path});
      if (open.ok() && (*open)->files.card.fingerprint == card.fingerprint)
        return fs::path(card.path);
    }
    for (const ModelCard& mine : list())
      if (mine.fingerprint == card.fingerprint) return fs::path(mine.path);
    return not_found(fmt::format("the files of {} are not on this device; copy its folder into {}",
                                 card.id, default_downloads_folder().string()));
  }

  Result<std::shared_ptr<const Tokenizer>> tokenizer(const ModelCard& card) override {
    const std::lock_guard lock(mutex_);
    OpenModel* model = TRY(opened({card.id, card.path}));
    if (!model->tokenizer)
      model->tokenizer = TRY(is_gguf(*model) ? tokenizer_from_gguf(model->files.tensors->metadata())
                                             : load_tokenizer(model->path));
    return model->tokenizer;
  }

  Result<std::shared_ptr<const LoadedTemplate>> chat_template(const ModelCard& card,
                                                              bool with_tools) override {
    const std::lock_guard lock(mutex_);
    OpenModel* model = TRY(opened({card.id, card.path}));
    auto& cached = with_tools ? model->tools_template : model->plain_template;
    if (cached) return cached;
    const auto source = TRY(template_source(*model, with_tools));
    if (!source)
      return invalid_argument(fmt::format(
          "model {} has no chat template; send a plain prompt to /v1/completions", card.id));
    auto loaded = std::make_shared<LoadedTemplate>();
    loaded->chat_template = TRY(ChatTemplate::parse(source->text));
    loaded->bos_token = source->bos_token;
    loaded->eos_token = source->eos_token;
    loaded->syntax = read_output_syntax(source->text, *loaded->chat_template);
    cached = std::move(loaded);
    return cached;
  }

  GenerationDefaults generation_defaults(const ModelCard& card) override {
    const std::lock_guard lock(mutex_);
    const auto open = opened({card.id, card.path});
    return open.ok() ? (*open)->files.defaults : GenerationDefaults{};
  }

 private:
  // Read again when it changed on disk. Valid until the next call; mutex_ is held.
  Result<OpenModel*> opened(const StoredModel& stored) {
    const auto changed = last_change(stored.path);
    for (auto model = open_.begin(); model != open_.end(); ++model) {
      if (model->path != stored.path) continue;
      if (model->changed == changed && model->id == stored.id) {
        open_.splice(open_.begin(), open_, model);
        return &open_.front();
      }
      open_.erase(model);
      break;
    }
    OpenModel fresh;
    fresh.id = stored.id;
    fresh.path = stored.path;
    fresh.changed = changed;
    fresh.files = TRY(open_model(stored.path, stored.id));
    fresh.files.card.path = stored.path.string();
    if (const auto record = read_source_record(stored.path); record.ok() && *record)
      fresh.files.card.source = to_text((*record)->source);
    open_.push_front(std::move(fresh));
    if (open_.size() > kMaxOpen) open_.pop_back();
    return &open_.front();
  }

  ModelStore store_;
  std::mutex mutex_;
  std::list<OpenModel> open_;  // most recently used first
};

}  // namespace

std::shared_ptr<ModelLibrary> make_disk_model_library(ModelStoreOptions options) {
  return std::make_shared<DiskModelLibrary>(std::move(options));
}

}  // namespace exo
