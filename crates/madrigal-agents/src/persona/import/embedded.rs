//! The card inside a picture: Base64 of the JSON in a PNG text chunk, `chara` (V1, V2) or `ccv3` (V3).
//!
//! Owns getting the JSON out with bounded memory. The picture itself is not decoded.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::ImportError;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// What the PNG reader may allocate.
const MAX_READER_BYTES: usize = 64 << 20;
/// The longest text chunk after decompression.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// Whether the bytes begin as a PNG does.
pub(super) fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
}

/// The JSON of the newest card in the picture.
pub(super) fn card_text(bytes: &[u8]) -> Result<Vec<u8>, ImportError> {
    let damaged = |error: png::DecodingError| ImportError::Png { reason: error.to_string() };
    // Otherwise a damaged text would be passed over, and the picture seem to hold no character.
    let mut options = png::DecodeOptions::default();
    options.set_skip_ancillary_crc_failures(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(png::Limits { bytes: MAX_READER_BYTES });
    let mut reader = decoder.read_info().map_err(damaged)?;
    // Most programs put the text behind the picture; this reads on without decoding any pixels.
    reader.finish().map_err(damaged)?;
    let info = reader.info();
    for keyword in ["ccv3", "chara"] {
        let is_card = |found: &str| found.eq_ignore_ascii_case(keyword);
        if let Some(chunk) = info.uncompressed_latin1_text.iter().find(|chunk| is_card(&chunk.keyword)) {
            return decode(keyword, &chunk.text);
        }
        if let Some(chunk) = info.compressed_latin1_text.iter().find(|chunk| is_card(&chunk.keyword)) {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(MAX_TEXT_BYTES).map_err(damaged)?;
            return decode(keyword, &chunk.get_text().map_err(damaged)?);
        }
        if let Some(chunk) = info.utf8_text.iter().find(|chunk| is_card(&chunk.keyword)) {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(MAX_TEXT_BYTES).map_err(damaged)?;
            return decode(keyword, &chunk.get_text().map_err(damaged)?);
        }
    }
    Err(ImportError::NoCard)
}

fn decode(keyword: &str, text: &str) -> Result<Vec<u8>, ImportError> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let engine = if text.ends_with('=') || text.len().is_multiple_of(4) { &STANDARD } else { &STANDARD_NO_PAD };
    engine.decode(&text).map_err(|error| ImportError::Base64 { keyword: keyword.to_owned(), reason: error.to_string() })
}
