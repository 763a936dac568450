"""Makes curves.csv: SYNTHETIC learning curves, drawn from a documented law. Nobody trained these models.

Each candidate has the rectified scaling law L(D) = B / (D_l + D^beta) + E (arXiv 2402.02314) with its own coefficients,
drawn per family; a measured loss is L(D) times exp(noise), noise normal with standard deviation 0.006. The column 0 is the
zero-shot loss, which follows no law: L(0) times a factor. The same seed gives the same file.

    python3 demo/make_curves.py > demo/curves.csv
"""

import math
import random
import sys

SIZES = [250 * 2**i for i in range(13)]  # 250 … 1,024,000 examples
NOISE = 0.006
SEED = 20240529

# family: (exponent, knee in examples, irreducible loss, quality); larger members are better, at different rates.
FAMILIES = {
    "aspen": (0.44, 12_000.0, 0.86, 0.95, [70e6, 160e6, 410e6, 1.0e9, 2.8e9]),
    "birch": (0.38, 6_000.0, 0.92, 0.90, [125e6, 350e6, 1.3e9, 2.7e9]),
    "cedar": (0.33, 5_000.0, 0.96, 0.80, [135e6, 360e6, 1.7e9]),
    "drift": (0.58, 40_000.0, 1.02, 0.98, [60e6, 220e6, 770e6]),
    "elm": (0.26, 4_000.0, 1.02, 0.70, [110e6, 340e6, 1.4e9]),
}


def human(parameters):
    return f"{parameters / 1e9:.1f}b" if parameters >= 1e9 else f"{parameters / 1e6:.0f}m"


def main():
    rng = random.Random(SEED)
    print(",".join(["candidate", "0", *map(str, SIZES), "size", "family"]))
    for family, (beta0, knee0, floor0, quality, members) in FAMILIES.items():
        for parameters in members:
            scale = math.log10(parameters / 1e8)
            beta = beta0 * (1 + 0.10 * scale) * math.exp(rng.gauss(0, 0.05))
            knee = knee0 * 10 ** (-0.5 * scale) * math.exp(rng.gauss(0, 0.3))
            floor = floor0 * (1 - 0.06 * scale) * math.exp(rng.gauss(0, 0.04))
            start = (3.6 - 0.35 * scale) * quality * math.exp(rng.gauss(0, 0.03))
            pre_learned = knee**beta
            reducible = (start - floor) * pre_learned
            row = [start * (1.05 + 0.1 * rng.random())]
            for size in SIZES:
                loss = reducible / (pre_learned + size**beta) + floor
                row.append(loss * math.exp(rng.gauss(0, NOISE)))
            name = f"synthetic-{family}-{human(parameters)}"
            print(",".join([name, *(f"{value:.6f}" for value in row), str(int(parameters)), family]))


if __name__ == "__main__":
    sys.exit(main())
