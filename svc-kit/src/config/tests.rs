//! Layers, their order, and what each mistake is called.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    server: ServerConfig,
    telemetry: TelemetryConfig,
    example: Example,
    backends: BTreeMap<String, EndpointConfig>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Example {
    count: usize,
    names: Vec<String>,
    limit: ByteSize,
}

impl Default for Example {
    fn default() -> Self {
        Self {
            count: 3,
            names: vec!["a".into()],
            limit: ByteSize::mebibytes(1),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(50099),
            telemetry: TelemetryConfig::default(),
            example: Example::default(),
            backends: BTreeMap::from([("one".to_owned(), EndpointConfig::to("http://one:1"))]),
        }
    }
}

impl ServiceConfig for Config {
    const MEANINGS: &'static [(&'static str, &'static str)] = &[
        ("example.count", "A number."),
        ("example.names", "Some names."),
        ("example.limit", "A size."),
        ("backends.*.@endpoint", ""),
    ];

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        if self.example.count == 0 {
            Err("example.count must be at least 1".to_owned())
        } else {
            Ok(())
        }
    }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn set(texts: &[&str]) -> Flags {
    Flags {
        set: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..Flags::default()
    }
}

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("finepick.toml");
    std::fs::write(&path, text).expect("file");
    (
        folder,
        Flags {
            config: Some(path),
            ..Flags::default()
        },
    )
}

fn error(flags: &Flags, pairs: &[(&str, &str)]) -> String {
    let error = load::<Config>(flags, env(pairs))
        .expect_err("must be refused")
        .to_string();
    assert!(!error.contains('\n'), "one line: {error:?}");
    error
}

#[test]
fn without_any_layer_the_defaults_stand() {
    let config: Config = load(&Flags::default(), env(&[])).expect("defaults");
    assert_eq!(config, Config::default());
}

#[test]
fn later_layers_win() {
    let (_folder, mut flags) = file("[server]\nlisten = \"127.0.0.1:1\"\nqueue_limit = 7\n[example]\ncount = 10\n");
    let variables = env(&[
        ("FINEPICK_SERVER__LISTEN", "127.0.0.1:2"),
        ("FINEPICK_EXAMPLE__COUNT", "11"),
        ("FINEPICK_SERVER__DRAIN_TIMEOUT", "1.5s"),
        ("FINEPICK_EXAMPLE__NAMES", "[\"x\", \"y\"]"),
        ("FINEPICK_BACKENDS__ONE__ENDPOINT", "http://uno:1"),
    ]);
    flags.set = vec!["example.count=12".to_owned(), "server.listen=127.0.0.1:3".to_owned()];
    flags.listen = Some("127.0.0.1:4".to_owned());
    let config: Config = load(&flags, variables).expect("valid");
    assert_eq!(
        config.server.listen.port(),
        4,
        "flag over --set over environment over file"
    );
    assert_eq!(config.example.count, 12, "--set over environment over file");
    assert_eq!(config.server.queue_limit, 7, "file over default");
    assert_eq!(config.server.drain_timeout, HumanDuration::from_millis(1500));
    assert_eq!(config.example.names, ["x", "y"]);
    assert_eq!(config.backends["one"].endpoint, "http://uno:1");
    assert_eq!(
        config.backends["one"].connect_timeout,
        EndpointConfig::to("").connect_timeout
    );
}

#[test]
fn a_file_that_says_nothing_new_changes_nothing() {
    let (_folder, flags) = file(&to_toml(&Config::default()).expect("TOML"));
    assert_eq!(load::<Config>(&flags, env(&[])).expect("valid"), Config::default());
}

#[test]
fn variables_without_two_underscores_are_not_read() {
    let variables = env(&[
        ("FINEPICK_FITTER_PORT", "tcp://10.0.0.1:50061"),
        ("FINEPICK_SERVER_LISTEN", "nonsense"),
        ("OTHER_SERVER__LISTEN", "nonsense"),
    ]);
    assert_eq!(
        load::<Config>(&Flags::default(), variables).expect("ignored"),
        Config::default()
    );
}

