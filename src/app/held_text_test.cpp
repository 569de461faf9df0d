#include "app/held_text.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

JsonArray spans(std::vector<std::pair<int, int>> ranges) {
  JsonArray out;
  for (const auto& [begin, end] : ranges)
    out.push_back(JsonObject{{"layer_begin", begin}, {"layer_end", end}});
  return out;
}

TEST(HeldText, LayersAreCountedAsPeopleDo) {
  EXPECT_EQ(spans_text(spans({{0, 6}, {7, 8}})), "0-5, 7");
  EXPECT_EQ(spans_text({}), "");
  EXPECT_EQ(spans_text({Json("odd")}), "");
}

TEST(HeldText, OneModelOnOneDisk) {
  JsonObject held{{"model", "m"},
                  {"layer_count", 12},
                  {"layers", spans({{0, 6}})},
                  {"spare", spans({{3, 6}})},
                  {"held_bytes", 5'000'000},
                  {"complete", false}};
  EXPECT_EQ(held_text(held), "m: layers 0-5 of 12 on disk, 5.0 MB, spare: 3-5");
  held["complete"] = true;
  held["spare"] = JsonArray();
  EXPECT_EQ(held_text(held), "m: all of it on disk, 5.0 MB");
  held["complete"] = false;
  held["layers"] = JsonArray();
  EXPECT_EQ(held_text(held), "m: no whole layer on disk, 5.0 MB");
}

TEST(HeldText, OneModelOnManyDisks) {
  const JsonArray nodes{
      JsonObject{{"name", "desk"}, {"complete", true}},
      JsonObject{{"name", "pi"}, {"layers", spans({{0, 6}})}, {"spare", spans({{3, 6}})}}};
  EXPECT_EQ(holders_text(nodes), "desk all; pi 0-5 (spare 3-5)");
  EXPECT_EQ(holders_text({}), "-");
}

}  // namespace
}  // namespace exo
