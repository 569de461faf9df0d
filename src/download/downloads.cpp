#include "download/downloads.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/thread_name.h"

namespace exo {
namespace {

constexpr size_t kMostRemembered = 32;
constexpr int64_t kMeasureEveryUs = 500'000;
constexpr int64_t kNoteEveryUs = 1'000'000;

std::string size_text(uint64_t bytes) {
  const double size = static_cast<double>(bytes);
  if (size >= 1e9) return fmt::format("{:.1f} GB", size / 1e9);
  return fmt::format("{:.1f} MB", size / 1e6);
}

std::string time_text(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace

struct Downloads::Job {
  uint64_t id = 0;
  std::string model, key, purpose;
  DownloadWatch watch;
  DownloadStatus::State state = DownloadStatus::State::running;  // this and the rest: mutex_
  Error error;
  int64_t measured_us = 0;
  uint64_t measured_bytes = 0;
  double bytes_per_s = 0;
  std::thread thread;
};

std::string_view to_string(DownloadState state) {
  switch (state) {
    case DownloadStatus::State::running:
      return "running";
    case DownloadStatus::State::done:
      return "done";
    case DownloadStatus::State::failed:
      return "failed";
    case DownloadStatus::State::cancelled:
      return "cancelled";
  }
  return "";
}

std::string describe(const DownloadStatus& status) {
  if (status.total_bytes == 0) return "asking the hub";
  std::string text = fmt::format("{} % of {}", status.done_bytes * 100 / status.total_bytes,
                                 size_text(status.total_bytes));
  if (status.bytes_per_s > 0)
    text += ", " + size_text(static_cast<uint64_t>(status.bytes_per_s)) + "/s";
  if (const auto left = status.seconds_left()) text += ", " + time_text(*left) + " left";
  return text;
}

Downloads::Downloads(ShardDownloader::Options options, std::shared_ptr<const ModelCatalog> catalog,
                     World& world)
    : downloader_(std::move(options)), catalog_(std::move(catalog)), world_(world) {}

Downloads::~Downloads() {
  std::list<JobPointer> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs = jobs_;
  }
  for (const JobPointer& job : jobs) job->watch.stop = true;
  for (const JobPointer& job : jobs)
    if (job->thread.joinable()) job->thread.join();
}

// With mutex_ held.
Downloads::JobPointer Downloads::add(const std::string& model, const std::string& key) {
  const auto over = [](const JobPointer& job) {
    return job->state != DownloadStatus::State::running;
  };
  while (jobs_.size() >= kMostRemembered) {
    const auto oldest = std::find_if(jobs_.rbegin(), jobs_.rend(), over);
    if (oldest == jobs_.rend()) break;
    if ((*oldest)->thread.joinable()) (*oldest)->thread.join();  // has ended
    jobs_.erase(std::next(oldest).base());
  }
  auto job = std::make_shared<Job>();
  job->id = next_id_++;
  job->model = model;
  job->key = key;
  job->measured_us = world_.now_us();
  jobs_.push_front(job);
  return job;
}

void Downloads::measure(Job& job) const {
  const std::lock_guard lock(mutex_);
  const int64_t now_us = world_.now_us();
  if (now_us - job.measured_us < kMeasureEveryUs) return;
  const uint64_t bytes = job.watch.fetched_bytes;
  const double rate = static_cast<double>(bytes - job.measured_bytes) * 1e6 /
                      static_cast<double>(now_us - job.measured_us);
  job.bytes_per_s = job.bytes_per_s == 0 ? rate : 0.7 * job.bytes_per_s + 0.3 * rate;
  job.measured_us = now_us;
  job.measured_bytes = bytes;
}

Result<void> Downloads::finish(Job& job, Result<void> result) {
  {
    const std::lock_guard lock(mutex_);
    job.state = result.ok()                                   ? DownloadStatus::State::done
                : result.error().code == ErrorCode::cancelled ? DownloadStatus::State::cancelled
                                                              : DownloadStatus::State::failed;
    if (!result.ok()) job.error = result.error();
  }
  ended_.notify_all();
  tell_listener();
  return result;
}

Result<uint64_t> Downloads::start(const std::string& model, Extent extent) {
  const auto source = TRY(catalog_->source_of(model));
  if (!source)
    return not_found(
        fmt::format("no model card is called '{}'; `exo models --all` lists the known ones, and "
                    "hf.co/ORG/NAME names any other one",
                    model));
  const auto known = catalog_->find(*source);
  const std::string key = to_text(*source) + (extent == Extent::all ? " all" : "");
  return start(known ? known->name : model, key,
               [source = *source, extent](const ShardDownloader& downloader,
                                          DownloadWatch& watch) -> Result<void> {
                 const std::filesystem::path folder = TRY(downloader.prepare(source, watch));
                 if (extent == Extent::headers) return {};
                 watch.total_bytes = watch.done_bytes = 0;  // the weights are what people wait for
                 return downloader.fetch_all(folder, watch);
               });
}

uint64_t Downloads::start(const std::string& model, const std::string& key, Work work) {
  const std::lock_guard lock(mutex_);
  for (const JobPointer& job : jobs_)
    if (job->key == key && job->state == DownloadStatus::State::running) return job->id;
  const JobPointer job = add(model, key);
  job->watch.on_progress = [this, raw = job.get()] { measure(*raw); };
  job->thread = std::thread([this, job = job.get(), work = std::move(work)] {
    set_thread_name("exo-download");
    tell_listener();
    (void)finish(*job, work(downloader_, job->watch));
  });
  return job->id;
}

Result<void> Downloads::run(const std::string& model, const Work& work, std::function<bool()> stop,
                            const std::function<void(const DownloadStatus&)>& note,
                            const std::string& purpose) {
  JobPointer job;
  {
    const std::lock_guard lock(mutex_);
    job = add(model, "");
    job->purpose = purpose;
  }
  job->watch.also_stop = std::move(stop);
  tell_listener();
  int64_t noted_us = 0;
  job->watch.on_progress = [&] {
    measure(*job);
    if (!note || world_.now_us() - noted_us < kNoteEveryUs) return;
    noted_us = world_.now_us();
    note(*status(job->id));
  };
  auto result = finish(*job, work(downloader_, job->watch));
  job->watch.also_stop = nullptr;  // they borrow from this call
  job->watch.on_progress = nullptr;
  return result;
}

DownloadStatus Downloads::status_of(const Job& job) const {
  DownloadStatus status;
  status.id = job.id;
  status.model = job.model;
  status.purpose = job.purpose;
  status.state = job.state;
  status.error = job.error;
  status.total_bytes = job.watch.total_bytes;
  status.done_bytes = job.watch.done_bytes;
  status.fetched_bytes = job.watch.fetched_bytes;
  status.bytes_per_s = job.bytes_per_s;
  return status;
}

Downloads::JobPointer Downloads::find(uint64_t id) const {
  for (const JobPointer& job : jobs_)
    if (job->id == id) return job;
  return nullptr;
}

std::optional<DownloadStatus> Downloads::status(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const JobPointer job = find(id);
  return job ? std::optional(status_of(*job)) : std::nullopt;
}

DownloadStatus Downloads::wait(uint64_t id, int timeout_ms) const {
  std::unique_lock lock(mutex_);
  const JobPointer job = find(id);
  if (!job) return {};
  ended_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                  [&] { return job->state != DownloadStatus::State::running; });
  return status_of(*job);
}

std::vector<DownloadStatus> Downloads::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<DownloadStatus> all;
  for (const JobPointer& job : jobs_) all.push_back(status_of(*job));
  return all;
}

bool Downloads::cancel(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const JobPointer job = find(id);
  if (job) job->watch.stop = true;
  return job != nullptr;
}

bool Downloads::any_running() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(jobs_.begin(), jobs_.end(), [](const JobPointer& job) {
    return job->state == DownloadStatus::State::running;
  });
}

void Downloads::set_listener(std::function<void()> listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

void Downloads::tell_listener() {
  const std::lock_guard lock(listener_mutex_);
  if (listener_) listener_();
}

bool Downloads::running(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const JobPointer& job) {
    return job->model == model && job->purpose.empty() &&
           job->state == DownloadStatus::State::running;
  });
}

}  // namespace exo
