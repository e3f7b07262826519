//! The shipped model does what its card says.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// Runs the program on the shipped model; what it measured.
fn measured(arguments: &[&str]) -> Vec<Value> {
    let json = tempfile::NamedTempFile::new().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = Command::new(env!("CARGO_BIN_EXE_madrigal-evaluation"))
        .arg("models/embedded/embedded.gguf")
        .args(arguments)
        .arg("--json")
        .arg(json.path())
        .current_dir(root)
        .status()
        .unwrap();
    // 1 says that a bar was missed, which so few items do by chance.
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    let all: Vec<Vec<Value>> = serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap();
    all.into_iter().next().unwrap()
}

fn share(measure: &Value) -> f64 {
    measure["successes"].as_f64().unwrap() / measure["trials"].as_f64().unwrap()
}

#[test]
fn a_sample_agrees_with_what_was_measured() {
    let recorded: Vec<Vec<Value>> = serde_json::from_str(&file("models/embedded/measured.json")).unwrap();
    let sample = measured(&["--tasks", "48", "--seeds", "1"]);
    assert_eq!(sample.len(), recorded[0].len());
    for (found, recorded) in sample.iter().zip(&recorded[0]) {
        assert_eq!(found["name"], recorded["name"]);
        // Four standard errors of the sample, and one item.
        let (expected, n) = (share(recorded), found["trials"].as_f64().unwrap());
        let tolerance = 4.0 * (expected * (1.0 - expected) / n).sqrt() + 1.5 / n;
        assert!((share(found) - expected).abs() <= tolerance, "{found} beside {recorded}");
    }
}

#[test]
fn the_card_has_the_figures_that_were_measured() {
    let card = file("models/embedded/README.md");
    let recorded: Vec<Vec<Value>> = serde_json::from_str(&file("models/embedded/measured.json")).unwrap();
    assert!(recorded[0].len() > 30);
    for measure in &recorded[0] {
        let (part, name) = (measure["part"].as_str().unwrap(), measure["name"].as_str().unwrap());
        let row = format!("| {part}: {name} | {:.1} |", share(measure) * 100.0);
        assert!(card.contains(&row), "models/embedded/README.md lacks `{row}`; --markdown prints the table");
    }
}
