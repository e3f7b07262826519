//! Models that are well described, and models that are not: every refusal names the file and what is wrong with it.

use std::path::Path;

use madrigal_engine::hyperparameters::RopeScaling;
use madrigal_engine::{Engine, EngineError, EngineOptions, GenerateRequest, KvType, Model, SamplerConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{greedy, json as read_json, testdata};
use crate::gguf_files::Writer;

fn error(path: &Path) -> String {
    Model::open(path).err().map(|error| error.to_string()).unwrap_or_default()
}

/// Hyperparameters of a one-layer llama, with one key replaced or left out.
fn keys(architecture: &str, change: &str, to: Option<f32>) -> Writer {
    let sizes = [
        ("context_length", 16.0),
        ("embedding_length", 4.0),
        ("block_count", 1.0),
        ("feed_forward_length", 4.0),
        ("attention.head_count", 2.0),
        ("attention.head_count_kv", 1.0),
        ("attention.layer_norm_rms_epsilon", 1e-5),
        ("rope.freq_base", 10_000.0),
    ];
    let known = sizes.iter().any(|(name, _)| *name == change);
    let added = to.filter(|_| !known).map(|to| (change, to));
    let mut writer = Writer::new().text("general.architecture", architecture);
    for (name, value) in sizes.into_iter().chain(added) {
        let value = if name == change { to } else { Some(value) };
        let Some(value) = value else { continue };
        let name_in_file = format!("{architecture}.{name}");
        writer = if ["epsilon", "base", "factor", "linear"].iter().any(|float| name.ends_with(float)) {
            writer.f32(&name_in_file, value)
        } else {
            writer.u32(&name_in_file, value as u32)
        };
    }
    let tokens: Vec<String> = ["<unk>", "<s>", "</s>", "▁a"].map(str::to_owned).to_vec();
    let scores: Vec<u8> = [&6_u32.to_le_bytes()[..], &4_u64.to_le_bytes(), &[0; 16]].concat();
    let writer = writer.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", &tokens);
    writer.key("tokenizer.ggml.scores", 9, &scores)
}

/// The tensors of that llama, with one replaced or left out.
fn tensors(mut writer: Writer, change: &str, to: Option<&[u64]>) -> Writer {
    let shapes: [(&str, &[u64]); 11] = [
        ("token_embd.weight", &[4, 4]),
        ("output_norm.weight", &[4]),
        ("blk.0.attn_norm.weight", &[4]),
        ("blk.0.attn_q.weight", &[4, 4]),
        ("blk.0.attn_k.weight", &[4, 2]),
        ("blk.0.attn_v.weight", &[4, 2]),
        ("blk.0.attn_output.weight", &[4, 4]),
        ("blk.0.ffn_norm.weight", &[4]),
        ("blk.0.ffn_gate.weight", &[4, 4]),
        ("blk.0.ffn_up.weight", &[4, 4]),
        ("blk.0.ffn_down.weight", &[4, 4]),
    ];
    let known = shapes.iter().any(|(name, _)| *name == change);
    let added = to.filter(|_| !known).map(|to| (change, to));
    for (name, shape) in shapes.into_iter().chain(added) {
        let shape = if name == change { to } else { Some(shape) };
        if let Some(shape) = shape {
            writer = writer.tensor(name, shape, &vec![0.5; shape.iter().product::<u64>() as usize]);
        }
    }
    writer
}

fn gguf_error(writer: &Writer) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, writer.bytes()).unwrap();
    let error = error(&path);
    assert!(error.is_empty() || error.contains("m.gguf`"), "{error}");
    error
}

