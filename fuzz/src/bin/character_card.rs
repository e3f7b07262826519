//! A character card of anyone, JSON or PNG: it becomes a persona, or is refused with an error.
#![no_main]

use madrigal_agents::persona::import_card;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = import_card(bytes);
});
