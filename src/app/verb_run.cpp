// exo run MODEL: one answer, or a small chat.
#include <fmt/core.h>
#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "app/answerer.h"
#include "app/console.h"
#include "app/node_setup.h"
#include "app/paths.h"
#include "app/verbs.h"
#include "base/base64.h"
#include "base/file.h"
#include "media/decode_image.h"

namespace exo {
namespace {

// Ctrl-C stops the answer; a second one while nothing runs ends the program. Signal handlers may
// only touch lock-free atomics, hence the two globals.
std::atomic<bool> g_stop_answer{false};
std::atomic<bool> g_answering{false};

constexpr int kInputGraceMs = 200;

void on_interrupt(int) {
  if (!g_answering.load()) ::_exit(130);
  g_stop_answer.store(true);
}

void print_stats(const Answer& answer) {
  std::fprintf(
      stderr, "%s\n",
      dim(fmt::format(
              "time to first token {:.0f} ms · {:.1f} tokens/s · {} prompt + {} answer tokens",
              answer.first_token_ms, answer.tokens_per_s, answer.prompt_tokens,
              answer.completion_tokens),
          stderr)
          .c_str());
}

Result<Answer> ask(Answerer& answerer, const Question& question, bool quiet) {
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  AnswerHandlers handlers;
  bool begun = false, thinking = false;
  const auto begin = [&begun, terminal] {  // where the progress of a download stood
    if (!std::exchange(begun, true) && terminal) std::fputs("\r\x1b[K", stderr);
  };
  handlers.on_thought = [&thinking, begin, quiet](std::string_view text) {
    begin();
    if (quiet) return;
    thinking = true;
    std::fprintf(stderr, "%s", dim(text, stderr).c_str());
  };
  handlers.on_text = [&thinking, begin, quiet](std::string_view text) {
    begin();
    if (quiet) return;
    if (std::exchange(thinking, false)) std::fprintf(stderr, "\n\n");
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  handlers.on_notice = [terminal](std::string_view notice) {
    if (!terminal) return;
    const bool progress = notice.starts_with("downloading ");  // each on the place of the last one
    std::fprintf(stderr, progress ? "\r\x1b[K%s" : "\r\x1b[K%s\n", dim(notice, stderr).c_str());
  };
  handlers.stop = &g_stop_answer;
  g_stop_answer.store(false);
  g_answering.store(true);
  Result<Answer> answer = answerer.ask(question, handlers);
  g_answering.store(false);
  return answer;
}

JsonObject message(std::string_view role, std::string_view content) {
  return {{"role", std::string(role)}, {"content", std::string(content)}};
}

// A message of the user with the pictures that came before it.
JsonObject question_of(std::string_view text, const JsonArray& pictures) {
  if (pictures.empty()) return message("user", text);
  JsonArray parts = pictures;
  parts.push_back(JsonObject{{"type", "text"}, {"text", std::string(text)}});
  return {{"role", "user"}, {"content", std::move(parts)}};
}

int answer_once(Answerer& answerer, const CommandLine& line, const std::string& prompt,
                const JsonArray& pictures) {
  Question question{{question_of(prompt, pictures)}, line.run};
  if (!line.node.system_prompt.empty())
    question.messages.insert(question.messages.begin(), message("system", line.node.system_prompt));
  const Result<Answer> answer = ask(answerer, question, line.json);
  if (!answer.ok()) return fail(answer.error());
  if (line.json) {
    print_json(JsonObject{{"text", answer->text},
                          {"finish_reason", answer->finish_reason},
                          {"prompt_tokens", answer->prompt_tokens},
                          {"completion_tokens", answer->completion_tokens},
                          {"first_token_ms", answer->first_token_ms},
                          {"tokens_per_s", answer->tokens_per_s}});
  } else {
    std::printf("\n");
  }
  if (line.run.stats) print_stats(*answer);
  return answer->finish_reason == "cancelled" ? 130 : 0;
}

// A picture as a part of a message: its file in a data: URL. What is in it, the node finds out.
Result<Json> picture_part(const std::string& file) {
  const std::string bytes = TRY(read_file(file, ImageLimits{}.bytes));
  return Json(JsonObject{
      {"type", "image_url"},
      {"image_url", {{"url", "data:application/octet-stream;base64," + to_base64(bytes)}}}});
}

// Line editing with history, by libedit.
class LineEditor {
 public:
  LineEditor() : history_(history_init()), edit_(el_init("exo", stdin, stdout, stderr)) {
    history(history_, &event_, H_SETSIZE, 500);
    el_set(
        edit_, EL_PROMPT, +[](EditLine*) -> const char* { return "> "; });
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, history, history_);
    el_set(edit_, EL_SIGNAL, 0);
  }
  ~LineEditor() {
    history_end(history_);
    el_end(edit_);
  }
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  std::optional<std::string> read() {
    int count = 0;
    const char* text = el_gets(edit_, &count);
    if (text == nullptr || count <= 0) return std::nullopt;
    std::string line(text, static_cast<size_t>(count));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (!line.empty()) history(history_, &event_, H_ENTER, line.c_str());
    return line;
  }

 private:
  HistEvent event_{};
  History* history_;
  EditLine* edit_;
};

constexpr const char* kChatHelp =
    "/clear forgets the conversation, /stats shows speed after each answer, /image FILE adds a "
    "picture to\nthe next message, /bye leaves (Ctrl-D too).\n"
    "Ctrl-C stops an answer. \"\"\" begins and ends a message of several lines.";

std::optional<std::string> read_message(LineEditor& editor) {
  std::optional<std::string> line = editor.read();
  if (!line || !line->starts_with("\"\"\"")) return line;
  std::string text = line->substr(3);
  while (!text.ends_with("\"\"\"")) {
    line = editor.read();
    if (!line) return std::nullopt;
    text += (text.empty() ? "" : "\n") + *line;
  }
  return text.substr(0, text.size() - 3);
}

// "/image FILE" as people and terminals write it: in quotes, or beginning with the home folder.
std::string path_of(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
      text.back() == text.front())
    text = text.substr(1, text.size() - 2);
  const char* home = std::getenv("HOME");
  if (text.starts_with("~/") && home != nullptr) return home + std::string(text.substr(1));
  return std::string(text);
}

void add_picture(JsonArray& pictures, std::string_view file) {
  Result<Json> picture = picture_part(path_of(file));
  if (!picture.ok()) {
    std::fprintf(stderr, "exo: %s\n", picture.error().message.c_str());
    return;
  }
  pictures.push_back(*std::move(picture));
  std::printf("%s\n", dim("The picture goes with your next message.", stdout).c_str());
}

int chat(Answerer& answerer, const CommandLine& line, JsonArray pictures) {
  std::printf("%s\n",
              dim("Chat with " + line.run.model + ". /? lists the commands.", stdout).c_str());
  LineEditor editor;
  bool stats = line.run.stats;
  JsonArray messages;
  const auto begin_anew = [&] {
    messages.clear();
    if (!line.node.system_prompt.empty())
      messages.push_back(message("system", line.node.system_prompt));
  };
  begin_anew();
  while (const std::optional<std::string> text = read_message(editor)) {
    if (text->empty()) continue;
    if (*text == "/bye" || *text == "/exit" || *text == "/quit") break;
    if (*text == "/?" || *text == "/help") {
      std::printf("%s\n", kChatHelp);
      continue;
    }
    if (*text == "/clear") {
      pictures.clear();
      begin_anew();
      std::printf("The conversation is forgotten.\n");
      continue;
    }
    if (*text == "/stats") {
      stats = !stats;
      continue;
    }
    if (text->starts_with("/image ")) {
      add_picture(pictures, std::string_view(*text).substr(7));
      continue;
    }
    messages.push_back(question_of(*text, pictures));
    const Result<Answer> answer = ask(answerer, {messages, line.run}, false);
    std::printf("\n");
    if (!answer.ok()) {
      std::fprintf(stderr, "exo: %s\n", answer.error().message.c_str());
      messages.pop_back();
      continue;
    }
    pictures.clear();
    messages.push_back(message("assistant", answer->text));
    if (stats) print_stats(*answer);
  }
  return 0;
}

// What was piped in. A script's standard input may be a pipe nobody writes to, so with a prompt
// given only input that begins at once counts.
std::string piped_input(bool wait) {
  if (::isatty(STDIN_FILENO) == 1) return "";
  pollfd input{STDIN_FILENO, POLLIN, 0};
  if (!wait && ::poll(&input, 1, kInputGraceMs) <= 0) return "";
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

// The node that runs decides by its own flags, but never fetches what this command forbids.
Result<void> check_download(const ApiClient& client, const CommandLine& line) {
  if ((line.node.auto_download && !line.node.offline) || line.run.model.starts_with('/')) return {};
  const auto known = client.get("/v1/models/" + line.run.model);
  if (known.ok() || known.error().code != ErrorCode::not_found) return {};
  return not_found(fmt::format("{} is not here; fetch it with `exo download {}`", line.run.model,
                               line.run.model));
}

}  // namespace

int run_run(const CommandLine& given) {
  CommandLine line = given;
  std::error_code ignored;
  if (std::filesystem::exists(line.run.model, ignored))
    line.run.model = std::filesystem::absolute(line.run.model, ignored).lexically_normal().string();
  std::signal(SIGINT, on_interrupt);
  JsonArray pictures;
  for (const std::string& file : line.run.images) {
    Result<Json> picture = picture_part(file);
    if (!picture.ok()) return fail(picture.error());
    pictures.push_back(*std::move(picture));
  }

  std::unique_ptr<Answerer> answerer;
  std::shared_ptr<Node> local;
  if (Result<ApiClient> client = find_local_node(); client.ok()) {
    if (auto here = check_download(*client, line); !here.ok()) return fail(here.error());
    answerer = make_api_answerer(*client);
  } else {
    Result<std::shared_ptr<Node>> started = start_temporary_node(line.node);
    if (!started.ok()) return fail(started.error());
    local = *started;
    answerer = make_local_answerer(local);
  }
  const bool interactive = !line.run.has_prompt && ::isatty(STDIN_FILENO) == 1;
  if (interactive) return chat(*answerer, line, std::move(pictures));
  std::string prompt = line.run.prompt;
  const std::string input = piped_input(!line.run.has_prompt);
  if (!input.empty()) prompt += (prompt.empty() ? "" : "\n\n") + input;
  if (prompt.empty()) {
    std::fprintf(stderr, "exo: nothing to answer: give --prompt TEXT or pipe a text in\n");
    return 2;
  }
  return answer_once(*answerer, line, prompt, pictures);
}

}  // namespace exo
