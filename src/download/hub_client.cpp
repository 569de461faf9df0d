#include "download/hub_client.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/file.h"
#include "core/json.h"

namespace exo {
namespace {

constexpr size_t kMostPages = 200;
constexpr size_t kMostFiles = 100'000;
constexpr uint64_t kMostPageBytes = 16u << 20;
constexpr uint64_t kMostFileBytes = uint64_t{1} << 50;
constexpr int kFirstPauseMs = 500, kLongestPauseMs = 30'000, kLongestAskedMs = 300'000;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_hex(std::string_view text, size_t length) {
  return text.size() == length && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// Every byte but the unreserved ones and '/' as %XX.
std::string escaped(std::string_view path, bool keep_slashes = true) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && keep_slashes);
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// <https://hub/api/...?cursor=x>; rel="next" -> the address
std::string next_page(std::string_view link) {
  const size_t rel = link.find("rel=\"next\"");
  if (rel == std::string_view::npos) return {};
  const size_t open = link.rfind('<', rel), close = link.rfind('>', rel);
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return {};
  return std::string(link.substr(open + 1, close - open - 1));
}

Result<Json> parse_answer(const std::string& what, const HttpAnswer& answer) {
  auto json = parse_json(answer.body, 32);
  if (json.ok()) return json;
  return unavailable(
      fmt::format("{} does not answer as a hub does (no JSON); is a proxy or a login page in "
                  "between?",
                  what));
}

Result<std::optional<RepoFile>> parse_file(const Json& item) {
  if (!item.is_object()) return corrupt("its list of files is not a list of objects");
  const JsonObject& object = item.get_object();
  if (TRY(get_string(object, "type")).value_or("") != "file") return std::optional<RepoFile>();
  RepoFile file;
  file.path = TRY(get_string(object, "path")).value_or("");
  if (!is_safe_repo_path(file.path)) return std::optional<RepoFile>();
  const int64_t size = TRY(get_int(object, "size")).value_or(-1);
  if (size < 0 || static_cast<uint64_t>(size) > kMostFileBytes)
    return corrupt(fmt::format("'{}' has no usable size", file.path));
  file.size = static_cast<uint64_t>(size);
  const std::string git = TRY(get_string(object, "oid")).value_or("");
  if (is_hex(git, 40)) file.oid = "git:" + git;
  if (const JsonObject* lfs = TRY(get_object(object, "lfs")); lfs != nullptr) {
    const std::string sha256 = TRY(get_string(*lfs, "oid")).value_or("");
    if (!is_hex(sha256, 64)) return corrupt(fmt::format("'{}' has no SHA-256", file.path));
    file.oid = "sha256:" + sha256;
  }
  return std::optional<RepoFile>(std::move(file));
}

}  // namespace

HubOptions hub_options_from_environment() {
  HubOptions options;
  if (std::string endpoint = environment("HF_ENDPOINT"); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    options.endpoint = std::move(endpoint);
  }
  options.token = environment("HF_TOKEN");
  if (options.token.empty()) {
    std::filesystem::path home = environment("HF_HOME");
    if (home.empty()) home = std::filesystem::path(environment("HOME")) / ".cache" / "huggingface";
    if (const auto token = read_file(home / "token", 4096); token.ok()) options.token = *token;
  }
  const auto is_space = [](unsigned char c) { return c <= ' '; };
  options.token.erase(std::remove_if(options.token.begin(), options.token.end(), is_space),
                      options.token.end());
  const std::string offline = environment("HF_HUB_OFFLINE");
  options.offline = offline == "1" || offline == "true" || offline == "TRUE" || offline == "yes";
  const int stall_s = std::atoi(environment("HF_HUB_DOWNLOAD_TIMEOUT").c_str());
  if (stall_s > 0) options.http.stall_timeout_s = stall_s;
  return options;
}

bool is_repo_name(std::string_view name) {
  const size_t slash = name.find('/');
  if (name.size() > 200 || slash == 0 || slash == std::string_view::npos ||
      slash + 1 == name.size() || name.find("..") != std::string_view::npos ||
      name.find("--") != std::string_view::npos)
    return false;
  return std::all_of(name.begin(), name.end(), [&](const char& c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || (c == '/' && static_cast<size_t>(&c - name.data()) == slash);
  });
}

bool is_safe_repo_path(std::string_view path) {
  if (path.empty() || path.size() > 255 || path.front() == '/' || path.back() == '/') return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part.front() == '.' || part.ends_with(".partial") ||
        part.ends_with(".partial.json"))
      return false;
    begin = end + 1;
  }
  return std::none_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) < 32 || c == '\\' || c == ':' || c == 127;
  });
}

HttpGet HubClient::get(const std::string& path_and_query) const {
  HttpGet get;
  get.url =
      path_and_query.starts_with("http") ? path_and_query : options_.endpoint + path_and_query;
  // A next page on another host is no page of this hub.
  if (get.url.starts_with(options_.endpoint + "/")) get.bearer = options_.token;
  return get;
}

HttpGet HubClient::get_file(const std::string& repo, const std::string& commit,
                            const std::string& path) const {
  return get(fmt::format("/{}/resolve/{}/{}", escaped(repo), escaped(commit), escaped(path)));
}

