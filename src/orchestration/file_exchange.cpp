#include "orchestration/file_exchange.h"

#include <chrono>
#include <utility>

#include "base/thread_name.h"

namespace exo {
namespace {

constexpr size_t kMostAsked = 256;
constexpr size_t kMostRanges = 4096;  // of a reply; the rest is asked for another time
constexpr int kAnswerMs = 1000, kReadMs = 10'000;
constexpr auto kBusyPause = std::chrono::milliseconds(25);       // at most 20 MB/s beside computing
constexpr auto kBusyHashPause = std::chrono::milliseconds(400);  // after 16 MiB

std::vector<ByteRange> common(const RangeSet& a, const RangeSet& b) {
  std::vector<ByteRange> ranges = a.common(b).ranges();
  if (ranges.size() > kMostRanges) ranges.resize(kMostRanges);
  return ranges;
}

RangeSet set_of(const std::vector<ByteRange>& ranges) {
  RangeSet set;
  for (const ByteRange& range : ranges) set.add(range);
  return set;
}

}  // namespace

class FileExchange::Call {
 public:
  explicit Call(FileExchange& exchange) : exchange_(exchange) {
    const std::lock_guard lock(exchange_.mutex_);
    allowed_ = exchange_.running_;
    exchange_.calls_ += allowed_ ? 1 : 0;
  }
  ~Call() {
    if (!allowed_) return;
    const std::lock_guard lock(exchange_.mutex_);
    --exchange_.calls_;
    exchange_.changed_.notify_all();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  explicit operator bool() const { return allowed_; }

 private:
  FileExchange& exchange_;
  bool allowed_;
};

void FileExchange::start(Links links) {
  const std::lock_guard lock(mutex_);
  links_ = std::move(links);
  running_ = true;
  server_ = std::thread([this] { serve(); });
  prover_.start();
}

void FileExchange::stop() {
  {
    std::unique_lock lock(mutex_);
    running_ = false;
    changed_.notify_all();
    changed_.wait(lock, [this] { return calls_ == 0; });
  }
  prover_.stop();
  if (server_.joinable()) server_.join();
}

// --- for others ---

// A node with too much to do leaves the oldest unanswered: their askers turn to somebody else.
void FileExchange::on_request(const NodeId& from, FileRequest request) {
  {
    const std::lock_guard lock(mutex_);
    if (!running_) return;
    if (asked_.size() >= kMostAsked) asked_.pop_front();
    asked_.push_back({from, std::move(request)});
  }
  changed_.notify_all();
}

void FileExchange::serve() {
  set_thread_name("exo-files");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !running_ || !asked_.empty(); });
    if (!running_) return;
    const Asked asked = std::move(asked_.front());
    asked_.pop_front();
    lock.unlock();
    FileReply reply = answer(asked);
    const bool worked = !reply.bytes.empty() || !reply.hash_state.empty();
    if (worked && links_.busy())
      std::this_thread::sleep_for(reply.hash_state.empty() ? kBusyPause : kBusyHashPause);
    if (asked.from == links_.self)
      on_reply(links_.self, std::move(reply));
    else
      links_.send(asked.from, std::move(reply));
    lock.lock();
  }
}

FileReply FileExchange::answer(const Asked& asked) {
  const FileRequest& request = asked.request;
  const FileName name{request.source, request.file};
  FileReply reply;
  reply.request = request.request;
  if (request.read.size() > 0) reply.bytes = files_.read(name, request.read);
  if (request.hash.size() > 0) {
    auto step = files_.hash(name, request.hash, request.hash_state);
    reply.hashed_end = step ? step->end : request.hash.begin;
    if (step) reply.hash_state = std::move(step->state);
  }
  if (request.wanted.empty()) return reply;
  const RangeSet wanted = set_of(request.wanted);
  reply.held = common(wanted, files_.held(name));
  reply.coming = common(claims_.answer(name, wanted, asked.from < links_.self), wanted);
  return reply;
}

// --- for this node ---

