#include "api/held_json.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

HeldModel held(std::vector<LayerSpan> spans) {
  return {"hf.co/org/m@c0", "m", 12, {std::move(spans), true, false}, 70, 100, false};
}

// "0-6 9-12 ", half-open
std::string text_of(const Json& spans) {
  std::string text;
  for (const Json& span : spans.as_array())
    text += std::to_string(span.at("layer_begin").as_int64()) + "-" +
            std::to_string(span.at("layer_end").as_int64()) + " ";
  return text;
}

class HeldJson : public testing::Test {
 protected:
  HeldJson() {
    core_.self.id = {"a"};
    core_.self.name = "desk";
    core_.self.held = {held({{0, 9}, {10, 11}})};
    PeerView peer;
    peer.info.id = {"b"};
    peer.info.name = "pi";
    peer.info.held = {held({{6, 12}})};
    core_.peers = {peer};
  }
  void place() {
    PlacementInfo info;
    info.state = PlacementState::ready;
    info.placement.card.source = "hf.co/org/m@c0";
    info.placement.stages = {{{"a"}, {"m", 0, 6, 12, 0, 1}}, {{"b"}, {"m", 6, 12, 12, 0, 1}}};
    core_.placements = {info};
  }
  CoreView core_;
};

TEST_F(HeldJson, WithoutAPlacementNothingIsSpare) {
  const JsonArray all = held_json(core_.self, core_.placements);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(text_of(all[0].at("layers")), "0-9 10-11 ");
  EXPECT_EQ(text_of(all[0].at("spare")), "");
  EXPECT_EQ(all[0].at("held_bytes").to_number<int>(), 70);
  EXPECT_TRUE(all[0].at("embedding").as_bool());
}

TEST_F(HeldJson, SpareIsWhatOthersCompute) {
  place();
  EXPECT_EQ(text_of(held_json(core_.self, core_.placements)[0].at("spare")), "6-9 10-11 ");
  EXPECT_EQ(text_of(held_json(core_.peers[0].info, core_.placements)[0].at("spare")), "");
  core_.placements[0].placement.card.source = "hf.co/org/other@c0";
  EXPECT_EQ(text_of(held_json(core_.self, core_.placements)[0].at("spare")), "");
}

TEST_F(HeldJson, HoldersAreTheNodesOfNow) {
  const JsonArray both = holders_json(core_, "hf.co/org/m@c0");
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].at("name"), "desk");
  EXPECT_EQ(both[1].at("node"), "b");
  EXPECT_TRUE(holders_json(core_, "hf.co/org/m@other").empty());
  core_.peers[0].state = PeerState::dead;
  EXPECT_EQ(holders_json(core_, "hf.co/org/m@c0").size(), 1u);
}

}  // namespace
}  // namespace exo
