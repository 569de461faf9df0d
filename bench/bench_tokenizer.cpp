// How long does 1 MB of awkward text take to encode? bench_tokenizer FOLDER... prints milliseconds
// of processor time for each folder with a tokenizer.json or a tokenizer.model.
#include <cstdio>
#include <ctime>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace {

constexpr size_t kBytes = 1 << 20;

std::string repeated(std::string_view part) {
  std::string text;
  while (text.size() < kBytes) text += part;
  return text;
}

// Words of letters of many scripts, with or without white space between them.
std::string mixed(std::string_view space) {
  const std::vector<std::string> letters = {"a",  "Z",  "é", "я", "ß", "日",    "本",
                                            "か", "한", "ع", "א", "ก", "हि",    "🙂",
                                            "7",  ".",  "_", "ǅ", "𝒳", "\u0301"};
  std::mt19937 random(7);
  std::string text;
  while (text.size() < kBytes) {
    for (size_t i = 1 + random() % 9; i > 0; --i) text += letters[random() % letters.size()];
    text += space;
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> texts() {
  return {{"one letter", repeated("a")},
          {"capital letter", repeated("A")},
          {"spaces", repeated(" ")},
          {"newlines", repeated("\n")},
          {"spaces, newlines", repeated("  \n\t")},
          {"emoji", repeated("👩‍👩‍👧‍👦")},
          {"digits", repeated("1234567890")},
          {"combining marks", "e" + repeated("\u0301")},
          {"punctuation", repeated("'")},
          {"CJK", repeated("日本語")},
          {"mixed scripts", mixed(" ")},
          {"mixed, no space", mixed("")},
          {"words", repeated("The quick brown fox jumps over the lazy dog. ")}};
}

}  // namespace

int main(int count, char** folders) {
  for (int i = 1; i < count; ++i) {
    const auto tokenizer = exo::load_tokenizer(folders[i]);
    if (!tokenizer.ok()) {
      std::fprintf(stderr, "%s: %s\n", folders[i], tokenizer.error().message.c_str());
      return 1;
    }
    std::printf("%s\n", folders[i]);
    for (const auto& [name, text] : texts()) {
      const std::clock_t begin = std::clock();
      const size_t ids = (*tokenizer)->encode(text).size();
      const double ms = 1000.0 * static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
      std::printf("  %-18s %8.1f ms  %8zu ids\n", name.c_str(), ms, ids);
      std::fflush(stdout);
    }
  }
}
