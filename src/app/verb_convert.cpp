// exo convert SRC DST: a model written down in another format. Nothing of a half-done conversion
// stays behind, whether it failed or was stopped.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "app/console.h"
#include "app/local_model.h"
#include "app/verbs.h"
#include "base/world.h"
#include "model/gguf_convert.h"
#include "model/weights.h"
#include "text/tokenizer_to_gguf.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

volatile std::sig_atomic_t stopped = 0;
void stop(int) { stopped = 1; }

// One line on a terminal, redrawn a few times a second; nothing elsewhere.
class ProgressLine {
 public:
  bool update(uint64_t done, uint64_t total) {
    const int64_t now_ms = real_world().now_ms();
    const bool whole = done >= total;
    if (shown_ && !whole && now_ms - last_ms_ < 200) return stopped == 0;
    last_ms_ = now_ms;
    if (::isatty(STDERR_FILENO) != 1) return stopped == 0;
    shown_ = true;
    constexpr int kWidth = 30;
    const int filled = total == 0 ? kWidth : static_cast<int>(done * kWidth / total);
    const double seconds = static_cast<double>(now_ms - begin_ms_) / 1000;
    std::fprintf(stderr, "\r[%s%s] %3d%%  %s of %s  %s/s ", std::string(filled, '#').c_str(),
                 std::string(kWidth - filled, '.').c_str(),
                 static_cast<int>(total == 0 ? 100 : done * 100 / total),
                 format_bytes(done).c_str(), format_bytes(total).c_str(),
                 format_bytes(static_cast<uint64_t>(done / std::max(0.1, seconds))).c_str());
    if (whole) end();
    return stopped == 0;
  }
  void end() {
    if (shown_) std::fputc('\n', stderr);
    shown_ = false;
  }

 private:
  int64_t begin_ms_ = real_world().now_ms(), last_ms_ = 0;
  bool shown_ = false;
};

struct Done {
  ConvertReport report;
  std::string target;
  int64_t milliseconds = 0;
};

Result<JsonObject> extra_metadata(const ModelFiles& model) {
  if (model.config.gguf) return JsonObject();
  JsonObject metadata = TRY(tokenizer_to_gguf(model.card.path, model.card.vocab_size));
  if (metadata.empty())
    std::fputs("exo: there is no tokenizer.json; the file will hold no tokenizer\n", stderr);
  metadata["general.type"] = "model";
  metadata["general.name"] = model.card.id;
  return metadata;
}

Result<Done> convert(const ConvertFlags& flags, int threads) {
  const ModelFiles model = TRY(open_model(TRY(local_model_path(flags.source))));
  TRY(check_here(model.tensors->names(), *model.tensors));
  const fs::path target = flags.target;
  std::error_code ignored;
  const fs::path source = fs::weakly_canonical(model.card.path, ignored);
  if (fs::weakly_canonical(target, ignored) == source)
    return invalid_argument("the target is the source itself");
  const bool gguf = target.extension() == ".gguf";
  const fs::path written = gguf ? target : target / "model.safetensors";
  if (fs::exists(written, ignored) && !flags.force)
    return Error{ErrorCode::already_exists,
                 written.string() + " is there already; --force replaces it"};
  ConvertOptions options;
  options.threads = threads;
  if (!flags.quantize.empty()) options.target = dtype_from_name(flags.quantize);
  if (gguf) options.metadata = TRY(extra_metadata(model));
  ProgressLine progress;
  options.progress = [&](uint64_t done, uint64_t total) { return progress.update(done, total); };
  const int64_t begin_ms = real_world().now_ms();
  auto report = gguf ? convert_to_gguf(model, target, options)
                     : convert_to_safetensors(model, target, options);
  progress.end();
  if (!report.ok()) return report.error();
  return Done{*report, written.string(), real_world().now_ms() - begin_ms};
}

JsonObject to_json(const Done& done) {
  JsonObject types;
  for (const auto& [type, count] : done.report.tensors) types[type] = count;
  return {{"file", done.target},
          {"bytes", done.report.bytes},
          {"tensors", std::move(types)},
          {"seconds", static_cast<double>(done.milliseconds) / 1000}};
}

}  // namespace

int run_convert(const CommandLine& line) {
  const auto before_int = std::signal(SIGINT, stop), before_term = std::signal(SIGTERM, stop);
  const Result<Done> done = convert(line.convert, line.node.threads);
  std::signal(SIGINT, before_int);
  std::signal(SIGTERM, before_term);
  if (!done.ok()) return fail(done.error());
  if (line.json) {
    print_json(to_json(*done));
    return 0;
  }
  std::string types;
  for (const auto& [type, count] : done->report.tensors)
    types += fmt::format("{}{} {}", types.empty() ? "" : ", ", count, type);
  std::printf("%s: %s in %s tensors\n", done->target.c_str(),
              format_bytes(done->report.bytes).c_str(), types.c_str());
  return 0;
}

}  // namespace exo