#[test]
fn mistakes_are_named_with_their_place() {
    let (_folder, flags) = file("[server]\nlisten = \"127.0.0.1:1\"\nlisen = \"127.0.0.1:1\"\n");
    let text = error(&flags, &[]);
    assert!(text.contains("finepick.toml: server.lisen: unknown field"), "{text}");

    let (_folder, flags) = file("[sever]\nlisten = \"127.0.0.1:1\"\n");
    assert!(
        error(&flags, &[]).contains("finepick.toml: sever.listen: unknown field"),
        "{}",
        error(&flags, &[])
    );

    let (_folder, flags) = file("[server]\nlisten = \n");
    assert!(
        error(&flags, &[]).contains("finepick.toml, line 2: "),
        "{}",
        error(&flags, &[])
    );

    let text = error(&Flags::default(), &[("FINEPICK_SERVER__LISEN", "x")]);
    assert!(
        text.starts_with("environment variable FINEPICK_SERVER__LISEN: server.lisen: unknown field"),
        "{text}"
    );
    let text = error(&Flags::default(), &[("FINEPICK_NOWHERE__LISTEN", "x")]);
    assert!(
        text.starts_with("environment variable FINEPICK_NOWHERE__LISTEN: "),
        "{text}"
    );

    let text = error(&set(&["server.request_timeout=5"]), &[]);
    assert!(
        text.contains("server.request_timeout: \"5\" is not a duration such as"),
        "{text}"
    );
    let text = error(&set(&["server.listen=localhost"]), &[]);
    assert!(text.contains("server.listen: invalid socket address"), "{text}");
    let text = error(&set(&["example.count=many"]), &[]);
    assert!(text.contains("example.count: string \"many\" is not an"), "{text}");
    let text = error(&set(&["server.listen.port=5"]), &[]);
    assert!(
        text.contains("--set server.listen.port=5: server.listen.port: "),
        "{text}"
    );
    for bad in ["server.listen", "=x", ".listen=x"] {
        assert!(error(&set(&[bad]), &[]).contains("expected SECTION.KEY=VALUE"), "{bad}");
    }

    let missing = Flags {
        config: Some("does/not/exist.toml".into()),
        ..Flags::default()
    };
    assert!(error(&missing, &[]).starts_with("cannot read does/not/exist.toml: "));
}

#[test]
fn values_that_do_not_go_together_are_named() {
    for (assignment, key) in [
        ("example.count=0", "example.count"),
        ("server.concurrency_limit=0", "server.concurrency_limit"),
        ("server.tls.cert=a.pem", "server.tls.key"),
        ("server.tls.client_ca=a.pem", "server.tls.client_ca"),
        ("telemetry.sample_ratio=1.5", "telemetry.sample_ratio"),
        ("telemetry.sample_ratio=NaN", "telemetry.sample_ratio"),
        ("telemetry.log_level=inof", "telemetry.log_level"),
        ("telemetry.log_format=xml", "telemetry.log_format"),
        ("telemetry.otlp_endpoint=collector:4317", "telemetry.otlp_endpoint"),
        (
            "telemetry.otlp_endpoint=https://collector:4317",
            "telemetry.otlp_endpoint",
        ),
        ("telemetry.metrics_interval=0", "telemetry.metrics_interval"),
    ] {
        let text = error(&set(&[assignment]), &[]);
        assert!(text.contains(key), "{assignment}: {text}");
    }
}

#[test]
fn what_is_printed_is_what_is_in_force() {
    let flags = set(&[
        "example.count=12",
        "example.limit=2MiB",
        "telemetry.otlp_endpoint=http://127.0.0.1:4317",
    ]);
    let config: Config = load(&flags, env(&[])).expect("valid");
    let (_folder, flags) = file(&to_toml(&config).expect("TOML"));
    assert_eq!(load::<Config>(&flags, env(&[])).expect("reads back"), config);
}

#[test]
fn the_reference_knows_every_key() {
    let block = reference::<Config>("example").expect("complete");
    for row in [
        "| `example.limit` | `1MiB` | A size. |",
        "| `server.listen` | `127.0.0.1:50099` |",
        "| `backends.one.tls.ca` | unset |",
    ] {
        assert!(block.text.contains(row), "{row} is not in\n{}", block.text);
    }
    assert!(
        !block.text.contains("server.queue_limit"),
        "shared defaults are listed once, in the common block"
    );
}

#[test]
fn the_page_shows_the_common_sections() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    check_golden(&page, &common_reference().expect("complete")).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_page_is_compared_and_updated() {
    let folder = tempfile::tempdir().expect("folder");
    let page = folder.path().join("page.md");
    std::fs::write(&page, "before\n<!-- begin b -->\nold\n<!-- end b -->\nafter\n").expect("page");
    let block = Block {
        name: "b".to_owned(),
        text: "new\n".to_owned(),
    };
    assert!(check_document(&page, &block, false).is_err());
    assert_eq!(check_document(&page, &block, true), Ok(()));
    assert_eq!(check_document(&page, &block, false), Ok(()));
    let text = std::fs::read_to_string(&page).expect("page");
    assert!(
        text.starts_with("before\n") && text.ends_with("after\n") && !text.contains("old"),
        "{text}"
    );
    assert!(
        check_document(
            &page,
            &Block {
                name: "c".to_owned(),
                ..block
            },
            true
        )
        .is_err()
    );
}

proptest! {
    /// Any text in any layer is accepted or refused in one line.
    #[test]
    fn no_input_panics(key in "[A-Z_]{0,20}", value in "\\PC{0,30}", assignment in "\\PC{0,40}", text in "\\PC{0,80}") {
        let (_folder, mut flags) = file(&text);
        let name = format!("FINEPICK_SERVER__{key}");
        let _ = load::<Config>(&flags, env(&[(&name, &value)]));
        flags.config = None;
        flags.set = vec![assignment, format!("server.listen={value}"), format!("example.names={value}")];
        if let Err(error) = load::<Config>(&flags, env(&[])) {
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }
}
