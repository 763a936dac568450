"""Does PyTorch lose what finepick loses? The same checkpoint, data, order and settings, step by step.

    python3 -m venv /tmp/torch && /tmp/torch/bin/pip install torch transformers peft safetensors
    /tmp/torch/bin/python bench/trainer/follow.py --finepick target/release/finepick --model zoo/gpt2-verse-m \
        --data .deps/texts/tasks/comedies.jsonl --method full --steps 200

Run by hand. Prints the largest relative difference of the first 20 steps and the difference of the means of all, and then loads what
finepick wrote into transformers or PEFT and compares the loss on held-out data with the one that finepick reported.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--finepick", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--method", choices=["full", "lora", "prompt"], default="full")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def examples(path, tokenizer, length):
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        ids = tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"][:length]
        if len(ids) > 1:
            yield ids


def batches(all_ids, size):
    for start in range(0, len(all_ids), size):
        rows = all_ids[start:start + size]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        # The first token has nothing before it. Behind a prompt PEFT would count it, too; finepick counts the same tokens whatever
        # the method, so that losses of methods can be compared.
        labels = torch.tensor([[-100] + row[1:] + [-100] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        yield {"input_ids": ids, "labels": labels, "attention_mask": mask}


def wrapped(args, model, folder):
    """The model with PEFT's fresh adapter, which is also saved for finepick to start from."""
    if args.method == "full":
        return model
    import peft
    if args.method == "lora":
        config = peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM")
    else:
        config = peft.PromptTuningConfig(num_virtual_tokens=10, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    model.save_pretrained(folder)
    return model


def train(args, model, all_ids, rate):
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.ndim >= 2], "weight_decay": 0.01},
              {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    model.train()
    losses = []
    while len(losses) < args.steps:
        for batch in batches(all_ids, args.batch_size):
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) == args.steps:
                break
    return losses


@torch.no_grad()
def held_out_loss(model, all_ids):
    model.eval()
    total, tokens = 0.0, 0
    for batch in batches(sorted(all_ids, key=len), 8):
        count = int((batch["labels"][:, 1:] != -100).sum())
        total += model(**batch).loss.item() * count
        tokens += count
    return total / tokens


def main():
    args = arguments()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    rate = args.rate or {"full": 5e-4, "lora": 1e-3, "prompt": 1e-2}[args.method]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        lines = Path(args.data).read_text(encoding="utf-8").splitlines(keepends=True)
        held = min(100, len(lines) // 5)
        (scratch / "held.jsonl").write_text("".join(lines[:held]), encoding="utf-8")
        (scratch / "train.jsonl").write_text("".join(lines[held:]), encoding="utf-8")
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
        model = wrapped(args, model, scratch / "start")
        command = [args.finepick, "train", "--model", args.model, "--data", scratch / "train.jsonl", "--held-out",
                   scratch / "held.jsonl", "--size", str(len(lines) - held), "--method", args.method, "--steps", str(args.steps),
                   "--batch-size", str(args.batch_size), "--sequence-length", str(args.length), "--order", "as-is", "--lr", str(rate),
                   "--schedule", "constant", "--clip", "1.0", "--weight-decay", "0.01", "--threads", str(args.threads),
                   "--output", scratch / "tuned", "--format", "json"]
        if args.method == "lora":
            command += ["--lora-rank", "8", "--lora-alpha", "16"]
        elif args.method == "prompt":
            command += ["--prompt-length", "10"]
        if args.method != "full":
            command += ["--init-adapter", scratch / "start"]
        ours = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)
        losses = [step["loss"] for step in ours["steps"]]
        assert len(losses) == args.steps, len(losses)
        theirs = train(args, model, list(examples(scratch / "train.jsonl", tokenizer, args.length)), rate)
        differences = [abs(a - b) / b for a, b in zip(losses, theirs)]
        print(f"{args.model} {args.method}: first loss {losses[0]:.6f} (PyTorch {theirs[0]:.6f}), last {losses[-1]:.4f} ({theirs[-1]:.4f})")
        print(f"  largest relative difference: first 20 steps {max(differences[:20]):.2e}, all {max(differences):.2e}")
        mean = [math.fsum(x) / len(x) for x in (losses, theirs)]
        print(f"  mean of {args.steps} steps: {mean[0]:.6f} and {mean[1]:.6f}, relative {abs(mean[0] - mean[1]) / mean[1]:.2e}")
        if args.method == "full":
            tuned = AutoModelForCausalLM.from_pretrained(scratch / "tuned", dtype=torch.float32)
        else:
            import peft
            base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
            tuned = peft.PeftModel.from_pretrained(base, scratch / "tuned")
        reported = ours["evaluations"][-1]["loss"]
        loss = held_out_loss(tuned, list(examples(scratch / "held.jsonl", tokenizer, args.length)))
        print(f"  held-out loss reported {reported:.7f}, of the saved weights in transformers {loss:.7f}, "
              f"relative {abs(reported - loss) / loss:.1e}")


if __name__ == "__main__":
    main()
