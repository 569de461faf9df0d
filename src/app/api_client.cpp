#include "app/api_client.h"

#include <curl/curl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "app/paths.h"
#include "base/file.h"

namespace exo {
namespace {

constexpr size_t kMaxAnswerBytes = 64u << 20;
constexpr int kDefaultApiPort = 52415;

struct Transfer {
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle{curl_easy_init(), &curl_easy_cleanup};
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers{nullptr,
                                                                      &curl_slist_free_all};
  std::string body;
  std::function<void(std::string_view)>
      sink;  // takes a success body piece by piece instead of `body`
  const std::atomic<bool>* stop = nullptr;

  void add_header(const std::string& line) {
    headers.reset(curl_slist_append(headers.release(), line.c_str()));
  }
  long status() const {
    long code = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view piece(data, size * count);
  if (transfer.sink && transfer.status() == 200) {
    transfer.sink(piece);
  } else {
    if (transfer.body.size() + piece.size() > kMaxAnswerBytes) return 0;
    transfer.body += piece;
  }
  return piece.size();
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<Transfer*>(user);
  return transfer.stop != nullptr && transfer.stop->load() ? 1 : 0;
}

void prepare(Transfer& transfer, const std::string& url, const std::string& api_key,
             int timeout_ms) {
  CURL* handle = transfer.handle.get();
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_PROXY, "");
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, 3000L);
  if (timeout_ms > 0) curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout_ms));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  if (!api_key.empty()) transfer.add_header("Authorization: Bearer " + api_key);
}

ErrorCode code_of_status(long status) {
  switch (status) {
    case 400:
      return ErrorCode::invalid_argument;
    case 401:
    case 403:
      return ErrorCode::permission_denied;
    case 404:
      return ErrorCode::not_found;
    case 429:
      return ErrorCode::resource_exhausted;
    case 503:
      return ErrorCode::unavailable;
    default:
      return ErrorCode::internal;
  }
}

// {"error":{"message":...}} -> message
std::string error_message(const std::string& body) {
  const Result<Json> json = parse_json(body);
  if (!json.ok() || !json->is_object()) return body.substr(0, 300);
  const Result<const JsonObject*> error = get_object(json->get_object(), "error");
  if (!error.ok() || *error == nullptr) return body.substr(0, 300);
  const auto message = get_string(**error, "message");
  return message.ok() && message->has_value() ? **message : body.substr(0, 300);
}

Result<void> perform(Transfer& transfer, const std::string& url) {
  curl_easy_setopt(transfer.handle.get(), CURLOPT_HTTPHEADER, transfer.headers.get());
  const CURLcode code = curl_easy_perform(transfer.handle.get());
  if (code == CURLE_ABORTED_BY_CALLBACK) return {};
  if (code != CURLE_OK) return unavailable(fmt::format("{}: {}", url, curl_easy_strerror(code)));
  const long status = transfer.status();
  if (status == 401)
    return permission_denied("this node asks for an API key: set EXO_API_KEY or pass --api-key");
  if (status < 200 || status > 299)
    return Error{code_of_status(status), error_message(transfer.body)};
  return {};
}

// Splits a byte stream into server-sent-event lines.
class EventLines {
 public:
  explicit EventLines(const ApiClient::StreamHandlers& handlers) : handlers_(handlers) {}
  void feed(std::string_view piece) {
    pending_ += piece;
    size_t begin = 0;
    for (size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1)
      line(std::string_view(pending_).substr(begin, end - begin));
    pending_.erase(0, begin);
  }

 private:
  void line(std::string_view text) const {
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.starts_with("data: ") && handlers_.on_data) handlers_.on_data(text.substr(6));
    if (text.starts_with(": ") && handlers_.on_comment) handlers_.on_comment(text.substr(2));
  }
  const ApiClient::StreamHandlers& handlers_;
  std::string pending_;
};

std::filesystem::path running_dir() { return config_dir() / "running"; }

bool answers_as_exo(const ApiClient& client) {
  const Result<Json> health = client.get("/health", 2000);
  return health.ok() && health->is_object() && health->get_object().contains("service") &&
         health->at("service") == "exo";
}

