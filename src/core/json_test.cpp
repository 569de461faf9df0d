#include "core/json.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

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

TEST(Json, NumbersAreExact) {
  for (const double number : {8.988465674311580e307, 0.99999999999999989, 6.9294956446009195e15,
                              1.7976931348623157e308, 2.2250738585072014e-308, 5e-324, 0.1, -0.0})
    EXPECT_EQ(parse_json(fmt::format("[{:.16e}]", number)).value().at(0).as_double(), number);
  EXPECT_EQ(to_text(parse_json("[-0, 18446744073709551615]").value()), "[0,18446744073709551615]");
  EXPECT_TRUE(std::isinf(parse_json("1e999").value().as_double()));
  EXPECT_FALSE(parse_json("[1.]").ok());
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

TEST(Json, ANullIsAsGoodAsAbsent) {
  Json json = parse_json(R"({"a": 1, "b": null, "c": {"d": false}})").value();
  JsonObject& object = json.get_object();
  EXPECT_EQ(find_value(object, "b"), nullptr);
  EXPECT_EQ(find_value(object, "x"), nullptr);
  *find_value(object, "a") = 2;
  EXPECT_EQ(*find_value(std::as_const(object), "a"), 2);
  EXPECT_EQ(*find_value(find_value(object, "c")->get_object(), "d"), false);
}

}  // namespace
}  // namespace exo
