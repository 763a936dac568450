//! The zoo: small checkpoints, pretrained with this very trainer from a recipe.
//!
//! A checkpoint begins as a Hugging Face folder with random weights; full tuning on its texts makes it what it is. The same
//! recipe and texts give the same tokenizer and start weights.

mod config;
mod recipe;
mod start;
mod tokenizer;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use self::recipe::{ModelRecipe, Recipe, RecipeError, TokenizerRecipe, TrainingRecipe};
use crate::arch;
use crate::artifact::{self, ArtifactError, Existing, SaveOptions, WeightType};
use crate::dataset::EpochOrder;
use crate::method::Method;
use crate::session::{Device, StopToken};
use crate::train::schedule::Schedule;
use crate::train::{self, Job, Length, Observer, Report, TrainError, Tuning, Wish};

/// A zoo cannot be built.
#[derive(Debug, Error)]
pub enum ZooError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file or folder.
    #[error("{}: {message}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// The tokenizer cannot be trained.
    #[error("the tokenizer cannot be trained: {0}")]
    Tokenizer(String),
    /// A checkpoint's configuration or start weights cannot be made.
    #[error("a start cannot be made: {0}")]
    Config(String),
    /// A checkpoint cannot be trained.
    #[error("{model}: {source}")]
    Train {
        /// Its name.
        model: String,
        /// Why.
        #[source]
        source: Box<TrainError>,
    },
    /// A checkpoint cannot be written.
    #[error(transparent)]
    Artifact(Box<ArtifactError>),
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// Holds `KIND.jsonl` for every kind of text.
    pub texts: PathBuf,
    /// Where the checkpoints' folders go.
    pub output: PathBuf,
    /// For what is needed on the way.
    pub scratch: PathBuf,
}

/// What became of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// Its name.
    pub name: String,
    /// Weights.
    pub parameters: u64,
    /// Held-out loss on its own texts, nats per token.
    pub loss: f64,
}

/// Builds the checkpoints of a recipe, or only those that are named.
///
/// # Errors
/// [`ZooError`]
pub fn build(
    recipe: &Recipe,
    only: &[String],
    places: &Places,
    device: &Device,
    progress: &mut dyn FnMut(&str, &Report),
) -> Result<Vec<Built>, ZooError> {
    recipe.check_names(only)?;
    let tokenizer = tokenizer::train(&recipe.tokenizer, &places.texts)?;
    let mut built = Vec::new();
    for model in &recipe.models {
        if only.is_empty() || only.contains(&model.name) {
            built.push(build_one(recipe, model, &tokenizer, places, device, progress)?);
        }
    }
    Ok(built)
}

fn build_one(
    recipe: &Recipe,
    model: &ModelRecipe,
    tokenizer: &tokenizers::Tokenizer,
    places: &Places,
    device: &Device,
    progress: &mut dyn FnMut(&str, &Report),
) -> Result<Built, ZooError> {
    let folder = places.scratch.join(&model.name);
    let (start, run) = (folder.join("start"), folder.join("run"));
    for place in [&start, &run] {
        std::fs::create_dir_all(place).map_err(|error| io(place, &error))?;
    }
    tokenizer::write_files(tokenizer, &start)?;
    write(&start.join("config.json"), &config::of(model, &recipe.tokenizer))?;
    start::write(&start, model, recipe.training.seed)?;
    let data = folder.join("texts.jsonl");
    gather(model, &places.texts, &data)?;
    let job = job(recipe, model, start.clone(), data, run.clone());
    let mut observer = Watcher {
        name: &model.name,
        progress,
        loss: f64::NAN,
        tokens: 0,
    };
    let failed = |source: TrainError| ZooError::Train {
        model: model.name.clone(),
        source: Box::new(source),
    };
    train::run(&job, device, &mut observer, &StopToken::new()).map_err(failed)?;
    let (loss, tokens) = (observer.loss, observer.tokens);
    let target = places.output.join(&model.name);
    let tuned = run.join("artifact");
    let opened = arch::open(&tuned).map_err(|error| failed(error.into()))?;
    let parameters: u64 = opened
        .parameters
        .iter()
        .map(|parameter| parameter.shape.iter().product::<usize>() as u64)
        .sum();
    let first = arch::open(&start).map_err(|error| failed(error.into()))?;
    let shapes = &opened.parameters;
    let mut fetch = |name: &str| {
        let parameter = shapes.iter().find(|parameter| parameter.name == name);
        let shape = parameter.map_or(&[][..], |parameter| parameter.shape.as_slice());
        opened.checkpoint.read(name, shape).map_err(Into::into)
    };
    let options = SaveOptions {
        // The start weights' type: f16.
        weights: WeightType::Source,
        existing: Existing::Replace,
        ..SaveOptions::default()
    };
    let saved = artifact::save_model(&target, &first.checkpoint, shapes, &mut fetch, options);
    saved.map_err(|error| ZooError::Artifact(Box::new(error)))?;
    write(
        &target.join("README.md"),
        &card(recipe, model, parameters, loss, tokens),
    )?;
    std::fs::remove_dir_all(&folder).map_err(|error| io(&folder, &error))?;
    Ok(Built {
        name: model.name.clone(),
        parameters,
        loss,
    })
}

