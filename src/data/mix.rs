//! Mixup and CutMix: of two images come two mixtures, whose targets are mixed alike.
//!
//! What happens is timm's `Mixup` in mode `batch` with `correct_lam` (timm 1.0.31
//! `data/mixup.py`): the images of one batch share a coefficient and a box. timm mixes the image at
//! place `i` of `n` with that at `n - 1 - i`; here neighbours, at `2j` and `2j + 1`, are a pair. The
//! order of images is random in any case, so that this changes no distribution, and every part of
//! a batch with an even length holds whole pairs: what goes through the network together need not
//! be what shares a coefficient.
//!
//! Draws are distributed like timm's, but are not its numbers: they are functions of the seed and
//! of the batch's number. Boxes are today's timm's: older versions left out the last row and the
//! last column of a box of odd sides, and gave it the coefficient without them.

use serde::{Deserialize, Serialize};

use super::stream::Stream;

/// How images are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixSpec {
    /// Mixup's coefficient is Beta(mixup, mixup); 0 is without mixup.
    pub mixup: f64,
    /// CutMix's is Beta(cutmix, cutmix) before it is that of the box; 0 is without CutMix.
    pub cutmix: f64,
    /// Probability that a batch is mixed at all.
    pub probability: f64,
    /// Probability that it is CutMix, where both are on.
    pub switch: f64,
    /// Least and largest share of the sides that a box has. With it CutMix is on, and `cutmix`
    /// decides nothing.
    pub cutmix_minmax: Option<[f64; 2]>,
}

impl Default for MixSpec {
    /// What MAE fine-tunes with (facebookresearch/mae `FINETUNE.md`); the rest is the default of
    /// its `main_finetune.py`.
    fn default() -> Self {
        Self {
            mixup: 0.8,
            cutmix: 1.0,
            probability: 1.0,
            switch: 0.5,
            cutmix_minmax: None,
        }
    }
}

/// A value of a [`MixSpec`] makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mix.{field} {reason}")]
pub struct MixError {
    /// The field, as written in a protocol.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl MixError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self.field {
            "probability" | "switch" => format!("a probability, as in {} = 0.5", self.field),
            "cutmix_minmax" => "shares of a side, as in cutmix_minmax = [0.2, 0.8]".to_owned(),
            field => format!("a number above 0, as in {field} = 0.8, or 0 to do without"),
        })
    }
}

impl MixSpec {
    /// Checks that the values make sense.
    ///
    /// # Errors
    /// [`MixError`] names the first that does not.
    pub fn check(&self) -> Result<(), MixError> {
        let wrong = |field, reason| Err(MixError { field, reason });
        for (field, value, most) in [
            ("mixup", self.mixup, f64::MAX),
            ("cutmix", self.cutmix, f64::MAX),
            ("probability", self.probability, 1.0),
            ("switch", self.switch, 1.0),
        ] {
            if !(0.0..=most).contains(&value) {
                let range = if most == 1.0 {
                    "from 0 to 1"
                } else {
                    "a number from 0 on"
                };
                return wrong(field, format!("is {value}, not {range}"));
            }
        }
        match self.cutmix_minmax {
            Some([low, high]) if !(0.0 <= low && low < high && high <= 1.0) => {
                let reason = format!("is from {low} to {high}, not a range within 0 and 1");
                wrong("cutmix_minmax", reason)
            }
            _ => Ok(()),
        }
    }

    /// Whether any image is mixed.
    pub fn mixes(&self) -> bool {
        self.probability > 0.0 && (self.mixup > 0.0 || self.cuts())
    }

    fn cuts(&self) -> bool {
        self.cutmix > 0.0 || self.cutmix_minmax.is_some()
    }
}

/// A box of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// First row.
    pub top: usize,
    /// Row after the last.
    pub bottom: usize,
    /// First column.
    pub left: usize,
    /// Column after the last.
    pub right: usize,
}

