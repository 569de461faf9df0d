#include "networking/wire.h"

#include <gtest/gtest.h>

#include <boost/pfr.hpp>
#include <cstring>
#include <limits>
#include <random>

namespace exo {
namespace {

using Random = std::mt19937_64;

// --- random values of every struct, field by field, so that a field nobody carries is noticed

template <class T>
void fill(T& value, Random& random);
template <class T>
void fill(std::vector<T>& value, Random& random);
template <class A, class B>
void fill(std::pair<A, B>& value, Random& random);
void fill(CacheCommand& value, Random& random);
void fill(PeerAddress& value, Random& random);
void fill(BatchEntry& value, Random& random);
void fill(Placement& value, Random& random);
void fill(HeldModel& value, Random& random);
void fill(TokenEvent& value, Random& random);
void fill(PlacedImage& value, Random& random);
void fill(SamplingParams& value, Random& random);

std::string random_text(Random& random) {
  static const std::vector<std::string> kPieces = {"a", "B",  " ",    "0", "/",
                                                   "é", "日", "🙂", "\n"};
  std::string out;
  for (size_t n = random() % 12; n > 0; --n) out += kPieces[random() % kPieces.size()];
  return out;
}

NodeId random_node(Random& random) {
  NodeId out;
  for (int i = 0; i < 32; ++i) out.value.push_back("0123456789abcdef"[random() % 16]);
  return out;
}

template <class T>
T random_enum(Random& random, T last) {
  return static_cast<T>(random() % (static_cast<uint64_t>(last) + 1));
}

void fill(NodeId& value, Random& random) { value = random_node(random); }
void fill(std::string& value, Random& random) { value = random_text(random); }
void fill(bool& value, Random& random) { value = random() % 2 == 0; }
void fill(int& value, Random& random) { value = static_cast<int>(random() % 1000); }
void fill(uint16_t& value, Random& random) { value = static_cast<uint16_t>(random()); }
void fill(uint32_t& value, Random& random) { value = static_cast<uint32_t>(random()); }
void fill(uint64_t& value, Random& random) { value = random() >> (19 + random() % 45); }
void fill(int64_t& value, Random& random) { value = static_cast<int64_t>(random()); }
void fill(double& value, Random& random) { value = std::ldexp(double(random()), -40) - 1e6; }
void fill(float& value, Random& random) {
  value = random() % 8 == 0 ? -std::numeric_limits<float>::infinity() : float(random() % 999) / -7;
}
void fill(std::byte& value, Random& random) { value = static_cast<std::byte>(random()); }
void fill(ErrorCode& value, Random& random) { value = random_enum(random, ErrorCode::internal); }
void fill(WeightFormat& value, Random& random) { value = random_enum(random, WeightFormat::q4_0); }
void fill(WireDtype& value, Random& random) { value = random_enum(random, WireDtype::bf16); }
void fill(PlacementState& value, Random& random) {
  value = random_enum(random, PlacementState::failed);
}
void fill(DownloadState& value, Random& random) {
  value = random_enum(random, DownloadState::cancelled);
}
void fill(FinishReason& value, Random& random) { value = random_enum(random, FinishReason::error); }
template <class A, class B>
void fill(std::pair<A, B>& value, Random& random) {
  fill(value.first, random);
  fill(value.second, random);
}
void fill(CacheCommand& value, Random& random) {
  switch (random() % 3) {
    case 0:
      value = TrimSequence{};
      break;
    case 1:
      value = ReleaseSequence{};
      break;
    default:
      value = ShareSequence{};
      break;
  }
  std::visit([&](auto& one) { boost::pfr::for_each_field(one, [&](auto& f) { fill(f, random); }); },
             value);
}
template <class T>
void fill(std::vector<T>& value, Random& random) {
  value.resize(random() % 4);
  for (T& one : value) fill(one, random);
}
void fill(PeerAddress& value, Random& random) {
  value = {random() % 2 == 0 ? "10.0.0.7" : "fe80::1%eth0", static_cast<uint16_t>(random()),
           "wifi"};
}
void fill(BatchEntry& value, Random& random) {
  fill(value.session, random);
  fill(value.first_position, random);
  value.count = 1 + static_cast<int>(random() % 5);
  value.logit_rows = static_cast<int>(random() % static_cast<uint64_t>(value.count + 1));
  value.ids.assign(random() % 2 == 0 ? 0 : static_cast<size_t>(value.count), 7);
}
void fill(Placement& value, Random& random) {
  boost::pfr::for_each_field(value, [&](auto& field) { fill(field, random); });
  ModelCard& card = value.card;
  card.layer_count = 1 + static_cast<int>(random() % 20);
  card.kv_bytes_per_token_per_layer = random() >> 35;
  card.layer_bytes.assign(static_cast<size_t>(card.layer_count), random() >> 20);
  value.stages.clear();
  for (int begin = 0; begin < card.layer_count;) {
    const int left = card.layer_count - begin;
    const int end = begin + 1 + static_cast<int>(random() % static_cast<uint64_t>(left));
    value.stages.push_back({random_node(random), {card.id, begin, end, card.layer_count, 0, 1}});
    begin = end;
  }
}
void fill(HeldModel& value, Random& random) {
  boost::pfr::for_each_field(value, [&](auto& field) { fill(field, random); });
  value.layers.spans.clear();
  for (int begin = static_cast<int>(random() % 9); begin < value.layer_count;) {
    const int left = value.layer_count - begin;
    const int end = begin + 1 + static_cast<int>(random() % static_cast<uint64_t>(left));
    value.layers.spans.push_back({begin, end});
    begin = end + 1 + static_cast<int>(random() % 3);
  }
}
void fill(TokenEvent& value, Random& random) {
  boost::pfr::for_each_field(value, [&](auto& field) { fill(field, random); });
  if (random() % 2 == 0) value.logprobs.clear();
  value.ids.resize(value.logprobs.empty() ? 1 : value.logprobs.size());
}
void fill(PlacedImage& value, Random& random) {
  fill(value.first_position, random);
  value.token_count = 1 + static_cast<int>(random() % 600);
  auto image = std::make_shared<Image>();
  image->width = 1 + static_cast<int>(random() % 5);
  image->height = 1 + static_cast<int>(random() % 5);
  image->rgb.resize(size_t{3} * image->width * image->height);
  for (uint8_t& byte : image->rgb) byte = static_cast<uint8_t>(random());
  value.image = std::move(image);
}
void fill(SamplingParams& value, Random& random) {
  boost::pfr::for_each_field(value, [&](auto& field) { fill(field, random); });
  value.top_logprobs = static_cast<int>(random() % 22) - 1;
}
void fill(Forward& value, Random& random) {
  boost::pfr::for_each_field(value.batch, [&](auto& field) { fill(field, random); });
  HiddenStates& hidden = value.hidden;
  fill(hidden.dtype, random);
  hidden.rows = value.batch.rows();
  hidden.width = static_cast<int>(random() % 30);
  std::vector<std::byte> bytes(static_cast<size_t>(hidden.rows * hidden.width) *
                               (hidden.dtype == WireDtype::f32 ? 4 : 2));
  for (std::byte& byte : bytes) fill(byte, random);
  hidden.bytes = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
}
void fill(BandwidthProbe& value, Random& random) {
  fill(value.sent_us, random);
  fill(value.filler, random);
  value.size_bytes = static_cast<uint32_t>(value.filler.size());
}
void fill(std::vector<ByteRange>& value, Random& random) {
  uint64_t at = 0;
  for (size_t i = random() % 5; i > 0; --i) {
    value.push_back({at + random() % 1000, 0});
    at = value.back().end = value.back().begin + random() % 1000;
  }
}
void fill(ByteRange& value, Random& random) {
  value.begin = random() % 100000;
  value.end = value.begin + random() % 100000;
}
void fill(FileRequest& value, Random& random) {
  fill(value.request, random);
  fill(value.source, random);
  fill(value.file, random);
  fill(value.wanted, random);
  fill(value.read, random);
  fill(value.hash, random);
  fill(value.hash_state, random);
}
void fill(PartRequest& value, Random& random) {
  fill(value.request, random);
  fill(value.source, random);
  const int count = 1 + static_cast<int>(random() % 20);
  const int begin = static_cast<int>(random() % static_cast<uint64_t>(count));
  value.shard = {"tiny", begin, count, count, 0, 1};
  value.cancel = random() % 2 == 0;
}
template <class T>
void fill(T& value, Random& random) {
  boost::pfr::for_each_field(value, [&](auto& field) { fill(field, random); });
}

template <size_t I = 0>
Message random_message(size_t kind, Random& random) {
  if constexpr (I == std::variant_size_v<Message>) {
    return Leave{};
  } else {
    if (kind != I) return random_message<I + 1>(kind, random);
    std::variant_alternative_t<I, Message> body;
    fill(body, random);
    return body;
  }
}

// --- the same two?

template <class T>
bool same(const T& a, const T& b);
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b);
template <class A, class B>
bool same(const std::pair<A, B>& a, const std::pair<A, B>& b);
bool same(const CacheCommand& a, const CacheCommand& b);
bool same(const HiddenStates& a, const HiddenStates& b) {
  return a.dtype == b.dtype && a.rows == b.rows && a.width == b.width && *a.bytes == *b.bytes;
}
bool same(const PlacedImage& a, const PlacedImage& b) {
  return a.first_position == b.first_position && a.token_count == b.token_count &&
         a.image->width == b.image->width && a.image->height == b.image->height &&
         a.image->rgb == b.image->rgb;
}
template <class A, class B>
bool same(const std::pair<A, B>& a, const std::pair<A, B>& b) {
  return a == b;
}
bool same(const CacheCommand& a, const CacheCommand& b) {
  return a.index() == b.index() && std::visit(
                                       [&](const auto& one) {
                                         using T = std::decay_t<decltype(one)>;
                                         return same(one, std::get<T>(b));
                                       },
                                       a);
}
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](const T& x, const T& y) { return same(x, y); });
}
template <class T>
bool same(const T& a, const T& b) {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, std::string>) {
    return a == b;
  } else {
    bool equal = true;
    boost::pfr::for_each_field(a, [&](const auto& field, auto index) {
      equal = equal && same(field, boost::pfr::get<index.value>(b));
    });
    return equal;
  }
}
bool same(const Message& a, const Message& b) {
  return a.index() == b.index() && std::visit(
                                       [&](const auto& one) {
                                         using T = std::decay_t<decltype(one)>;
                                         return same(one, std::get<T>(b));
                                       },
                                       a);
}

