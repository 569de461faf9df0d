#!/usr/bin/env python3
"""Random networks of every family of decoders, computed twice: by exo and, from their published descriptions, by numpy
in float64.

usage: random_configs.py EXO [-n COUNT] [--seed S] [--family NAME ...]          (needs numpy only)
       random_configs.py EXO --write FOLDER --seed S --family NAME              (one of them, with goldens, for the tree)

Each network is a checkpoint folder with random weights and a config.json as the family's publishers write it: keys that
are absent or null, in both spellings of transformers. `exo debug logits` must give the same logits to 1e-3, and again
after `exo convert` to GGUF, unless that is refused by name. Nothing here is shared with exo.
"""
import argparse, collections, json, math, pathlib, random, subprocess, sys, tempfile
from types import SimpleNamespace
import numpy as np
from make_quantized import write_safetensors

TOLERANCE, MARGIN = 1e-3, 0.01
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi3": "Phi3",
           "mixtral": "Mixtral", "qwen2_moe": "Qwen2Moe", "qwen3_moe": "Qwen3Moe", "gemma2": "Gemma2",
           "gemma3_text": "Gemma3", "gpt_oss": "GptOss", "deepseek_v2": "DeepseekV2", "deepseek_v3": "DeepseekV3"}


# --- what networks are made of -------------------------------------------------------------------------------------

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def plain_frequencies(theta, dims):
    return theta ** (-np.arange(0, dims, 2) / dims)


