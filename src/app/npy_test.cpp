#include "app/npy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/file.h"

namespace exo {
namespace {

TEST(Npy, HeaderIsAlignedAndValuesFollow) {
  const auto path = std::filesystem::temp_directory_path() / "exo_npy_test.npy";
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  ASSERT_TRUE(write_npy(path, values, {2, 3}).ok());
  const std::string file = read_file(path, 1000).value();
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t header =
      static_cast<unsigned char>(file[8]) + 256u * static_cast<unsigned char>(file[9]);
  EXPECT_EQ((10 + header) % 64, 0u);
  EXPECT_NE(file.find("'shape': (2, 3)"), std::string::npos);
  ASSERT_EQ(file.size(), 10 + header + 24);
  EXPECT_EQ(std::memcmp(file.data() + 10 + header, values.data(), 24), 0);
  ASSERT_TRUE(write_npy(path, values, {6}).ok());
  EXPECT_NE(read_file(path, 1000)->find("'shape': (6,)"), std::string::npos);
}

}  // namespace
}  // namespace exo
