//! A model with a delta is the model whose weights were changed by it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use half::f16;
use madrigal_engine::hyperparameters::Hyperparameters;
use madrigal_engine::voice::HeadWeights;
use madrigal_engine::{
    Delta, Engine, EngineError, EngineOptions, GenerateRequest, Half, Isa, LogitFilter, Lora, Part, Positions, Routed,
    Voice, VoiceError, VoiceFrom,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::fixtures::{engine, greedy, logits, testdata};

const RANK: usize = 4;
/// PEFT's `lora_alpha`; the scale is `ALPHA / RANK`.
const ALPHA: f32 = 6.0;

const MODULES: [(Part, &str); 7] = [
    (Part::Query, "self_attn.q_proj"),
    (Part::Key, "self_attn.k_proj"),
    (Part::Value, "self_attn.v_proj"),
    (Part::Output, "self_attn.o_proj"),
    (Part::Gate, "mlp.gate_proj"),
    (Part::Up, "mlp.up_proj"),
    (Part::Down, "mlp.down_proj"),
];

/// Seeded numbers in `-1..1` that a 16-bit float holds (SplitMix64, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 56) as f32 / 128.0 - 1.0
    }

    fn many(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| f16::from_f32(self.next() * size).to_f32()).collect()
    }
}

/// Tensors of a file that is being written: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn write(tensors: &Tensors, path: &Path) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Writes a PEFT adapter for all products of a model's upper layers, and the model whose weights have it added.
fn adapter_and_merged(model: &Path, first_layer: usize, adapter: &Path, merged: &Path) {
    let file = std::fs::read(model.join("model.safetensors")).unwrap();
    let mut numbers = Numbers(7);
    let (mut all, mut factors) = (Tensors::new(), Tensors::new());
    for (name, view) in SafeTensors::deserialize(&file).unwrap().tensors() {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let mut values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
        if let Some((layer, module)) = site(&name)
            && layer >= first_layer
        {
            let &[outputs, inputs] = view.shape() else { panic!("{name} is no matrix") };
            let a = numbers.many(RANK * inputs, (1.0 / inputs as f32).sqrt());
            let b = numbers.many(outputs * RANK, 0.3);
            for (index, value) in values.iter_mut().enumerate() {
                let (row, column) = (index / inputs, index % inputs);
                let product = |r: usize| f64::from(b[row * RANK + r]) * f64::from(a[r * inputs + column]);
                let delta = f64::from(ALPHA) / RANK as f64 * (0..RANK).map(product).sum::<f64>();
                *value = (f64::from(*value) + delta) as f32;
            }
            for (factor, values, shape) in [("lora_A", a, [RANK, inputs]), ("lora_B", b, [outputs, RANK])] {
                let name = format!("base_model.model.model.layers.{layer}.{module}.{factor}.weight");
                factors.insert(name, (Dtype::F32, shape.to_vec(), bytes(&values)));
            }
        }
        all.insert(name, (Dtype::F32, view.shape().to_vec(), bytes(&values)));
    }
    write(&all, &merged.join("model.safetensors"));
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model.join(name), merged.join(name)).unwrap();
    }
    write(&factors, &adapter.join("adapter_model.safetensors"));
    let config = format!(r#"{{"peft_type":"LORA","r":{RANK},"lora_alpha":{ALPHA},"bias":"none","use_rslora":false}}"#);
    std::fs::write(adapter.join("adapter_config.json"), config).unwrap();
}

fn site(name: &str) -> Option<(usize, &'static str)> {
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let module = rest.strip_suffix(".weight")?;
    let known = MODULES.iter().find(|(_, known)| *known == module)?;
    Some((layer.parse().ok()?, known.1))
}

/// Keeps the logits that it is shown.
#[derive(Debug, Default)]
struct Witness(Mutex<Vec<f32>>);

impl LogitFilter for Witness {
    fn digest(&self) -> [u8; 32] {
        [1; 32]
    }

    fn filter(&self, _: &[u32], logits: &mut [f32]) {
        *self.0.lock().unwrap() = logits.to_vec();
    }

    fn fits(&self, _: &Hyperparameters) -> Result<(), VoiceError> {
        Ok(())
    }
}