std::vector<std::byte> bytes_of(const Message& message) {
  const Frame frame = encode_frame(message).value();
  const auto head = std::as_bytes(std::span(frame.head));
  std::vector<std::byte> out(head.begin(), head.end());
  if (frame.payload) out.insert(out.end(), frame.payload->begin(), frame.payload->end());
  return out;
}

std::string refusal(const Message& message) {
  const Result<Message> decoded = decode_frame(bytes_of(message));
  return decoded.ok() ? "accepted" : decoded.error().message;
}

TEST(Wire, EveryFieldOfEveryMessageSurvives) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (size_t kind = 0; kind < std::variant_size_v<Message>; ++kind) {
      Random random(seed * 1000 + kind);
      const Message message = random_message(kind, random);
      const Result<Message> decoded = decode_frame(bytes_of(message));
      ASSERT_TRUE(decoded.ok()) << "kind " << kind << " seed " << seed << ": "
                                << decoded.error().message;
      EXPECT_TRUE(same(message, *decoded)) << "kind " << kind << " seed " << seed;
    }
  }
}

TEST(Wire, BentAndCutFramesNeverCrash) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    for (size_t kind = 0; kind < std::variant_size_v<Message>; ++kind) {
      Random random(seed * 1000 + kind);
      std::vector<std::byte> bytes = bytes_of(random_message(kind, random));
      for (int i = 0; i < 20; ++i) {
        std::vector<std::byte> bent = bytes;
        bent[random() % bent.size()] = static_cast<std::byte>(random());
        (void)decode_frame(bent).ok();
        bent.resize(random() % bent.size());
        EXPECT_FALSE(decode_frame(bent).ok());
      }
    }
  }
}

