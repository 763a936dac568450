//! Against a stand-in for a hub.

mod stand_in;

use tempfile::TempDir;

use self::stand_in::{COMMIT, Flaw, StandIn, State, files, model, model_with};
use super::*;

fn go_on(_: &Progress) -> bool {
    true
}

#[test]
fn a_model_is_what_is_needed_of_it() {
    let (stand_in, cache) = (model(), TempDir::new().unwrap());
    let hub = stand_in.hub(&cache);
    let mut seen = Vec::new();
    let fetched = hub
        .model("hf://org/name@v1", &mut |progress: &Progress| {
            seen.push(progress.clone());
            true
        })
        .unwrap();
    assert_eq!((fetched.commit.as_deref(), fetched.fresh), (Some(COMMIT), true));
    let mut names: Vec<String> = std::fs::read_dir(&fetched.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    for name in names {
        assert_eq!(
            std::fs::read(fetched.path.join(&name)).unwrap(),
            stand_in.state.lock().unwrap().files[&name]
        );
    }
    assert!(
        seen.iter()
            .any(|progress| progress.file == "model.safetensors" && Some(progress.bytes) == progress.total)
    );
    assert!(digest_model(&fetched.path).unwrap().starts_with("sha256:"));
    assert_eq!(stand_in.requests()[0], "/api/models/org/name/revision/v1?blobs=true");
    // Again: only the revision is asked for. By its commit: nothing.
    assert_eq!(hub.model("hf://org/name@v1", &mut go_on).unwrap(), fetched);
    assert_eq!(stand_in.requests().len(), 1);
    assert_eq!(
        hub.model(&format!("hf://org/name@{COMMIT}"), &mut go_on).unwrap(),
        fetched
    );
    assert_eq!(stand_in.requests().len(), 0);
    // The hub is gone: what was fetched last serves, and says so.
    drop(stand_in);
    let last = hub.model("hf://org/name@v1", &mut go_on).unwrap();
    assert_eq!((last.path, last.fresh), (fetched.path, false));
    assert!(matches!(
        hub.model("hf://org/name@v2", &mut go_on),
        Err(HubError::Network { .. })
    ));
}

#[test]
fn shards_follow_the_index() {
    let mut all = files(&[
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model-3.safetensors",
    ]);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    all.insert("model.safetensors.index.json".into(), index.into());
    let stand_in = StandIn::start(State {
        files: all,
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let fetched = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap();
    assert!(fetched.path.join("model-2.safetensors").is_file());
    assert!(!fetched.path.join("model-3.safetensors").exists());
    let index = br#"{"weight_map": {"a": "../../../evil.safetensors"}}"#.to_vec();
    stand_in
        .state
        .lock()
        .unwrap()
        .files
        .insert("model.safetensors.index.json".into(), index);
    let cache = TempDir::new().unwrap();
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(matches!(error, HubError::Path { name, .. } if name == "../../../evil.safetensors"));
}

#[test]
fn data_is_one_file() {
    let stand_in = StandIn::start(State {
        files: files(&["data/a b.jsonl", "other.txt"]),
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let hub = stand_in.hub(&cache);
    let fetched = hub
        .data("hf://datasets/org/name@main/data/a b.jsonl", &mut go_on)
        .unwrap();
    assert!(
        fetched
            .path
            .ends_with(format!("datasets--org--name/snapshots/{COMMIT}/data/a b.jsonl"))
    );
    assert!(
        std::fs::read_to_string(&fetched.path)
            .unwrap()
            .starts_with("content of data/a b.jsonl")
    );
    let asked = stand_in.requests();
    assert_eq!(
        asked[1],
        format!("/datasets/org/name/resolve/{COMMIT}/data/a%20b.jsonl")
    );
    let missing = hub.data("hf://datasets/org/name@main/none.txt", &mut go_on);
    assert!(matches!(missing, Err(HubError::NotFound { what, .. }) if what.ends_with("none.txt")));
    assert!(matches!(
        hub.model("hf://datasets/org/name@main/x", &mut go_on),
        Err(HubError::Reference { .. })
    ));
    assert!(matches!(
        hub.data("hf://org/name", &mut go_on),
        Err(HubError::Reference { .. })
    ));
    // A second file of a known commit is fetched, too.
    let other = hub
        .data(&format!("hf://datasets/org/name@{COMMIT}/other.txt"), &mut go_on)
        .unwrap();
    assert!(other.path.is_file());
}

#[test]
fn paths_are_left_alone() {
    let cache = TempDir::new().unwrap();
    let hub = Hub::new(HubConfig::new(cache.path())).unwrap();
    for (reference, path) in [("models/x", "models/x"), ("file:///a%20b", "/a b")] {
        let fetched = hub.model(reference, &mut go_on).unwrap();
        assert_eq!((fetched.path, fetched.commit), (PathBuf::from(path), None));
    }
}

#[test]
fn the_token_opens_and_its_absence_is_told() {
    let stand_in = model();
    stand_in.state.lock().unwrap().token = Some("hf_secret".into());
    let cache = TempDir::new().unwrap();
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hf://org/name@main: the hub refuses access without a token: Access to this model is restricted."
    );
    let error = stand_in
        .hub_with(&cache, Some("wrong"))
        .model("hf://org/name", &mut go_on)
        .unwrap_err();
    assert!(matches!(error, HubError::Unauthorised { token: true, .. }));
    let hub = stand_in.hub_with(&cache, Some("hf_secret"));
    assert!(hub.model("hf://org/name", &mut go_on).is_ok());
    assert!(!format!("{hub:?}").contains("hf_secret"));
}

#[test]
fn what_is_not_there() {
    let (stand_in, cache) = (model(), TempDir::new().unwrap());
    let error = stand_in.hub(&cache).model("hf://org/other@v9", &mut go_on).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hf://org/other@v9: the hub has no such repository, revision or file: Repository not found"
    );
    stand_in.state.lock().unwrap().files.remove("model.safetensors");
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(
        matches!(&error, HubError::NoWeights { pickles, .. } if pickles == "pytorch_model.bin"),
        "{error}"
    );
    stand_in.state.lock().unwrap().files.remove("config.json");
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(
        matches!(&error, HubError::NotFound { what, .. } if what.ends_with("config.json")),
        "{error}"
    );
}

#[test]
fn broken_connections_are_gone_on_with() {
    for flaw in [Flaw::BreaksOff, Flaw::BreaksOffSilently] {
        let (stand_in, cache) = (model_with(flaw), TempDir::new().unwrap());
        let fetched = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap();
        let content = stand_in.state.lock().unwrap().files["model.safetensors"].clone();
        assert_eq!(
            std::fs::read(fetched.path.join("model.safetensors")).unwrap(),
            content,
            "{flaw:?}"
        );
        let asked = stand_in.requests();
        let half = content.len() / 2;
        assert_eq!(
            *asked.last().unwrap(),
            format!("/org/name/resolve/{COMMIT}/model.safetensors bytes={half}-")
        );
    }
}

#[test]
fn a_hub_without_ranges_sends_all_again() {
    let (stand_in, cache) = (model_with(Flaw::AlwaysBreaksOff), TempDir::new().unwrap());
    let hub = stand_in.hub(&cache);
    let error = hub.model("hf://org/name", &mut go_on).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    stand_in.state.lock().unwrap().flaw = Flaw::NoRanges;
    stand_in.requests();
    let fetched = hub.model("hf://org/name", &mut go_on).unwrap();
    let content = stand_in.state.lock().unwrap().files["model.safetensors"].clone();
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), content);
    assert!(
        stand_in.requests().last().unwrap().contains("bytes="),
        "it was asked to go on"
    );
}

#[test]
fn what_is_not_as_announced_is_refused_and_thrown_away() {
    for flaw in [Flaw::Spoilt, Flaw::TooMuch] {
        let (stand_in, cache) = (model_with(flaw), TempDir::new().unwrap());
        let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
        assert!(
            matches!(&error, HubError::Corrupt { what, .. } if what.ends_with("model.safetensors")),
            "{error}"
        );
        let place = cache
            .path()
            .join(format!("models--org--name/snapshots/{COMMIT}/model.safetensors"));
        assert!(!place.exists(), "{flaw:?}");
        // Nothing of it hinders the next time.
        stand_in.state.lock().unwrap().flaw = Flaw::None;
        stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap();
        assert_eq!(
            std::fs::read(place).unwrap(),
            stand_in.state.lock().unwrap().files["model.safetensors"]
        );
    }
}

#[test]
fn busy_and_silent_hubs() {
    let (stand_in, cache) = (model_with(Flaw::Busy), TempDir::new().unwrap());
    assert!(stand_in.hub(&cache).model("hf://org/name", &mut go_on).is_ok());
    let (stand_in, cache) = (model_with(Flaw::Silent), TempDir::new().unwrap());
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
}

#[test]
fn names_that_leave_the_folder_are_refused_before_anything_is_fetched() {
    for name in ["../evil.json", "/etc/evil", "a/../../b", "a\\b", "C:evil"] {
        let (stand_in, cache) = (model(), TempDir::new().unwrap());
        let list = serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": "config.json"}, {"rfilename": name}]});
        stand_in.state.lock().unwrap().list = Some(list.to_string());
        let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
        assert!(matches!(error, HubError::Path { name: refused, .. } if refused == name));
        assert_eq!(stand_in.requests().len(), 1);
    }
}

#[test]
fn answers_that_are_none() {
    for list in [
        "",
        "[]",
        r#"{"sha": "../x", "siblings": []}"#,
        &format!(r#"{{"sha": "{COMMIT}"}}"#),
    ] {
        let (stand_in, cache) = (model(), TempDir::new().unwrap());
        stand_in.state.lock().unwrap().list = Some(list.to_owned());
        let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{list}: {error}");
    }
}

#[test]
fn a_fetch_can_be_stopped_and_gone_on_with() {
    let (stand_in, cache) = (model(), TempDir::new().unwrap());
    let hub = stand_in.hub(&cache);
    let mut stop = |progress: &Progress| progress.file != "model.safetensors" || progress.bytes == 0;
    let error = hub.model("hf://org/name", &mut stop).unwrap_err();
    assert!(
        matches!(&error, HubError::Stopped { what } if what.ends_with("model.safetensors")),
        "{error}"
    );
    assert!(hub.model("hf://org/name", &mut go_on).is_ok());
}

#[test]
fn bad_configurations() {
    let config = |endpoint: &str, token: Option<&str>| {
        Hub::new(HubConfig {
            endpoint: endpoint.to_owned(),
            token: token.map(str::to_owned),
            ..HubConfig::new("cache")
        })
    };
    for endpoint in [
        "",
        "hub",
        "ftp://hub",
        "https://",
        "https://user:password@hub",
        "https://hub?x",
    ] {
        assert!(matches!(config(endpoint, None), Err(HubError::Config(_))), "{endpoint}");
    }
    assert!(matches!(
        config("https://hub", Some("a\r\nb")),
        Err(HubError::Config(_))
    ));
    assert!(config("https://hub/", Some("")).is_ok());
}
