#include "model/rope_scaling.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace exo {
namespace {

RopeFrequencies to_float(const std::vector<double>& inverse, double attention_factor = 1.0) {
  RopeFrequencies rope;
  rope.inverse.assign(inverse.begin(), inverse.end());
  rope.attention_factor = static_cast<float>(attention_factor);
  return rope;
}

double yarn_attention_factor(double factor, double mscale = 1.0) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

bool positive(double value) { return value > 0 && std::isfinite(value); }

Result<RopeFrequencies> read_llama3(ConfigReader& scaling, const std::vector<double>& inverse) {
  Llama3Params params;
  params.factor = scaling.number("factor", 0);
  params.low_freq_factor = scaling.number("low_freq_factor", 0);
  params.high_freq_factor = scaling.number("high_freq_factor", 0);
  params.original_context = scaling.size("original_max_position_embeddings");
  TRY(scaling.finish());
  if (!positive(params.factor) || !positive(params.low_freq_factor) ||
      !(params.high_freq_factor > params.low_freq_factor))
    return invalid_argument("llama3 rope scaling needs factor, low_freq_factor < high_freq_factor");
  return scale_llama3(inverse, params);
}

Result<RopeFrequencies> read_yarn(ConfigReader& scaling, const std::vector<double>& inverse,
                                  double theta, int context_length) {
  YarnParams params;
  params.factor = scaling.number("factor", 0);
  params.original_context = scaling.size("original_max_position_embeddings", context_length);
  params.beta_fast = scaling.number("beta_fast", 32);
  params.beta_slow = scaling.number("beta_slow", 1);
  params.attention_factor = scaling.number("attention_factor", 0);
  params.truncate = scaling.flag("truncate", true);
  const double mscale = scaling.number("mscale", 0);
  const double mscale_all = scaling.number("mscale_all_dim", 0);
  TRY(scaling.finish());
  if (!positive(params.factor) || !positive(params.beta_fast) || !positive(params.beta_slow))
    return invalid_argument("yarn rope scaling needs a positive factor and betas");
  if (params.attention_factor == 0 && mscale > 0 && mscale_all > 0)
    params.attention_factor = yarn_attention_factor(params.factor, mscale) /
                              yarn_attention_factor(params.factor, mscale_all);
  return scale_yarn(inverse, theta, params);
}

// LongRoPE (Ding et al. 2024): a factor for each wave, one list for short and one for long texts.
Result<RopeFrequencies> read_longrope(ConfigReader& scaling, const JsonObject& json,
                                      const std::vector<double>& inverse, int original,
                                      int context_length) {
  const auto divide = [&](const char* key) -> Result<std::vector<float>> {
    scaling.present(key);
    const JsonArray* factors = TRY(get_array(json, key));
    if (factors == nullptr || factors->size() != inverse.size())
      return invalid_argument(
          fmt::format("'{}' must hold {} factors, one for each rotary pair", key, inverse.size()));
    std::vector<float> divided;
    for (size_t i = 0; i < inverse.size(); ++i) {
      boost::system::error_code failed;
      const double factor = (*factors)[i].to_number<double>(failed);
      if (failed || !positive(factor))
        return invalid_argument(fmt::format("'{}' holds a value that is not positive", key));
      divided.push_back(static_cast<float>(inverse[i] / factor));
    }
    return divided;
  };
  RopeFrequencies rope;
  rope.inverse = TRY(divide("short_factor"));
  rope.far = TRY(divide("long_factor"));
  rope.far_beyond = original;
  double factor = static_cast<double>(context_length) / original;
  factor = original == context_length ? scaling.number("factor", factor) : factor;
  scaling.present("factor");
  const double standard =
      factor <= 1 || original <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
  rope.attention_factor = static_cast<float>(scaling.number("attention_factor", standard));
  TRY(scaling.finish());
  return rope;
}

}  // namespace

double read_partial_rotary(ConfigReader& config) {
  const double top = config.number("partial_rotary_factor", 1);
  const JsonObject* parameters = config.object("rope_parameters");
  if (parameters == nullptr) return top;
  return ConfigReader(*parameters).number("partial_rotary_factor", top);
}

