// Metrics: what the API has seen, in Prometheus' text format. Thread-safe. Labels are bounded: only
// our own route names and the ids of models that exist.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

#include "orchestration/node.h"

namespace exo {

class Histogram {
 public:
  void observe(double value);
  void render(std::string_view name, std::string_view help, std::string& out) const;

 private:
  // Doubling, from a millisecond to two minutes.
  static constexpr std::array<double, 18> kBounds = {0.001, 0.002, 0.004,  0.008,  0.016,  0.032,
                                                     0.064, 0.128, 0.256,  0.512,  1.024,  2.048,
                                                     4.096, 8.192, 16.384, 32.768, 65.536, 131.072};
  std::array<uint64_t, kBounds.size()> counts_{};
  uint64_t count_ = 0;
  double sum_ = 0;
};

class Metrics {
 public:
  void request_answered(std::string_view route, int status);

  // One choice of a generation, in this order; finished() once, whatever happened before.
  void generation_started();
  void first_token(double seconds_since_start);
  void inter_token(double seconds);
  struct Finished {
    std::string_view reason;  // "stop", "length", "tool_calls", "cancelled", "error"
    std::string_view model;
    bool had_first_token = false;
    int prompt_tokens = 0;
    int cached_tokens = 0;
    int completion_tokens = 0;
    double seconds = 0;
  };
  void generation_finished(const Finished& finished);

  std::string render(const NodeStatus& status, size_t connections) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> answers_;
  std::map<std::pair<std::string, std::string>, uint64_t> generations_;  // by (model, reason)
  uint64_t prompt_tokens_ = 0, cached_tokens_ = 0, generation_tokens_ = 0;
  int64_t waiting_ = 0, running_ = 0;  // before the first token, after it
  Histogram first_token_, inter_token_, duration_;
};

}  // namespace exo
