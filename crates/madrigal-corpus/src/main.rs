//! Prints documents of the corpus, a line of JSON each: SEED, the split (`train` or `test`), the number of the first document,
//! and how many. With the argument `library`, it prints the statements that make the example database.

use std::io::Write;
use std::process::ExitCode;

use madrigal_corpus::library::Library;
use madrigal_corpus::{Split, document};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["library"] {
        let written = std::io::stdout().write_all(Library::example().statements().as_bytes());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Some((seed, split, first, count)) = parse(&arguments) else {
        eprintln!("usage: madrigal-corpus SEED train|test FIRST COUNT\n       madrigal-corpus library");
        return ExitCode::from(2);
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in first..first.saturating_add(count) {
        let written = serde_json::to_writer(&mut out, &document(seed, split, number)).map_err(std::io::Error::from);
        // Whoever reads may have enough.
        if written.and_then(|()| out.write_all(b"\n")).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<(u64, Split, u64, u64)> {
    let [seed, split, first, count] = arguments else { return None };
    let split = match split.as_str() {
        "train" => Split::Train,
        "test" => Split::Test,
        _ => return None,
    };
    Some((seed.parse().ok()?, split, first.parse().ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_four() {
        let parse = |text: &str| parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("7 test 10 20"), Some((7, Split::Test, 10, 20)));
        for wrong in ["7 test 10", "x test 1 2", "7 all 1 2", "7 train -1 2", "7 train 1 2 3"] {
            assert_eq!(parse(wrong), None);
        }
    }
}