TEST(Wire, HeadersAreChecked) {
  std::vector<std::byte> good = bytes_of(Leave{"bye"});
  ASSERT_TRUE(decode_frame(good).ok());
  std::vector<std::byte> bad = good;
  bad[3] = std::byte{9};
  EXPECT_NE(decode_frame(bad).error().message.find("version 9"), std::string::npos);
  bad = good;
  bad[12] = std::byte{1};
  EXPECT_FALSE(decode_frame(bad).ok());
  bad = good;
  bad[7] = std::byte{0xff};  // 4 GB of control part
  EXPECT_NE(decode_frame(bad).error().message.find("over the limit"), std::string::npos);
  bad = good;
  bad.push_back(std::byte{0});
  EXPECT_FALSE(decode_frame(bad).ok());
  EXPECT_FALSE(decode_frame({}).ok());
}

Forward small_forward() {
  Forward out;
  out.batch.entries.push_back({{1}, 0, {}, 2, 1});
  out.hidden = {WireDtype::bf16, 2, 3, std::make_shared<std::vector<std::byte>>(12)};
  return out;
}

TEST(Wire, ShapesMustAgree) {
  EXPECT_EQ(refusal(small_forward()), "accepted");
  Forward forward = small_forward();
  forward.batch.entries[0].count = 3;
  EXPECT_NE(refusal(forward).find("rows differ"), std::string::npos);
  forward = small_forward();
  forward.batch.entries[0].logit_rows = 3;
  EXPECT_NE(refusal(forward).find("logit_rows"), std::string::npos);
  forward = small_forward();
  forward.batch.entries[0].first_position = -1;
  EXPECT_NE(refusal(forward).find("first_position"), std::string::npos);
  forward = small_forward();
  forward.hidden.width = 4;
  EXPECT_FALSE(encode_frame(forward).ok());
}

