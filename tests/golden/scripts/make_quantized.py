#!/usr/bin/env python3
"""Writes tests/golden/models/quantized-*: tiny checkpoints as MLX, AWQ, GPTQ and compressed-tensors lay them out,
each with goldens.

usage: make_quantized.py [FOLDER]         (needs numpy only)

Nothing here is shared with exo: weights are packed and widened again by the published formats, and the logits are those
of a float64 forward pass over the widened weights. Layouts: mlx.core.quantize (github.com/ml-explore/mlx), AutoAWQ's
gemm packing, AutoGPTQ's QuantLinear, compressed-tensors' float-quantized.
"""
import json, pathlib, struct, sys
import numpy as np

VOCAB, HIDDEN, HEADS, KV, HEAD_DIM, FF, EPS, THETA = 288, 128, 4, 2, 32, 256, 1e-5, 10000.0
MATRICES = {"self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN), "self_attn.k_proj": (KV * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV * HEAD_DIM, HIDDEN), "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
            "mlp.gate_proj": (FF, HIDDEN), "mlp.up_proj": (FF, HIDDEN), "mlp.down_proj": (HIDDEN, FF)}


# --- numbers and files ---------------------------------------------------------------------------------------------

class Bf16:
    """A bfloat16 array: the upper halves of float32, rounded to nearest even."""
    def __init__(self, values):
        bits = np.asarray(values, np.float32).view(np.uint32)
        self.bits = ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        self.shape = self.bits.shape

    def wide(self):
        return (self.bits.astype(np.uint32) << 16).view(np.float32)


class Fp8:
    """f8_e4m3 bytes."""
    TABLE = np.array([(-1 if b & 128 else 1) * ((b & 7) / 8 * 2.0**-6 if (b >> 3) & 15 == 0
                      else (1 + (b & 7) / 8) * 2.0**(((b >> 3) & 15) - 7)) for b in range(256)])

    def __init__(self, values):
        finite = np.array([b for b in range(256) if b & 127 != 127])
        order = finite[np.argsort(self.TABLE[finite], kind="stable")]
        points = self.TABLE[order]
        at = np.clip(np.searchsorted(points, values), 1, len(points) - 1)
        at -= np.abs(values - points[at - 1]) <= np.abs(values - points[at])
        self.bits, self.shape = order[at].astype(np.uint8), values.shape

    def wide(self):
        return self.TABLE[self.bits].astype(np.float32)


def wide(array):
    return array.wide() if hasattr(array, "wide") else array.astype(np.float32)


