// HubClient: a Hugging Face hub over HTTP: which commit a revision is, which files it has, and
// where the bytes of one lie. Blocking calls on the caller's HttpTransfers, tried again with
// growing pauses where that can help; every refusal (gated, private, unknown, too many requests)
// becomes one sentence with the next step. Immutable; a call uses the transfers it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/world.h"
#include "download/http_transfers.h"

namespace exo {

struct HubOptions {
  std::string endpoint = "https://huggingface.co";
  std::string token;     // "" = anonymous
  bool offline = false;  // every call is refused
  HttpOptions http;
  int most_attempts = 6;
  World* world = &real_world();  // borrowed
};
// HF_ENDPOINT, HF_TOKEN or the file HF_HOME/token, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT.
HubOptions hub_options_from_environment();

struct RepoFile {
  std::string path;  // inside the repo; checked, safe to use below a folder
  uint64_t size = 0;
  std::string oid;  // "sha256:HEX" of large files (LFS), "git:HEX" of small ones
};

struct RepoListing {
  std::string repo;    // "org/name"
  std::string commit;  // what the revision is now
  std::vector<RepoFile> files;
};

// "org/name", as the hub allows it.
bool is_repo_name(std::string_view name);
bool is_safe_repo_path(std::string_view path);

class HubClient {
 public:
  using Stop = std::function<bool()>;

  explicit HubClient(HubOptions options) : options_(std::move(options)) {}

  Result<RepoListing> list(HttpTransfers& transfers, const std::string& repo,
                           const std::string& revision, const Stop& stop) const;
  // A GET for a part of a file of a commit; the caller adds range and sink.
  HttpGet get_file(const std::string& repo, const std::string& commit,
                   const std::string& path) const;

  // Judges a finished transfer: nothing when it was good.
  std::optional<Error> refusal(const std::string& repo, const HttpAnswer& answer) const;
  // Whether the same request may succeed later.
  static bool may_try_again(const Result<HttpAnswer>& answer);
  // Before attempt number `attempt` (from 1): grows, with jitter; what Retry-After asks for counts.
  int pause_ms(int attempt, const Result<HttpAnswer>& answer) const;

  const HubOptions& options() const { return options_; }

 private:
  Result<HttpAnswer> fetch(HttpTransfers& transfers, const std::string& repo, const HttpGet& get,
                           const Stop& stop) const;
  HttpGet get(const std::string& path_and_query) const;

  const HubOptions options_;
};

}  // namespace exo
