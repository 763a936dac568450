//! Fine-tuning on ONNX Runtime: a checkpoint folder and a data file in, held-out losses and tuned weights out.
//!
//! A training step (forward, loss, backward, clip, `AdamW`) is one plain ONNX graph that we build ourselves, because stock builds of
//! ONNX Runtime have no training API; an ordinary inference session runs it on whatever device has an execution provider.
//!
//! | module | holds |
//! |---|---|
//! | [`tensor`], [`graph`] | tensors in host memory; the graph with its operators and shapes; ONNX in and out |
//! | [`autodiff`], [`optimizer`] | reverse mode, one rule per operator; clipping and `AdamW` as graphs |
//! | [`checkpoint`], [`arch`] | Hugging Face folders; forward graphs of the architectures |
//! | [`tokenizer`], [`dataset`] | text to tokens; files to examples, subsets, batches |
//! | [`hub`] | references to models and data; fetching them; digests |
//! | [`method`] | what is trainable: all weights, low-rank adapters, a prompt |
//! | [`session`] | ONNX Runtime: devices, compiled graphs, buffers |
//! | [`train`], [`artifact`] | the training loop; tuned weights as files |
//! | [`runs`] | runs: queue, slots, pause, watchdog, what survives a crash |
//! | [`grpc`], [`config`] | the wire; `[trainer]` |

pub mod arch;
pub mod artifact;
pub mod autodiff;
pub mod checkpoint;
pub mod dataset;
mod files;
pub mod graph;
pub mod hub;
pub mod method;
pub mod optimizer;
pub mod runs;
pub mod session;
pub mod tensor;
pub mod tokenizer;
pub mod train;
pub mod zoo;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod worker;
