//! A safetensors file of anyone: its header is read and every range compared with the file, or refused with an error.
#![no_main]

use madrigal_engine::weights::Weights;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = madrigal_fuzz::file("model.safetensors", bytes);
    let Some(folder) = path.parent() else { return };
    let Ok((mut weights, _)) = Weights::from_folder(folder) else {
        return;
    };
    let _ = weights.matrix("token_embd.weight", 2, 4);
    let _ = weights.vector("output_norm.weight", 4);
});