impl Cut {
    /// The box around a pixel that leaves a share of `lambda` of the image, or more where the
    /// image's edges cut it.
    ///
    /// centre: `[row, column]`, size: `[height, width]`
    pub fn around(lambda: f64, centre: [usize; 2], size: [usize; 2]) -> Self {
        let ratio = (1.0 - lambda).sqrt();
        let [[top, bottom], [left, right]] = std::array::from_fn(|axis| {
            let cut = (size[axis] as f64 * ratio) as usize;
            let first = centre[axis].saturating_sub(cut / 2);
            let end = centre[axis] + cut.div_ceil(2);
            [first, end.min(size[axis])]
        });
        Self {
            top,
            bottom,
            left,
            right,
        }
    }

    /// The box whose sides are shares of the image's, from `low` to `high`, anywhere in it.
    fn within([low, high]: [f64; 2], size: [usize; 2], stream: &mut Stream) -> Self {
        let cut = size.map(|side| {
            let [least, end] = [low, high].map(|share| (side as f64 * share) as usize);
            // Of a small side both shares may be the same pixels.
            least + stream.below((end - least).max(1))
        });
        let [top, left] = std::array::from_fn(|axis| stream.below(size[axis] - cut[axis] + 1));
        Self {
            top,
            bottom: top + cut[0],
            left,
            right: left + cut[1],
        }
    }

    /// Share of the image outside the box.
    ///
    /// size: `[height, width]`
    pub fn lambda(&self, [height, width]: [usize; 2]) -> f64 {
        let area = (self.bottom - self.top) * (self.right - self.left);
        1.0 - area as f64 / (height * width) as f64
    }

    fn exchange(&self, first: &mut [f32], second: &mut [f32], shape: [usize; 3]) {
        let [channels, height, width] = shape;
        for channel in 0..channels {
            for row in self.top..self.bottom {
                let start = (channel * height + row) * width;
                let columns = start + self.left..start + self.right;
                first[columns.clone()].swap_with_slice(&mut second[columns]);
            }
        }
    }
}

/// What happens to the pairs of one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixDraw {
    /// Share that an image has in its own mixture; the rest is its partner's. 1 changes nothing.
    pub lambda: f64,
    /// The box that partners exchange; `None` mixes every pixel.
    pub cut: Option<Cut>,
}

impl MixDraw {
    /// What happens under `spec` to batch `group` of the run with this seed.
    ///
    /// size: `[height, width]` of the images
    pub fn new(spec: &MixSpec, seed: u64, group: u64, size: [usize; 2]) -> Self {
        let untouched = Self {
            lambda: 1.0,
            cut: None,
        };
        let mut stream = Stream::new(b"mixture1", [seed, group, 0]);
        if stream.unit() >= spec.probability {
            return untouched;
        }
        let cuts = match (spec.mixup > 0.0, spec.cuts()) {
            (false, false) => return untouched,
            (true, true) => stream.unit() < spec.switch,
            (_, cuts) => cuts,
        };
        if !cuts {
            return Self {
                lambda: stream.symmetric_beta(spec.mixup),
                cut: None,
            };
        }
        let cut = if let Some(shares) = spec.cutmix_minmax {
            Cut::within(shares, size, &mut stream)
        } else {
            let lambda = stream.symmetric_beta(spec.cutmix);
            Cut::around(lambda, size.map(|side| stream.below(side)), size)
        };
        Self {
            lambda: cut.lambda(size),
            cut: Some(cut),
        }
    }

    /// Makes mixtures of a pair, each in the place of the image that has `lambda` of it.
    ///
    /// first, second, shape: `[C, H, W]`
    ///
    /// # Panics
    /// When the box does not lie in images of this shape.
    pub fn apply(&self, first: &mut [f32], second: &mut [f32], shape: [usize; 3]) {
        match self.cut {
            Some(cut) => cut.exchange(first, second, shape),
            None if self.lambda == 1.0 => {}
            None => {
                // The difference is rounded once, as a tensor's product with a Python float is.
                let (own, other) = (self.lambda as f32, (1.0 - self.lambda) as f32);
                for (x, y) in first.iter_mut().zip(second) {
                    [*x, *y] = [*x * own + *y * other, *y * own + *x * other];
                }
            }
        }
    }
}
