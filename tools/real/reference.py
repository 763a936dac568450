"""Losses of SmolLM2-135M-Instruct, computed from the GGUF itself: what trainer-svc's test of the same model is held to.

    .venv/bin/python tools/real/reference.py [--update]

A forward pass in float64 NumPy, written from the papers and sharing nothing with what it checks but the reader of the file's frame:
it has its own dequantiser, its own byte pair encoding, and rotates pairs (2i, 2i + 1) as the file's order of rows wants, so an error
in the conversion to a checkpoint folder cannot be made twice. Compares with the losses stored in
trainer-svc/tests/fixtures/real/smollm2.json, or with --update writes them.

Llama: Touvron et al. 2023, arXiv:2302.13971. RMS norm: Zhang & Sennrich 2019, arXiv:1910.07467. Rotary positions: Su et al. 2021,
arXiv:2104.09864. Shared keys: Ainslie et al. 2023, arXiv:2305.13245. SwiGLU: Shazeer 2020, arXiv:2002.05202. Byte-level BPE: Sennrich
et al. 2016, arXiv:1508.07909, and Radford et al. 2019 (GPT-2).
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np

from gguf_file import Gguf

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / ".deps" / "models" / "smollm2-135m-instruct.gguf"
GOLDEN = ROOT / "trainer-svc" / "tests" / "fixtures" / "real" / "smollm2.json"
# Relative; losses are float64, but sums run in another order on other machines.
TOLERANCE = 1e-9
# GPT-2's words, but for numbers, which are cut out before. What is \w and no underscore is then a letter.
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def words(text):
    """The pieces within which tokens are merged; every digit is one."""
    stretch = ""
    for char in text:
        if unicodedata.category(char).startswith("N"):
            yield from WORD.findall(stretch)
            yield char
            stretch = ""
        else:
            stretch += char
    yield from WORD.findall(stretch)


def byte_characters():
    """Which character stands for a byte in GPT-2's tokens: itself where it is printable, else one from U+0100 on."""
    printable = [byte for byte in range(256) if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


class Tokens:
    def __init__(self, metadata):
        self.ids = {token: i for i, token in enumerate(metadata["tokenizer.ggml.tokens"])}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(metadata["tokenizer.ggml.merges"])}
        self.characters = byte_characters()

    def encode(self, text):
        return [self.ids[token] for word in words(text) for token in self.merged(word)]

    def merged(self, word):
        parts = [self.characters[byte] for byte in word.encode("utf-8")]
        while True:
            pairs = [(self.ranks[pair], i) for i, pair in enumerate(zip(parts, parts[1:])) if pair in self.ranks]
            if not pairs:
                return parts
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]


def half(pairs):
    """The float16 in each row of two bytes."""
    return np.ascontiguousarray(pairs).view("<f2").astype(np.float64)


class Model:
    def __init__(self, gguf):
        self.gguf = gguf
        meta = gguf.metadata
        self.layers = meta["llama.block_count"]
        self.heads, self.key_heads = meta["llama.attention.head_count"], meta["llama.attention.head_count_kv"]
        self.base = meta["llama.rope.freq_base"]
        self.epsilon = meta["llama.attention.layer_norm_rms_epsilon"]

    def weight(self, name):
        """`[outputs, inputs]`, or a vector."""
        tensor = self.gguf.tensors[name]
        raw = np.frombuffer(self.gguf.blocks(name), np.uint8)
        if tensor.kind == "Q8_0":
            raw = raw.reshape(-1, 34)
            values = half(raw[:, :2]) * np.ascontiguousarray(raw[:, 2:]).view(np.int8)
        elif tensor.kind == "Q4_1":
            raw = raw.reshape(-1, 20)
            values = np.empty((len(raw), 32))
            values[:, :16] = raw[:, 4:] % 16
            values[:, 16:] = raw[:, 4:] // 16
            values = values * half(raw[:, :2]) + half(raw[:, 2:4])
        elif tensor.kind == "F32":
            values = raw.view("<f4").astype(np.float64)
        else:
            sys.exit(f"{name} is of the type {tensor.kind}")
        return values.reshape(tensor.shape)

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon) * self.weight(name)

    def rotated(self, x):
        """x `[heads, positions, width]`: dimensions 2i and 2i + 1 as one complex number, turned by position · base^(−2i/width)."""
        _, positions, width = x.shape
        angles = np.outer(np.arange(positions), self.base ** (-np.arange(0, width, 2) / width))
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
        return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)

    def attention(self, x, block):
        def project(name, heads):
            return (x @ self.weight(f"{block}.{name}.weight").T).reshape(len(x), heads, -1).transpose(1, 0, 2)

        queries, keys = self.rotated(project("attn_q", self.heads)), self.rotated(project("attn_k", self.key_heads))
        values = project("attn_v", self.key_heads)
        shared = np.arange(self.heads) // (self.heads // self.key_heads)
        scores = queries @ keys[shared].transpose(0, 2, 1) / np.sqrt(queries.shape[-1])
        scores[:, np.triu(np.ones(scores.shape[1:], bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ values[shared]
        return mixed.transpose(1, 0, 2).reshape(len(x), -1) @ self.weight(f"{block}.attn_output.weight").T

    def losses(self, texts):
        """Mean negative log-likelihood per predicted token of each text. A layer's weights are decoded once, for all texts."""
        table = self.weight("token_embd.weight")
        states = [table[text] for text in texts]
        for layer in range(self.layers):
            block = f"blk.{layer}"
            states = [x + self.attention(self.norm(x, f"{block}.attn_norm.weight"), block) for x in states]
            gate, up, down = (self.weight(f"{block}.ffn_{name}.weight").T for name in ("gate", "up", "down"))
            inner = [self.norm(x, f"{block}.ffn_norm.weight") for x in states]
            gated = [(y @ gate) / (1 + np.exp(-(y @ gate))) * (y @ up) for y in inner]
            states = [x + y @ down for x, y in zip(states, gated)]
        head = self.weight("output.weight") if "output.weight" in self.gguf.tensors else table
        losses = []
        for text, x in zip(texts, states):
            logits = self.norm(x[:-1], "output_norm.weight") @ head.T
            top = logits.max(axis=-1)
            nll = top + np.log(np.exp(logits - top[:, None]).sum(axis=-1)) - logits[np.arange(len(logits)), text[1:]]
            losses.append(float(nll.mean()))
        return losses


def main():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    with Gguf(MODEL) as gguf:
        tokens = Tokens(gguf.metadata)
        ids = [tokens.encode(entry["text"]) for entry in golden["texts"]]
        losses = Model(gguf).losses(ids)
    if "--update" in sys.argv[1:]:
        for entry, own, loss in zip(golden["texts"], ids, losses):
            entry |= {"loss": loss, "ids": own}
        text = json.dumps(golden, indent=1, ensure_ascii=False)
        # A text's ids in one line.
        text = re.sub(r"\[[\d,\s]+\]", lambda found: json.dumps(json.loads(found.group())), text)
        GOLDEN.write_text(text + "\n", encoding="utf-8")
    for entry, own, loss in zip(golden["texts"], ids, losses):
        if own != entry["ids"] or abs(loss / entry["loss"] - 1) > TOLERANCE:
            sys.exit(f"{entry['text']!r}: ids {own}, loss {loss}; {GOLDEN.name} has {entry['ids']}, {entry['loss']}")
    print("losses of the reference:", ", ".join(f"{loss:.6f} ({len(own) - 1} tokens)" for own, loss in zip(ids, losses)))


if __name__ == "__main__":
    main()
