//! A share that was counted, with its interval and the bar that it has to take.

use std::fmt;

use serde::Serialize;

/// What a share must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    /// It only tells.
    None,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bar) => write!(f, ">= {}", percent(*bar)),
            Self::AtMost(bar) => write!(f, "<= {}", percent(*bar)),
            Self::None => Ok(()),
        }
    }
}

/// A share in percent, as it is printed.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Measure {
    pub(crate) part: &'static str,
    pub(crate) name: String,
    pub(crate) successes: usize,
    pub(crate) trials: usize,
    pub(crate) bar: Bar,
}

/// The normal quantile of a two-sided 95 %.
const Z: f64 = 1.959_963_984_540_054;

impl Measure {
    pub(crate) fn new(
        part: &'static str,
        name: impl Into<String>,
        bar: Bar,
        outcomes: impl IntoIterator<Item = bool>,
    ) -> Self {
        let (mut successes, mut trials) = (0, 0);
        for outcome in outcomes {
            trials += 1;
            successes += usize::from(outcome);
        }
        Self { part, name: name.into(), successes, trials, bar }
    }

    pub(crate) fn share(&self) -> f64 {
        self.successes as f64 / self.trials.max(1) as f64
    }

    /// The 95 % score interval (Wilson 1927).
    pub(crate) fn interval(&self) -> (f64, f64) {
        if self.trials == 0 {
            return (0.0, 1.0);
        }
        let (n, p) = (self.trials as f64, self.share());
        let center = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (((center - half) / scale).max(0.0), ((center + half) / scale).min(1.0))
    }

    /// A line of a Markdown table.
    pub(crate) fn row(&self) -> String {
        let (low, high) = self.interval();
        let Self { part, name, trials, bar, .. } = self;
        let (share, low, high) = (percent(self.share()), percent(low), percent(high));
        format!("| {part}: {name} | {share} | {low} to {high} | {trials} | {bar} |")
    }

    /// Whether the bar is taken; the share itself decides, not its interval.
    pub(crate) fn holds(&self) -> Option<bool> {
        match self.bar {
            Bar::AtLeast(bar) => Some(self.trials > 0 && self.share() >= bar),
            Bar::AtMost(bar) => Some(self.trials > 0 && self.share() <= bar),
            Bar::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilson_s() {
        // statsmodels 0.14, `proportion_confint(x, n, method="wilson")`.
        for (successes, trials, low, high) in [
            (0, 10, 0.0, 0.277_532_8),
            (5, 10, 0.236_593_1, 0.763_406_9),
            (8, 420, 0.009_682_629, 0.037_130_768),
            (400, 420, 0.927_596_266, 0.968_965_389),
        ] {
            let outcomes = (0..trials).map(|trial| trial < successes);
            let measure = Measure::new("part", "name", Bar::None, outcomes);
            let (found_low, found_high) = measure.interval();
            assert!((found_low - low).abs() < 1e-6 && (found_high - high).abs() < 1e-6, "{found_low} {found_high}");
        }
    }

    #[test]
    fn nothing_tried_takes_no_bar() {
        assert_eq!(Measure::new("part", "name", Bar::AtMost(1.0), []).holds(), Some(false));
        assert_eq!(Measure::new("part", "name", Bar::AtMost(0.5), [true, false]).holds(), Some(true));
        assert_eq!(Measure::new("part", "name", Bar::AtLeast(0.6), [true, false]).holds(), Some(false));
    }
}
