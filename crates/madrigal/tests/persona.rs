//! `madrigal persona` as machines and people use it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cli/place.rs"]
#[expect(dead_code, reason = "shared with the tests of the other commands; each uses its part")]
mod place;

use std::fs;

use place::{Done, Place};
use serde_json::{Value, json};

const GARDENER: &str = "---\nsummary: A gardener.\n---\n# Gardener Persona: Anne (en) [female]\n\n\
## Background and Identity\nYou like roses.\n\n## Core Characteristics\n- Patient\n\n\
## Interaction Guidelines\n1. Ask.\n\nRemember, you are Anne.\n";

/// Checks that the program refuses in one line that holds `expected`.
#[track_caller]
fn refused(done: &Done, code: i32, expected: &str) {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    assert_eq!(done.stderr.trim_end().lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains(expected), "{expected:?} in {}", done.stderr);
}

#[test]
fn the_built_in_ones_are_listed_with_those_of_the_folder() {
    let place = Place::new();
    fs::create_dir(place.path().join("personas")).unwrap();
    place.write("personas/anne.md", GARDENER);
    place.write("personas/broken.md", "no title\n");
    let lines = place.run(["persona", "list", "--json"]).json();
    let named = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{name}")).clone();
    assert!(lines.len() >= 12);
    assert_eq!(
        named("anne"),
        json!({
            "name": "anne", "agent": "Anne", "role": "Gardener", "language": "en", "gender": "female", "model": null,
            "origin": "personas/anne.md", "description": "Anne, Gardener — A gardener.",
        })
    );
    assert_eq!(json!([named("doctor")["model"], named("doctor")["origin"]]), json!(["doctor", "built-in"]));
    assert!(named("broken")["error"].as_str().unwrap().contains("there is no title"));
    let page = place.run(["persona", "list"]).stdout;
    assert!(page.contains("Anne, Gardener — A gardener. [en, female, personas/anne.md]"), "{page}");
    let elsewhere = place.run(["persona", "list", "--json", "--personas", "nowhere"]).json();
    assert!(elsewhere.iter().all(|line| line["name"] != "anne"), "another folder takes the place of the usual one");
}

#[test]
fn a_persona_is_shown_as_file_as_prompt_and_as_facts() {
    let place = Place::new();
    place.write("anne.md", GARDENER);
    assert_eq!(place.run(["persona", "show", "./anne.md"]).stdout, GARDENER);
    let prompt = place.run(["persona", "show", "anne.md", "--prompt"]).stdout;
    assert!(prompt.starts_with("# Gardener Persona: Anne (en) [female]\n\n## Instructions"), "{prompt}");
    assert!(prompt.contains("/bye") && prompt.contains("You like roses."), "{prompt}");
    let facts = &place.run(["persona", "show", "anne.md", "--json"]).json()[0];
    assert_eq!(facts["source"], GARDENER);
    assert_eq!(facts["prompt"], json!(prompt));
    assert_eq!(facts["short_prompt"], "You are Anne. A gardener. Answer in a sentence or two.");
    refused(&place.run(["persona", "show", "physisist"]), 1, "`physicist`");
}

#[test]
fn what_is_wrong_is_told_with_file_and_line() {
    let place = Place::new();
    place.write("good.md", GARDENER);
    place.write("odd.md", "---\ntemprature: 1\n---\n# Role Persona: Odd\n\nText.\n");
    place.write("bare.md", "# Persona: Bare\n\nText.\n");
    let done = place.run(["persona", "check", "good.md", "odd.md", "physicist"]);
    assert_eq!(done.code, Some(1));
    assert_eq!(
        done.stdout,
        "good.md: sound\nodd.md:2: error: unknown key `temprature` (did you mean `temperature`?)\nphysicist: sound\n"
    );
    let warned = place.run(["persona", "check", "bare.md", "--json"]);
    let facts = &warned.json()[0];
    assert_eq!(json!([facts["file"], facts["errors"]]), json!(["bare.md", 0]));
    assert_eq!(facts["warnings"], json!(facts["findings"].as_array().unwrap().len()));
    assert_eq!(facts["findings"][0]["severity"], "warning");
    let broken = place.run(["persona", "check", "odd.md", "--json"]);
    assert_eq!(broken.code, Some(1));
    assert_eq!(broken.lines()[0]["findings"][0]["line"], 2);
    refused(&place.run(["persona", "check", "gone.md"]), 1, "gone.md");
    refused(&place.run(["persona", "check", "."]), 1, "regular file");
}

#[test]
fn answers_become_a_persona() {
    let place = Place::new();
    let answers = "Livia Ferro\nAlpine Botanist\nen\nYou are Livia Ferro, a botanist in Chur.\n\
                   Latin names first; short of breath\nsaxifrages; lichens\npatient\n";
    let done = place.run_with(["persona", "new"], answers);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "personas/livia-ferro.md\n"), "{}", done.stderr);
    assert!(done.stderr.contains("Name:") && !done.stderr.contains("warning"), "{}", done.stderr);
    let file = fs::read_to_string(place.path().join("personas/livia-ferro.md")).unwrap();
    for part in [
        "# Alpine Botanist Persona: Livia Ferro (en)",
        "a botanist in Chur.",
        "- Latin names first\n- short of breath",
        "- saxifrages\n- lichens",
        "- patient",
    ] {
        assert!(file.contains(part), "{part}: {file}");
    }
    // It sits in the usual folder, so its name finds it.
    assert_eq!(place.run(["persona", "check", "livia-ferro"]).stdout, "personas/livia-ferro.md: sound\n");
    let again = place.run_with(["persona", "new"], answers);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("the file exists"), "{}", again.stderr);
    assert_eq!(
        fs::read_to_string(place.path().join("personas/livia-ferro.md")).unwrap(),
        file,
        "nothing is overwritten"
    );
}

