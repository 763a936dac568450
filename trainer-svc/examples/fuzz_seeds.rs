//! Writes the files that fuzzing starts from: `cargo run -p trainer-svc --no-default-features --example fuzz_seeds -- FOLDER` makes a
//! folder for each target of `fuzz/`, from the committed checkpoints, adapters and exports.

#![expect(
    clippy::unwrap_used,
    reason = "a tool run by hand: it stops where something is wrong"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// Stands between two files in one input, as `fuzz/src/lib.rs` has it.
const BORDER: &[u8] = b"\n\xff----\xff\n";
/// Longer seeds are slow to vary; of whole models the small ones say the same.
const LONGEST: usize = 120_000;

const LINES: [(&str, &str); 5] = [
    (
        "text.jsonl",
        "{\"text\": \"one\"}\n\n{\"text\": \"tw\\u00f6\", \"id\": 7}\n",
    ),
    (
        "pairs.jsonl",
        "{\"prompt\": \"p\", \"completion\": \"c\"}\n{\"prompt\": 1}\n",
    ),
    (
        "messages.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"yes\"}]}\n",
    ),
    ("array.json", "[{\"text\": \"one\"}, {\"text\": \"two\"}, null]"),
    ("plain.txt", "\u{feff}one\r\ntwo\n\n  \nthree"),
];

const TEMPLATE: &str = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ bos_token }}{% for m in messages %}[{{ m['role'] | trim }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"}"#;

struct Seeds {
    root: PathBuf,
}

impl Seeds {
    fn write(&self, target: &str, name: &str, parts: &[&[u8]]) {
        let bytes = parts.join(BORDER);
        if bytes.len() <= LONGEST {
            let folder = self.root.join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// Folders in a folder, with their names.
fn folders(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.is_dir());
    folders
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
        .collect()
}

/// A column of text, or pairs of columns.
fn parquet(names: &[&str], compression: Compression, dictionary: bool) -> Vec<u8> {
    let columns: Vec<String> = names
        .iter()
        .map(|name| format!("OPTIONAL BYTE_ARRAY {name} (UTF8);"))
        .collect();
    let schema = Arc::new(parse_message_type(&format!("message m {{ {} }}", columns.concat())).unwrap());
    let properties = WriterProperties::builder().set_compression(compression);
    let properties = Arc::new(properties.set_dictionary_enabled(dictionary).build());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for name in names {
        let texts: Vec<ByteArray> = ["one", "two", "two", name].map(ByteArray::from).to_vec();
        let mut column = group.next_column().unwrap().unwrap();
        // The first row is null.
        let batch = column.typed::<ByteArrayType>();
        batch.write_batch(&texts, Some(&[0, 1, 1, 1, 1]), None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

fn models(seeds: &Seeds, root: &Path) {
    let fixtures = root.join("trainer-svc/tests/fixtures");
    for (name, folder) in folders(&fixtures.join("models")) {
        let read = |file: &str| fs::read(folder.join(file));
        seeds.write("config", &name, &[&read("config.json").unwrap()]);
        if let Ok(weights) = read("model.safetensors") {
            seeds.write("safetensors", &name, &[&weights]);
        }
        if let Ok(index) = read("model.safetensors.index.json") {
            let shard = read("model-00001-of-00003.safetensors").unwrap();
            let index = String::from_utf8(index).unwrap().replace("of-00003", "of-00001");
            seeds.write("safetensors", &name, &[index.as_bytes(), &shard]);
        }
    }
    for (name, folder) in folders(&fixtures.join("adapters")) {
        let config = fs::read(folder.join("adapter_config.json")).unwrap();
        let weights = fs::read(folder.join("adapter_model.safetensors")).unwrap();
        seeds.write("adapter", &name, &[&config, &weights]);
    }
    for (name, folder) in folders(&fixtures.join("exported")) {
        let model = fs::read(folder.join("model.onnx")).unwrap();
        match fs::read(folder.join("weights.bin")) {
            Ok(weights) => seeds.write("onnx", &name, &[&model, &weights]),
            Err(_) => seeds.write("onnx", &name, &[&model]),
        }
    }
    for entry in fs::read_dir(fixtures.join("onnx")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|ending| ending == "onnx") {
            seeds.write("onnx", &name, &[&fs::read(&path).unwrap()]);
        }
    }
    let zoo = root.join("zoo/gpt2-verse-xs");
    let [tokenizer, settings] =
        ["tokenizer.json", "tokenizer_config.json"].map(|name| fs::read(zoo.join(name)).unwrap());
    seeds.write("tokenizer", "zoo", &[&tokenizer, &settings]);
    // The same with few tokens: each variation says more.
    let mut small: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    small["model"]["merges"] = serde_json::json!([["a", "b"], ["ab", "a"]]);
    small["model"]["vocab"] = serde_json::json!({"a": 0, "b": 1, "ab": 2, "aba": 3, "\u{120}": 4, "<s>": 5, "</s>": 6});
    let small = serde_json::to_vec(&small).unwrap();
    seeds.write("tokenizer", "small", &[&small, TEMPLATE.as_bytes()]);
    seeds.write("tokenizer", "plain", &[&small]);
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::args().nth(1);
    let seeds = Seeds {
        root: target.map_or_else(|| root.join("fuzz/corpus"), PathBuf::from),
    };
    models(&seeds, &root);
    for (name, text) in LINES {
        seeds.write("jsonl", name, &[text.as_bytes()]);
    }
    for (name, compression) in [
        ("plain", Compression::UNCOMPRESSED),
        ("snappy", Compression::SNAPPY),
        ("lz4", Compression::LZ4_RAW),
        ("zstd", Compression::ZSTD(parquet::basic::ZstdLevel::default())),
    ] {
        for dictionary in [false, true] {
            let bytes = parquet(&["text"], compression, dictionary);
            seeds.write("parquet", &format!("{name}-{dictionary}"), &[&bytes]);
        }
        let bytes = parquet(&["prompt", "completion"], compression, true);
        seeds.write("parquet", &format!("{name}-pairs"), &[&bytes]);
    }
}
