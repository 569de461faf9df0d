// Checkpoints whose weights are quantised by a published scheme, seen as if each weight were one
// tensor: "X.weight" in a block format (exact but for what packed_weight.h says), the tensors it is
// made of hidden. MLX (affine 2 to 8 bits, mxfp4), AWQ and GPTQ (4 and 8 bits), FP8 with scales.
//
// find() and find_rows() repack what is asked for into memory of its own; describe() reads headers
// only. Immutable, thread-safe. A scheme or a setting that is not known is refused by name.
#pragma once

#include "tensor/tensor_files.h"

namespace exo {

// `config` is the whole config.json; `files` itself where that names no quantisation.
Result<std::shared_ptr<const TensorFiles>> open_quantized(std::shared_ptr<const TensorFiles> files,
                                                          const JsonObject& config);

}  // namespace exo
