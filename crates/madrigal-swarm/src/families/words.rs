//! Words that mean nothing yet.

use crate::draws::Draws;

const ONSETS: [&str; 25] = [
    "b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "bl", "dr", "fl", "gr", "kr", "pl",
    "sn", "tr", "sk",
];
const VOWELS: [&str; 7] = ["a", "e", "i", "o", "u", "oo", "ai"];
const CODAS: [&str; 12] = ["n", "r", "l", "x", "sh", "mp", "nk", "rp", "zz", "ck", "ff", "st"];

/// English words that the syllables can make.
const ENGLISH: [&str; 41] = [
    "back", "bank", "best", "black", "camp", "deck", "dump", "fast", "fish", "flash", "grant", "hash", "hush", "kick",
    "lamp", "last", "link", "list", "lock", "lost", "luck", "mask", "mist", "pack", "past", "pick", "plank", "push",
    "rank", "rest", "sink", "sock", "stack", "tank", "task", "test", "track", "trash", "wash", "wish", "trick",
];

/// A word that is none, and neither begins nor ends like one of those that are taken.
pub fn invent(draws: &mut Draws, taken: &[&str]) -> String {
    loop {
        let word = if draws.happens(0.5) {
            [draws.pick(&ONSETS), draws.pick(&VOWELS), draws.pick(&CODAS)].concat()
        } else {
            let syllables = 1 + draws.below(2);
            let mut word = String::new();
            for _ in 0..syllables {
                word.push_str(draws.pick(&ONSETS));
                word.push_str(draws.pick(&VOWELS));
            }
            word.push_str(draws.pick(&ONSETS[..16]));
            if draws.happens(0.5) {
                word.push_str(draws.pick(&VOWELS[..5]));
            }
            word
        };
        let alike = |other: &&str| other[..2] == word[..2] || other[other.len() - 2..] == word[word.len() - 2..];
        if word.len() >= 4 && !ENGLISH.contains(&word.as_str()) && !taken.iter().any(alike) {
            return word;
        }
    }
}
