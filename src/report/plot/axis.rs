//! Axes: where numbers come to lie, and which of them are written beside it.

use crate::report::cell_text::rounded;

/// Ticks that an axis has about.
const TICKS: f64 = 5.0;

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// First and last number.
    pub(super) domain: [f64; 2],
    /// Numbers with a label, ascending.
    pub(super) ticks: Vec<(f64, String)>,
    scale: Scale,
    /// Digits after the point of the ticks.
    decimals: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
}

impl Axis {
    /// An axis for measured numbers: it ends at ticks, which are 1, 2 or 5 times a power of ten apart,
    /// and stays within `bounds`.
    pub fn numbers(
        label: impl Into<String>,
        values: impl Iterator<Item = f64>,
        bounds: [f64; 2],
    ) -> Self {
        let [low, high] = range(values);
        let spare = match high > low {
            true => 0.04 * (high - low),
            false => high.abs().max(1.0) * 0.05,
        };
        let step = step((high - low + 2.0 * spare) / TICKS);
        let first = ((low - spare).max(bounds[0]) / step).floor();
        let last = ((high + spare).min(bounds[1]) / step).ceil();
        let decimals = (-step.log10().floor()).clamp(0.0, 255.0) as u8;
        let count = (last - first) as usize;
        let ticks = (0..=count).map(|i| {
            let at = (first + i as f64) * step;
            let text = match at {
                0.0 => "0".to_owned(),
                _ if !(1e-4..1e6).contains(&step) => format!("{at:.1e}"),
                _ => rounded(at, decimals),
            };
            (at, text)
        });
        Self {
            label: label.into(),
            domain: [first * step, last * step],
            ticks: ticks.collect(),
            scale: Scale::Linear,
            decimals,
        }
    }

    /// An axis for things counted from 0: half of one is free at either end.
    pub fn counted(label: impl Into<String>, count: usize) -> Self {
        let stride = match count {
            0..=13 => 1,
            14..=26 => 2,
            27..=52 => 4,
            _ => count.div_ceil(13),
        };
        let ticks = (0..count).step_by(stride);
        Self {
            label: label.into(),
            domain: [-0.5, count.max(1) as f64 - 0.5],
            ticks: ticks.map(|i| (i as f64, i.to_string())).collect(),
            scale: Scale::Linear,
            decimals: 0,
        }
    }

    /// A logarithmic axis for positive numbers of which each has a tick.
    pub fn logarithmic(label: impl Into<String>, values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|&value| value > 0.0).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let [low, high] = range(values.iter().copied());
        let free = (high / low).powf(0.03).max(1.05);
        Self {
            label: label.into(),
            domain: [low / free, high * free],
            ticks: values.iter().map(|v| (*v, v.to_string())).collect(),
            scale: Scale::Logarithmic,
            decimals: 0,
        }
    }

    /// Digits after the point that its ticks have.
    pub(in super::super) fn decimals(&self) -> u8 {
        self.decimals
    }

    /// Where a number lies: 0 at the start of the axis, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let [low, high] = self.domain;
        match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Logarithmic => (value / low).ln() / (high / low).ln(),
        }
    }
}

/// Smallest and largest; 0 and 1 of nothing.
fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let ends = values.fold(None, |ends: Option<[f64; 2]>, value| {
        let [low, high] = ends.unwrap_or([value; 2]);
        Some([low.min(value), high.max(value)])
    });
    ends.unwrap_or([0.0, 1.0])
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|times| times * power);
    // A hair of tolerance keeps 0.1 * 3 from becoming the next step.
    let fits = steps.into_iter().find(|step| step * (1.0 + 1e-9) >= least);
    fits.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], bounds: [f64; 2]) -> Vec<String> {
        let axis = Axis::numbers("", values.iter().copied(), bounds);
        axis.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_numbers() {
        let all = [f64::NEG_INFINITY, f64::INFINITY];
        assert_eq!(labels(&[0.0, 97.0], [0.0, 100.0]), ["0", "50", "100"]);
        assert_eq!(
            labels(&[0.112, 0.148], all),
            ["0.11", "0.12", "0.13", "0.14", "0.15"]
        );
        assert_eq!(labels(&[-3.0, 3.0], all), ["-4", "-2", "0", "2", "4"]);
        let tiny = labels(&[1e-7, 3e-7], all);
        assert_eq!(tiny[..2], ["5.0e-8", "1.0e-7"], "{tiny:?}");
        for values in [[7.0, 7.0], [0.0, 0.0], [-1e9, 1e-9], [12.0, 13.0]] {
            let axis = Axis::numbers("", values.into_iter(), all);
            assert!(axis.ticks.len() >= 2, "{values:?}: {axis:?}");
            for value in values {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{values:?}");
            }
        }
    }

    #[test]
    fn places_run_from_0_to_1() {
        let axis = Axis::logarithmic("k", [200.0, 1.0, 20.0, 1.0].into_iter());
        let ticks: Vec<_> = axis.ticks.iter().map(|(at, _)| *at).collect();
        assert_eq!(ticks, [1.0, 20.0, 200.0]);
        let [first, last] = [axis.place(1.0), axis.place(200.0)];
        assert!(first > 0.0 && (first + last - 1.0).abs() < 1e-12);
        let blocks = Axis::counted("block", 12);
        assert_eq!(blocks.ticks.len(), 12);
        assert!((blocks.place(5.5) - 0.5).abs() < 1e-12);
        assert_eq!(Axis::counted("block", 24).ticks.len(), 12);
    }
}
