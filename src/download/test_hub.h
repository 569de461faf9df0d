// For tests: a hub (tests/hub/hub_double.py) in a process of its own, and a disk that fails on
// command. One thread, but for DyingOps.
#pragma once

#include <openssl/evp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "download/file_ops.h"
#include "download/http_transfers.h"

namespace exo {

class HubDouble {
 public:
  explicit HubDouble(const std::filesystem::path& repo) {
    int to[2], from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
      const std::string script = EXO_SOURCE_DIR "/tests/hub/hub_double.py";
      const std::string argument = "org/model=" + repo.string();
      ::execlp("python3", "python3", script.c_str(), argument.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    input_ = to[1];
    std::string line;
    for (char c = 0; ::read(from[0], &c, 1) == 1 && c != '\n';) line += c;
    ::close(from[0]);
    if (line.starts_with("HF_ENDPOINT=")) endpoint_ = line.substr(12);
  }
  ~HubDouble() {
    ::close(input_);
    ::waitpid(pid_, nullptr, 0);
  }
  const std::string& endpoint() const { return endpoint_; }

  void behave(const std::string& how = "") { ask("/_double/behave?" + how); }
  int64_t sent(const std::string& file) {
    const Json counts = parse_json(ask("/_double/counts")).value();
    const Json* bytes = counts.at("sent").get_object().if_contains(file);
    return bytes == nullptr ? 0 : bytes->to_number<int64_t>();
  }

 private:
  std::string ask(const std::string& path) {
    HttpTransfers transfers({});
    HttpGet get;
    get.url = endpoint_ + path;
    return transfers.fetch(std::move(get), nullptr).value().body;
  }
  pid_t pid_ = -1;
  int input_ = -1;
  std::string endpoint_;
};

// The real disk, one call at a time; tests override what goes wrong.
class TestFileOps : public FileOps {
 public:
  Result<int> open(const std::filesystem::path& path) override { return real_.open(path); }
  void close(int file) override { real_.close(file); }
  Result<void> resize(int file, uint64_t bytes) override { return real_.resize(file, bytes); }
  Result<void> write_at(int file, uint64_t offset, std::string_view bytes) override {
    return real_.write_at(file, offset, bytes);
  }
  Result<void> sync(int file) override { return real_.sync(file); }
  Result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return real_.rename(from, to);
  }
  Result<void> sync_folder(const std::filesystem::path& folder) override {
    return real_.sync_folder(folder);
  }
  Result<void> remove(const std::filesystem::path& path) override { return real_.remove(path); }
  std::optional<uint64_t> free_bytes(const std::filesystem::path& folder) override {
    return real_.free_bytes(folder);
  }

 protected:
  FileOps& real_ = real_file_ops();
};

// Ends the process with status 9 before, or in the middle of, its n-th step, as a power cut does:
// what was not synced is garbage afterwards. Any thread.
class DyingOps final : public TestFileOps {
 public:
  explicit DyingOps(int steps) : left_(steps) {}

  Result<int> open(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    step();
    return real_.open(path);
  }
  Result<void> resize(int file, uint64_t bytes) override {
    const std::lock_guard lock(mutex_);
    step();
    return real_.resize(file, bytes);
  }
  Result<void> write_at(int file, uint64_t offset, std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    unsynced_[file].emplace_back(offset, bytes.size());
    if (left_ == 1) (void)real_.write_at(file, offset, bytes.substr(0, bytes.size() / 2));
    step();
    return real_.write_at(file, offset, bytes);
  }
  void close(int file) override {
    const std::lock_guard lock(mutex_);
    unsynced_.erase(file);
    real_.close(file);
  }
  Result<void> sync(int file) override {
    const std::lock_guard lock(mutex_);
    step();
    unsynced_.erase(file);
    return real_.sync(file);
  }
  Result<void> rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    const std::lock_guard lock(mutex_);
    step();
    return real_.rename(from, to);
  }
  Result<void> sync_folder(const std::filesystem::path& folder) override {
    const std::lock_guard lock(mutex_);
    step();
    return real_.sync_folder(folder);
  }
  Result<void> remove(const std::filesystem::path& path) override {
    const std::lock_guard lock(mutex_);
    step();
    return real_.remove(path);
  }

 private:
  void step() {
    if (left_-- > 1) return;
    for (const auto& [file, writes] : unsynced_)
      for (const auto& [offset, size] : writes)
        (void)real_.write_at(file, offset, std::string(size, '\xee'));
    (void)::raise(SIGKILL);  // _exit() would let ThreadSanitizer ask after the threads
  }
  std::mutex mutex_;
  int left_;
  std::map<int, std::vector<std::pair<uint64_t, size_t>>> unsynced_;
};

// As the hub's list gives it.
inline std::string sha256(const std::string& bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr);
  std::string hex = "sha256:";
  for (unsigned int i = 0; i < length; ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", digest[i]);
    hex += two;
  }
  return hex;
}

// A checkpoint of two layers of so many distinct bytes each.
inline std::string two_layer_safetensors(size_t bytes) {
  const auto entry = [&](size_t layer) {
    return "\"layer." + std::to_string(layer) + R"(.w":{"dtype":"U8","shape":[)" +
           std::to_string(bytes) + R"(],"data_offsets":[)" + std::to_string(layer * bytes) + "," +
           std::to_string((layer + 1) * bytes) + "]}";
  };
  const std::string header = "{" + entry(0) + "," + entry(1) + "}";
  uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof size);
  file += header;
  for (size_t i = 0; i < 2 * bytes; ++i) file += static_cast<char>((i * 2654435761u) >> 13);
  return file;
}

}  // namespace exo