def write_safetensors(path, tensors):
    names = {"float32": "F32", "float16": "F16", "uint32": "U32", "int32": "I32", "uint8": "U8"}
    header, data = {}, b""
    for name, array in tensors.items():
        raw = (array.bits if hasattr(array, "bits") else array).tobytes()
        kind = {Bf16: "BF16", Fp8: "F8_E4M3"}.get(type(array)) or names[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


# --- schemes: weight [out, in] -> ({suffix: array}, widened float32) ------------------------------------------------

def stream(numbers, bits):
    """[rows, n] numbers as uint32 words, lowest bits first, straight across the words."""
    ones = (numbers[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(ones.reshape(len(numbers), -1).astype(np.uint8), axis=1, bitorder="little").view(np.uint32)


def mlx(weight, bits, group, kind):
    groups = weight.reshape(len(weight), -1, group)
    low, high = groups.min(-1), groups.max(-1)
    cast = {"f16": lambda x: x.astype(np.float16), "bf16": Bf16, "f32": lambda x: x.astype(np.float32)}[kind]
    scales, biases = cast(np.maximum((high - low) / (2**bits - 1), 1e-4)), cast(low)
    s, b = wide(scales)[:, :, None], wide(biases)[:, :, None]
    numbers = np.clip(np.rint((groups - b) / s), 0, 2**bits - 1).astype(np.int64)
    widened = (numbers.astype(np.float32) * s + b).reshape(weight.shape)
    return {"weight": stream(numbers.reshape(weight.shape), bits), "scales": scales, "biases": biases}, widened


def mlx_mxfp4(weight):
    points = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
    groups = weight.reshape(len(weight), -1, 32)
    exponent = np.clip(np.ceil(np.log2(np.abs(groups).max(-1) / 6)), -127, 127)
    scale = 2.0**exponent[:, :, None]
    numbers = np.abs(groups[..., None] / scale[..., None] - points).argmin(-1)
    widened = (points[numbers] * scale).astype(np.float32).reshape(weight.shape)
    return {"weight": stream(numbers.reshape(weight.shape), 4), "scales": (exponent + 127).astype(np.uint8)}, widened


def grouped(weight, bits, group, symmetric):
    """Numbers [in, out], zero points and float16 scales [groups, out]."""
    columns = weight.T.reshape(-1, group, len(weight))
    top = 2**bits - 1
    if symmetric:
        scales = (np.abs(columns).max(1) * 2 / top).astype(np.float16)
        zeros = np.full(scales.shape, 2**(bits - 1))
    else:
        low, high = np.minimum(columns.min(1), 0), np.maximum(columns.max(1), 0)
        scales = ((high - low) / top).astype(np.float16)
        zeros = np.clip(np.rint(-low / scales.astype(np.float32)), 1, top).astype(np.int64)
    numbers = np.clip(np.rint(columns / scales.astype(np.float32)[:, None]) + zeros[:, None], 0, top).astype(np.int64)
    return numbers.reshape(-1, len(weight)), zeros, scales


def words(numbers, bits, order=None):
    """The last axis, 32 / bits numbers in a word; order[k] is the one at place k."""
    per = 32 // bits
    parts = numbers.reshape(*numbers.shape[:-1], -1, per).astype(np.uint64)
    if order is not None:
        parts = parts[..., order]
    return (parts << np.arange(0, 32, bits, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)


def awq(weight, group):
    numbers, zeros, scales = grouped(weight, 4, group, False)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    index = np.arange(len(numbers)) // group
    widened = (numbers - zeros[index]).astype(np.float32) * scales[index].astype(np.float32)
    return {"qweight": words(numbers, 4, order), "qzeros": words(zeros, 4, order), "scales": scales}, widened.T.copy()


def gptq(weight, bits, group, symmetric, second=False, shuffled=None):
    order = np.arange(weight.shape[1]) if shuffled is None else shuffled.permutation(weight.shape[1])
    numbers, zeros, scales = grouped(weight[:, order], bits, group, symmetric)
    index = np.empty(len(order), np.int64)
    index[order] = np.arange(len(order)) // group
    in_place = np.empty_like(numbers)
    in_place[order] = numbers
    widened = (in_place - zeros[index]).astype(np.float32) * scales[index].astype(np.float32)
    if shuffled is not None:  # what AutoGPTQ's own code widens to
        widened = widened.astype(np.float16).astype(np.float32)
    return {"qweight": np.ascontiguousarray(words(in_place.T, bits).T), "scales": scales,
            "qzeros": words(zeros - (0 if second else 1), bits), "g_idx": index.astype(np.int32)}, widened.T.copy()


def fp8_rows(weight):
    scales = Bf16(np.abs(weight).max(1, keepdims=True) / 448)
    packed = Fp8(weight / scales.wide())
    return {"weight": packed, "weight_scale": scales}, packed.wide() * scales.wide()


# --- the model -----------------------------------------------------------------------------------------------------

def forward(weights, layers, tied, ids):
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    norm = lambda x, name: x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w[name + ".weight"]
    linear = lambda x, name: x @ w[name + ".weight"].T + w.get(name + ".bias", 0)
    angles = np.arange(len(ids))[:, None] * THETA ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def turn(x, heads):
        x = x.reshape(len(ids), heads, HEAD_DIM)
        a, b = x[..., :HEAD_DIM // 2], x[..., HEAD_DIM // 2:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = w["model.embed_tokens.weight"][ids]
    for layer in range(layers):
        base = f"model.layers.{layer}."
        y = norm(x, base + "input_layernorm")
        q = turn(linear(y, base + "self_attn.q_proj"), HEADS)
        k = np.repeat(turn(linear(y, base + "self_attn.k_proj"), KV), HEADS // KV, 1)
        v = np.repeat(linear(y, base + "self_attn.v_proj").reshape(len(ids), KV, HEAD_DIM), HEADS // KV, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(HEAD_DIM)
        scores += np.triu(np.full(scores.shape[1:], -np.inf), 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        x = x + linear(mixed.reshape(len(ids), -1), base + "self_attn.o_proj")
        y = norm(x, base + "post_attention_layernorm")
        gate = linear(y, base + "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(y, base + "mlp.up_proj"), base + "mlp.down_proj")
    return norm(x, "model.norm") @ w["model.embed_tokens.weight" if tied else "lm_head.weight"].T


def goldens(weights, layers, tied, rng):
    out = {}
    for length in (1, 7, 40):
        prompt = rng.integers(0, VOCAB, length)
        ids, margins = list(prompt), []
        logits = forward(weights, layers, tied, np.array(ids))
        for _ in range(16):
            row = np.sort(forward(weights, layers, tied, np.array(ids))[-1])
            margins.append(row[-1] - row[-2])
            ids.append(int(forward(weights, layers, tied, np.array(ids))[-1].argmax()))
        if min(margins) < 0.005:
            return None
        out[f"n{length}.input_ids"] = prompt.astype(np.int32)
        out[f"n{length}.greedy_ids"] = np.array(ids[length:], np.int32)
        out[f"n{length}.logits"] = logits.astype(np.float32)
    return out


def make(root, name, layers, tied, bias, scheme, config, seed):
    """`scheme`(module, weight) -> (parts, widened), or nothing where a matrix stays float16."""
    rng = np.random.default_rng(seed)
    stored, widened = {}, {}

    def keep(tensor, values, cast):
        stored[tensor] = cast(values)
        widened[tensor] = wide(stored[tensor])

    def matrix(module, shape):
        weight = rng.normal(0, 1.6 / np.sqrt(shape[1]), shape).astype(np.float32)
        made = scheme(module, weight)
        if made is None:
            return keep(module + ".weight", weight, lambda x: x.astype(np.float16))
        for suffix, array in made[0].items():
            stored[f"{module}.{suffix}"] = array
        widened[module + ".weight"] = made[1]

    matrix("model.embed_tokens", (VOCAB, HIDDEN))
    for layer in range(layers):
        base = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            keep(base + norm + ".weight", rng.uniform(0.5, 1.5, HIDDEN), Bf16)
        for module, shape in MATRICES.items():
            matrix(base + module, shape)
            if bias and module[10:] in ("q_proj", "k_proj", "v_proj"):
                keep(base + module + ".bias", rng.normal(0, 0.3, shape[0]), Bf16)
            elif "gptq" in name:  # some makers write a bias of zeros for every matrix
                stored[base + module + ".bias"] = np.zeros(shape[0], np.float16)
    keep("model.norm.weight", rng.uniform(0.5, 1.5, HIDDEN), Bf16)
    if not tied:
        matrix("lm_head", (VOCAB, HIDDEN))
    golden = goldens(widened, layers, tied, rng)
    if golden is None:
        return make(root, name, layers, tied, bias, scheme, config, seed + 1)
    folder = root / f"quantized-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    family = ("Qwen2ForCausalLM", "qwen2") if bias else ("LlamaForCausalLM", "llama")
    (folder / "config.json").write_text(json.dumps({
        "architectures": [family[0]], "model_type": family[1], "hidden_size": HIDDEN, "intermediate_size": FF,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": HEAD_DIM,
        "vocab_size": VOCAB, "max_position_embeddings": 512, "rms_norm_eps": EPS, "rope_theta": THETA,
        "hidden_act": "silu", "tie_word_embeddings": tied, "torch_dtype": "float16", **config}, indent=1) + "\n")
    write_safetensors(folder / "model.safetensors", stored)
    write_safetensors(folder / "golden.safetensors", golden)
    print(f"{folder}: seed {seed}, {sum(f.stat().st_size for f in folder.iterdir())} bytes")


def make_mlx(root):
    kinds = [(4, 64, "bf16"), (3, 32, "f16"), (6, 64, "bf16"), (8, 128, "f16"), (2, 32, "f16"), (5, 32, "bf16"),
             (4, 32, "f32"), (4, 128, "f16"), (3, 64, "f32"), (6, 32, "f32"), (2, 64, "f32"), (8, 64, "f32"), (5, 64, "f32")]
    settings = {"group_size": 64, "bits": 4, "mode": "affine"}
    count = 0

    def scheme(module, weight):
        nonlocal count
        if module.endswith("layers.1.self_attn.o_proj"):
            settings[module] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
            return mlx_mxfp4(weight)
        bits, group, kind = kinds[count % len(kinds)]
        count += 1
        if (bits, group) != (4, 64):
            settings[module] = {"group_size": group, "bits": bits}
        return mlx(weight, bits, group, kind)

    make(root, "mlx", 2, True, True, scheme, {"quantization": settings, "quantization_config": settings}, 1)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "models")
    inside = lambda module: "layers" in module
    make_mlx(root)
    make(root, "awq", 1, False, False, lambda m, w: awq(w, 64) if inside(m) else None,
         {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True,
                                  "version": "gemm", "modules_to_not_convert": ["lm_head"]}}, 1)
    make(root, "gptq", 1, True, False, lambda m, w: gptq(w, 4, 128, True) if inside(m) else None,
         {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True,
                                  "desc_act": False, "checkpoint_format": "gptq"}}, 1)
    mixed = np.random.default_rng(5)
    make(root, "gptq_act_order", 1, True, False,
         lambda m, w: gptq(w, 4, 32, False, True, mixed if "mlp" in m else None) if inside(m) else None,
         {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False,
                                  "desc_act": True, "checkpoint_format": "gptq_v2"}}, 1)
    make(root, "gptq8", 1, True, False, lambda m, w: gptq(w, 8, w.shape[1], False) if inside(m) else None,
         {"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": False}}, 1)
    make(root, "fp8", 1, True, False, lambda m, w: fp8_rows(w) if inside(m) else None,
         {"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized",
                                  "ignore": ["lm_head"]}}, 1)


if __name__ == "__main__":
    main()