#[test]
fn ggufs_with_impossible_shapes_are_refused_by_name() {
    let nan = Some(f32::NAN);
    let cases = [
        ("context_length", Some(0.0), "the context length is 0"),
        ("embedding_length", None, "key `llama.embedding_length` (a size) is missing"),
        ("embedding_length", Some(0.0), "the hidden size is 0"),
        ("block_count", Some(0.0), "the layer count is 0"),
        ("block_count", Some(4e9), "the layer count is 4"),
        ("block_count", Some(4097.0), "the layer count is 4097; it must be from 1 to 4096"),
        ("context_length", Some(4e9), "the context length is 4000000000"),
        ("attention.head_count_kv", Some(5e3), "the key-value head count is 5000"),
        ("feed_forward_length", Some(1e6), "the feed-forward size is 1000000"),
        ("feed_forward_length", Some(0.0), "the feed-forward size is 0"),
        ("attention.head_count", Some(0.0), "0 heads do not divide"),
        ("attention.head_count", Some(3.0), "3 heads do not divide"),
        ("attention.head_count", Some(4.0), "the head size 1 is odd"),
        ("attention.head_count_kv", Some(3.0), "2 heads cannot share 3 key-value heads"),
        ("attention.key_length", Some(4.0), "keys of 4"),
        ("attention.layer_norm_rms_epsilon", nan, "epsilon is NaN"),
        ("attention.layer_norm_rms_epsilon", Some(0.0), "epsilon is 0"),
        ("rope.freq_base", Some(f32::INFINITY), "rotary base is inf"),
        ("rope.dimension_count", Some(6.0), "rotating 6 of 2"),
        ("expert_count", Some(8.0), "key `llama.expert_count` is set"),
        ("logit_scale", Some(8.0), "key `llama.logit_scale` is set to 8, which is not supported"),
        ("residual_scale", Some(2.0), "key `llama.residual_scale` is set to 2"),
        ("attention.sliding_window", Some(4.0), "key `llama.attention.sliding_window` is set to 4"),
        ("attention.causal", Some(0.0), "key `llama.attention.causal` is set to 0"),
        ("final_logit_softcapping", Some(30.0), "key `llama.final_logit_softcapping` is set to 30"),
        ("rope.scaling.attn_factor", Some(2.0), "key `llama.rope.scaling.attn_factor` is set to 2"),
        ("rope.dimension_sections", Some(1.0), "key `llama.rope.dimension_sections` is set to 1"),
        ("block_count", Some(2.0), "tensor `blk.1.attn_norm.weight` is missing"),
        (
            "feed_forward_length",
            Some(8.0),
            "tensor `blk.0.ffn_gate.weight` has shape [4, 4] (rows first), expected [8, 4]",
        ),
        ("vocab_size", Some(5.0), "tensor `token_embd.weight` has shape [4, 4] (rows first), expected [5, 4]"),
    ];
    for (change, to, expected) in cases {
        let error = gguf_error(&tensors(keys("llama", change, to), "", None));
        assert!(error.contains(expected), "{change} {to:?}: {error}");
    }
}

#[test]
fn the_longest_windows_in_use_are_opened() {
    // Llama-3-8B-Instruct-Gradient-4194k's.
    assert_eq!(gguf_error(&tensors(keys("llama", "context_length", Some(4_194_304.0)), "", None)), "");
}

#[test]
fn rotary_factors_in_ggufs_are_llama_cpps() {
    let scaling = |change: &str, to: f32, kind: Option<&str>| {
        let mut writer = keys("llama", change, Some(to));
        if let Some(kind) = kind {
            writer = writer.text("llama.rope.scaling.type", kind);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, tensors(writer, "", None).bytes()).unwrap();
        Model::open(&path).map(|model| model.hyperparameters().rope.scaling.clone()).map_err(|error| error.to_string())
    };
    let linear = |factor| Ok(RopeScaling::Linear { factor });
    assert_eq!(scaling("rope.scaling.factor", 4.0, None), linear(4.0));
    assert_eq!(scaling("rope.scale_linear", 2.0, None), linear(2.0));
    assert_eq!(scaling("rope.scaling.factor", 4.0, Some("linear")), linear(4.0));
    assert_eq!(scaling("rope.scaling.factor", 4.0, Some("none")), Ok(RopeScaling::None));
    assert!(scaling("rope.scaling.factor", f32::NAN, None).unwrap_err().contains("numbers out of range"));
    // llama.cpp's defaults: the whole window was trained, and 0.1 ln(factor) + 1 multiplies cosines and sines.
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        fast_turns: 32.0,
        slow_turns: 1.0,
        original_context: 16.0,
        truncate: true,
        attention_factor: 1.138_629_4,
    };
    assert_eq!(scaling("rope.scaling.factor", 4.0, Some("yarn")), Ok(yarn));
    assert!(scaling("rope.scaling.factor", 0.5, Some("yarn")).unwrap_err().contains("numbers out of range"));
    assert!(scaling("rope.scaling.factor", 4.0, Some("longrope")).unwrap_err().contains("`longrope` is not supported"));
}

