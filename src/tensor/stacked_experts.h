// MLX keeps the experts of a layer in one stack, "P.switch_mlp.W.weight" [experts, rows, width];
// seen through here they are matrices of their own, "P.experts.N.W.weight", as Hugging Face's
// checkpoints have them (Mixtral's with its names w1, w2, w3). Immutable, thread-safe.
#pragma once

#include "tensor/tensor_files.h"

namespace exo {

// `files` itself where nothing is stacked.
std::shared_ptr<const TensorFiles> unstack_experts(std::shared_ptr<const TensorFiles> files);

}  // namespace exo