Result<ApiClient> client_of_note(const std::filesystem::path& path) {
  const Json note = TRY(parse_json(TRY(read_file(path, 4096))));
  if (!note.is_object()) return corrupt(path.string() + " is not a note of a running node");
  const auto port = TRY(get_int(note.get_object(), "api_port"));
  const auto key = TRY(get_string(note.get_object(), "api_key"));
  return ApiClient(fmt::format("http://127.0.0.1:{}", port.value_or(0)),
                   key.value_or(environment("EXO_API_KEY")));
}

}  // namespace

ApiClient::ApiClient(std::string base_url, std::string api_key)
    : base_url_(std::move(base_url)), api_key_(std::move(api_key)) {}

Result<Json> ApiClient::get(std::string_view path, int timeout_ms) const {
  Transfer transfer;
  const std::string url = base_url_ + std::string(path);
  prepare(transfer, url, api_key_, timeout_ms);
  TRY(perform(transfer, url));
  return parse_json(transfer.body);
}

Result<Json> ApiClient::post(std::string_view path, const Json& body, int timeout_ms) const {
  Transfer transfer;
  const std::string url = base_url_ + std::string(path);
  const std::string text = to_text(body);
  prepare(transfer, url, api_key_, timeout_ms);
  transfer.add_header("Content-Type: application/json");
  curl_easy_setopt(transfer.handle.get(), CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(text.size()));
  curl_easy_setopt(transfer.handle.get(), CURLOPT_POSTFIELDS, text.c_str());
  TRY(perform(transfer, url));
  return parse_json(transfer.body);
}

Result<Json> ApiClient::remove(std::string_view path) const {
  Transfer transfer;
  const std::string url = base_url_ + std::string(path);
  prepare(transfer, url, api_key_, 60'000);
  curl_easy_setopt(transfer.handle.get(), CURLOPT_CUSTOMREQUEST, "DELETE");
  TRY(perform(transfer, url));
  return parse_json(transfer.body);
}

Result<void> ApiClient::post_stream(std::string_view path, const Json& body,
                                    const StreamHandlers& handlers) const {
  Transfer transfer;
  EventLines lines(handlers);
  const std::string url = base_url_ + std::string(path);
  const std::string text = to_text(body);
  prepare(transfer, url, api_key_, 0);
  transfer.sink = [&lines](std::string_view piece) { lines.feed(piece); };
  transfer.stop = handlers.stop;
  transfer.add_header("Content-Type: application/json");
  curl_easy_setopt(transfer.handle.get(), CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(text.size()));
  curl_easy_setopt(transfer.handle.get(), CURLOPT_POSTFIELDS, text.c_str());
  return perform(transfer, url);
}

Result<ApiClient> find_local_node() {
  const std::string key = environment("EXO_API_KEY");
  if (const std::string port = environment("EXO_API_PORT"); !port.empty()) {
    ApiClient client("http://127.0.0.1:" + port, key);
    if (answers_as_exo(client)) return client;
    return unavailable("no node answers on port " + port + " (EXO_API_PORT)");
  }
  std::error_code ignored;
  std::vector<std::filesystem::path> notes;
  for (const auto& entry : std::filesystem::directory_iterator(running_dir(), ignored))
    notes.push_back(entry.path());
  std::sort(notes.begin(), notes.end());
  for (const auto& path : notes) {
    const Result<ApiClient> client = client_of_note(path);
    if (client.ok() && answers_as_exo(*client)) return *client;
  }
  ApiClient client(fmt::format("http://127.0.0.1:{}", kDefaultApiPort), key);
  if (answers_as_exo(client)) return client;
  return unavailable("no node runs on this device: start one with `exo`");
}

Result<RunningNote> RunningNote::write(int api_port, const std::string& api_key) {
  std::error_code error;
  std::filesystem::create_directories(running_dir(), error);
  const auto path = running_dir() / fmt::format("{:05}.json", api_port);
  const JsonObject note = {
      {"api_port", api_port}, {"api_key", api_key}, {"pid", static_cast<int64_t>(::getpid())}};
  TRY(write_file(path, to_text(note), {.secret = true}));
  return RunningNote(path.string());
}

RunningNote::RunningNote(RunningNote&& other) noexcept : path_(std::exchange(other.path_, "")) {}

RunningNote::~RunningNote() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace exo
