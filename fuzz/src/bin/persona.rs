//! A persona file of anyone: it is understood and becomes a prompt, or is refused with an error.
#![no_main]

use madrigal_agents::persona::Persona;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(persona) = Persona::from_bytes(bytes, "fuzz.md") else {
        return;
    };
    let _ = (persona.system_prompt(), persona.short_prompt(), persona.description());
});
