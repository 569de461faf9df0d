#include "core/json.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

TEST(Json, RefusesDepthTrailingBytesAndBadUtf8) {
  EXPECT_TRUE(parse_json(" {\"a\": [1, 2.5, null]} ").ok());
  EXPECT_FALSE(parse_json("[1] x").ok());
  EXPECT_FALSE(parse_json("[1").ok());
  EXPECT_FALSE(parse_json("").ok());
  EXPECT_FALSE(parse_json("\"\xff\"").ok());
  EXPECT_FALSE(parse_json(std::string(100, '[') + std::string(100, ']')).ok());
}

TEST(Json, GettersNameTheKey) {
  const Json json = parse_json(R"({"n": 3, "x": 1.5, "s": "t", "z": null})").value();
  const JsonObject& object = json.get_object();
  EXPECT_EQ(get_int(object, "n").value(), 3);
  EXPECT_EQ(get_int(object, "z").value(), std::nullopt);
  EXPECT_EQ(get_int(object, "s").error().message, "'s' must be a whole number, not string");
  EXPECT_FALSE(get_int(object, "x").ok());
  EXPECT_EQ(get_number(object, "n").value(), 3.0);
  EXPECT_EQ(get_string(object, "s").value(), "t");
}

}  // namespace
}  // namespace exo