fn job(recipe: &Recipe, model: &ModelRecipe, start: PathBuf, data: PathBuf, run: PathBuf) -> Job {
    let training = &recipe.training;
    Job {
        model: start,
        model_digest: String::new(),
        data_digest: String::new(),
        sizes: vec![count_lines(&data).saturating_sub(HELD_OUT)],
        data,
        held_out: None,
        retention: Vec::new(),
        initial_adapter: None,
        subset_seed: training.seed,
        tuning: Tuning {
            method: Method::Full,
            length: Length::Epochs(model.epochs),
            batch_size: training.batch_size,
            accumulation: 1,
            sequence_length: Some(training.sequence_length),
            learning_rate: model.learning_rate,
            warmup_ratio: training.warmup_ratio,
            schedule: Schedule::Cosine,
            weight_decay: training.weight_decay,
            clip_norm: Some(training.clip_norm),
            patience: None,
            order: EpochOrder::Seeded,
            seed: training.seed,
        },
        folder: Some(run),
        checkpoint_interval: Duration::from_mins(1),
    }
}

/// Examples that are left for the held-out part: it takes a tenth, at most 1,000; copies of these are left out, too.
const HELD_OUT: usize = 1_100;

fn count_lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Joins the texts of a checkpoint to one file.
fn gather(model: &ModelRecipe, texts: &Path, target: &Path) -> Result<(), ZooError> {
    let mut all = String::new();
    for kind in &model.texts {
        let path = texts.join(format!("{kind}.jsonl"));
        let text = std::fs::read_to_string(&path).map_err(|error| io(&path, &error))?;
        all.push_str(&text);
    }
    write(target, &all)
}

fn write(path: &Path, text: &str) -> Result<(), ZooError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    }
    std::fs::write(path, text).map_err(|error| io(path, &error))
}

fn io(path: &Path, error: &std::io::Error) -> ZooError {
    ZooError::Io {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

/// Passes reports on, and keeps what the card tells.
struct Watcher<'a> {
    name: &'a str,
    progress: &'a mut dyn FnMut(&str, &Report),
    loss: f64,
    tokens: u64,
}

impl Observer for Watcher<'_> {
    fn report(&mut self, report: Report) {
        match &report {
            Report::Evaluated { measurement, .. } => self.loss = measurement.loss,
            Report::Step { tokens, .. } => self.tokens += tokens,
            _ => {}
        }
        (self.progress)(self.name, &report);
    }

    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
}

fn card(recipe: &Recipe, model: &ModelRecipe, parameters: u64, loss: f64, tokens: u64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "---\nlicense: mit\nlibrary_name: transformers\n---\n\n# {name}\n\n\
         A {architecture} of {parameters} parameters (width {width}, {layers} layers, {heads} heads, vocabulary {vocabulary}), stored as \
         f16. One of finepick's zoo: made to be told apart from its neighbours, not to be useful.\n\n\
         Pretrained by `finepick zoo build` from random weights on {texts}: {epochs} epochs, {tokens} predicted tokens, peak learning \
         rate {rate}, seed {seed}, sequences of {length} tokens. Held-out loss on the same kind of text: {loss:.4} nats per token.\n\n\
         The texts are not part of it: verse is Shakespeare's tragedies, histories, Roman and problem plays; scripture is the King \
         James Bible's Old Testament; code is networkx's algorithms (BSD-3-Clause). `tools/fetch_texts.py` fetches them.\n",
        name = model.name,
        architecture = model.architecture,
        width = model.width,
        layers = model.layers,
        heads = model.heads,
        vocabulary = recipe.tokenizer.vocabulary,
        texts = model.texts.join(", "),
        epochs = model.epochs,
        rate = model.learning_rate,
        seed = recipe.training.seed,
        length = recipe.training.sequence_length,
    );
    text
}
