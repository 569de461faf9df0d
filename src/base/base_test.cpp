#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "base/base64.h"
#include "base/bounded_queue.h"
#include "base/file.h"
#include "base/log.h"

namespace exo {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return invalid_argument("odd");
  return value / 2;
}
Result<int> quarter(int value) { return half(TRY(half(value))); }

TEST(Result, TryReturnsTheFirstError) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().message, "odd");
  EXPECT_EQ(quarter(6).error().in("here").message, "here: odd");
}

TEST(BoundedQueue, RefusesWhenFullAndDrainsAfterClose) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.try_push(1));
  EXPECT_TRUE(queue.try_push(2));
  EXPECT_FALSE(queue.try_push(3));
  queue.close();
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_EQ(queue.pop(), std::nullopt);
  EXPECT_FALSE(queue.push(4));
}

TEST(File, WriteIsWholeSecretAndExclusive) {
  const auto folder = std::filesystem::temp_directory_path() / "exo_file_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = folder / "key";
  ASSERT_TRUE(write_file(path, "one", {.secret = true, .exclusive = true}).ok());
  EXPECT_EQ(write_file(path, "two", {.exclusive = true}).error().code, ErrorCode::already_exists);
  EXPECT_EQ(read_file(path, 10).value(), "one");
  EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::all,
            std::filesystem::perms(0600));
  EXPECT_EQ(read_file(path, 2).error().code, ErrorCode::corrupt);
  EXPECT_EQ(read_file(folder / "absent", 2).error().code, ErrorCode::not_found);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1)
      << "a partial file was left behind";
  const auto mapped = MappedFile::open(path).value();
  EXPECT_EQ(mapped->bytes().size(), 3u);
}

TEST(Log, DebugLevelsOfExo) {
  EXPECT_EQ(log::level_from_debug("0"), log::Level::info);
  EXPECT_EQ(log::level_from_debug("2"), log::Level::debug);
  EXPECT_EQ(log::level_from_debug("9"), log::Level::trace);
}

TEST(Base64, BothWaysAndNothingElse) {
  for (const std::string bytes : {"", "f", "fo", "foo", "foob", "fooba", "foobar"})
    EXPECT_EQ(from_base64(to_base64(bytes)), bytes);
  EXPECT_EQ(to_base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(from_base64("Zm9vYmE"), "fooba");
  for (const char* bad : {"Z", "Zm9v=", "Zm=v", "Zm9vY===", "Zm 9v", "Zm9v\n", "Zm9v-w", "===="})
    EXPECT_EQ(from_base64(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace exo
