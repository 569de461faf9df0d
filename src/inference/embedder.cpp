#include "inference/embedder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace exo {
namespace {

constexpr size_t kMostRows = 2048;  // computed at once, but for a longer sequence

std::vector<float> mean_of(std::span<const float> rows, size_t width) {
  std::vector<double> sums(width);
  for (size_t i = 0; i < rows.size(); ++i) sums[i % width] += rows[i];
  const double count = static_cast<double>(rows.size() / width);
  std::vector<float> mean;
  for (const double sum : sums) mean.push_back(static_cast<float>(sum / count));
  return mean;
}

std::vector<float> of_length_one(std::vector<float> vector) {
  double squares = 0;
  for (const float value : vector) squares += static_cast<double>(value) * value;
  const double length = std::max(std::sqrt(squares), 1e-12);
  for (float& value : vector) value = static_cast<float>(value / length);
  return vector;
}

// Sequences one after another, as an encoder takes them.
struct Rows {
  explicit Rows(std::span<const EmbedInput> inputs) {
    for (const EmbedInput& input : inputs) {
      spans.push_back({static_cast<int>(ids.size()), static_cast<int>(input.ids.size())});
      ids.insert(ids.end(), input.ids.begin(), input.ids.end());
      for (size_t i = 0; i < input.ids.size(); ++i) {
        positions.push_back(static_cast<int32_t>(i));
        token_types.push_back(input.token_types.empty() ? 0 : input.token_types[i]);
      }
    }
  }
  std::vector<TokenId> ids;
  std::vector<int32_t> positions, token_types;
  std::vector<RowSpan> spans;
};

}  // namespace

Result<Embedder> Embedder::load(const ModelFiles& model, const EmbedderOptions& options) {
  if (!is_encoder(*model.architecture))
    return unsupported(fmt::format("{} is no embedding model: it is a {} model, which writes text",
                                   model.card.id, model.architecture->family));
  Embedder embedder;
  embedder.architecture_ = model.architecture;
  embedder.config_ = model.config;
  embedder.backend_ = TRY(make_backend(options.backend, options.backend_options));
  const int layers = model.config.layer_count;
  embedder.weights_ = TRY(load_weights(
      *model.architecture, model.config, *model.tensors, *embedder.backend_,
      {Shard{
           .model_id = model.card.id, .layer_begin = 0, .layer_end = layers, .layer_count = layers},
       options.weight_format}));
  return embedder;
}

Result<void> Embedder::check(const EmbedInput& input) const {
  if (input.ids.empty()) return invalid_argument("there are no tokens to embed");
  if (input.ids.size() > static_cast<size_t>(config_.context_length))
    return invalid_argument(fmt::format("{} tokens are longer than the model's {}",
                                        input.ids.size(), config_.context_length));
  if (!input.token_types.empty() && input.token_types.size() != input.ids.size())
    return invalid_argument(
        fmt::format("{} token types for {} tokens", input.token_types.size(), input.ids.size()));
  for (const TokenId id : input.ids)
    if (id < 0 || id >= config_.vocab_size)
      return invalid_argument(
          fmt::format("token id {} is outside the vocabulary of {}", id, config_.vocab_size));
  for (const int32_t type : input.token_types)
    if (type < 0 || type >= config_.token_types)
      return invalid_argument(
          fmt::format("token type {} is not one of the model's {}", type, config_.token_types));
  return {};
}

Result<std::vector<std::vector<float>>> Embedder::embed(std::span<const EmbedInput> inputs,
                                                        Pooling pooling) {
  for (const EmbedInput& input : inputs) TRY(check(input));
  std::vector<std::vector<float>> all;
  while (!inputs.empty()) {
    size_t count = 0, rows = 0;
    while (count < inputs.size() && (count == 0 || rows + inputs[count].ids.size() <= kMostRows))
      rows += inputs[count++].ids.size();
    for (auto& one : TRY(run(inputs.first(count), pooling))) all.push_back(std::move(one));
    inputs = inputs.subspan(count);
  }
  return all;
}

Result<std::vector<std::vector<float>>> Embedder::run(std::span<const EmbedInput> inputs,
                                                      Pooling pooling) {
  const Rows rows(inputs);
  const EncodeContext step{config_,        weights_,         backend_->ops(),
                           rows.positions, rows.token_types, rows.spans};
  Tensor x = architecture_->encode(step, rows.ids);
  if (pooling == Pooling::pooler) {
    std::vector<int32_t> first;
    for (const RowSpan& span : rows.spans) first.push_back(span.row_begin);
    x = architecture_->pool(step, step.ops.gather_rows(x, first));
    if (x.empty()) return unsupported("this model has no pooler; ask for mean or cls");
  }
  const size_t width = static_cast<size_t>(x.width());
  std::vector<float> values(static_cast<size_t>(x.rows()) * width);
  backend_->download(x, values);
  std::vector<std::vector<float>> all;
  for (size_t i = 0; i < rows.spans.size(); ++i) {
    const bool one_row = pooling == Pooling::pooler;
    const size_t begin = one_row ? i : static_cast<size_t>(rows.spans[i].row_begin);
    const size_t count =
        one_row || pooling == Pooling::cls ? 1 : static_cast<size_t>(rows.spans[i].row_count);
    const std::span<const float> part(values.data() + begin * width, count * width);
    if (pooling == Pooling::mean)
      all.push_back(of_length_one(mean_of(part, width)));
    else if (pooling == Pooling::cls)
      all.push_back(of_length_one({part.begin(), part.end()}));
    else
      all.emplace_back(part.begin(), part.end());
  }
  return all;
}

}  // namespace exo
