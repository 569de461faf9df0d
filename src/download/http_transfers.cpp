#include "download/http_transfers.h"

#include <curl/curl.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <mutex>
#include <utility>

namespace exo {
namespace {

constexpr size_t kMostHeaderBytes = 64 * 1024;
constexpr size_t kMostErrorBytes = 4096;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

// "bytes 100-199/1000" -> 100
std::optional<uint64_t> first_byte_of(std::string_view content_range) {
  if (!content_range.starts_with("bytes ")) return std::nullopt;
  uint64_t first = 0;
  const char* begin = content_range.data() + 6;
  const auto [end, error] =
      std::from_chars(begin, content_range.data() + content_range.size(), first);
  if (error != std::errc() || end == begin || *end != '-') return std::nullopt;
  return first;
}

struct Transfer {
  HttpGet get;
  HttpTransfers::Done done;
  HttpAnswer answer;
  CURL* handle = nullptr;
  curl_slist* lines = nullptr;
  size_t header_bytes = 0;
  uint64_t offset = 0;  // of the next body byte
  bool body_began = false;
  std::string problem;  // why we ended it
  char curl_error[CURL_ERROR_SIZE] = {};

  ~Transfer() {
    curl_easy_cleanup(handle);
    curl_slist_free_all(lines);
  }
  int status() const {
    long code = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    return static_cast<int>(code);
  }
  bool take_header(std::string_view line);
  bool take_body(std::string_view bytes);
};

bool Transfer::take_header(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > kMostHeaderBytes) {
    problem = "its headers are longer than any honest server's";
    return false;
  }
  if (line.starts_with("HTTP/")) {  // the next answer of a chain of redirects
    std::erase_if(answer.headers,
                  [](const auto& header) { return !header.first.starts_with("x-"); });
    return true;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  std::string name = lower(trimmed(line.substr(0, colon)));
  std::string value(trimmed(line.substr(colon + 1)));
  if (name.starts_with("x-"))
    answer.headers.emplace(std::move(name), std::move(value));
  else
    answer.headers[std::move(name)] = std::move(value);
  return true;
}

bool Transfer::take_body(std::string_view bytes) {
  const int code = status();
  if (code != 200 && code != 206) {
    answer.body.append(
        bytes.substr(0, kMostErrorBytes - std::min(kMostErrorBytes, answer.body.size())));
    return true;
  }
  if (!get.sink) {
    if (answer.body.size() + bytes.size() > get.most_body_bytes) {
      problem = fmt::format("it answers with more than the {} bytes expected", get.most_body_bytes);
      return false;
    }
    answer.body.append(bytes);
    return true;
  }
  if (!std::exchange(body_began, true)) {
    const auto first =
        code == 206 ? first_byte_of(answer.header("content-range")) : std::optional<uint64_t>(0);
    if (!first || (code == 206 && (!get.range || *first != get.range->begin))) {
      problem = "it sends another range of the file than was asked for";
      return false;
    }
    offset = *first;
    answer.status = code;
  }
  const uint64_t at = std::exchange(offset, offset + bytes.size());
  return get.sink(answer, at, bytes);
}

size_t on_header(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<Transfer*>(transfer)->take_header({data, size * count}) ? size * count : 0;
}
size_t on_body(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<Transfer*>(transfer)->take_body({data, size * count}) ? size * count : 0;
}

void set_up_curl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

void set_options(Transfer& transfer, const HttpOptions& options) {
  CURL* handle = transfer.handle;
  const HttpGet& get = transfer.get;
  const char* protocols = get.url.starts_with("http://") ? "http,https" : "https";
  curl_easy_setopt(handle, CURLOPT_URL, get.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, get.head ? 0L : 1L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, static_cast<long>(options.most_redirects));
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options.connect_timeout_ms));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1000L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout_s));
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L * 1024);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, transfer.curl_error);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer);
  if (get.head) curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  if (!get.bearer.empty()) {
    curl_easy_setopt(handle, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(handle, CURLOPT_XOAUTH2_BEARER, get.bearer.c_str());
  }
  transfer.lines = curl_slist_append(transfer.lines, "Accept-Encoding: identity");
  if (get.range) {
    const std::string range = fmt::format("{}-{}", get.range->begin, get.range->end - 1);
    curl_easy_setopt(handle, CURLOPT_RANGE, range.c_str());
    if (!get.if_range.empty())
      transfer.lines = curl_slist_append(transfer.lines, ("If-Range: " + get.if_range).c_str());
  }
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, transfer.lines);
}

