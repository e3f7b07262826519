//! Passes over the logits of a whole vocabulary, written so that they take microseconds: the first bad number, the
//! highest, and what cannot be among the k highest.
//!
//! Owns no rule of sampling: each says exactly what the plain loop in its test says.

/// Numbers that are looked at together.
const LANES: usize = 16;

/// The place and value of the first number that is `bad`.
pub(super) fn first(logits: &[f32], bad: impl Fn(f32) -> bool) -> Option<(u32, f32)> {
    let chunks = logits.chunks(64 * LANES).enumerate();
    let (chunk, found) = chunks.into_iter().find(|(_, chunk)| chunk.iter().fold(false, |any, &x| any | bad(x)))?;
    let at = found.iter().position(|&logit| bad(logit))?;
    Some(((chunk * 64 * LANES + at) as u32, found[at]))
}

/// The highest number; negative infinity where there is none.
pub(super) fn highest(logits: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let (whole, rest) = logits.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in whole {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, logit);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

/// A number that at least `k` logits reach, negative infinity where that is not worth finding out. `scaled` never falls
/// where its argument rises; logits that it makes equal to that number reach it too.
pub(super) fn floor(logits: &[f32], k: usize, scaled: impl Fn(f32) -> f64) -> f32 {
    let size = (logits.len() / k.saturating_mul(8).max(1)).min(16 * LANES);
    if k == 0 || size < 2 {
        return f32::NEG_INFINITY;
    }
    // The k-th highest of the chunks' highest is reached in k chunks.
    let mut highest: Vec<f32> = logits.chunks(size).map(highest).collect();
    let (_, floor, _) = highest.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    lowest_alike(*floor, scaled)
}

/// The lowest number that `scaled` makes what it makes of `floor`.
fn lowest_alike(floor: f32, scaled: impl Fn(f32) -> f64) -> f32 {
    if floor == f32::NEG_INFINITY {
        return floor;
    }
    // The order of floats is that of these integers.
    let number = |place: i32| f32::from_bits((if place < 0 { place ^ i32::MAX } else { place }) as u32);
    let place = |number: f32| {
        let bits = number.to_bits() as i32;
        if bits < 0 { bits ^ i32::MAX } else { bits }
    };
    let target = scaled(floor);
    let (mut low, mut high) = (place(f32::MIN), place(floor));
    while low < high {
        let middle = ((i64::from(low) + i64::from(high)).div_euclid(2)) as i32;
        if scaled(number(middle)) >= target { high = middle } else { low = middle + 1 }
    }
    number(high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logit() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => -20.0..20.0_f32,
            2 => (-3..3_i32).prop_map(|x| x as f32),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(-0.0_f32),
            1 => prop::num::f32::NORMAL,
        ]
    }

    proptest! {
        #[test]
        fn the_k_likeliest_all_reach_the_floor(
            logits in proptest::collection::vec(logit(), 1..3000),
            k in 0..80_usize,
            temperature in prop_oneof![Just(1.0_f64), 1e-6..10.0_f64, Just(1e30)],
        ) {
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(highest(&logits), top);
            let scaled = |logit: f32| (f64::from(logit) - f64::from(top)) / temperature;
            let floor = floor(&logits, k, scaled);
            let mut order: Vec<usize> = (0..logits.len()).filter(|&id| logits[id] > f32::NEG_INFINITY).collect();
            order.sort_by(|&a, &b| scaled(logits[b]).total_cmp(&scaled(logits[a])).then(a.cmp(&b)));
            for &id in order.iter().take(k) {
                prop_assert!(logits[id] >= floor, "{} is below {}", logits[id], floor);
            }
        }

        #[test]
        fn the_first_bad_number_is_found(mut logits in proptest::collection::vec(logit(), 1..5000), at in any::<prop::sample::Index>()) {
            prop_assert_eq!(first(&logits, f32::is_nan), None);
            let at = at.index(logits.len());
            for place in at..logits.len().min(at + 3) {
                logits[place] = f32::NAN;
            }
            prop_assert_eq!(first(&logits, f32::is_nan).map(|(place, _)| place as usize), Some(at));
        }
    }
}
