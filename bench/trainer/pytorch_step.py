"""Speed and memory of a training step in PyTorch: the model and the step of trainer-svc/benches/step.rs.

Run by hand in an environment with torch, transformers and, for --method lora, peft (figures in bench/README.md: torch 2.15.0,
transformers 5.23.0, peft 0.21.2):

    python bench/trainer/pytorch_step.py [--arch gpt2|llama] [--method full|lora] [--bf16] [--threads 2] [--steps 20]
"""

import argparse
import json
import resource
import time

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig


def model_of(arguments):
    """The decoder, with random weights."""
    heads = arguments.width // 64
    if arguments.arch == "llama":
        config = LlamaConfig(
            vocab_size=arguments.vocabulary,
            max_position_embeddings=arguments.length,
            hidden_size=arguments.width,
            intermediate_size=8 * arguments.width // 3,
            num_hidden_layers=arguments.layers,
            num_attention_heads=heads,
            tie_word_embeddings=True,
        )
    else:
        config = GPT2Config(
            vocab_size=arguments.vocabulary,
            n_positions=arguments.length,
            n_embd=arguments.width,
            n_layer=arguments.layers,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=arguments.attention)
    model.config.use_cache = False
    if arguments.method == "lora":
        from peft import LoraConfig, get_peft_model

        targets = ["c_attn"] if arguments.arch == "gpt2" else ["q_proj", "v_proj"]
        settings = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
        model = get_peft_model(model, settings)
    return model.train()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default="gpt2", choices=["gpt2", "llama"])
    parser.add_argument("--method", default="full", choices=["full", "lora"])
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--bf16", action="store_true")
    for name, default in [("threads", 2), ("steps", 20), ("layers", 6), ("width", 384), ("vocabulary", 8192), ("batch", 8), ("length", 128)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = model_of(arguments)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Decay as the trainer has it: not on biases and norms.
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": 0.1},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=1e-4)
    shape = (arguments.batch, arguments.length)
    ids = torch.randint(arguments.vocabulary, shape)
    targets = torch.randint(arguments.vocabulary, shape).view(-1)

    seconds, losses = [], []
    for turn in range(arguments.steps + 2):
        if turn == 2:
            used = time.process_time()
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
            logits = model(input_ids=ids).logits
            loss = torch.nn.functional.cross_entropy(logits.view(-1, arguments.vocabulary).float(), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if turn >= 2:
            seconds.append(time.perf_counter() - begin)
    used = (time.process_time() - used) / arguments.steps
    seconds.sort()
    tokens = arguments.batch * arguments.length
    median = seconds[len(seconds) // 2]
    print(
        json.dumps(
            {
                "engine": f"torch {torch.__version__}",
                "trainable": sum(parameter.numel() for parameter in trained),
                "tokens_per_second": {"median": round(tokens / median), "best": round(tokens / seconds[0])},
                "seconds": {"step": median, "processor": used},
                "memory_mib": {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024},
                "loss": {"first": losses[0], "last": losses[-1]},
            }
        )
    )


if __name__ == "__main__":
    main()
