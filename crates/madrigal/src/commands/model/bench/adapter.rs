//! Deltas of low rank as the adapter files that llama.cpp reads.
//!
//! Owns the layout of such a GGUF: <https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py>.

use std::io::{self, Write};

use madrigal_engine::Part;
use madrigal_engine::voice::Lora;

const VERSION: u32 = 3;
const ALIGNMENT: usize = 32;
/// GGUF's numbers for the types of values and tensors.
const VALUE_F32: u32 = 6;
const VALUE_TEXT: u32 = 8;
const TENSOR_F32: u32 = 0;

/// Writes an adapter for models of `architecture`.
pub(super) fn write(lora: &Lora, architecture: &str, to: &mut impl Write) -> io::Result<()> {
    let mut tensors = Vec::new(); // (name, [contiguous values, rows], values)
    let mut rank = 0;
    for site in lora.sites() {
        let name = format!("blk.{}.{}.weight", site.layer, tensor(site.part));
        rank = site.rank;
        let (inputs, outputs) = (site.a.len() / site.rank, site.b.len() / site.rank);
        tensors.push((format!("{name}.lora_a"), [inputs, site.rank], site.a));
        tensors.push((format!("{name}.lora_b"), [site.rank, outputs], site.b));
    }
    let mut head = Vec::new();
    head.extend(b"GGUF");
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(4_u64.to_le_bytes());
    for (key, value) in [("general.type", "adapter"), ("general.architecture", architecture), ("adapter.type", "lora")]
    {
        text(&mut head, key);
        head.extend(VALUE_TEXT.to_le_bytes());
        text(&mut head, value);
    }
    // llama.cpp multiplies with alpha / rank.
    text(&mut head, "adapter.lora.alpha");
    head.extend(VALUE_F32.to_le_bytes());
    head.extend((lora.scale() * rank as f32).to_le_bytes());
    let mut offset = 0;
    for (name, shape, values) in &tensors {
        text(&mut head, name);
        head.extend(2_u32.to_le_bytes());
        for size in shape {
            head.extend((*size as u64).to_le_bytes());
        }
        head.extend(TENSOR_F32.to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += (values.len() * 4).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    to.write_all(&head)?;
    for (_, _, values) in &tensors {
        let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        to.write_all(&bytes)?;
    }
    Ok(())
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// The matrix's name in a GGUF.
fn tensor(part: Part) -> &'static str {
    match part {
        Part::Query => "attn_q",
        Part::Key => "attn_k",
        Part::Value => "attn_v",
        Part::Output => "attn_output",
        Part::Gate => "ffn_gate",
        Part::Up => "ffn_up",
        Part::Down => "ffn_down",
    }
}

#[cfg(test)]
mod tests {
    use madrigal_engine::Half;
    use madrigal_engine::gguf::Gguf;
    use madrigal_engine::voice::LoraSite;

    use super::*;

    #[test]
    fn an_adapter_is_a_gguf() {
        let site = LoraSite { layer: 3, part: Part::Down, rank: 2, a: vec![0.5; 6], b: vec![-1.0; 10] };
        let lora = Lora::new([site], 0.5, Half::F16).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter.gguf");
        write(&lora, "qwen3", &mut std::fs::File::create(&path).unwrap()).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.require("adapter.lora.alpha", "a number", |value| value.as_f32()).unwrap(), 1.0);
        let names: Vec<_> = gguf.tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.shape[..])).collect();
        assert_eq!(
            names,
            [("blk.3.ffn_down.weight.lora_a", &[3, 2][..]), ("blk.3.ffn_down.weight.lora_b", &[2, 5][..])]
        );
        let second = gguf.file().get(gguf.tensors[1].range.clone()).unwrap();
        assert_eq!(second, (-1.0_f32).to_le_bytes().repeat(10));
    }
}
