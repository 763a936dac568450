//! Everything a run needs before its first step: model, tokens, subsets, start values.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::state::{self, Position, Tensors};
use super::tuner::Tuner;
use super::{DEFAULT_SEQUENCE_LENGTH, Job, Length, Observer, Report, TrainError, Tuning, positions_for_tokens};
use crate::arch::{self, Model, Parameter};
use crate::artifact::{self, Existing, SaveOptions};
use crate::dataset::{Buckets, Examples, HeldOut, ReadOptions, Split, Tokenized};
use crate::method::{GraphShape, Lora, Method, Starts, Trainable, Tuned};
use crate::tokenizer::Tokenizer;

/// Name of the state's file in the run's folder.
const STATE_FILE: &str = "state.safetensors";
/// Name of the tuned weights' folder in the run's folder.
pub(crate) const ARTIFACT_FOLDER: &str = "artifact";

/// The smallest shape of a graph: it shows which weights there are.
pub(super) const SMALLEST: GraphShape = GraphShape {
    rows: 1,
    length: 2,
    training: false,
};

/// A run's model and data.
pub(super) struct Prepared<'a> {
    pub(super) job: &'a Job,
    pub(super) model: Model,
    /// Weights that are not trained.
    pub(super) frozen: Vec<Parameter>,
    /// Weights that are.
    pub(super) trainable: Vec<Trainable>,
    /// The largest subset, in the subset's order.
    pub(super) training: Tokenized,
    /// Place of each of these in the data: what `as is` orders by.
    pub(super) places: Vec<usize>,
    pub(super) held_out: Tokenized,
    pub(super) retention: Vec<(String, Tokenized)>,
    pub(super) buckets: Buckets,
    data_digest: String,
    notes: Vec<Report>,
    starts: Starts,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(job: &'a Job) -> Result<Self, TrainError> {
        let model = arch::open(&job.model)?;
        let tokenizer = Tokenizer::open(&job.model)?;
        let length = sequence_length(job, &model)?;
        let mut notes = Vec::new();
        let data = read(&job.data, "data", &mut notes)?;
        check_digest("the data", &job.data_digest, data.digest())?;
        let largest = job.sizes.iter().copied().max().unwrap_or(0);
        let (split, held_out) = match &job.held_out {
            Some(path) => {
                let held_out = read(path, "held-out data", &mut notes)?;
                let tokenized = Tokenized::new(&held_out, &tokenizer, length)?;
                (Split::outside(&data, &held_out), tokenized)
            }
            None => inside(&data, &tokenizer, length)?,
        };
        if split.copies > 0 {
            let text = format!("{} examples are copies of held-out ones and are left out", split.copies);
            notes.push(Report::Note(text));
        }
        let places = split.subset(largest, job.subset_seed)?;
        let training = Tokenized::of(&data, &places, &tokenizer, length)?;
        let retention = job
            .retention
            .iter()
            .map(|(name, path)| {
                let examples = read(path, name, &mut notes)?;
                Ok((name.clone(), Tokenized::new(&examples, &tokenizer, length)?))
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        let parts = [("training", &training), ("held-out", &held_out)];
        let all = parts
            .into_iter()
            .chain(retention.iter().map(|(name, set)| (name.as_str(), set)));
        for (name, tokenized) in all {
            check_vocabulary(tokenized, &model)?;
            notes.extend(note_of(name, tokenized, length));
        }
        let data_digest = data.digest().to_owned();
        let (frozen, trainable) = weights(job, &model)?;
        let starts = starts(job, &model, &tokenizer, &trainable)?;
        Ok(Self {
            job,
            frozen,
            trainable,
            training,
            places,
            held_out,
            retention,
            buckets: Buckets::doubling(length),
            data_digest,
            notes,
            starts,
            model,
        })
    }

    /// Steps of one size: as many as its epochs take, or as were asked for.
    pub(super) fn steps(&self, size: usize) -> u64 {
        match self.job.tuning.length {
            _ if size == 0 => 0,
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => self.steps_per_epoch(size) * u64::from(epochs),
        }
    }

    /// Steps of one pass over so many examples.
    pub(super) fn steps_per_epoch(&self, size: usize) -> u64 {
        let usable = (0..size).filter(|&index| self.training.predicted(index) > 0).count();
        let rows = self.job.tuning.batch_size.max(1) * self.job.tuning.accumulation.max(1);
        usable.div_ceil(rows) as u64
    }

    pub(super) fn total_steps(&self) -> u64 {
        self.job.sizes.iter().map(|&size| self.steps(size)).sum()
    }

    /// Steps of the sizes before this one.
    pub(super) fn steps_before(&self, stage: usize) -> u64 {
        self.job.sizes.iter().take(stage).map(|&size| self.steps(size)).sum()
    }

    /// Is this the last of the sizes?
    pub(super) fn is_last(&self, index: usize) -> bool {
        index + 1 == self.job.sizes.len()
    }

    /// Does the method put a prompt before every text that is not somebody's result?
    pub(super) fn has_new_prompt(&self) -> bool {
        matches!(self.job.tuning.method, Method::Prompt(_)) && self.job.initial_adapter.is_none()
    }

    pub(super) fn announce(&self, observer: &mut dyn Observer) {
        let size = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let frozen: u64 = self.frozen.iter().map(|weight| size(&weight.shape)).sum();
        let trained: u64 = self.trainable.iter().map(|weight| size(&weight.shape)).sum();
        observer.report(Report::Prepared {
            data_digest: self.data_digest.clone(),
            total_steps: self.total_steps(),
            sequence_length: self.held_out.sequence_length(),
            parameters: frozen + trained,
            trained,
        });
        for note in &self.notes {
            observer.report(note.clone());
        }
    }

    /// Puts the start values of all trained weights there.
    pub(super) fn put_starts(&self, tuner: &mut Tuner<'_>) -> Result<(), TrainError> {
        for weight in &self.trainable {
            match self.starts.get(&weight.name) {
                Some(start) => tuner.set(&weight.name, start)?,
                None => tuner.set(&weight.name, &self.model.checkpoint.read(&weight.name, &weight.shape)?)?,
            }
        }
        Ok(())
    }

    /// The state that an earlier attempt saved.
    pub(super) fn saved_state(&self) -> Result<Option<(Position, Tensors)>, TrainError> {
        match self.state_path() {
            Some(path) => Ok(state::load(&path, &self.fingerprint())?),
            None => Ok(None),
        }
    }

    /// Saves a state, if there is a folder for it.
    pub(super) fn save(&self, position: &Position, tensors: &Tensors) -> Result<bool, TrainError> {
        let Some(path) = self.state_path() else {
            return Ok(false);
        };
        let position = Position {
            fingerprint: self.fingerprint(),
            ..position.clone()
        };
        state::save(&path, &position, tensors)?;
        Ok(true)
    }

    /// A size is done: the next one is what a resumed run begins with, and the last one's weights are the result.
    pub(super) fn finish_stage(
        &self,
        index: usize,
        tuner: &Tuner<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(folder) = &self.job.folder else { return Ok(()) };
        if self.is_last(index) && self.job.sizes.last().is_some_and(|&size| size > 0) {
            let target = folder.join(ARTIFACT_FOLDER);
            self.write_artifact(&target, tuner)?;
            observer.report(Report::Note(format!("tuned weights: {}", target.display())));
        }
        let next = Position {
            stage: index + 1,
            ..Position::default()
        };
        self.save(&next, &Tensors::new())?;
        Ok(())
    }

    /// Weights are fetched from the device one by one.
    fn write_artifact(&self, target: &Path, tuner: &Tuner<'_>) -> Result<(), TrainError> {
        let model = &self.model;
        let base = self.job.model.display().to_string();
        let mut fetch = |name: &str| tuner.weight(name).map_err(Into::into);
        let existing = Existing::Replace;
        match &self.job.tuning.method {
            Method::Full => {
                let options = SaveOptions {
                    existing,
                    ..SaveOptions::default()
                };
                artifact::save_model(target, &model.checkpoint, &model.parameters, &mut fetch, options)?;
            }
            Method::Lora(lora) => {
                let layers = arch::outline(model.decoder.as_ref())?.layers;
                artifact::save_lora(target, lora, &base, &layers, &self.trainable, &mut fetch, existing)?;
            }
            Method::Prompt(prompt) => {
                let width = model.decoder.embedding_width();
                artifact::save_prompt(target, prompt, width, &base, &mut fetch, existing)?;
            }
        }
        Ok(())
    }

    fn state_path(&self) -> Option<PathBuf> {
        self.job.folder.as_ref().map(|folder| folder.join(STATE_FILE))
    }

    /// Identifies what this run does: another model, other data or settings make another run.
    fn fingerprint(&self) -> String {
        let job = self.job;
        // The length that was found is as good as the same one asked for.
        let tuning = Tuning {
            sequence_length: Some(self.held_out.sequence_length()),
            ..job.tuning.clone()
        };
        let mut hash = Sha256::new();
        let described = format!(
            "{} {} {:?} {:?} {} {:?}",
            job.model_digest, self.data_digest, job.sizes, job.retention, job.subset_seed, tuning
        );
        hash.update(described.as_bytes());
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn read(path: &Path, what: &str, notes: &mut Vec<Report>) -> Result<Examples, TrainError> {
    let examples = Examples::read(path, &ReadOptions::default())?;
    let skipped = examples.skipped();
    if skipped.broken > 0 || skipped.empty > 0 {
        let mut text = format!(
            "{what}: skipped {} broken and {} empty rows",
            skipped.broken, skipped.empty
        );
        for row in &skipped.first {
            let _ = write!(text, "\n  {row}");
        }
        notes.push(Report::Warning(text));
    }
    Ok(examples)
}

fn inside(data: &Examples, tokenizer: &Tokenizer, length: usize) -> Result<(Split, Tokenized), TrainError> {
    let split = Split::inside(data)?;
    let indices = match &split.held_out {
        HeldOut::Inside(indices) => indices.clone(),
        HeldOut::Outside => Vec::new(),
    };
    let held_out = Tokenized::of(data, &indices, tokenizer, length)?;
    Ok((split, held_out))
}

fn check_digest(what: &'static str, expected: &str, found: &str) -> Result<(), TrainError> {
    if expected.is_empty() || expected == found {
        return Ok(());
    }
    Err(TrainError::Digest {
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

fn check_vocabulary(tokenized: &Tokenized, model: &Model) -> Result<(), TrainError> {
    let vocabulary = model.decoder.vocabulary();
    match tokenized.largest_id() {
        Some(token) if token as usize >= vocabulary => Err(TrainError::Vocabulary { token, vocabulary }),
        _ => Ok(()),
    }
}

fn note_of(name: &str, tokenized: &Tokenized, length: usize) -> Option<Report> {
    let mut parts = Vec::new();
    if tokenized.truncated() > 0 {
        parts.push(format!(
            "{} of {} examples were cut to {length} tokens ({} tokens cut off)",
            tokenized.truncated(),
            tokenized.len(),
            tokenized.truncated_tokens()
        ));
    }
    if let Some(first) = tokenized.first_unusable().first() {
        parts.push(format!(
            "{} examples have no token to predict (the first: {})",
            tokenized.unusable(),
            first.reason
        ));
    }
    (!parts.is_empty()).then(|| Report::Warning(format!("{name}: {}", parts.join("; "))))
}

fn sequence_length(job: &Job, model: &Model) -> Result<usize, TrainError> {
    let limit = positions_for_tokens(model.decoder.as_ref(), &job.tuning.method);
    match (job.tuning.sequence_length, limit) {
        (Some(asked), Some(limit)) if asked > limit => Err(TrainError::SequenceTooLong { asked, limit }),
        (Some(asked), _) => Ok(asked),
        (None, limit) => Ok(limit.unwrap_or(DEFAULT_SEQUENCE_LENGTH).min(DEFAULT_SEQUENCE_LENGTH)),
    }
}

/// What is frozen and what is trained, from a graph of the smallest shape.
fn weights(job: &Job, model: &Model) -> Result<(Vec<Parameter>, Vec<Trainable>), TrainError> {
    let Tuned { frozen, trainable, .. } = job.tuning.method.build(model.decoder.as_ref(), SMALLEST)?;
    Ok((frozen, trainable))
}

/// Start values of what the checkpoint does not hold.
fn starts(job: &Job, model: &Model, tokenizer: &Tokenizer, trainable: &[Trainable]) -> Result<Starts, TrainError> {
    let Some(folder) = &job.initial_adapter else {
        return match &job.tuning.method {
            Method::Full => Ok(Starts::new()),
            Method::Lora(_) => Ok(Lora::starts(trainable, job.tuning.seed)),
            Method::Prompt(prompt) => {
                let name = model.decoder.embedding_parameter();
                let shape = [model.decoder.vocabulary(), model.decoder.embedding_width()];
                let embedding = model.checkpoint.read(name, &shape)?;
                let text = tokenizer.encode(&prompt.initial_text)?;
                Ok(prompt.starts(&embedding, &text, job.tuning.seed)?)
            }
        };
    };
    let adapter = artifact::read_adapter(folder)?;
    let (asked, found) = (job.tuning.method.name(), adapter.method.name());
    if asked != found {
        return Err(TrainError::Adapter(format!("it is {found}, the method is {asked}")));
    }
    adapter.check(trainable)?;
    Ok(adapter.weights)
}
