#include "app/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace exo {
namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

class Console : public testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("NO_COLOR");
    ::setenv("TERM", "xterm", 1);
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
    ASSERT_GE(master, 0);
    terminal_ = File(::fdopen(master, "w"), std::fclose);
  }
  File terminal_{nullptr, std::fclose};
};

TEST_F(Console, IsGreyOnTerminalsOnly) {
  EXPECT_EQ(dim("a thought", terminal_.get()), "\x1b[2ma thought\x1b[0m");
  const File file(std::tmpfile(), std::fclose);
  EXPECT_EQ(dim("a thought", file.get()), "a thought");
}

TEST_F(Console, IsNeverGreyForThoseWhoWantNoColour) {
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_EQ(dim("a thought", terminal_.get()), "a thought");
  ::unsetenv("NO_COLOR");
  ::setenv("TERM", "dumb", 1);
  EXPECT_EQ(dim("a thought", terminal_.get()), "a thought");
}

}  // namespace
}  // namespace exo