Error network_error(const Transfer& transfer, CURLcode code) {
  const std::string host =
      transfer.get.url.substr(0, transfer.get.url.find('/', sizeof("https://")));
  if (!transfer.problem.empty()) return unavailable(host + ": " + transfer.problem);
  switch (code) {
    case CURLE_TOO_MANY_REDIRECTS:
      return corrupt(host + " redirects in circles");
    case CURLE_UNSUPPORTED_PROTOCOL:
      return corrupt(host + " redirects to an address that is not https");
    case CURLE_WRITE_ERROR:
      return {ErrorCode::cancelled, "the transfer was ended"};
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return unavailable(fmt::format("{} cannot be reached ({}); is this device online?", host,
                                     curl_easy_strerror(code)));
    case CURLE_OPERATION_TIMEDOUT:
      return unavailable(host + " sends nothing any more");
    case CURLE_PEER_FAILED_VERIFICATION:
      return permission_denied(
          fmt::format("{} cannot prove who it is: {}", host, transfer.curl_error));
    default:
      return unavailable(fmt::format(
          "{}: {}", host,
          transfer.curl_error[0] != 0 ? transfer.curl_error : curl_easy_strerror(code)));
  }
}

}  // namespace

struct HttpTransfers::State {
  HttpOptions options;
  CURLM* multi = nullptr;
  std::map<CURL*, std::unique_ptr<Transfer>> transfers;
};

HttpTransfers::HttpTransfers(HttpOptions options) : state_(std::make_unique<State>()) {
  set_up_curl();
  state_->options = std::move(options);
  state_->multi = curl_multi_init();
  CHECK(state_->multi != nullptr, "libcurl cannot start");
  curl_multi_setopt(state_->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                    static_cast<long>(state_->options.most_connections_per_host));
}

HttpTransfers::~HttpTransfers() {
  for (const auto& [handle, transfer] : state_->transfers)
    curl_multi_remove_handle(state_->multi, handle);
  state_->transfers.clear();
  curl_multi_cleanup(state_->multi);
}

void HttpTransfers::start(HttpGet get, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->get = std::move(get);
  transfer->done = std::move(done);
  transfer->handle = curl_easy_init();
  CHECK(transfer->handle != nullptr, "libcurl cannot start a transfer");
  set_options(*transfer, state_->options);
  CURL* handle = transfer->handle;
  state_->transfers.emplace(handle, std::move(transfer));
  curl_multi_add_handle(state_->multi, handle);
}

int64_t HttpTransfers::poll(int timeout_ms) {
  using Clock = std::chrono::steady_clock;
  int running = 0;
  int64_t waited_us = 0;
  curl_multi_perform(state_->multi, &running);
  if (running > 0) {
    const auto begin = Clock::now();
    curl_multi_poll(state_->multi, nullptr, 0, timeout_ms, nullptr);
    waited_us = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
    curl_multi_perform(state_->multi, &running);
  }
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(state_->multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // the message dies with its handle
    const auto found = state_->transfers.find(message->easy_handle);
    curl_multi_remove_handle(state_->multi, message->easy_handle);
    if (found == state_->transfers.end()) continue;
    const std::unique_ptr<Transfer> transfer = std::move(found->second);
    state_->transfers.erase(found);
    transfer->answer.status = transfer->status();
    if (code == CURLE_OK)
      transfer->done(std::move(transfer->answer));
    else
      transfer->done(network_error(*transfer, code));
  }
  return waited_us;
}

size_t HttpTransfers::running() const { return state_->transfers.size(); }

Result<HttpAnswer> HttpTransfers::fetch(HttpGet get, const std::function<bool()>& stop) {
  const auto result = std::make_shared<std::optional<Result<HttpAnswer>>>();
  start(std::move(get), [result](Result<HttpAnswer> answer) { *result = std::move(answer); });
  while (!*result) {
    if (stop && stop()) return Error{ErrorCode::cancelled, "the download was cancelled"};
    poll(100);
  }
  return std::move(**result);
}

}  // namespace exo
