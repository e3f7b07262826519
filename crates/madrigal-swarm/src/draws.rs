//! Seeded draws: the same seed and stream give the same choices on every machine.

use madrigal_engine::sampling::philox4x32;

/// A stream of draws. Streams with different names have nothing in common.
#[derive(Debug, Clone)]
pub struct Draws {
    key: [u32; 2],
    stream: [u32; 2],
    next: u32,
    left: Vec<u32>,
}

impl Draws {
    /// The stream `stream` of `seed`.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let halves = |number: u64| [number as u32, (number >> 32) as u32];
        Self { key: halves(seed), stream: halves(stream), next: 0, left: Vec::new() }
    }

    fn bits(&mut self) -> u32 {
        if self.left.is_empty() {
            let [first, second] = self.stream;
            self.left = philox4x32([self.next, 2, first, second], self.key).to_vec();
            self.next = self.next.wrapping_add(1);
        }
        self.left.pop().unwrap_or_default()
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.bits()) * end as u64) >> 32) as usize
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: i128, last: i128) -> i128 {
        first + self.below((last - first + 1) as usize) as i128
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        f64::from(self.bits()) < probability * f64::from(u32::MAX)
    }

    /// One of `items`, of which there must be some.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// `count` different ones of `items`, in a drawn order; fewer where there are not so many.
    pub fn sample<'a, T>(&mut self, items: &'a [T], count: usize) -> Vec<&'a T> {
        let mut rest: Vec<&T> = items.iter().collect();
        (0..count.min(items.len())).map(|_| rest.swap_remove(self.below(rest.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let many = |seed, stream| -> Vec<usize> {
            let mut draws = Draws::new(seed, stream);
            (0..1000).map(|_| draws.below(10)).collect()
        };
        assert_eq!(many(1, 2), many(1, 2));
        assert!(many(1, 2) != many(1, 3) && many(1, 2) != many(2, 2));
        for number in 0..10 {
            let count = many(7, 7).into_iter().filter(|&drawn| drawn == number).count();
            assert!((60..=140).contains(&count), "{number}: {count}");
        }
        let mut draws = Draws::new(0, 0);
        let mut sample: Vec<_> = draws.sample(&[1, 2, 3, 4], 9).into_iter().copied().collect();
        sample.sort_unstable();
        assert_eq!(sample, [1, 2, 3, 4]);
        assert!((0..1000).all(|_| (-3..=2).contains(&draws.between(-3, 2))));
    }
}