#[test]
fn a_part_of_a_split_gguf_says_how_to_join_it() {
    let message = gguf_error(&tensors(keys("llama", "", None).u32("split.count", 3), "", None));
    assert!(message.contains("it is one of 3 parts") && message.contains("llama-gguf-split --merge"), "{message}");
    assert_eq!(gguf_error(&tensors(keys("llama", "", None).u32("split.count", 1), "", None)), "");
}

#[test]
fn ggufs_with_missing_strange_or_misshapen_tensors_are_refused_by_name() {
    let cases: [(&str, Option<&[u64]>, &str); 6] = [
        ("token_embd.weight", None, "tensor `token_embd.weight` is missing"),
        ("blk.0.attn_v.weight", None, "tensor `blk.0.attn_v.weight` is missing"),
        ("blk.0.attn_norm.weight", Some(&[5]), "tensor `blk.0.attn_norm.weight` has shape [5]"),
        ("blk.0.attn_q.weight", Some(&[2, 8]), "has shape [8, 2] (rows first), expected [4, 4]"),
        ("blk.0.attn_q.bias", Some(&[4]), "tensor `blk.0.attn_q.bias` is not part of the architecture llama"),
        ("rope_freqs.weight", Some(&[2]), "tensor `rope_freqs.weight` has shape [2], expected [1]"),
    ];
    for (change, to, expected) in cases {
        let error = gguf_error(&tensors(keys("llama", "", None), change, to))
            .replace(" (rows first), expected [1]", ", expected [1]");
        assert!(error.contains(expected), "{change}: {error}");
    }
}

#[test]
fn an_unknown_architecture_names_the_server_to_use_instead() {
    let message = gguf_error(&keys("gemma3", "", None));
    assert!(message.contains("the architecture `gemma3` is not supported"), "{message}");
    assert!(message.contains("`llama-server -m ") && message.contains("m.gguf --port 8080`"), "{message}");
    assert!(message.contains("`compat:http://127.0.0.1:8080/v1#m`"), "{message}");

    let folder = folder(|config| config["model_type"] = json!("phi3"), |_| {});
    let message = error(folder.path());
    assert!(message.contains("`phi3`") && message.contains("convert_hf_to_gguf.py"), "{message}");
}

#[test]
fn a_storage_type_without_kernels_is_named_with_its_tensor() {
    // The first tensor claims to be of a type that fits its place, and of one that nobody knows.
    let bytes = std::fs::read(testdata("parity/llama-tied/model-q8_0.gguf")).unwrap();
    let name = b"token_embd.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    for (kind, expected) in
        [(24_u32, "tensor `token_embd.weight` has type I8, supported are F32,"), (77, "has type 77,")]
    {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        let message = error(&path);
        assert!(message.contains(expected), "{message}");
    }
}

