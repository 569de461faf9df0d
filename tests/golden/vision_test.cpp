// Models that see pictures: the tower's input and output are those of the goldens, and a picture is
// the same in any company. (Their logits are compared in golden_test.cpp.)
#include "model/vision.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "golden_files.h"
#include "inference/local_engine.h"
#include "inference/place_images.h"
#include "model/weights.h"

namespace exo {
namespace {

using golden::Case;
using golden::Prompt;

constexpr float kTolerance = 5e-4f;

class Vision : public testing::TestWithParam<std::tuple<Case, std::string>> {
 protected:
  void SetUp() override {
    model_ = open_model(which().model).value();
    for (Prompt& prompt : golden::read_prompts(which()))
      if (!prompt.images.empty()) prompt_ = std::move(prompt);
    ASSERT_EQ(prompt_.images.size(), 1u);
  }
  const Case& which() const { return std::get<0>(GetParam()); }
  BackendOptions exact() const { return {.threads = 2, .exact = true}; }
  const VisionConfig& vision() const { return *model_.config.vision; }
  // Another picture of the same size.
  std::shared_ptr<const Image> inverted() const {
    Image image = *prompt_.images.front();
    for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(255 - value);
    return std::make_shared<Image>(std::move(image));
  }

  ModelFiles model_;
  Prompt prompt_;
};

TEST_P(Vision, PixelsAndFeaturesAreThoseOfTheGolden) {
  const auto golden = open_safetensors_file(which().file).value();
  const HostTensor pixels = golden->find(prompt_.name + ".pixel_values").value();
  std::vector<float> planes(static_cast<size_t>(pixels.elements()));
  std::memcpy(planes.data(), pixels.bytes.data(), pixels.bytes.size());
  const std::vector<float> patches = vision::pixels(vision(), *prompt_.images.front());
  const int side = vision().patch_size, size = vision().image_size, across = size / side;
  ASSERT_EQ(patches.size(), static_cast<size_t>(across * across * 3 * side * side));
  for (size_t i = 0; i < patches.size(); ++i) {
    const int at = static_cast<int>(i) % (side * side),
              patch = static_cast<int>(i) / (3 * side * side);
    const int channel = static_cast<int>(i) / (side * side) % 3;
    const int y = patch / across * side + at / side, x = patch % across * side + at % side;
    ASSERT_NEAR(patches[i], planes[static_cast<size_t>((channel * size + y) * size + x)], 1e-6);
  }

  const auto backend = make_backend(std::get<1>(GetParam()), exact()).value();
  const int layers = model_.config.layer_count;
  const Weights weights = load_weights(*model_.architecture, model_.config, *model_.tensors,
                                       *backend, {{"", 0, layers, layers}, WeightFormat::as_stored})
                              .value();
  const Tensor input =
      backend->upload(patches, {across * across, int64_t{3} * side * side}).value();
  const Tensor rows = vision::features(model_.config, weights, backend->ops(), input);
  std::vector<float> found(static_cast<size_t>(rows.rows() * rows.width()));
  backend->download(rows, found);
  ASSERT_EQ(found.size(), prompt_.features.size());
  const float worst = golden::largest_difference(found, prompt_.features);
  fmt::print("{}: largest difference of a feature {:.2e}\n", which().name, worst);
  EXPECT_LE(worst, kTolerance);
}

TEST_P(Vision, TwoPicturesInABatchDoNotMix) {
  const int layers = model_.config.layer_count;
  LocalEngineOptions options;
  options.shard = {"", 0, layers, layers};
  options.backend = std::get<1>(GetParam());
  options.backend_options = exact();
  options.kv_capacity_tokens = 256;
  const auto engine = make_local_engine(model_, options).value();
  const auto entry = [&](uint64_t session, std::shared_ptr<const Image> image) {
    BatchEntry one{{session}, 0, prompt_.ids, static_cast<int>(prompt_.ids.size()), 1};
    const std::vector<std::shared_ptr<const Image>> images{std::move(image)};
    one.images = place_images(prompt_.ids, images, model_.card).value();
    return one;
  };
  const auto run = [&](std::vector<BatchEntry> entries) {
    Batch batch;
    batch.entries = std::move(entries);
    return engine->step(batch, nullptr).value().logits;
  };
  std::vector<float> alone = run({entry(1, prompt_.images.front())});
  const std::vector<float> other = run({entry(2, inverted())});
  EXPECT_NE(alone, other);
  alone.insert(alone.end(), other.begin(), other.end());
  EXPECT_EQ(run({entry(3, prompt_.images.front()), entry(4, inverted())}), alone);
}

TEST_P(Vision, PicturesThatDoNotFitAreErrors) {
  const ModelCard& card = model_.card;
  EXPECT_TRUE(card.vision);
  EXPECT_EQ(card.image_tokens, vision().tokens());
  const std::vector<std::shared_ptr<const Image>> two{inverted(), inverted()};
  EXPECT_NE(place_images(prompt_.ids, two, card).error().message.find("2 pictures"),
            std::string::npos);
  std::vector<TokenId> torn(static_cast<size_t>(card.image_tokens) + 1, card.image_token);
  torn[1] = 0;
  EXPECT_FALSE(place_images(torn, prompt_.images, card).ok());
  EXPECT_TRUE(place_images(torn, {}, card)->empty());
  ModelCard blind = card;
  blind.vision = false;
  EXPECT_NE(place_images(prompt_.ids, prompt_.images, blind).error().message.find("does not see"),
            std::string::npos);
  Image small = *prompt_.images.front();
  small.width -= 1;
  EXPECT_FALSE(vision::check_image(vision(), small).ok());
}

INSTANTIATE_TEST_SUITE_P(Models, Vision,
                         testing::Combine(testing::ValuesIn(golden::find_vision_cases()),
                                          testing::Values("reference", "cpu")),
                         golden::case_name);

}  // namespace
}  // namespace exo
