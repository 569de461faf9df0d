// Rotary frequencies and the ways models stretch them. Pure functions; formulas as in Hugging
// Face's modeling_rope_utils (llama3, linear, yarn) with the published papers as source.
#pragma once

#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/config_reader.h"

namespace exo {

struct RopeFrequencies {
  std::vector<float> inverse;     // [rotary_dims / 2]
  float attention_factor = 1.0f;  // on cos and sin
  std::vector<float> far;         // longrope: for sequences longer than far_beyond tokens
  int far_beyond = 0;
  RopeOrigin origin;
};

struct YarnParams {
  double factor = 1;
  double original_context = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  double attention_factor = 0;  // 0: from the factor
  bool truncate = true;
};
struct Llama3Params {
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_context = 0;
};

// The part of each head that turns, wherever the config says it.
double read_partial_rotary(ConfigReader& config);

std::vector<double> rope_frequencies(double theta, int rotary_dims);
RopeFrequencies scale_linear(const std::vector<double>& inverse, double factor);
RopeFrequencies scale_llama3(const std::vector<double>& inverse, const Llama3Params& params);
RopeFrequencies scale_yarn(const std::vector<double>& inverse, double theta,
                           const YarnParams& params);

// config.json: rope_theta with rope_scaling ("type" or "rope_type"), or rope_parameters as
// transformers 5 writes them. Scalings that are not known are refused by name.
Result<RopeFrequencies> read_rope(ConfigReader& config, double default_theta, int rotary_dims,
                                  int context_length);

}  // namespace exo