TEST(Wire, PicturesMustFillTheirPayload) {
  SessionOpen open;
  open.asker.value = std::string(32, 'a');
  const auto image = std::make_shared<Image>(Image{2, 1, std::vector<uint8_t>(6, 9)});
  open.images = {{image, 3, 5}};
  EXPECT_EQ(refusal(open), "accepted");
  const std::vector<std::byte> good = bytes_of(open);
  for (const int change : {-1, 1}) {  // the header agrees, the pictures do not
    std::vector<std::byte> bad = good;
    bad.resize(good.size() + change);
    bad[8] = static_cast<std::byte>(6 + change);
    EXPECT_NE(decode_frame(bad).error().message.find("payload"), std::string::npos);
  }
  open.images.resize(17, open.images[0]);
  EXPECT_FALSE(encode_frame(open).ok());
  open.images = {{std::make_shared<Image>(Image{4, 4, {1, 2, 3}}), 3, 5}};
  EXPECT_FALSE(encode_frame(open).ok());
}

TEST(Wire, PlacementsMustCoverTheModelOnce) {
  Random random(1);
  Placement placement;
  fill(placement, random);
  placement.card.layer_count = 4;
  placement.card.layer_bytes.assign(4, 1);
  const auto with = [&](std::vector<std::pair<int, int>> ranges) {
    placement.stages.clear();
    for (const auto& [begin, end] : ranges)
      placement.stages.push_back({random_node(random), {"m", begin, end, 4, 0, 1}});
    return refusal(PlacementPropose{placement});
  };
  EXPECT_EQ(with({{0, 2}, {2, 4}}), "accepted");
  EXPECT_NE(with({}), "accepted");
  EXPECT_NE(with({{0, 2}, {3, 4}}), "accepted");
  EXPECT_NE(with({{0, 3}, {2, 4}}), "accepted");
  EXPECT_NE(with({{0, 2}}), "accepted");
  EXPECT_NE(with({{0, 2}, {2, 5}}), "accepted");
  EXPECT_NE(with({{2, 4}, {0, 2}}), "accepted");
  EXPECT_NE(with({{0, 0}, {0, 4}}), "accepted");
}

TEST(Wire, HeldLayersLieInTheModelInOrder) {
  const auto with = [&](std::vector<LayerSpan> spans, size_t models = 1) {
    NodeInfo info;
    info.id.value = std::string(32, 'a');
    HeldModel held;
    held.source = "hf.co/a/b@c";
    held.layer_count = 8;
    held.layers.spans = std::move(spans);
    info.held.assign(models, held);
    return refusal(Gossip{{info}});
  };
  EXPECT_EQ(with({{0, 2}, {3, 8}}), "accepted");
  EXPECT_EQ(with({}), "accepted");
  EXPECT_EQ(with({{0, 8}}, 256), "accepted");
  EXPECT_NE(with({{0, 8}}, 257), "accepted");
  for (const std::vector<LayerSpan>& wrong : {std::vector<LayerSpan>{{0, 9}},
                                              {{-1, 2}},
                                              {{2, 2}},
                                              {{3, 2}},
                                              {{0, 3}, {2, 4}},
                                              {{0, 3}, {3, 4}},
                                              {{4, 5}, {0, 1}},
                                              {{8, 9}}})
    EXPECT_NE(with(wrong), "accepted");
}

TEST(Wire, TextFromPeersCannotSteerATerminal) {
  const Message message = Leave{"a\x1b[2Jb\x7f\xff\xc2\x9b\xed\xa0\x80 é"};
  const Result<Message> decoded = decode_frame(bytes_of(message));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(std::get<Leave>(*decoded).reason, "a?[2Jb????\?\? é");
}

TEST(Wire, WhatIsTooLargeIsNotSent) {
  BandwidthProbe probe;
  probe.filler.resize((64u << 20) + 1);
  probe.size_bytes = static_cast<uint32_t>(probe.filler.size());
  EXPECT_EQ(encode_frame(probe).error().code, ErrorCode::resource_exhausted);
}

}  // namespace
}  // namespace exo