def frequencies(scaling, theta, dims, context, length):
    """Of the rotary pairs for a text of `length`, and the factor on queries and keys."""
    inverse = plain_frequencies(theta, dims)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        return inverse / scaling["factor"], 1.0
    original = scaling.get("original_max_position_embeddings", context)
    if kind == "llama3":
        turns = original * inverse / (2 * math.pi)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return inverse * (keep + (1 - keep) / scaling["factor"]), 1.0
    if kind == "yarn":
        at = lambda turns: dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))
        low, high = at(scaling.get("beta_fast", 32)), at(scaling.get("beta_slow", 1))
        if scaling.get("truncate", True):
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dims - 1)
        ramp = np.clip((np.arange(dims // 2) - low) / (high - low or 0.001), 0, 1)
        grown = lambda mscale: 1 if scaling["factor"] <= 1 else 0.1 * mscale * math.log(scaling["factor"]) + 1
        factor = grown(scaling["mscale"]) / grown(scaling["mscale_all_dim"]) if "mscale" in scaling else grown(1)
        return inverse * (1 - ramp) + inverse / scaling["factor"] * ramp, scaling.get("attention_factor", factor)
    if kind in ("longrope", "su"):
        grown = context / original
        factor = 1 if grown <= 1 else math.sqrt(1 + math.log(grown) / math.log(original))
        return inverse / np.array(scaling["long_factor" if length > original else "short_factor"]), factor
    return inverse, 1.0


def turn(x, inverse, factor, neighbours=False):
    """x [tokens, heads, dims]: the first dimensions turn, in pairs of neighbours or of halves."""
    angles = np.arange(len(x))[:, None, None] * inverse
    cos, sin = np.cos(angles) * factor, np.sin(angles) * factor
    dims, out = 2 * len(inverse), x.copy()
    first, second = (slice(0, dims, 2), slice(1, dims, 2)) if neighbours else (slice(dims // 2), slice(dims // 2, dims))
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., second] * cos + x[..., first] * sin
    return out


def attend(q, k, v, scale, window=0, cap=None, sinks=None):
    shared = q.shape[1] // k.shape[1]
    scores = np.einsum("qhd,khd->hqk", q, np.repeat(k, shared, 1)) * scale
    if cap:
        scores = np.tanh(scores / cap) * cap
    distance = np.arange(len(q))[:, None] - np.arange(len(q))
    scores[:, (distance < 0) | ((window > 0) & (distance >= window))] = -np.inf
    if sinks is not None:
        scores = np.concatenate([scores, np.broadcast_to(sinks[:, None, None], (*scores.shape[:2], 1))], -1)
    mixed = np.einsum("hqk,khd->qhd", softmax(scores)[..., :len(q)], np.repeat(v, shared, 1))
    return mixed.reshape(len(q), -1)


def best(scores, count):
    """1 where a row's `count` highest are."""
    chosen = np.zeros_like(scores)
    np.put_along_axis(chosen, np.argsort(-scores, -1)[:, :count], 1, -1)
    return chosen


# --- networks ------------------------------------------------------------------------------------------------------

class Network:
    """`c`: what its config.json says; `m`: what is meant by it, absent keys filled in. Weights are made when they are
    first asked for, by their names in the checkpoint."""

    def __init__(self, c, m, seed):
        self.c, self.m, self.rng, self.weights = c, m, np.random.default_rng(seed), {}
        self.gemma = c["model_type"].startswith("gemma")

    def weight(self, name, *shape, gain=None, around=0.0):
        if name not in self.weights:
            values = self.rng.standard_normal(shape) * (gain or 1.3 / math.sqrt(shape[-1])) + around
            self.weights[name] = values.astype(np.float32)
        return self.weights[name].astype(np.float64)

    def linear(self, x, name, outs, bias=False):
        y = x @ self.weight(name + ".weight", outs, x.shape[-1]).T
        return y + self.weight(name + ".bias", outs, gain=0.3) if bias else y

    def norm(self, x, name, eps=None):
        gain = self.weight(name + ".weight", x.shape[-1], gain=0.3, around=0 if self.gemma else 1)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + (eps or self.c["rms_norm_eps"])) * (gain + self.gemma)

    def mlp(self, x, base, width):
        bias, act = self.c.get("mlp_bias", False), gelu if self.gemma else silu
        inner = act(self.linear(x, base + "gate_proj", width, bias)) * self.linear(x, base + "up_proj", width, bias)
        return self.linear(inner, base + "down_proj", x.shape[-1], bias)

    def logits(self, ids):
        c, m = self.c, self.m
        table = self.weight("model.embed_tokens.weight", c["vocab_size"], c["hidden_size"], gain=1.0)
        x = table[ids] * (math.sqrt(c["hidden_size"]) if self.gemma else 1)
        for layer in range(c["num_hidden_layers"]):
            base = f"model.layers.{layer}."
            h = self.norm(x, base + "input_layernorm")
            mixed = (self.latent_attention if "kv_lora_rank" in c else self.attention)(h, layer, base + "self_attn.")
            if self.gemma:
                x = x + self.norm(mixed, base + "post_attention_layernorm")
                made = self.mlp(self.norm(x, base + "pre_feedforward_layernorm"), base + "mlp.", c["intermediate_size"])
                x = x + self.norm(made, base + "post_feedforward_layernorm")
            else:
                x = x + mixed
                x = x + self.feed_forward(self.norm(x, base + "post_attention_layernorm"), layer, base)
        x = self.norm(x, "model.norm")
        out = x @ (table if m.tied else self.weight("lm_head.weight", *table.shape, gain=2 / math.sqrt(x.shape[-1]))).T
        return np.tanh(out / m.logit_cap) * m.logit_cap if m.logit_cap else out

    def rope(self, length, dims):
        return frequencies(self.m.scaling, self.m.theta, dims, self.c["max_position_embeddings"], length)

    def attention(self, h, layer, base):
        c, m, heads = self.c, self.m, self.c["num_attention_heads"]
        split = lambda y, count: y.reshape(len(h), count, m.head_dim)
        if c["model_type"] == "phi3":
            qkv = self.linear(h, base + "qkv_proj", (heads + 2 * m.kv_heads) * m.head_dim)
            q, k, v = np.split(split(qkv, heads + 2 * m.kv_heads), [heads, heads + m.kv_heads], 1)
        else:
            q, k, v = (split(self.linear(h, f"{base}{name}_proj", count * m.head_dim, m.qkv_bias), count)
                       for name, count in (("q", heads), ("k", m.kv_heads), ("v", m.kv_heads)))
        if m.qk_norm:
            q, k = self.norm(q, base + "q_norm"), self.norm(k, base + "k_norm")
        rope = self.rope(len(h), int(m.head_dim * c.get("partial_rotary_factor", 1)))
        if m.window(layer) and m.local_theta:
            rope = plain_frequencies(m.local_theta, m.head_dim), 1.0
        sinks = self.weight(base + "sinks", heads, gain=1.0) if c["model_type"] == "gpt_oss" else None
        scale = (c["query_pre_attn_scalar"] if self.gemma else m.head_dim) ** -0.5
        mixed = attend(turn(q, *rope), turn(k, *rope), v, scale, m.window(layer), m.attention_cap, sinks)
        return self.linear(mixed, base + "o_proj", c["hidden_size"], m.output_bias)

    def latent_attention(self, h, layer, base):
        c, m, heads = self.c, self.m, self.c["num_attention_heads"]
        plain, turned, latent = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["kv_lora_rank"]
        q, name = h, "q_proj"
        if c["q_lora_rank"]:
            q = self.norm(self.linear(h, base + "q_a_proj", c["q_lora_rank"], m.output_bias), base + "q_a_layernorm", 1e-6)
            name = "q_b_proj"
        q = self.linear(q, base + name, heads * (plain + turned)).reshape(len(h), heads, -1)
        down = self.linear(h, base + "kv_a_proj_with_mqa", latent + turned, m.output_bias)
        kv = self.linear(self.norm(down[:, :latent], base + "kv_a_layernorm", 1e-6), base + "kv_b_proj",
                         heads * (plain + c["v_head_dim"])).reshape(len(h), heads, -1)
        rope = (*self.rope(len(h), turned), m.neighbours)
        key = np.repeat(turn(down[:, None, latent:], *rope), heads, 1)
        scale = (plain + turned) ** -0.5
        if m.scaling.get("mscale_all_dim"):
            scale *= (0.1 * m.scaling["mscale_all_dim"] * math.log(m.scaling["factor"]) + 1) ** 2
        mixed = attend(np.concatenate([q[..., :plain], turn(q[..., plain:], *rope)], -1),
                       np.concatenate([kv[..., :plain], key], -1), kv[..., plain:], scale)
        return self.linear(mixed, base + "o_proj", c["hidden_size"], m.output_bias)

    def feed_forward(self, h, layer, base):
        kind, width = self.c["model_type"], self.c["intermediate_size"]
        if kind == "gpt_oss":
            return self.clamped_experts(h, base + "mlp.")
        if self.m.experts and self.m.experts.at(layer):
            return self.experts(h, base + ("block_sparse_moe." if kind == "mixtral" else "mlp."))
        if kind == "phi3":
            gate, up = np.split(self.linear(h, base + "mlp.gate_up_proj", 2 * width), 2, -1)
            return self.linear(silu(gate) * up, base + "mlp.down_proj", h.shape[-1])
        return self.mlp(h, base + "mlp.", width)

    def shares(self, scores, base):
        """What each expert's output counts for each row: [rows, experts]."""
        c, e = self.c, self.m.experts
        if c["model_type"] == "deepseek_v3":
            scores = sigmoid(scores)
            choice = scores + self.weight(base + "gate.e_score_correction_bias", e.count, gain=0.2)
            of_groups = np.sort(choice.reshape(len(scores), c["n_group"], -1), -1)[..., -2:].sum(-1)
        else:
            scores = choice = softmax(scores)
            of_groups = choice.reshape(len(scores), e.groups, -1).max(-1)
        if e.groups > 1:
            choice = np.where(np.repeat(best(of_groups, c["topk_group"]), e.count // e.groups, -1) > 0, choice, 0)
        shares = scores * best(choice, e.used)
        if e.renormalized:
            shares = shares / shares.sum(-1, keepdims=True)
        return shares * c.get("routed_scaling_factor", 1)

    def experts(self, h, base):
        c, e = self.c, self.m.experts
        shares = self.shares(h @ self.weight(base + "gate.weight", e.count, h.shape[-1], gain=2 / math.sqrt(h.shape[-1])).T,
                             base)
        gate, up, down = ("w1", "w3", "w2") if c["model_type"] == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        out = np.zeros_like(h)
        for i in range(e.count):
            at = f"{base}experts.{i}."
            inner = silu(self.linear(h, at + gate, e.width)) * self.linear(h, at + up, e.width)
            out += shares[:, i:i + 1] * self.linear(inner, at + down, h.shape[-1])
        if c["model_type"] == "qwen2_moe":
            open_by = sigmoid(self.linear(h, base + "shared_expert_gate", 1))
            out += open_by * self.mlp(h, base + "shared_expert.", c["shared_expert_intermediate_size"])
        if "n_routed_experts" in c:
            out += self.mlp(h, base + "shared_experts.", e.shared * e.width)
        return out

    def clamped_experts(self, h, base):
        count, d, width = self.c["num_local_experts"], h.shape[-1], self.c["intermediate_size"]
        scores = self.linear(h, base + "router", count, bias=True)
        used = best(scores, self.c["num_experts_per_tok"])
        shares = softmax(np.where(used > 0, scores, -np.inf))
        stack = lambda name, *shape: self.weight(base + "experts." + name, count, *shape, gain=shape[0] ** -0.5)
        both, both_bias = stack("gate_up_proj", d, 2 * width), stack("gate_up_proj_bias", 2 * width)
        down, down_bias = stack("down_proj", width, d), stack("down_proj_bias", d)
        out = np.zeros_like(h)
        for i in range(count):
            inner = h @ both[i] + both_bias[i]
            gate, up = np.minimum(inner[:, 0::2], 7), np.clip(inner[:, 1::2], -7, 7)
            out += shares[:, i:i + 1] * ((up + 1) * gate * sigmoid(1.702 * gate) @ down[i] + down_bias[i])
        return out


# --- configs -------------------------------------------------------------------------------------------------------

class Maker:
    """Makes (config, meant) of a family."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def make(self, family):
        r, heads = self.r, self.r.choice([1, 2, 4, 6, 8])
        kv_heads = r.choice([count for count in (1, 2, 4, heads) if heads % count == 0])
        head_dim = r.choice([None, 8, 12, 16, 24])
        self.c = c = {"model_type": family, "architectures": [CLASSES[family] + "ForCausalLM"], "use_cache": True,
                      "hidden_size": r.choice([32, 40, 48, 64, 72]) if head_dim else heads * r.choice([8, 12, 16]),
                      "intermediate_size": r.choice([31, 48, 77, 96]), "num_hidden_layers": r.choice([1, 2, 3, 4]),
                      "num_attention_heads": heads, "num_key_value_heads": kv_heads,
                      "vocab_size": r.choice([61, 97, 128]), "max_position_embeddings": r.choice([128, 256]),
                      "rms_norm_eps": r.choice([1e-5, 1e-3, 1e-6])}
        self.m = m = SimpleNamespace(kv_heads=kv_heads, head_dim=head_dim or c["hidden_size"] // heads, tied=False,
                                     theta=10000.0, scaling={}, window=lambda layer: 0, local_theta=None, qk_norm=False,
                                     qkv_bias=False, output_bias=False, attention_cap=None, logit_cap=None,
                                     experts=None, neighbours=True)
        if head_dim:
            c["head_dim"] = head_dim
        if self.chance(0.4):
            c["tie_word_embeddings"] = m.tied = self.chance(0.5)
        if self.chance(0.3):
            c["auto_map"] = {"AutoConfig": "configuration.Config"}
        getattr(self, family.split("_")[0] if family.startswith(("gemma", "deepseek")) else family)()
        return c, m

    def chance(self, p):
        return self.r.random() < p

    def rope(self, *kinds):
        r, c, m, kind = self.r, self.c, self.m, self.r.choice(kinds)
        original = r.choice([16, 32, 64])
        if kind == "default":
            scaling = r.choice([None, {"rope_type": "default"}])
        elif kind == "linear":
            scaling = {"factor": r.choice([2.0, 3, 8.0])}
        elif kind == "llama3":
            scaling = {"factor": r.choice([4.0, 8.0]), "low_freq_factor": 1.0, "high_freq_factor": r.choice([2.0, 4.0]),
                       "original_max_position_embeddings": original}
        else:
            scaling = {"factor": r.choice([2.0, 4.0, 40])}
            for p, more in ((0.8, {"original_max_position_embeddings": original}), (0.3, {"attention_factor": 1.1}),
                            (0.4, {"beta_fast": r.choice([16, 32.0]), "beta_slow": r.choice([1, 2.0])}),
                            (0.3, {"truncate": self.chance(0.5)}), (0.3, {"mscale": 0.9, "mscale_all_dim": 0.7})):
                if self.chance(p):
                    scaling.update(more)
        newer = scaling is not None and self.chance(0.35)
        if kind != "default":
            scaling["rope_type" if newer or self.chance(0.5) else "type"] = kind
        m.scaling = scaling or {}
        if self.chance(0.7):
            m.theta = c["rope_theta"] = r.choice([10000, 500000.0, 3000.5])
        if newer:
            c["rope_parameters"] = {**scaling, "rope_theta": c.pop("rope_theta", m.theta)}
        elif scaling is not None or self.chance(0.5):
            c["rope_scaling"] = scaling

    def windows(self, window, slides):
        """Of each layer, by layer_types or the family's rule."""
        kinds = None
        if self.chance(0.4):
            kinds = [self.r.choice(["full_attention", "sliding_attention"]) for _ in range(self.c["num_hidden_layers"])]
            self.c["layer_types"] = kinds
        self.m.window = lambda layer: window if (kinds[layer] == "sliding_attention" if kinds else slides(layer)) else 0

    def one_window(self, window):
        self.c["sliding_window"] = window
        self.m.window = lambda layer: window or 0

    def bias(self, p=0.4):
        self.c["attention_bias"] = self.m.qkv_bias = self.m.output_bias = self.chance(p)

    def llama(self):
        self.rope("default", "linear", "llama3", "yarn")
        if self.c["num_attention_heads"] == self.m.kv_heads:
            self.c["num_key_value_heads"] = None
        self.bias()
        if self.chance(0.5):
            self.c["mlp_bias"] = self.chance(0.6)

    def mistral(self):
        self.rope("default", "linear", "yarn")
        self.one_window(self.r.choice([None, 3, 8, 17]))

    def qwen2(self):
        self.rope("default", "yarn")
        full, window = self.r.randint(0, self.c["num_hidden_layers"]), self.r.choice([3, 8, 17, None])
        self.c.update(use_sliding_window=self.chance(0.5), sliding_window=window, max_window_layers=full)
        if self.c["use_sliding_window"] and window:
            self.windows(window, lambda layer: layer >= full)
        self.m.qkv_bias = True
        self.c["use_mrope"] = False

    def qwen3(self):
        self.qwen2()
        del self.c["use_mrope"]
        self.c["head_dim"], self.m.qk_norm = self.m.head_dim, True
        self.bias()

    def phi3(self):
        part = self.r.choice([part for part in (1.0, 0.5, 0.75) if self.m.head_dim * part % 2 == 0])
        if part != 1 or self.chance(0.3):
            self.c["partial_rotary_factor"] = part
        if self.chance(0.5):
            self.one_window(self.r.choice([3, 8, 17]))
        if self.chance(0.6):
            factors = lambda: [round(self.r.uniform(1, 6), 2) for _ in range(int(self.m.head_dim * part) // 2)]
            self.c["original_max_position_embeddings"] = self.r.choice([40, 100])
            self.c["rope_scaling"] = {"type": self.r.choice(["longrope", "su"]), "short_factor": factors(),
                                      "long_factor": factors()}
            self.m.scaling = {**self.c["rope_scaling"], "original_max_position_embeddings":
                              self.c["original_max_position_embeddings"]}

    def set_experts(self, count, used, width, **more):
        self.m.experts = SimpleNamespace(count=count, used=used, width=width, at=lambda layer: True, groups=1,
                                         renormalized=True, **more)

    def mixtral(self):
        self.m.theta = 1e6
        self.rope("default", "linear", "yarn")
        count = self.r.choice([3, 5, 8])
        self.set_experts(count, self.r.randint(1, 3), self.c["intermediate_size"])
        self.c.update(num_local_experts=count, num_experts_per_tok=self.m.experts.used, router_aux_loss_coef=0.02)
        if self.chance(0.4):
            self.one_window(self.r.choice([3, 8, 17]))

    def qwen_experts(self):
        self.rope("default", "yarn")
        self.set_experts(self.r.choice([3, 6, 8]), self.r.randint(1, 3), self.r.choice([11, 24]))
        e, step = self.m.experts, self.r.choice([1, 1, 2])
        listed = [layer for layer in range(self.c["num_hidden_layers"]) if self.chance(0.25)]
        e.renormalized, e.at = self.chance(0.5), lambda layer: layer not in listed and (layer + 1) % step == 0
        self.c.update(num_experts=e.count, num_experts_per_tok=e.used, moe_intermediate_size=e.width,
                      decoder_sparse_step=step, mlp_only_layers=listed, norm_topk_prob=e.renormalized)

    def qwen2_moe(self):
        self.qwen_experts()
        self.c.update(shared_expert_intermediate_size=self.r.choice([9, 30]), use_sliding_window=False)
        self.m.qkv_bias = True
        if self.chance(0.3):
            self.c["qkv_bias"] = self.m.qkv_bias = False

    def qwen3_moe(self):
        self.qwen_experts()
        self.m.qk_norm = True
        self.bias(0.3)
        if self.chance(0.4):
            self.c["use_sliding_window"] = True
            self.one_window(self.r.choice([3, 8, 17]))

    def gemma2(self):
        self.gemma()

    def gemma3(self):
        self.gemma()

    def gemma(self):
        r, c, m, window = self.r, self.c, self.m, self.r.choice([3, 8, 17])
        c["head_dim"] = m.head_dim = r.choice([8, 16, 24])
        m.tied = c.get("tie_word_embeddings", True)
        c.update(query_pre_attn_scalar=r.choice([m.head_dim, 24, 64.0]), sliding_window=window)
        if c["model_type"] == "gemma2":
            self.windows(window, lambda layer: layer % 2 == 0)
            m.attention_cap, m.logit_cap = 50, 30
            if self.chance(0.6):
                c["attn_logit_softcapping"] = m.attention_cap = r.choice([None, 5.0, 40.0])
            if self.chance(0.6):
                c["final_logit_softcapping"] = m.logit_cap = r.choice([None, 5.0, 40.0])
            return
        m.qk_norm, m.theta, m.local_theta, pattern = True, 1e6, 10000.0, r.choice([2, 3, 6])
        c["sliding_window_pattern"] = pattern
        self.windows(window, lambda layer: (layer + 1) % pattern != 0)
        if self.chance(0.5):
            c["rope_local_base_freq"] = m.local_theta = r.choice([10000.0, 3000.0])
        if self.chance(0.5):
            c["rope_scaling"] = m.scaling = {"rope_type": "linear", "factor": 8.0}

    def gpt_oss(self):
        self.c["head_dim"] = self.m.head_dim = self.r.choice([8, 16])
        self.m.theta, window = 150000.0, self.r.choice([3, 8, 17])
        self.c["rope_scaling"] = None
        self.rope("default", "yarn")
        self.c.update(num_local_experts=self.r.choice([3, 4, 8]), num_experts_per_tok=self.r.randint(1, 3),
                      sliding_window=window)
        self.windows(window, lambda layer: layer % 2 == 0)
        self.m.qkv_bias = self.m.output_bias = True
        if self.chance(0.3):
            self.bias(0.2)

    def deepseek(self):
        r, c, m, third = self.r, self.c, self.m, self.c["model_type"] == "deepseek_v3"
        c.pop("head_dim", None)
        c.update(num_key_value_heads=c["num_attention_heads"], qk_nope_head_dim=r.choice([8, 14]),
                 qk_rope_head_dim=r.choice([4, 8, 12]), v_head_dim=r.choice([6, 12]), kv_lora_rank=r.choice([12, 20]),
                 q_lora_rank=r.choice([None, 18]))
        count, groups = r.choice([4, 8]), r.choice([1, 2])
        used_groups, dense = r.randint(1, groups), r.randint(0, c["num_hidden_layers"])
        self.set_experts(count, r.randint(1, min(3, count // groups * used_groups)), r.choice([10, 24]),
                         shared=r.choice([1, 2]))
        e = m.experts
        e.groups, e.at, e.renormalized = groups, lambda layer: layer >= dense, third and self.chance(0.5)
        method = "noaux_tc" if third else "group_limited_greedy" if groups > 1 else "greedy"
        c.update(n_routed_experts=count, num_experts_per_tok=e.used, moe_intermediate_size=e.width,
                 n_shared_experts=e.shared, first_k_dense_replace=dense, moe_layer_freq=1, n_group=groups,
                 topk_group=used_groups, topk_method=method, scoring_func="sigmoid" if third else "softmax",
                 norm_topk_prob=e.renormalized, routed_scaling_factor=r.choice([1.0, 2.5]))
        self.rope("default", "yarn")
        if self.chance(0.3):
            c["attention_bias"] = m.output_bias = True
        if third and self.chance(0.3):
            c["rope_interleave"] = m.neighbours = False


# --- runs ----------------------------------------------------------------------------------------------------------

def write_checkpoint(folder, network):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(network.c, indent=1) + "\n")
    write_safetensors(folder / "model.safetensors", network.weights)


def difference(exo, model, ids, expected, out):
    """Of exo's logits from those expected; exits where exo fails."""
    run = subprocess.run([exo, "debug", "logits", "--model", model, "--tokens", ",".join(map(str, ids)), "--out", out,
                          "--inference-engine", "reference"], capture_output=True, text=True)
    if run.returncode != 0:
        return f"failed: {run.stderr.strip()}"
    worst = float(np.abs(np.load(out) - expected).max())
    return "" if worst <= TOLERANCE else f"differs by {worst:.1e}"


def check(exo, folder, family, seed, refusals):
    """What is wrong with one network; empty when nothing is."""
    config, meant = Maker(seed).make(family)
    network = Network(config, meant, seed)
    ids = np.random.default_rng(seed).integers(0, config["vocab_size"], random.Random(seed).choice([1, 5, 30, 70, 120]))
    expected = network.logits(ids)
    write_checkpoint(folder / "model", network)
    wrong = difference(exo, folder / "model", ids, expected, folder / "out.npy")
    if wrong:
        return f"{wrong}\n  {json.dumps(config)}"
    gguf = folder / "model.gguf"
    run = subprocess.run([exo, "convert", folder / "model", gguf, "--force"], capture_output=True, text=True)
    if run.returncode != 0:
        refusals[run.stderr.strip().splitlines()[-1]] += 1
        return "" if "cannot express" in run.stderr else f"convert failed: {run.stderr.strip()}"
    wrong = difference(exo, gguf, ids, expected, folder / "out.npy")
    return f"as GGUF {wrong}\n  {json.dumps(config)}" if wrong else ""


def write_golden(folder, family, seed):
    config, meant = Maker(seed).make(family)
    network, golden = Network(config, meant, seed), {}
    for length in (1, 7, 40):
        prompt = np.random.default_rng(seed + length).integers(0, config["vocab_size"], length)
        ids = list(prompt)
        for _ in range(16):
            row = network.logits(np.array(ids))[-1]
            ids.append(int(row.argmax()))
            second, first = np.sort(row)[-2:]
            if first - second < MARGIN:
                sys.exit("a token is chosen by too little: take another seed")
        golden[f"n{length}.input_ids"] = prompt.astype(np.int32)
        golden[f"n{length}.greedy_ids"] = np.array(ids[length:], np.int32)
        golden[f"n{length}.logits"] = network.logits(prompt).astype(np.float32)
    write_checkpoint(folder / "f32", network)
    write_safetensors(folder / "golden_f32.safetensors", golden)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("exo")
    parser.add_argument("-n", type=int, default=len(CLASSES) * 8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", nargs="*", default=list(CLASSES))
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    if options.write:
        return write_golden(options.write, options.family[0], options.seed)
    failures, refusals = 0, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.n):
            family, seed = options.family[i % len(options.family)], options.seed * 100000 + i
            wrong = check(options.exo, pathlib.Path(folder), family, seed, refusals)
            failures += bool(wrong)
            if wrong:
                print(f"{family}, seed {seed}: {wrong}")
    for refusal, times in refusals.most_common():
        print(f"{times} x {refusal}")
    print(f"{options.n - failures} of {options.n} agree")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