std::optional<Error> HubClient::refusal(const std::string& repo, const HttpAnswer& answer) const {
  const std::string reason = answer.header("x-error-code");
  const std::string page = options_.endpoint + "/" + repo;
  switch (answer.status) {
    case 200:
    case 206:
      return std::nullopt;
    case 401:
    case 403:
      if (reason == "GatedRepo")
        return permission_denied(
            options_.token.empty()
                ? fmt::format(
                      "{} is gated: accept its terms at {}, then set HF_TOKEN to your token", repo,
                      page)
                : fmt::format("{} is gated and your token was not let in: accept its terms at {}",
                              repo, page));
      if (options_.token.empty())
        return not_found(
            fmt::format("{} has no model {}, or it is private: check the name, or set HF_TOKEN",
                        options_.endpoint, repo));
      return permission_denied(
          fmt::format("{} does not accept your token for {}: check HF_TOKEN and the model's name",
                      options_.endpoint, repo));
    case 404:
      if (reason == "RevisionNotFound")
        return not_found(fmt::format("{} has no such revision; see {}", repo, page));
      if (reason == "EntryNotFound")
        return not_found(fmt::format("{} has no such file; see {}", repo, page));
      return not_found(fmt::format("{} has no model {}: check the name", options_.endpoint, repo));
    case 416:
      return corrupt(fmt::format("a file of {} is shorter now than the hub said", repo));
    case 429:
      return unavailable(
          fmt::format("{} asks to wait: too many requests from this address; try "
                      "again in some minutes, or set HF_TOKEN",
                      options_.endpoint));
    default:
      return unavailable(fmt::format("{} answers {} for {}; try again later", options_.endpoint,
                                     answer.status, repo));
  }
}

bool HubClient::may_try_again(const Result<HttpAnswer>& answer) {
  if (!answer.ok()) return answer.error().code == ErrorCode::unavailable;
  const int status = answer->status;
  return status == 408 || status == 429 || status >= 500;
}

int HubClient::pause_ms(int attempt, const Result<HttpAnswer>& answer) const {
  if (answer.ok()) {
    const std::string asked = answer->header("retry-after");  // seconds; dates are not worth it
    int seconds = 0;
    const auto read = std::from_chars(asked.data(), asked.data() + asked.size(), seconds);
    if (read.ec == std::errc() && seconds >= 0)
      return std::min(seconds, kLongestAskedMs / 1000) * 1000;
  }
  const int longest = std::min(kLongestPauseMs, kFirstPauseMs << std::clamp(attempt - 1, 0, 10));
  const double share = static_cast<double>(options_.world->random_u64() % 1000) / 1000;
  return static_cast<int>(longest * (0.5 + share / 2));
}

Result<HttpAnswer> HubClient::fetch(HttpTransfers& transfers, const std::string& repo,
                                    const HttpGet& get, const Stop& stop) const {
  for (int attempt = 1;; ++attempt) {
    Result<HttpAnswer> answer = transfers.fetch(get, stop);
    if (!may_try_again(answer) || attempt >= options_.most_attempts) {
      if (!answer.ok()) return answer;
      if (auto refused = refusal(repo, *answer)) return *std::move(refused);
      return answer;
    }
    const int64_t until_ms = options_.world->now_ms() + pause_ms(attempt, answer);
    while (options_.world->now_ms() < until_ms) {
      if (stop && stop()) return Error{ErrorCode::cancelled, "the download was cancelled"};
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

Result<RepoListing> HubClient::list(HttpTransfers& transfers, const std::string& repo,
                                    const std::string& revision, const Stop& stop) const {
  if (options_.offline)
    return unavailable(fmt::format(
        "{} is not on this device, and nothing is fetched while offline (--offline)", repo));
  if (!is_repo_name(repo)) return invalid_argument("'" + repo + "' is no ORG/NAME of a hub");
  RepoListing listing;
  listing.repo = repo;
  const HttpGet which =
      get(fmt::format("/api/models/{}/revision/{}", escaped(repo), escaped(revision, false)));
  const Json about = TRY(parse_answer(options_.endpoint, TRY(fetch(transfers, repo, which, stop))));
  if (about.is_object()) listing.commit = TRY(get_string(about.get_object(), "sha")).value_or("");
  if (!is_hex(listing.commit, 40))
    return unavailable(options_.endpoint + " does not say which commit this is");
  std::string page =
      fmt::format("/api/models/{}/tree/{}?recursive=1", escaped(repo), listing.commit);
  for (size_t pages = 0; !page.empty(); ++pages) {
    if (pages >= kMostPages) return corrupt(repo + " lists files without end");
    HttpGet tree = get(page);
    tree.most_body_bytes = kMostPageBytes;
    const HttpAnswer answer = TRY(fetch(transfers, repo, tree, stop));
    const Json files = TRY(parse_answer(options_.endpoint, answer));
    if (!files.is_array()) return corrupt(options_.endpoint + " lists no files");
    for (const Json& item : files.get_array())
      if (auto file = TRY(parse_file(item))) listing.files.push_back(*std::move(file));
    if (listing.files.size() > kMostFiles) return corrupt(repo + " has too many files");
    page = next_page(answer.header("link"));
  }
  return listing;
}

}  // namespace exo
