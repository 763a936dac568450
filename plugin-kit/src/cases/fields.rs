//! Every field out of its range, and text that is hard to keep.

use finepick_proto::trainer::v1 as pb;
use prost_types::Duration;

use crate::case::{Case, Needs, case};
use crate::kit::{Scope, method_of};
use crate::verdict::{Refusal, Verdict, equal, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "fields.invalid",
        ["C-3.9"],
        Needs::Nothing,
        Shared,
        invalid,
        "Each field out of its range is refused by its path, and nothing is created."
    ),
    case!(
        "fields.unclaimed",
        ["C-2.5"],
        Needs::Nothing,
        Shared,
        unclaimed,
        "A spec that needs what is not claimed is refused by the field's path."
    ),
    case!(
        "fields.unicode",
        ["C-3.8"],
        Needs::Nothing,
        Shared,
        unicode,
        "Text comes back as it was sent."
    ),
    case!(
        "ids.hostile",
        ["C-3.7"],
        Needs::Nothing,
        Shared,
        hostile_ids,
        "Ids that are not plain names are refused, in every call."
    ),
    case!(
        "ids.legal",
        ["C-3.7"],
        Needs::Nothing,
        Shared,
        legal_ids,
        "Ids at the limits are accepted and compared byte by byte."
    ),
];