/// The llama-tied folder with its configuration and its weights changed.
fn folder(config: impl FnOnce(&mut Value), weights: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let from = testdata("parity/llama-tied");
    let folder = tempfile::tempdir().unwrap();
    let mut value = read_json(&from.join("config.json"));
    config(&mut value);
    std::fs::write(folder.path().join("config.json"), value.to_string()).unwrap();
    let mut bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    weights(&mut bytes);
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// A whole YaRN scaling, with some keys replaced.
fn yarn(change: &Value) -> Value {
    let mut yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
    yarn.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    yarn
}

#[test]
fn configurations_that_cannot_be_computed_are_refused_by_name() {
    let cases: Vec<(&str, Value, &str)> = vec![
        ("hidden_act", json!("gelu"), "`hidden_act` `gelu` is not supported"),
        ("attention_bias", json!(true), "`attention_bias` is not supported"),
        ("sliding_window", json!(4096), "`sliding_window` is not supported"),
        ("quantization_config", json!({"quant_method": "gptq"}), "`quantization_config`"),
        ("attention_bias", json!("true"), "key `attention_bias` must be true or false"),
        ("use_sliding_window", json!(true), "`use_sliding_window` is not supported"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "`layer_types` other than full attention"),
        ("embedding_multiplier", json!(12), "`embedding_multiplier` is not supported"),
        ("logits_scaling", json!(8.0), "`logits_scaling` is not supported"),
        ("residual_multiplier", json!("0.2"), "`residual_multiplier` is not supported"),
        ("attention_multiplier", json!(0.0078125), "`attention_multiplier` is not supported"),
        ("num_local_experts", json!(8), "`num_local_experts` is not supported"),
        ("final_logit_softcapping", json!(30.0), "`final_logit_softcapping` is not supported"),
        ("head_dim", json!(15), "the head size 15 is odd"),
        ("rope_scaling", json!({"rope_type": "dynamic", "factor": 4.0}), "rotary scaling `dynamic`"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "key `original_max_position_embeddings`"),
        ("rope_scaling", yarn(&json!({"truncate": 1})), "key `truncate` must be true or false, it is 1"),
        ("rope_scaling", yarn(&json!({"mscale": 0.7})), "`mscale` in the rotary scaling is not supported"),
        ("rope_scaling", yarn(&json!({"factor": 0.5})), "numbers out of range"),
        ("rope_scaling", yarn(&json!({"beta_fast": -1})), "numbers out of range"),
        ("num_hidden_layers", json!(u64::MAX), "the layer count is 18446744073709551615"),
        ("layer_types", json!(["full_attention"]), "key `layer_types` speaks of 1 of 2 layers"),
        ("layer_types", json!("full_attention"), "key `layer_types` must be a list"),
        ("rope_scaling", json!({"rope_type": "linear"}), "key `factor` (a number) is missing"),
        ("rope_scaling", json!({"type": "linear", "factor": -1.0}), "numbers out of range"),
        ("rope_parameters", json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("rope_theta", json!("10000"), "key `rope_theta` must be a number"),
        ("rope_theta", json!(1e300), "the rotary base is inf"),
        ("rms_norm_eps", json!(-1.0), "epsilon is -1"),
        ("hidden_size", json!(-64), "key `hidden_size` must be a size, it is -64"),
        ("hidden_size", json!(u64::MAX), "4 heads do not divide the hidden size"),
        ("num_hidden_layers", json!(null), "key `num_hidden_layers` (a size) is missing"),
        ("num_hidden_layers", json!(1), "is not part of the architecture llama"),
        ("num_key_value_heads", json!(3), "4 heads cannot share 3 key-value heads"),
        ("vocab_size", json!(500), "tensor `model.embed_tokens.weight` has shape [512, 64]"),
        ("tie_word_embeddings", json!(false), "tensor `lm_head.weight` is missing"),
        ("model_type", json!(7), "key `model_type` (a text) is missing"),
    ];
    for (key, value, expected) in cases {
        let folder = folder(|config| config[key] = value, |_| {});
        let message = error(folder.path());
        assert!(message.contains(expected), "{key}: {message}");
    }
}

#[test]
fn a_window_is_switched_off_only_where_the_family_has_the_switch() {
    let change = |config: &mut Value| {
        config["sliding_window"] = json!(8);
        config["use_sliding_window"] = json!(false);
    };
    let llama = folder(change, |_| {});
    assert!(error(llama.path()).contains("`sliding_window` is not supported"), "{}", error(llama.path()));
    // A Qwen file gets as far as its tensors.
    let qwen = folder(
        |config| {
            change(config);
            config["model_type"] = json!("qwen3");
        },
        |_| {},
    );
    assert!(error(qwen.path()).contains("q_norm.weight` is missing"), "{}", error(qwen.path()));
}

#[test]
fn rotary_settings_that_contradict_each_other_are_refused() {
    let both = |new: Value, old: Value| {
        let folder = folder(
            |config| {
                config["rope_parameters"] = new;
                config["rope_scaling"] = old;
            },
            |_| {},
        );
        error(folder.path())
    };
    let linear = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5});
    let message = both(json!({"rope_type": "default"}), linear.clone());
    assert!(message.contains("`rope_parameters` and `rope_scaling` contradict"), "{message}");
    assert_eq!(both(linear.clone(), linear.clone()), "");
    assert_eq!(both(json!(null), linear.clone()), "");

    // The base stands beside the scaling, wherever the scaling stands.
    let folder = folder(
        |config| {
            let config = config.as_object_mut().unwrap();
            config.retain(|key, _| !key.starts_with("rope_"));
            config.insert("rope_scaling".to_owned(), linear);
        },
        |_| {},
    );
    let model = Model::open(folder.path()).unwrap();
    let rope = &model.hyperparameters().rope;
    assert_eq!((rope.theta, &rope.scaling), (5e5, &RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn damaged_folders_are_refused_by_name() {
    let long = |bytes: &mut Vec<u8>, length: u64| bytes[..8].copy_from_slice(&length.to_le_bytes());
    let cases: Vec<(&str, tempfile::TempDir, &str)> = vec![
        ("empty header", folder(|_| {}, Vec::clear), "model.safetensors`: the safetensors header is invalid"),
        ("header of 2^63", folder(|_| {}, |bytes| long(bytes, 1 << 63)), "header is invalid"),
        ("header past the end", folder(|_| {}, |bytes| long(bytes, 99_000_000)), "header is invalid"),
        ("short header", folder(|_| {}, |bytes| long(bytes, 5)), "header is invalid"),
        ("truncated", folder(|_| {}, |bytes| bytes.truncate(bytes.len() / 2)), "header is invalid"),
        ("more than the header says", folder(|_| {}, |bytes| bytes.push(0)), "header is invalid"),
    ];
    for (what, folder, expected) in cases {
        let message = error(folder.path());
        assert!(message.contains(expected), "{what}: {message}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(error(empty.path()).contains("config.json`"));
    let no_json = folder(|_| {}, |_| {});
    std::fs::write(no_json.path().join("config.json"), "{\"a\": ").unwrap();
    assert!(error(no_json.path()).contains("config.json`: EOF"), "{}", error(no_json.path()));
    assert!(error(Path::new("/nowhere/m.gguf")).starts_with("open `/nowhere/m.gguf`"));
}

#[test]
fn sharded_weights_are_joined_by_their_index() {
    let sharded = folder(|_| {}, |_| {});
    let shard = sharded.path().join("model-00001-of-00001.safetensors");
    std::fs::rename(sharded.path().join("model.safetensors"), &shard).unwrap();
    let index = sharded.path().join("model.safetensors.index.json");
    let write = |map: Value| std::fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();

    write(json!({ "model.norm.weight": "model-00001-of-00001.safetensors" }));
    let model = Model::open(sharded.path()).unwrap();
    assert!(model.files().contains(&("weights", shard)));
    assert!(model.files().contains(&("config", index.clone())));

    for name in [json!("../model.safetensors"), json!("/etc/passwd"), json!(7)] {
        write(json!({ "model.norm.weight": name }));
        assert!(error(sharded.path()).contains("names no plain file"), "{}", error(sharded.path()));
    }
    for name in ["..", ".", "", "a/../model-00001-of-00001.safetensors", "./model-00001-of-00001.safetensors"] {
        write(json!({ "model.norm.weight": name }));
        assert!(error(sharded.path()).contains("names no plain file"), "{name}: {}", error(sharded.path()));
    }
    write(json!({ "model.norm.weight": "missing.safetensors" }));
    assert!(error(sharded.path()).contains("missing.safetensors`"));
}

#[test]
fn a_model_tells_what_it_is() {
    let info = Model::open(&testdata("parity/qwen3/model-q4_0.gguf")).unwrap().info();
    assert_eq!((info.architecture, info.tied, info.tokens), ("qwen3", true, 512));
    let shape = &info.shape;
    assert_eq!((shape.layers, shape.heads, shape.kv_heads, shape.head_dim), (3, 4, 2, 32));
    assert_eq!((info.quants[0].kind.as_str(), info.quants[0].tensors), ("Q4_0", 22));
    assert_eq!((info.quants[1].kind.as_str(), info.quants[1].tensors), ("F32", 13));
    // Keys and values of 2 heads of 32 in 3 layers, 2 bytes each.
    assert_eq!((info.kv, info.kv_bytes_per_token), (KvType::Bf16, 2 * 2 * 32 * 3 * 2));
    assert_eq!(info.memory_bytes, info.weight_bytes + 512 * info.kv_bytes_per_token);
    assert_eq!(info.files.len(), 1);
    assert!(info.files[0].bytes.unwrap() > info.weight_bytes);
    let f32 = Model::open(&testdata("parity/qwen3")).unwrap().info();
    assert_eq!(f32.kv, KvType::F32);
    assert_eq!(f32.parameters, info.parameters);
    let roles: Vec<_> = f32.files.iter().map(|file| file.role).collect();
    assert_eq!(roles, ["weights", "tokenizer", "config", "config", "config"]);
}

#[test]
fn engines_refuse_windows_and_limits_that_cannot_be() {
    let model = || Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let start = |options| Engine::start(model(), options).err().map(|error| error.to_string()).unwrap_or_default();
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    for context in [0, 513] {
        let error = start(EngineOptions { context: Some(context), ..options.clone() });
        assert!(error.contains(&format!("open a window of {context} tokens: the model's has 512")), "{error}");
    }
    let error = start(EngineOptions { memory_limit: Some(1000), ..options });
    assert!(error.contains("load the weights: they take") && error.contains("limit is 1000"), "{error}");
}

#[test]
fn damaged_numbers_are_an_error_not_a_text() {
    let path = testdata("parity/llama-tied/model-f32.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 64..].fill(0xff);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.gguf");
    std::fs::write(&path, bytes).unwrap();
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let engine = Engine::start(Model::open(&path).unwrap(), options).unwrap();
    let sequence = engine.sequence();
    let error = sequence.blocking_logits(&[1, 2], madrigal_engine::Positions::Last).unwrap_err();
    assert!(matches!(error, EngineError::NotFinite { position: 1 }), "{error}");
    let error = sequence.generate(&[1, 2], greedy(3)).blocking_finish().unwrap_err();
    assert!(error.to_string().contains("is NaN; the weights are damaged"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A damaged model is refused, computes something, or says that it cannot; its engine never panics.
    #[test]
    fn no_change_of_a_models_bytes_makes_its_engine_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
        shortest in any::<bool>(),
    ) {
        let mut bytes = tensors(keys("llama", "", None), "", None).bytes();
        for (place, byte, flip) in changes {
            let at = place.index(bytes.len());
            // Single bits keep more of the file's sense than whole bytes do.
            bytes[at] = if flip { bytes[at] ^ (1 << (byte % 8)) } else { byte };
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        let Ok(model) = Model::open(&path) else { return Ok(()) };
        let window = model.hyperparameters().context;
        let engine = Engine::start(model, EngineOptions { threads: 1, ..EngineOptions::default() }).unwrap();
        let ids = if shortest { vec![3] } else { vec![3; window.min(40)] };
        for request in [greedy(3), GenerateRequest { sampling: SamplerConfig::default(), ..greedy(3) }] {
            let generated = engine.sequence().generate(&ids, request).blocking_finish();
            prop_assert!(!matches!(generated, Err(EngineError::Stopped)));
        }
    }
}
