//! Numbers that layers begin with.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::engine::HostTensor;

/// Where weights begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Initial {
    /// Normal of this standard deviation (PyTorch's `normal_`).
    Normal(f64),
    /// The same, cut at -2 and 2 (timm's `trunc_normal_`, whose limits are absolute).
    TruncatedNormal(f64),
}

impl Initial {
    /// Refuses a deviation that no weights have, with what is wrong.
    pub fn check(self) -> Result<(), String> {
        let (Self::Normal(std) | Self::TruncatedNormal(std)) = self;
        match (0.0..=1.0).contains(&std) {
            true => Ok(()),
            false => Err(format!("needs a deviation between 0 and 1, it is {std}")),
        }
    }

    /// A tensor of such numbers.
    pub fn tensor(self, rng: &mut ChaCha8Rng, shape: Vec<usize>) -> HostTensor {
        let count = shape.iter().product();
        let mut number = || match self {
            Self::Normal(std) => std * standard_normal(rng),
            Self::TruncatedNormal(std) => loop {
                let number = std * standard_normal(rng);
                if number.abs() <= 2.0 {
                    break number;
                }
            },
        };
        let data = (0..count).map(|_| number() as f32).collect();
        HostTensor { shape, data }
    }
}

/// A standard normal number, by the polar method.
pub(crate) fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let [u, v] = [0; 2].map(|_| 2.0 * rng.random::<f64>() - 1.0);
        let s = u * u + v * v;
        if s > 0.0 && s < 1.0 {
            return u * (-2.0 * s.ln() / s).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn numbers_have_the_deviation_that_is_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (initial, std) in [
            (Initial::Normal(0.01), 0.01),
            // Cut at two deviations of 1: the deviation of what is left is 0.8796.
            (Initial::TruncatedNormal(1.0), 0.879_626),
        ] {
            let data = initial.tensor(&mut rng, vec![200, 1000]).data;
            let n = data.len() as f64;
            let mean = data.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let square = data.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 4.0 * std / n.sqrt(), "{mean}");
            assert!(
                (square.sqrt() / std - 1.0).abs() < 0.01,
                "{}",
                square.sqrt()
            );
        }
    }
}
