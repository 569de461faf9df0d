#!/usr/bin/env python3
"""Writes the GGUF pair of a LLaVA checkpoint: the text model, and the "mmproj" file with the tower.

    make_llava_gguf.py CHECKPOINT_FOLDER OUT_FOLDER

Names and keys are those of llama.cpp's converters: convert_hf_to_gguf.py for the text model,
convert_image_encoder_to_gguf.py (which exchanges ffn_up and ffn_down) for the tower. The two files
in gguf/llava were made by it. Tokens are placeholders: no text goes through them in these tests.
"""
import json
import pathlib
import struct
import sys

F32, BF16 = 0, 30
WIDTHS = {"F32": 4, "BF16": 2}


def read_checkpoint(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        for name, entry in json.loads(data[8 : 8 + size]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], data[8 + size + begin : 8 + size + end])
    return tensors


def interleaved(tensor, heads):
    """Rotary pairs (i, i + half) become neighbours, as GGUF's "llama" has them."""
    dtype, shape, data = tensor
    row = shape[1] * WIDTHS[dtype]
    rows = [data[i : i + row] for i in range(0, len(data), row)]
    size = len(rows) // heads
    order = [h * size + i + j * size // 2 for h in range(heads) for i in range(size // 2) for j in (0, 1)]
    return dtype, shape, b"".join(rows[i] for i in order)


def widened(tensor):
    """Vectors are float32 in GGUF."""
    dtype, shape, data = tensor
    if len(shape) > 1 or dtype == "F32":
        return tensor
    return "F32", shape, b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value_of(value):
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, text(value)
    kind = value_of(value[0])[0]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(value_of(item)[1] for item in value)


def write_gguf(path, keys, tensors):
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys.items():
        kind, data = value_of(value)
        header += text(key) + struct.pack("<I", kind) + data
    body = b""
    for name, tensor in tensors.items():
        dtype, shape, data = widened(tensor)
        header += text(name) + struct.pack("<I", len(shape))
        header += b"".join(struct.pack("<Q", extent) for extent in reversed(shape))
        header += struct.pack("<IQ", F32 if dtype == "F32" else BF16, len(body))
        body += data + b"\0" * (-len(data) % 32)
    path.write_bytes(header + b"\0" * (-len(header) % 32) + body)


LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOWER_LAYER = {
    "layer_norm1": "ln1", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out", "layer_norm2": "ln2",
    "mlp.fc1": "ffn_down", "mlp.fc2": "ffn_up",
}


def text_model(config, checkpoint):
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    base = "language_model.model."
    tensors = {
        "token_embd.weight": checkpoint[base + "embed_tokens.weight"],
        "output_norm.weight": checkpoint[base + "norm.weight"],
        "output.weight": checkpoint["language_model.lm_head.weight"],
    }
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in LAYER.items():
            tensor = checkpoint[f"{base}layers.{layer}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                tensor = interleaved(tensor, heads if ours == "attn_q" else kv_heads)
            tensors[f"blk.{layer}.{ours}.weight"] = tensor
    vocabulary = config["vocab_size"]
    keys = {
        "general.architecture": "llama",
        "llama.block_count": config["num_hidden_layers"],
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
        "llama.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "llama.rope.freq_base": config["rope_theta"],
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [f"token{i}" for i in range(vocabulary - 1)] + ["<image>"],
        "tokenizer.ggml.scores": [0.0] * vocabulary,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    return keys, tensors


def tower(config, pixels, checkpoint):
    vision = config["vision_config"]
    layers = vision["num_hidden_layers"] - 1  # the converter drops the last
    base = "vision_tower.vision_model."
    tensors = {
        "v.class_embd": checkpoint[base + "embeddings.class_embedding"],
        "v.patch_embd.weight": checkpoint[base + "embeddings.patch_embedding.weight"],
        "v.position_embd.weight": checkpoint[base + "embeddings.position_embedding.weight"],
    }
    for part in ("weight", "bias"):
        tensors[f"v.pre_ln.{part}"] = checkpoint[f"{base}pre_layrnorm.{part}"]
        tensors[f"mm.0.{part}"] = checkpoint[f"multi_modal_projector.linear_1.{part}"]
        tensors[f"mm.2.{part}"] = checkpoint[f"multi_modal_projector.linear_2.{part}"]
        for layer in range(layers):
            for theirs, ours in TOWER_LAYER.items():
                tensors[f"v.blk.{layer}.{ours}.{part}"] = checkpoint[
                    f"{base}encoder.layers.{layer}.{theirs}.{part}"]
    keys = {
        "general.architecture": "clip",
        "clip.has_text_encoder": False,
        "clip.has_vision_encoder": True,
        "clip.has_llava_projector": True,
        "clip.projector_type": "mlp",
        "clip.vision.image_size": vision["image_size"],
        "clip.vision.patch_size": vision["patch_size"],
        "clip.vision.embedding_length": vision["hidden_size"],
        "clip.vision.feed_forward_length": vision["intermediate_size"],
        "clip.vision.projection_dim": vision["projection_dim"],
        "clip.vision.attention.head_count": vision["num_attention_heads"],
        "clip.vision.attention.layer_norm_epsilon": vision["layer_norm_eps"],
        "clip.vision.block_count": layers,
        "clip.vision.image_mean": pixels["image_mean"],
        "clip.vision.image_std": pixels["image_std"],
        "clip.use_gelu": False,
    }
    return keys, tensors


def main():
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    checkpoint = read_checkpoint(folder)
    config = json.loads((folder / "config.json").read_text())
    pixels = json.loads((folder / "preprocessor_config.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    write_gguf(out / "llava-bf16.gguf", *text_model(config["text_config"], checkpoint))
    write_gguf(out / "mmproj-llava-bf16.gguf", *tower(config, pixels, checkpoint))


if __name__ == "__main__":
    main()
