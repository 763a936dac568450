"""Does a device, or a precision, train as well as the CPU in f32? The same model, data, order and settings twice; held-out losses.

    /tmp/torch/bin/python bench/trainer/converge.py --finepick target/release/finepick --device openvino --precision bf16

Run by hand, with the Python of follow.py, after `make setup ORT=openvino` and `python3 tools/fetch_texts.py`. The model is the one of
trainer-svc/benches/step.rs, 13.8 million parameters, from random weights. Prints both losses and how far they are apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY = 8192


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--finepick", required=True)
    parser.add_argument("--data", default=".deps/texts/pretrain/verse.jsonl")
    parser.add_argument("--device", default="openvino")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    return parser.parse_args()


def untrained(args, folder):
    """A checkpoint of random weights, with a tokenizer of the data."""
    lines = Path(args.data).read_text(encoding="utf-8").splitlines()
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator((json.loads(line)["text"] for line in lines), vocab_size=VOCABULARY, show_progress=False)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=args.length, n_embd=args.width, n_layer=args.layers,
                        n_head=args.width // 64, bos_token_id=None, eos_token_id=None)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(lines)


def train(args, model, size, device, precision, output):
    """The held-out loss after the last step, and seconds per step."""
    command = [args.finepick, "train", "--model", model, "--data", args.data, "--size", size, "--method", "full", "--steps", args.steps,
               "--batch-size", args.batch_size, "--sequence-length", args.length, "--lr", args.rate, "--schedule", "cosine",
               "--warmup", "0.1", "--clip", "1.0", "--weight-decay", "0.1", "--threads", args.threads, "--device", device,
               "--precision", precision, "--output", output, "--format", "json"]
    begin = time.monotonic()
    outcome = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)
    steps = [step["loss"] for step in outcome["steps"]]
    loss = outcome["evaluations"][-1]["loss"]
    print(f"{device} {precision}: {len(steps)} steps, training loss {steps[0]:.4f} to {steps[-1]:.4f}, held-out loss {loss:.5f}, "
          f"{(time.monotonic() - begin) / len(steps):.2f} s a step", flush=True)
    return loss


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        lines = untrained(args, scratch / "model")
        size = min(lines * 4 // 5, args.steps * args.batch_size)
        wanted = train(args, scratch / "model", size, "cpu", "fp32", scratch / "wanted")
        found = train(args, scratch / "model", size, args.device, args.precision, scratch / "found")
    apart = (found - wanted) / wanted
    print(f"held-out loss {apart:+.3%} against f32 on the CPU")
    sys.exit(apart > 0.01)


if __name__ == "__main__":
    main()
