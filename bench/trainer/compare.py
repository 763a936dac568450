"""The Rust training step against PyTorch's, in turns, so that both meet the same noise: medians of the ratios.

    python bench/trainer/compare.py [--pairs 5] [--rust 'flags of benches/step.rs'] [--torch 'flags of pytorch_step.py'] [flags of both]

Run with the Python that has torch; `cargo bench -p trainer-svc --bench step --no-run` is run first. --torch-is-rust compares two sets of
flags of the Rust step with each other.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def built(profile):
    """Path of the benchmark's executable."""
    command = ["cargo", "bench", "--quiet", "--profile", profile, "-p", "trainer-svc", "--no-default-features", "--bench", "step"]
    output = subprocess.run([*command, "--no-run", "--message-format=json"], check=True, capture_output=True, text=True, cwd=HERE)
    for line in output.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "step":
            return message["executable"]
    sys.exit("cargo names no executable")


def run(command):
    """The last line that it prints."""
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE)
    return json.loads(output.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--profile", default="bench")
    parser.add_argument("--rust", default="")
    parser.add_argument("--torch", default="")
    parser.add_argument("--torch-is-rust", action="store_true")
    arguments, both = parser.parse_known_args()
    step = built(arguments.profile)
    ours = [step, *both, *shlex.split(arguments.rust)]
    theirs = [step] if arguments.torch_is_rust else [sys.executable, str(HERE / "pytorch_step.py")]
    theirs += [*both, *shlex.split(arguments.torch)]
    results = []
    for pair in range(arguments.pairs):
        # Who goes first changes every time.
        order = [0, 1] if pair % 2 == 0 else [1, 0]
        got = {index: run([ours, theirs][index]) for index in order}
        results.append((got[0], got[1]))
        speeds = [got[index]["tokens_per_second"] for index in (0, 1)]
        print(pair, *(f"{speed['median']}/{speed['best']}" for speed in speeds), flush=True)
    ratio = lambda key: statistics.median(a["tokens_per_second"][key] / b["tokens_per_second"][key] for a, b in results)
    used = statistics.median(b["seconds"]["processor"] / a["seconds"]["processor"] for a, b in results)
    print(f"speed: ratio of medians {ratio('median'):.3f}, of the best steps {ratio('best'):.3f}; by processor time {used:.3f}")
    for name, index in (("first", 0), ("second", 1)):
        peak = max(result[index]["memory_mib"]["peak"] for result in results)
        best = max(result[index]["tokens_per_second"]["best"] for result in results)
        median = statistics.median(result[index]["tokens_per_second"]["median"] for result in results)
        print(f"{name}: median {median:.0f}, best {best} tokens/s, peak memory {peak} MiB")


if __name__ == "__main__":
    main()