std::vector<double> rope_frequencies(double theta, int rotary_dims) {
  std::vector<double> inverse;
  for (int i = 0; i < rotary_dims; i += 2)
    inverse.push_back(1.0 / std::pow(theta, static_cast<double>(i) / rotary_dims));
  return inverse;
}

RopeFrequencies scale_linear(const std::vector<double>& inverse, double factor) {
  std::vector<double> scaled = inverse;
  for (double& frequency : scaled) frequency /= factor;
  return to_float(scaled);
}

// Long waves are stretched by `factor`, short ones kept, those between blended.
RopeFrequencies scale_llama3(const std::vector<double>& inverse, const Llama3Params& params) {
  std::vector<double> scaled = inverse;
  for (double& frequency : scaled) {
    const double turns = params.original_context * frequency / (2 * std::numbers::pi);
    const double keep = std::clamp(
        (turns - params.low_freq_factor) / (params.high_freq_factor - params.low_freq_factor), 0.0,
        1.0);
    frequency = (1 - keep) * frequency / params.factor + keep * frequency;
  }
  return to_float(scaled);
}

RopeFrequencies scale_yarn(const std::vector<double>& inverse, double theta,
                           const YarnParams& params) {
  const double dims = 2.0 * static_cast<double>(inverse.size());
  // The dimension whose wave turns `rotations` times within the original context.
  const auto dimension_of = [&](double rotations) {
    return dims * std::log(params.original_context / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension_of(params.beta_fast);
  double high = dimension_of(params.beta_slow);
  if (params.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  std::vector<double> scaled = inverse;
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    scaled[i] = inverse[i] / params.factor * ramp + inverse[i] * (1 - ramp);
  }
  return to_float(scaled, params.attention_factor > 0 ? params.attention_factor
                                                      : yarn_attention_factor(params.factor));
}

Result<RopeFrequencies> read_rope(ConfigReader& config, double default_theta, int rotary_dims,
                                  int context_length) {
  const double top_theta = config.number("rope_theta", default_theta);
  const JsonObject* old_style = config.object("rope_scaling");
  const JsonObject* parameters = config.object("rope_parameters");
  if (parameters == nullptr) parameters = old_style;
  const JsonObject none;
  ConfigReader scaling(parameters == nullptr ? none : *parameters);
  scaling.present("partial_rotary_factor");
  const double theta = scaling.number("rope_theta", top_theta);
  const std::string type = scaling.text("rope_type", scaling.text("type", "default"));
  if (!(theta > 1) || !std::isfinite(theta))
    return invalid_argument(fmt::format("'rope_theta' is {}, which is out of range", theta));
  const std::vector<double> inverse = rope_frequencies(theta, rotary_dims);
  RopeFrequencies rope;
  if (type == "llama3") {
    rope = TRY(read_llama3(scaling, inverse));
  } else if (type == "longrope" || type == "su") {
    const int original =
        scaling.size("original_max_position_embeddings",
                     config.size("original_max_position_embeddings", context_length));
    rope = TRY(read_longrope(scaling, *parameters, inverse, original, context_length));
  } else if (type == "yarn") {
    config.present("original_max_position_embeddings");
    rope = TRY(read_yarn(scaling, inverse, theta, context_length));
  } else if (type == "default" || type == "linear") {
    config.present("original_max_position_embeddings");
    const double factor = type == "linear" ? scaling.number("factor", 0) : 1;
    TRY(scaling.finish());
    if (!positive(factor)) return invalid_argument("linear rope scaling needs a positive factor");
    rope = scale_linear(inverse, factor);
  } else {
    return unsupported(fmt::format("rope scaling of type '{}' is not known here", type));
  }
  rope.origin = {theta,
                 type,
                 scaling.number("factor", 1),
                 scaling.number("original_max_position_embeddings", context_length),
                 scaling.number("beta_fast", 32),
                 scaling.number("beta_slow", 1),
                 scaling.flag("truncate", true)};
  return rope;
}

}  // namespace exo
