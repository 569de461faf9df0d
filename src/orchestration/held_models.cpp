#include "orchestration/held_models.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "download/shard_downloader.h"
#include "model/model_files.h"
#include "model/weights.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostModels = 64, kMostSpans = 64;  // gossip carries them every two seconds
constexpr auto kWhileFetching = std::chrono::seconds(2);
constexpr auto kOtherwise = std::chrono::seconds(60);

ModelStoreOptions downloads_of(const ModelStoreOptions& store) {
  ModelStoreOptions only;
  only.downloads = store.downloads;
  only.catalog = store.catalog;
  return only;
}

// A file on its way changes all the time; what counts of it is in the record beside it.
std::string stamp_of(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() == ".partial" || entry->is_directory(ignored)) continue;
    files.push_back(fmt::format("{} {} {}\n", entry->path().string(), entry->file_size(ignored),
                                entry->last_write_time(ignored).time_since_epoch().count()));
  }
  std::sort(files.begin(), files.end());
  std::string stamp;
  for (const std::string& file : files) stamp += file;
  return stamp;
}

Result<HeldModel> read_model(const StoredModel& stored) {
  const auto record = TRY(read_source_record(stored.path));
  if (!record) return not_found(stored.path.string() + " is gone");
  const HeldBytes bytes = TRY(held_bytes(stored.path, *record));
  const ModelFiles files = TRY(open_model(stored.path, stored.id));
  HeldModel model;
  model.source = to_text(record->source);
  model.model = stored.id;
  model.layer_count = files.card.layer_count;
  model.layers = TRY(held_layers(*files.architecture, files.config, *files.tensors));
  if (model.layers.spans.size() > kMostSpans) model.layers.spans.resize(kMostSpans);
  model.held_bytes = bytes.held;
  model.total_bytes = bytes.total;
  model.complete = bytes.complete();
  return model;
}

}  // namespace

HeldModelReader::HeldModelReader(const ModelStoreOptions& store) : store_(downloads_of(store)) {}

std::vector<HeldModel> HeldModelReader::read() {
  std::map<fs::path, Known> now;
  std::vector<HeldModel> models;
  for (const StoredModel& stored : store_.list()) {
    if (!stored.source) continue;
    Known known{stamp_of(stored.path), stored.id, {}};
    const auto before = known_.find(stored.path);
    if (before != known_.end() && before->second.stamp == known.stamp &&
        before->second.id == known.id) {
      known.model = before->second.model;
    } else if (auto model = read_model(stored); model.ok()) {
      known.model = std::move(model).value();
    } else {
      log::debug("{} is not told to others: {}", stored.path.string(), model.error().message);
    }
    if (known.model.layer_count > 0) models.push_back(known.model);
    now.emplace(stored.path, std::move(known));
  }
  known_ = std::move(now);
  std::stable_sort(models.begin(), models.end(), [](const HeldModel& a, const HeldModel& b) {
    return a.held_bytes > b.held_bytes;
  });
  if (models.size() > kMostModels) models.resize(kMostModels);
  return models;
}

HeldModelWatch::HeldModelWatch(Options options)
    : options_(std::move(options)), thread_([this] { run(); }) {}

HeldModelWatch::~HeldModelWatch() { stop(); }

void HeldModelWatch::look() {
  {
    const std::lock_guard lock(mutex_);
    asked_ = true;
  }
  wake_.notify_all();
}

void HeldModelWatch::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void HeldModelWatch::run() {
  set_thread_name("exo-held");
  HeldModelReader reader(options_.store);
  std::vector<HeldModel> told;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, options_.fetching() ? kWhileFetching : kOtherwise,
                     [this] { return asked_ || stopping_; });
      if (stopping_) return;
      asked_ = false;
    }
    std::vector<HeldModel> held = reader.read();
    if (held == told) continue;
    options_.tell(held);
    told = std::move(held);
  }
}

}  // namespace exo
