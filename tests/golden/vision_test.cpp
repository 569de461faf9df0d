// Models that see pictures: the tower's input and output are those of the goldens, and a picture is
// the same in any company. (Their logits are compared in golden_test.cpp.)
#include "model/vision.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "golden_files.h"
#include "inference/local_engine.h"
#include "inference/place_images.h"
#include "model/weights.h"
#include "tensor/quantize.h"
#include "tensor/tensor_writer.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

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
  // What a tower makes of the picture: [tokens, hidden].
  std::vector<float> features_of(const ModelFiles& model) const {
    const auto backend = make_backend(std::get<1>(GetParam()), exact()).value();
    const int layers = model.config.layer_count, side = vision().patch_size;
    const Weights weights =
        load_weights(*model.architecture, model.config, *model.tensors, *backend,
                     {{"", 0, layers, layers}, WeightFormat::as_stored})
            .value();
    const std::vector<float> patches = vision::pixels(vision(), *prompt_.images.front());
    const Tensor input =
        backend->upload(patches, {vision().patches(), int64_t{3} * side * side}).value();
    const Tensor rows = vision::features(model.config, weights, backend->ops(), input);
    std::vector<float> found(static_cast<size_t>(rows.rows() * rows.width()));
    backend->download(rows, found);
    return found;
  }
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

  const std::vector<float> found = features_of(model_);
  ASSERT_EQ(found.size(), prompt_.features.size());
  const float worst = golden::largest_difference(found, prompt_.features);
  fmt::print("{}: largest difference of a feature {:.2e}\n", which().name, worst);
  EXPECT_LE(worst, kTolerance);
}

std::vector<double> values_of(const TensorFiles& files, const std::string& name) {
  const HostTensor tensor = files.find(name).value();
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  to_f32(tensor.dtype, tensor.bytes.data(), values);
  return {values.begin(), values.end()};
}

// The feature of the class row at the tower's input, from the weights alone.
std::vector<double> class_row(const TensorFiles& files, double eps) {
  const std::string tower = "vision_tower.vision_model.";
  std::vector<double> x = values_of(files, tower + "embeddings.class_embedding");
  const auto position = values_of(files, tower + "embeddings.position_embedding.weight");
  const auto scale = values_of(files, tower + "pre_layrnorm.weight");
  const auto shift = values_of(files, tower + "pre_layrnorm.bias");
  double mean = 0, variance = 0;
  for (size_t i = 0; i < x.size(); ++i)
    mean += (x[i] += position[i]) / static_cast<double>(x.size());
  for (const double value : x)
    variance += std::pow(value - mean, 2) / static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = (x[i] - mean) / std::sqrt(variance + eps) * scale[i] + shift[i];
  for (const std::string layer : {"linear_1", "linear_2"}) {
    const auto weight = values_of(files, "multi_modal_projector." + layer + ".weight");
    std::vector<double> y = values_of(files, "multi_modal_projector." + layer + ".bias");
    for (size_t i = 0; i < weight.size(); ++i) y[i / x.size()] += weight[i] * x[i % x.size()];
    x = std::move(y);
    if (layer == "linear_2") break;
    for (double& value : x) value *= 0.5 * (1 + std::erf(value / std::sqrt(2.0)));
  }
  return x;
}

// The checkpoint once more, with other layers of the tower chosen: the projector's first matrix
// has its columns where `used` is, and zeros for the others, which so add nothing to a feature.
class OtherFeatures {
 public:
  OtherFeatures(const ModelFiles& model, const std::vector<int>& layers, const char* strategy,
                int used = -2)
      : folder_(fs::temp_directory_path() / fmt::format("exo_vision_{}", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    const fs::path source = model.card.path;
    JsonObject config = parse_json(read_file(source / "config.json", 1 << 20).value())->as_object();
    config["vision_feature_layer"] = JsonArray(layers.begin(), layers.end());
    config["vision_feature_select_strategy"] = strategy;
    write_file(folder_ / "config.json", to_text(config)).value();
    fs::copy(source / "preprocessor_config.json", folder_);
    std::vector<PlannedTensor> plan;
    for (const std::string& name : model.tensors->names())
      plan.push_back({name, model.tensors->describe(name).value()});
    for (PlannedTensor& tensor : plan)
      if (is_widened(tensor.name)) tensor.info.shape[1] *= static_cast<int64_t>(layers.size());
    TensorWriter writer =
        TensorWriter::create_safetensors(folder_ / "model.safetensors", {}, plan).value();
    for (const PlannedTensor& tensor : plan) {
      const HostTensor found = model.tensors->find(tensor.name).value();
      const size_t row = found.bytes.size() / static_cast<size_t>(found.shape[0]);
      const std::vector<std::byte> zeros(row);
      if (!is_widened(tensor.name)) writer.write(found.bytes).value();
      for (size_t at = 0; is_widened(tensor.name) && at < found.bytes.size(); at += row)
        for (const int layer : layers)
          writer.write(layer == used ? found.bytes.subspan(at, row) : std::span(zeros)).value();
    }
    writer.finish().value();
  }
  ~OtherFeatures() { fs::remove_all(folder_); }
  ModelFiles open() const { return open_model(folder_).value(); }

 private:
  static bool is_widened(const std::string& name) {
    return name == "multi_modal_projector.linear_1.weight";
  }
  fs::path folder_;
};

TEST_P(Vision, SeveralLayersLieSideBySideInTheOrderOfTheConfig) {
  if (model_.config.gguf) GTEST_SKIP() << "a matter of config.json";
  for (const std::vector<int>& layers : {std::vector<int>{-2, 0}, {1, -2}, {-1, -2, 0}, {-2}}) {
    const OtherFeatures other(model_, layers, "default");
    const std::vector<float> found = features_of(other.open());
    ASSERT_EQ(found.size(), prompt_.features.size());
    EXPECT_LE(golden::largest_difference(found, prompt_.features), kTolerance)
        << layers.size() << " layers from " << layers.front();
  }
}

TEST_P(Vision, FullFeaturesHaveTheClassRowInFront) {
  if (model_.config.gguf) GTEST_SKIP() << "a matter of config.json";
  const OtherFeatures other(model_, {-2}, "full");
  const ModelFiles model = other.open();
  EXPECT_EQ(model.card.image_tokens, vision().patches() + 1);
  const std::vector<float> found = features_of(model);
  const size_t width = static_cast<size_t>(model.config.hidden_size);
  ASSERT_EQ(found.size(), prompt_.features.size() + width);
  EXPECT_LE(golden::largest_difference(std::span(found).subspan(width), prompt_.features),
            kTolerance);

  // Below the first layer there is no picture in the class row yet: a norm of what is learnt.
  const OtherFeatures lowest(model_, {0}, "full", 0);
  const std::vector<float> low = features_of(lowest.open());
  const std::vector<double> expected = class_row(*model_.tensors, vision().norm_eps);
  ASSERT_EQ(expected.size(), width);
  for (size_t i = 0; i < width; ++i) EXPECT_NEAR(low[i], expected[i], kTolerance) << i;
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