uint64_t FileExchange::ask(const NodeId& node, FileRequest request) {
  {
    const std::lock_guard lock(mutex_);
    if (!running_) return 0;
    request.request = next_request_++;
    waiting_[request.request] = {node, std::nullopt, false};
  }
  const uint64_t number = request.request;
  if (node == links_.self) {
    on_request(node, std::move(request));
    return number;
  }
  if (links_.send(node, std::move(request))) return number;
  const std::lock_guard lock(mutex_);
  waiting_.erase(number);
  return 0;
}

std::optional<FileReply> FileExchange::wait(uint64_t request, int timeout_ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
    const Waiting& waiting = waiting_.at(request);
    return !running_ || waiting.over || waiting.reply;
  });
  auto reply = std::move(waiting_.at(request).reply);
  waiting_.erase(request);
  return reply;
}

void FileExchange::on_reply(const NodeId& from, FileReply reply) {
  {
    const std::lock_guard lock(mutex_);
    const auto waiting = waiting_.find(reply.request);
    if (waiting == waiting_.end() || waiting->second.node != from) return;
    waiting->second.reply = std::move(reply);
  }
  changed_.notify_all();
}

void FileExchange::on_link_down(const NodeId& peer) {
  {
    const std::lock_guard lock(mutex_);
    for (auto& [request, waiting] : waiting_) waiting.over |= waiting.node == peer;
  }
  changed_.notify_all();
}

Neighbours::Answer FileExchange::announce(const FileName& name, const RangeSet& wanted) {
  claims_.open(name, wanted);
  FileRequest request;
  request.source = name.source;
  request.file = name.file;
  request.wanted = wanted.ranges();
  std::vector<std::pair<NodeId, uint64_t>> asked;
  const Call call(*this);
  if (call)
    for (const NodeId& peer : links_.peers())
      if (const uint64_t number = ask(peer, request)) asked.emplace_back(peer, number);
  Answer answer;
  RangeSet others;
  // One time limit for all: silent peers do not add up.
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kAnswerMs);
  for (const auto& [peer, number] : asked) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    const auto reply = wait(number, static_cast<int>(left.count()));
    if (!reply) continue;
    if (!reply->held.empty()) answer.held.push_back({peer, set_of(reply->held)});
    if (reply->coming.empty()) continue;
    answer.coming.push_back({peer, set_of(reply->coming)});
    others.add(answer.coming.back().ranges);
  }
  answer.ours = claims_.settle(name, others);
  return answer;
}

std::optional<std::vector<std::byte>> FileExchange::read(const NodeId& node, const FileName& name,
                                                         ByteRange range) {
  const Call call(*this);
  if (!call) return std::nullopt;
  FileRequest request;
  request.source = name.source;
  request.file = name.file;
  request.read = range;
  const uint64_t number = ask(node, std::move(request));
  if (number == 0) return std::nullopt;
  auto reply = wait(number, kReadMs);
  if (!reply || reply->bytes.size() != range.size()) return std::nullopt;
  return std::move(reply->bytes);
}

std::vector<NodeId> FileExchange::nodes() {
  const Call call(*this);
  std::vector<NodeId> nodes{links_.self};
  if (call)
    for (NodeId& peer : links_.peers()) nodes.push_back(std::move(peer));
  return nodes;
}

std::optional<Neighbours::HashStep> FileExchange::hash(const NodeId& node, const FileName& name,
                                                       ByteRange range, std::string state) {
  const Call call(*this);
  if (!call) return std::nullopt;
  FileRequest request;
  request.source = name.source;
  request.file = name.file;
  request.hash = range;
  request.hash_state = std::move(state);
  const uint64_t number = ask(node, std::move(request));
  if (number == 0) return std::nullopt;
  auto reply = wait(number, kReadMs);
  if (!reply || reply->hashed_end < range.begin || reply->hashed_end > range.end)
    return std::nullopt;
  return HashStep{reply->hashed_end, std::move(reply->hash_state)};
}

void FileExchange::tell(const FileProof& proof) {
  const Call call(*this);
  if (!call) return;
  for (const NodeId& peer : links_.peers()) links_.send(peer, proof);
}

}  // namespace exo