/// A way to spoil a request, and the path that must be named.
type Row = (&'static str, fn(&mut pb::TrainingRunSpec));

/// The hyperparameters, made if there are none.
fn hyper(spec: &mut pb::TrainingRunSpec) -> &mut pb::Hyperparameters {
    spec.hyperparameters.get_or_insert_default()
}

fn lora(spec: &mut pb::TrainingRunSpec, rank: i32, alpha: Option<f64>, dropout: Option<f64>) {
    let lora = pb::LoraTuning {
        rank,
        alpha,
        dropout,
        target_modules: Vec::new(),
    };
    spec.method = Some(pb::TuningMethod {
        kind: Some(pb::tuning_method::Kind::Lora(lora)),
    });
}

fn prompt(spec: &mut pb::TrainingRunSpec, length: i32) {
    let prompt = pb::PromptTuning {
        length,
        initial_text: String::new(),
    };
    spec.method = Some(pb::TuningMethod {
        kind: Some(pb::tuning_method::Kind::Prompt(prompt)),
    });
}

#[expect(clippy::unnecessary_wraps, reason = "it is what the fields take")]
fn reference(uri: impl Into<String>) -> Option<pb::Reference> {
    Some(pb::Reference {
        uri: uri.into(),
        digest: String::new(),
    })
}

fn retention(spec: &mut pb::TrainingRunSpec, names: &[&str], uri: &str) {
    let set = |name: &&str| pb::RetentionSet {
        name: (*name).to_owned(),
        data: reference(uri),
    };
    spec.retention_sets = names.iter().map(set).collect();
}

const ROWS: &[Row] = &[
    ("spec.candidate_id", |spec| spec.candidate_id.clear()),
    ("spec.candidate_id", |spec| spec.candidate_id = "x".repeat(257)),
    ("spec.candidate_id", |spec| spec.candidate_id = "\u{fc}".repeat(129)),
    ("spec.model", |spec| spec.model = None),
    ("spec.model.uri", |spec| spec.model = reference("")),
    ("spec.model.uri", |spec| spec.model = reference("x".repeat(2_049))),
    ("spec.data", |spec| spec.data = None),
    ("spec.data.uri", |spec| spec.data = reference("")),
    ("spec.held_out.uri", |spec| spec.held_out = reference("")),
    ("spec.data_sizes", |spec| spec.data_sizes.clear()),
    ("spec.data_sizes", |spec| spec.data_sizes = (0..65).collect()),
    ("spec.data_sizes[0]", |spec| spec.data_sizes = vec![-1]),
    ("spec.data_sizes[0]", |spec| spec.data_sizes = vec![i64::MIN]),
    ("spec.data_sizes[1]", |spec| spec.data_sizes = vec![100, 100]),
    ("spec.data_sizes[1]", |spec| spec.data_sizes = vec![100, 50]),
    ("spec.method", |spec| spec.method = None),
    ("spec.method", |spec| {
        spec.method = Some(pb::TuningMethod { kind: None });
    }),
    ("spec.method.lora.rank", |spec| lora(spec, 0, None, None)),
    ("spec.method.lora.rank", |spec| lora(spec, 4_097, None, None)),
    ("spec.method.lora.alpha", |spec| lora(spec, 4, Some(0.0), None)),
    ("spec.method.lora.alpha", |spec| lora(spec, 4, Some(f64::NAN), None)),
    ("spec.method.lora.dropout", |spec| lora(spec, 4, None, Some(1.0))),
    ("spec.method.lora.dropout", |spec| lora(spec, 4, None, Some(-0.1))),
    ("spec.method.prompt.length", |spec| prompt(spec, 0)),
    ("spec.method.prompt.length", |spec| prompt(spec, 4_097)),
    ("spec.hyperparameters.epochs", |spec| hyper(spec).epochs = Some(0)),
    ("spec.hyperparameters.epochs", |spec| hyper(spec).epochs = Some(10_001)),
    ("spec.hyperparameters.steps", |spec| hyper(spec).steps = Some(0)),
    ("spec.hyperparameters.steps", |spec| hyper(spec).steps = Some(-5)),
    ("spec.hyperparameters", |spec| {
        hyper(spec).epochs = Some(1);
        hyper(spec).steps = Some(1);
    }),
    ("spec.hyperparameters.batch_size", |spec| {
        hyper(spec).batch_size = Some(0);
    }),
    ("spec.hyperparameters.batch_size", |spec| {
        hyper(spec).batch_size = Some(1_048_577);
    }),
    ("spec.hyperparameters.sequence_length", |spec| {
        hyper(spec).sequence_length = Some(0);
    }),
    ("spec.hyperparameters.learning_rate", |spec| {
        hyper(spec).learning_rate = Some(0.0);
    }),
    ("spec.hyperparameters.learning_rate", |spec| {
        hyper(spec).learning_rate = Some(f64::INFINITY);
    }),
    ("spec.hyperparameters.warmup_ratio", |spec| {
        hyper(spec).warmup_ratio = Some(1.5);
    }),
    ("spec.hyperparameters.weight_decay", |spec| {
        hyper(spec).weight_decay = Some(-1.0);
    }),
    ("spec.hyperparameters.clip_norm", |spec| {
        hyper(spec).clip_norm = Some(0.0);
    }),
    ("spec.hyperparameters.gradient_accumulation", |spec| {
        hyper(spec).gradient_accumulation = Some(0);
    }),
    ("spec.hyperparameters.gradient_accumulation", |spec| {
        hyper(spec).gradient_accumulation = Some(65_537);
    }),
    ("spec.hyperparameters.schedule", |spec| {
        "no-such-schedule".clone_into(&mut hyper(spec).schedule);
    }),
    ("spec.hyperparameters.patience", |spec| {
        hyper(spec).patience = Some(0);
    }),
    ("spec.hyperparameters.patience", |spec| {
        hyper(spec).patience = Some(10_001);
    }),
    ("spec.hyperparameters.order", |spec| hyper(spec).order = 77),
    ("spec.initial_adapter", |spec| {
        let kind = Some(pb::tuning_method::Kind::Full(pb::FullTuning {}));
        spec.method = Some(pb::TuningMethod { kind });
        spec.initial_adapter = reference("adapter");
    }),
    ("spec.initial_adapter.uri", |spec| {
        lora(spec, 4, None, None);
        spec.initial_adapter = reference("");
    }),
    ("spec.retention_sets", |spec| {
        let names: Vec<_> = (0..17).map(|number| number.to_string()).collect();
        retention(spec, &names.iter().map(String::as_str).collect::<Vec<_>>(), "data");
    }),
    ("spec.retention_sets[0].name", |spec| retention(spec, &[""], "data")),
    ("spec.retention_sets[1].name", |spec| {
        retention(spec, &["a", "a"], "data");
    }),
    ("spec.retention_sets[0].data.uri", |spec| retention(spec, &["a"], "")),
    ("spec.max_duration", |spec| {
        spec.max_duration = Some(Duration { seconds: 0, nanos: 0 });
    }),
    ("spec.max_duration", |spec| {
        spec.max_duration = Some(Duration { seconds: -1, nanos: 0 });
    }),
    ("spec.labels", |spec| {
        spec.labels = (0..65).map(|key| (key.to_string(), String::new())).collect();
    }),
    ("spec.labels", |spec| {
        spec.labels.insert("k".repeat(257), String::new());
    }),
    ("spec.labels", |spec| {
        spec.labels.insert("k".to_owned(), "v".repeat(257));
    }),
];

async fn invalid(scope: &Scope) -> Verdict {
    let id = scope.new_id("invalid");
    let request = pb::CreateTrainingRunRequest {
        training_run_id: id.clone(),
        spec: None,
        request_id: String::new(),
    };
    let answer = scope.create_training_run(request.clone()).await;
    Refusal::field("spec").check("C-3.9", "CreateTrainingRun without a spec", answer)?;
    let request = pb::CreateTrainingRunRequest {
        spec: Some(scope.spec()),
        request_id: "r".repeat(129),
        ..request
    };
    let answer = scope.create_training_run(request).await;
    Refusal::field("request_id").check("C-3.9", "CreateTrainingRun with a request_id of 129 bytes", answer)?;
    for (path, spoil) in ROWS {
        let mut spec = scope.spec();
        spoil(&mut spec);
        let call = format!("CreateTrainingRun with a wrong {path}");
        Refusal::field(path).check("C-3.9", &call, scope.create(&id, &spec).await)?;
    }
    Refusal::not_found(&id).check("C-3.9", "GetTrainingRun after refused creates", scope.get(&id).await)
}

async fn unclaimed(scope: &Scope) -> Verdict {
    let claimed = &scope.capabilities;
    let mut rows: Vec<(&str, pb::TrainingRunSpec)> = Vec::new();
    for kind in [pb::MethodKind::Full, pb::MethodKind::Lora, pb::MethodKind::Prompt] {
        if !claimed.methods().any(|one| one == kind) {
            let kind = Some(method_of(kind));
            let method = Some(pb::TuningMethod { kind });
            rows.push(("spec.method", pb::TrainingRunSpec { method, ..scope.spec() }));
        }
    }
    if !claimed.nested_subsets {
        let data_sizes = vec![1, 2];
        rows.push((
            "spec.data_sizes",
            pb::TrainingRunSpec {
                data_sizes,
                ..scope.spec()
            },
        ));
    }
    if let Some(size) = claimed.data_size_max.and_then(|size| size.checked_add(1)) {
        let data_sizes = vec![size];
        rows.push((
            "spec.data_sizes[0]",
            pb::TrainingRunSpec {
                data_sizes,
                ..scope.spec()
            },
        ));
    }
    if !claimed.retention_sets {
        let mut spec = scope.spec();
        retention(&mut spec, &["other"], &scope.options.data);
        rows.push(("spec.retention_sets", spec));
    }
    let mut spec = scope.spec();
    hyper(&mut spec).precision.push_str("no-such-precision");
    rows.push(("spec.hyperparameters.precision", spec));
    let device = "no-such-device".to_owned();
    rows.push(("spec.device", pb::TrainingRunSpec { device, ..scope.spec() }));
    let id = scope.new_id("unclaimed");
    for (path, spec) in rows {
        let call = format!("CreateTrainingRun with an unclaimed {path}");
        Refusal::capability(path).check("C-2.5", &call, scope.create(&id, &spec).await)?;
    }
    Refusal::not_found(&id).check("C-2.5", "GetTrainingRun after refused creates", scope.get(&id).await)
}

/// Text that loses something when it is trimmed, normalised, cut at a NUL, or taken for another encoding.
const TEXTS: [&str; 8] = [
    " spaces around ",
    "e\u{301} and \u{e9}",
    "\u{1f9ea}\u{1f469}\u{200d}\u{1f52c} \u{65e5}\u{672c}\u{8a9e}",
    "\u{202e}right to left\u{202c} \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "\u{feff}mark, \u{0}NUL, \u{7f}DEL",
    "line\r\nline\ttab",
    "%s %n {} ${HOME} $(id) `id` '; DROP TABLE runs;--",
    "<b>&amp;</b> \\u0041 \"quoted\"",
];

async fn unicode(scope: &Scope) -> Verdict {
    let mut spec = scope.spec();
    // 256 bytes, and the last character ends exactly there.
    spec.candidate_id = "\u{1f9ea}".repeat(64);
    spec.labels = TEXTS
        .iter()
        .map(|text| ((*text).to_owned(), (*text).to_owned()))
        .collect();
    let run = scope.start("unicode", &spec).await?;
    let got = succeed("C-3.8", "GetTrainingRun", scope.get(&run.training_run_id).await)?;
    for kept in [run.spec, got.spec] {
        let kept = kept.unwrap_or_default();
        equal("C-3.8", "spec.candidate_id", &spec.candidate_id, &kept.candidate_id)?;
        for text in TEXTS {
            let value = kept.labels.get(text).map(String::as_str);
            equal("C-3.8", "the label that was sent", &Some(text), &value)?;
        }
        equal("C-3.8", "labels", &spec.labels.len(), &kept.labels.len())?;
    }
    for text in TEXTS {
        let candidate_id = text.to_owned();
        let run = scope
            .start(
                "text",
                &pb::TrainingRunSpec {
                    candidate_id,
                    ..scope.spec()
                },
            )
            .await?;
        let kept = run.spec.unwrap_or_default().candidate_id;
        equal("C-3.8", "spec.candidate_id", &text.to_owned(), &kept)?;
    }
    Ok(())
}

const HOSTILE: [&str; 19] = [
    "",
    ".",
    "..",
    ".hidden",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    " a",
    "a\n",
    "a\0b",
    "a:b",
    "a%2fb",
    "a;b",
    "'; DROP TABLE runs;--",
    "\u{fc}ml\u{e4}ut",
    "\u{430}",
    "a\u{200b}b",
    "\u{1f9ea}",
];

async fn hostile_ids(scope: &Scope) -> Verdict {
    let (spec, long) = (scope.spec(), "x".repeat(129));
    let refused = Refusal::field("training_run_id");
    for id in HOSTILE.iter().copied().chain([long.as_str()]) {
        // Should it be accepted, it is removed again.
        scope.own(id.to_owned());
        let call = |name: &str| format!("{name} of the id {id:?}");
        refused.check("C-3.7", &call("CreateTrainingRun"), scope.create(id, &spec).await)?;
        refused.check("C-3.7", &call("GetTrainingRun"), scope.get(id).await)?;
        refused.check("C-3.7", &call("CancelTrainingRun"), scope.cancel(id).await)?;
        refused.check("C-3.7", &call("DeleteTrainingRun"), scope.delete(id).await)?;
        refused.check("C-3.7", &call("WatchTrainingRun"), first_of_watch(scope, id, 0).await)?;
    }
    Ok(())
}

/// What a watch answers first: an event, the end, or a refusal, which may come with the headers or after them.
pub(super) async fn first_of_watch(
    scope: &Scope,
    id: &str,
    after_sequence: i64,
) -> Result<Option<pb::TrainingEvent>, tonic::Status> {
    let mut stream = scope.watch(id, after_sequence).await?;
    let limit = scope.options.call_timeout;
    match tokio::time::timeout(limit, stream.message()).await {
        Ok(answer) => answer.map(|message| message.and_then(|message| message.event)),
        Err(_) => Err(tonic::Status::deadline_exceeded(format!("no event within {limit:?}"))),
    }
}

async fn legal_ids(scope: &Scope) -> Verdict {
    let base = scope.new_id("legal");
    let padded = format!("{base}{}", "-".repeat(128_usize.saturating_sub(base.len())));
    let upper = base.to_uppercase();
    let tailed = format!("{base}._-.");
    for (seed, id) in [&base, &upper, &padded, &tailed].into_iter().enumerate() {
        scope.own(id.clone());
        let spec = pb::TrainingRunSpec {
            seed: seed as u64,
            ..scope.spec()
        };
        let call = format!("CreateTrainingRun of the id {id:?}");
        let run = succeed("C-3.7", &call, scope.create_patiently(id, &spec).await)?;
        equal("C-3.7", "the id", id, &run.training_run_id)?;
    }
    let run = succeed("C-3.7", "GetTrainingRun", scope.get(&upper).await)?;
    equal(
        "C-3.7",
        "the seed of the run in capitals",
        &Some(1),
        &run.spec.map(|spec| spec.seed),
    )
}
