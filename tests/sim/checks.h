// What must hold in every run of the simulator, whatever went wrong in it. Each check appends a
// sentence per violation.
#pragma once

#include <string>
#include <vector>

#include "simulator.h"

namespace exo::sim {

// What one undisturbed node answers: the real scheduler and sampler on one shard.
struct Answer {
  std::vector<TokenId> tokens;
  FinishReason finish = FinishReason::none;
};
Answer undisturbed_answer(const ModelCard& card, const std::vector<TokenId>& prompt_ids,
                          const SamplingParams& sampling,
                          const std::vector<PlacedImage>& images = {});

// Whether the nodes that `asker` can reach now could hold the model together.
bool fit_exists(const Simulator& simulator, const NodeId& asker, const ModelCard& card);

void check_answers(const Simulator& simulator, std::vector<std::string>* problems);
void check_idle(const Simulator& simulator, std::vector<std::string>* problems);
void check_unloaded(const Simulator& simulator, std::vector<std::string>* problems);

}  // namespace exo::sim
