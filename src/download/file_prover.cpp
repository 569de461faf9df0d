#include "download/file_prover.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/thread_name.h"
#include "download/file_proof.h"
#include "download/shard_downloader.h"
#include "tensor/sparse_file.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostTasks = 1024;
constexpr int kLookAroundMs = 20'000;
constexpr int kTurnMs = 500;  // nodes that could find out the same begin one after the other

}  // namespace

void FileProver::start() {
  watch_.stop = false;
  thread_ = std::thread([this] { run(); });
}

void FileProver::stop() {
  {
    const std::lock_guard lock(mutex_);
    watch_.stop = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void FileProver::brought(fs::path folder) { add(std::move(folder)); }
void FileProver::learn(FileProof proof) { add(std::move(proof)); }

void FileProver::add(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (watch_.stop || tasks_.size() >= kMostTasks) return;  // found out another time
    tasks_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void FileProver::run() {
  set_thread_name("exo-prove");
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool told = changed_.wait_for(lock, std::chrono::milliseconds(kLookAroundMs),
                                        [&] { return watch_.stop || !tasks_.empty(); });
    if (watch_.stop) return;
    std::optional<Task> task;
    if (told) {
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    lock.unlock();
    if (!task)
      look_around();
    else if (const auto* folder = std::get_if<fs::path>(&*task))
      prove(*folder);
    else
      note(std::get<FileProof>(*task));
    lock.lock();
  }
}

bool FileProver::pause(int ms) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, std::chrono::milliseconds(ms),
                            [&] { return watch_.stop.load(); });
}

// Other nodes are here than the last time: perhaps they hold what was missing.
void FileProver::look_around() {
  std::vector<NodeId> nodes = neighbours_.nodes();
  if (nodes.size() < 2 || nodes == seen_) return;
  seen_ = std::move(nodes);
  std::error_code ignored;
  fs::directory_iterator entry(downloads_, ignored);
  for (const fs::directory_iterator end; !ignored && entry != end; entry.increment(ignored))
    if (entry->path().filename().string().front() != '.') prove(entry->path());
}

bool FileProver::unproved(const fs::path& file) const {
  const auto record = read_sparse_record(file);
  return record.ok() && *record && !(*record)->held.empty() &&
         !(*record)->proved.contains((*record)->held);
}

void FileProver::prove(const fs::path& folder) {
  const auto source = read_source_record(folder);
  if (!source.ok() || !*source) return;
  std::vector<NodeId> nodes = neighbours_.nodes();
  const NodeId self = nodes.front();
  const auto before =
      std::count_if(nodes.begin(), nodes.end(), [&](const NodeId& node) { return node < self; });
  bool waited = false;
  for (const RepoFile& file : (*source)->files.weights) {
    const fs::path path = folder / file.path;
    if (!file.oid.starts_with("sha256:") || !unproved(path)) continue;
    if (!std::exchange(waited, true) && !pause(kTurnMs * static_cast<int>(before))) return;
    const FileName name{to_text((*source)->source), file.path};
    // Another node may find it out meanwhile.
    const auto proof = prove_file(neighbours_, name, file.size, file.oid,
                                  [&] { return watch_.stopped() || !unproved(path); });
    if (!proof) continue;
    neighbours_.tell(*proof);
    note(*proof);
  }
}

// A part of another node says nothing yet about the same bytes here: they are compared.
void FileProver::note(const FileProof& proof) {
  const FileName name{proof.source, proof.file};
  const auto place = files_.find(name);
  if (!place || !unproved(place->path)) return;
  const RangeSet held = files_.held(name);
  const NodeId self = neighbours_.nodes().front();
  RangeSet right, wrong;
  for (const FilePart& part : proof.parts) {
    if (!proof.right) {
      wrong = held;
      break;
    }
    const RangeSet ours = held.common(RangeSet(part.range));
    if (part.node == self) {
      right.add(ours);
      continue;
    }
    for (const ByteRange& range : ours.ranges()) {
      const auto compared =
          compare(neighbours_, name, {self, range}, part.node, [this] { return watch_.stopped(); });
      if (!compared) continue;
      right.add(compared->alike);
      wrong.add(compared->different);
    }
  }
  if (!wrong.empty())
    log::error(
        "{}: {} of its bytes are not what the hub promises and count as missing; what runs "
        "with them may answer wrongly: unload the model and load it again",
        place->path.string(), wrong.bytes());
  const auto noted = note_proof(place->folder, proof.file, right, wrong, watch_);
  if (!noted.ok()) log::warn("{}", noted.error().message);
}

}  // namespace exo