#[test]
fn flags_answer_too() {
    let place = Place::new();
    let args = [
        "persona",
        "new",
        "--name",
        "Bert",
        "--role",
        "Baker",
        "--language",
        "de",
        "--gender",
        "male",
        "--who",
        "You are Bert. You bake.",
        "--style",
        "slow; warm",
        "--knows",
        "bread",
        "--traits",
        "early",
        "--summary",
        "A baker.",
        "--model",
        "ollama:llama3.2",
        "--temperature",
        "0.5",
        "--talkativeness",
        "0.25",
        "--instructions",
        "turing-test",
        "--out",
        "cast/bert.md",
        "--json",
    ];
    let done = place.run(args);
    assert_eq!(done.json()[0]["file"], "cast/bert.md");
    let facts = &place.run(["persona", "show", "cast/bert.md", "--json"]).json()[0];
    let expected = json!({
        "name": "Bert", "role": "Baker", "language": "de", "gender": "male", "model": "ollama:llama3.2",
        "temperature": 0.5, "talkativeness": 0.25, "summary": "A baker.", "instructions": "turing-test",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&facts[key], value, "{key}");
    }
    for part in ["You bake.", "- slow\n- warm", "- bread", "- early"] {
        assert!(facts["source"].as_str().unwrap().contains(part), "{part}");
    }
    refused(&place.run(args), 1, "the file exists");
    refused(&place.run(["persona", "new", "--name", "X", "--who", " "]), 2, "someone");
    refused(&place.run(["persona", "new", "--name", "X", "--who", "You.", "--model", "gopher:x"]), 2, "gopher");
    let nobody = place.run_with(["persona", "new"], "");
    assert_eq!(nobody.code, Some(2));
    assert!(nobody.stderr.contains("needs a name"), "{}", nobody.stderr);
}

fn card() -> Value {
    json!({
        "spec": "chara_card_v2", "spec_version": "2.0",
        "data": {
            "name": "Marla Quill",
            "description": "{{char}} keeps the lighthouse at Cape Sorrow and distrusts {{user}}.",
            "personality": "dry, watchful", "scenario": "A storm.", "first_mes": "State your business.", "mes_example": "",
            "alternate_greetings": ["Hello."], "tags": ["sea"],
        },
    })
}

/// A picture of one pixel that carries the card.
fn picture() -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(card().to_string());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.add_text_chunk("chara".to_owned(), text).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    bytes
}

#[test]
fn cards_become_personas() {
    let place = Place::new();
    place.write("card.png", picture());
    place.write("card.json", card().to_string());
    let done = place.run(["persona", "import", "card.png"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "personas/marla-quill.md\n"), "{}", done.stderr);
    assert!(done.stderr.contains("note: "), "what was left out is told: {}", done.stderr);
    let facts = &place.run(["persona", "show", "marla-quill", "--json"]).json()[0];
    assert_eq!(facts["name"], "Marla Quill");
    assert!(facts["source"].as_str().unwrap().contains("Marla Quill keeps the lighthouse at Cape Sorrow"));

    refused(&place.run(["persona", "import", "card.json"]), 1, "the file exists");
    let told = place.run(["persona", "import", "card.json", "--force", "--json"]);
    let told = &told.json()[0];
    assert_eq!(told["file"], "personas/marla-quill.md");
    assert!(!told["notes"].as_array().unwrap().is_empty());
    let source = fs::read_to_string(place.path().join("personas/marla-quill.md")).unwrap();
    assert_eq!(facts["source"], json!(source), "picture and JSON hold the same card");
    assert_eq!(place.run(["persona", "import", "card.json", "--out", "deep/er/m.md"]).code, Some(0));
    assert!(place.path().join("deep/er/m.md").is_file());
}

#[test]
fn what_is_no_card_is_refused() {
    let place = Place::new();
    place.write("text.txt", "hello");
    place.write("half.png", &picture()[..40]);
    place.write("half.json", "{\"name\": ");
    for (card, expected) in
        [("text.txt", "neither a PNG"), ("half.png", "damaged"), ("half.json", "malformed"), ("gone.png", "gone.png")]
    {
        refused(&place.run(["persona", "import", card]), 1, expected);
    }
    assert!(!place.path().join("personas").exists(), "nothing was made");
}

#[test]
fn every_command_explains_itself_with_examples() {
    let place = Place::new();
    for command in ["list", "show", "new", "check", "import"] {
        let help = place.run(["persona", command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains(&format!("madrigal persona {command}")), "{command}: {}", help.stdout);
    }
}
