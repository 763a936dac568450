//! `config.json` of a checkpoint, with transformers' keys.

use serde_json::json;

use super::recipe::{ModelRecipe, TokenizerRecipe};

/// Positions of every model of the zoo.
pub(super) const POSITIONS: usize = 256;

/// The configuration as text.
pub(super) fn of(model: &ModelRecipe, tokenizer: &TokenizerRecipe) -> String {
    let inner = model.inner.unwrap_or(4 * model.width);
    let document = if model.architecture == "gpt2" {
        json!({
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": tokenizer.vocabulary,
            "n_positions": POSITIONS,
            "n_ctx": POSITIONS,
            "n_embd": model.width,
            "n_layer": model.layers,
            "n_head": model.heads,
            "n_inner": inner,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "tie_word_embeddings": true,
            "torch_dtype": "float16",
        })
    } else {
        json!({
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": tokenizer.vocabulary,
            "max_position_embeddings": POSITIONS,
            "hidden_size": model.width,
            "intermediate_size": inner,
            "num_hidden_layers": model.layers,
            "num_attention_heads": model.heads,
            "num_key_value_heads": model.key_value_heads.unwrap_or(model.heads),
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "attention_bias": false,
            "mlp_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "tie_word_embeddings": true,
            "torch_dtype": "float16",
        })
    };
    format!("{document:#}\n")
}