/// The logits after `ids`, all read under a delta.
fn adapted(engine: &Engine, ids: &[u32], delta: Arc<dyn Delta>) -> Vec<f32> {
    let witness = Arc::new(Witness::default());
    let voice = Arc::new(Voice { delta: Some(delta), filter: Some(Arc::clone(&witness) as Arc<dyn LogitFilter>) });
    let request = GenerateRequest { voice: Some(VoiceFrom { voice, from: 0 }), ..greedy(1) };
    engine.sequence().generate(ids, request).blocking_finish().unwrap();
    let seen = witness.0.lock().unwrap().clone();
    assert!(!seen.is_empty());
    seen
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn an_adapter_gives_the_logits_of_merged_weights() {
    for name in ["llama-tied", "llama-rope3-untied", "qwen2", "qwen3"] {
        let folder = testdata(&format!("parity/{name}"));
        let (adapter, merged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        adapter_and_merged(&folder, 1, adapter.path(), merged.path());
        for isa in Isa::available() {
            let merged = engine(merged.path(), isa, 2);
            // The GGUF's heads lie in another order for llama.
            for path in [folder.clone(), folder.join("model-f32.gguf")] {
                let base = engine(&path, isa, 2);
                let lora = Lora::from_peft(adapter.path(), base.model().hyperparameters()).unwrap();
                assert_eq!((lora.first_layer(), lora.scale()), (1, ALPHA / RANK as f32));
                let lora: Arc<dyn Delta> = Arc::new(lora);
                for length in [1, 2, 7, 40] {
                    let ids: Vec<u32> = (0..length).map(|index| (index * 37 + 5) % 250).collect();
                    let expected = logits(&merged, &ids, Positions::Last);
                    let plain = logits(&base, &ids, Positions::Last);
                    let ours = adapted(&base, &ids, Arc::clone(&lora));
                    let what = format!("{} {isa} {length} tokens", path.display());
                    assert!(worst(&ours, &expected) <= 1e-4, "{what}: off by {}", worst(&ours, &expected));
                    assert!(worst(&plain, &expected) > 0.05, "{what}: the adapter does nothing");
                    // Nothing of it stays behind.
                    assert_eq!(logits(&base, &ids, Positions::Last), plain, "{what}");
                }
            }
        }
    }
}

#[test]
fn routed_deltas_are_their_weighted_sum() {
    let path = testdata("parity/qwen3/model-f32.gguf");
    let engine = engine(&path, Isa::detect(), 2);
    let shape = engine.model().hyperparameters().clone();
    let heads_only = |seed, scale: f32| {
        let lora = Lora::random(&shape, 2, 0..shape.layers, seed).unwrap();
        let sites = lora.sites().filter(|site| matches!(site.part, Part::Query | Part::Value)).map(|mut site| {
            // Strong enough to be seen.
            site.b.iter_mut().for_each(|b| *b = f16::from_f32(*b * 8.0).to_f32());
            site
        });
        Lora::new(sites.collect::<Vec<_>>(), scale, Half::F16).unwrap()
    };
    let weights = |query: [f32; 2], group: [f32; 2]| HeadWeights {
        layers: shape.layers,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        query: query.repeat(shape.layers * shape.heads),
        group: group.repeat(shape.layers * shape.kv_heads),
    };
    let ids = [5, 42, 79, 116, 153];
    let deltas: [Arc<dyn Delta>; 2] = [Arc::new(heads_only(1, 1.0)), Arc::new(heads_only(2, 1.0))];
    let routed = |weights| adapted(&engine, &ids, Arc::new(Routed::new(deltas.to_vec(), weights).unwrap()));

    // One delta alone, at half its strength, is that delta with half its scale.
    let alone = routed(weights([0.0, 0.5], [0.0, 0.5]));
    let scaled = adapted(&engine, &ids, Arc::new(heads_only(2, 0.5)));
    assert!(worst(&alone, &scaled) <= 1e-4, "{}", worst(&alone, &scaled));
    let plain = logits(&engine, &ids, Positions::Last);
    assert!(worst(&alone, &plain) > 1e-3);
    // Nobody listened to is nobody.
    assert_eq!(routed(weights([0.0; 2], [0.0; 2])), plain);
    // Both at once, as one delta of twice the rank, whose `b` has the weights of its head.
    // Powers of two, so that 16 bits hold the products.
    let mut head_weights = weights([0.0; 2], [0.25, 0.5]);
    for (index, pair) in head_weights.query.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        *pair = [[1.0, 0.0], [0.5, 0.25], [0.0, 1.0]][index % 3];
    }
    let both = stacked([heads_only(1, 1.0), heads_only(2, 1.0)], &head_weights, shape.head_dim);
    let (ours, expected) = (routed(head_weights), adapted(&engine, &ids, Arc::new(both)));
    assert!(worst(&ours, &expected) <= 1e-4, "{}", worst(&ours, &expected));
}

/// `Σ w_i B_i A_i` as `[w_0 B_0, w_1 B_1] [A_0; A_1]`.
fn stacked(loras: [Lora; 2], weights: &HeadWeights, head_dim: usize) -> Lora {
    let [first, second] = loras;
    let sites: Vec<_> = first
        .sites()
        .zip(second.sites())
        .map(|(mut one, other)| {
            assert_eq!((one.layer, one.part, one.rank), (other.layer, other.part, other.rank));
            let (table, heads) = match one.part {
                Part::Query => (&weights.query, weights.heads),
                _ => (&weights.group, weights.kv_heads),
            };
            let rows = one.b.chunks(one.rank).zip(other.b.chunks(one.rank)).enumerate();
            one.b = rows
                .flat_map(|(row, (a, b))| {
                    let at = (one.layer * heads + row / head_dim) * 2;
                    a.iter().map(move |a| a * table[at]).chain(b.iter().map(move |b| b * table[at + 1]))
                })
                .collect();
            one.a.extend(&other.a);
            one.rank *= 2;
            one
        })
        .collect();
    Lora::new(sites, 1.0, Half::F16).unwrap()
}

#[test]
fn voices_of_another_model_are_refused_before_anything_is_read() {
    let small = testdata("parity/qwen3/model-f32.gguf");
    let engine = engine(&small, Isa::detect(), 1);
    let mut shape = engine.model().hyperparameters().clone();
    shape.hidden *= 2;
    let lora = Arc::new(Lora::random(&shape, 2, 0..1, 0).unwrap());
    let refused = |voice: Voice| {
        let voice = Some(VoiceFrom { voice: Arc::new(voice), from: 0 });
        let error = engine.sequence().generate(&[1, 2], GenerateRequest { voice, ..greedy(1) }).blocking_finish();
        assert!(matches!(error, Err(EngineError::Voice(_))), "{error:?}");
    };
    refused(Voice { delta: Some(lora), filter: None });
    let bias = madrigal_engine::voice::BiasList::new(vec![(u32::MAX, 1.0)]).unwrap();
    refused(Voice { delta: None, filter: Some(Arc::new(bias)) });
}

#[test]
fn a_bias_changes_what_is_drawn() {
    let engine = engine(&testdata("parity/qwen3/model-f32.gguf"), Isa::detect(), 1);
    let bias = madrigal_engine::voice::BiasList::new(vec![(77, 1000.0)]).unwrap();
    let voice = Arc::new(Voice { delta: None, filter: Some(Arc::new(bias)) });
    let request = GenerateRequest { voice: Some(VoiceFrom { voice, from: 0 }), ignore_eos: true, ..greedy(3) };
    let generated = engine.sequence().generate(&[1, 2, 3], request).blocking_finish().unwrap();
    assert_eq!(generated.drawn, [77; 3]);
}

#[test]
fn voices_below_the_shared_layers_are_refused() {
    let path = testdata("parity/qwen3/model-f32.gguf");
    let model = madrigal_engine::Model::open(&path).unwrap();
    let options = EngineOptions { threads: 1, shared_layers: Some(1), ..EngineOptions::default() };
    let engine = Engine::start(model, options).unwrap();
    let lora = |layers| Arc::new(Lora::random(engine.model().hyperparameters(), 2, layers, 0).unwrap());
    let speak = |lora| {
        let voice = Some(VoiceFrom { voice: Arc::new(Voice { delta: Some(lora), filter: None }), from: 0 });
        engine.sequence().generate(&[1, 2], GenerateRequest { voice, ..greedy(1) }).blocking_finish()
    };
    assert!(speak(lora(0..2)).is_err());
    assert!(speak(lora(1..2)).is_ok());
}
