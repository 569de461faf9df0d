#include "model/decoder.h"

namespace exo {

Tensor decode(const Architecture& architecture, const Shard& shard, const StepContext& step,
              const DecoderInput& input) {
  Tensor x = shard.first() ? architecture.embed(step, input.ids) : input.hidden;
  if (shard.first())
    for (const RowReplacement& one : input.replacements)
      x = step.ops.replace_rows(x, one.rows, one.at);
  for (int layer = shard.layer_begin; layer < shard.layer_end; ++layer)
    x = architecture.layer(step, layer, x);
  if (!shard.last()) return x;
  if (input.logit_rows.empty()) return {};
  return architecture.head(step, step.ops.gather_rows(x, input.logit_rows));
}

}  // namespace exo
