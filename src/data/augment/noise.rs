//! Normal numbers of uniform ones.

/// The standard normal distribution's quantile of the middle of the `step`-th of 2^32 equal parts of
/// `[0, 1]`: one uniform number makes one normal number, without loops or rejection.
///
/// Wichura's PPND7, to seven digits (Applied Statistics 37, 1988, algorithm AS 241). Its third range
/// begins beyond 6.6 standard deviations, where no step lies.
#[inline(always)]
pub(crate) fn normal(step: u32) -> f64 {
    let probability = (f64::from(step) + 0.5) / (1_u64 << 32) as f64;
    let from_middle = probability - 0.5;
    if from_middle.abs() <= 0.425 {
        let r = 0.180_625 - from_middle * from_middle;
        let above =
            ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r + 3.387_132_717_9;
        let below = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r + 1.0;
        return from_middle * above / below;
    }
    let r = (-probability.min(1.0 - probability).ln()).sqrt() - 1.6;
    let above =
        ((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r + 1.423_437_277_7;
    let below = (0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0;
    (above / below).copysign(from_middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // torch.special.ndtri, in f64, of the middle of the step.
        for (step, quantile) in [
            (1 << 31, 2.918_099_4e-10),
            (3 << 30, 0.674_489_750_56),
            (
                2_u32.pow(31) + 2_u32.pow(30) + 2_u32.pow(29),
                1.150_349_380_74,
            ),
            (4_187_593_113, 1.959_963_985),
            (39_728_447, -2.355_455_755_3),
            (0, -6.337_957_754_6),
            (u32::MAX, 6.337_957_754_6),
        ] {
            let found = normal(step);
            assert!((found - quantile).abs() < 1e-6, "{step}: {found}");
        }
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        const STEP: usize = 4093;
        let steps = (STEP as u32 / 2..=u32::MAX).step_by(STEP);
        let (mut sum, mut square, mut fourth, mut count) = (0.0, 0.0, 0.0, 0.0);
        for step in steps {
            let number = normal(step);
            sum += number;
            square += number * number;
            fourth += number.powi(4);
            count += 1.0;
        }
        assert!((sum / count).abs() < 1e-4);
        assert!((square / count - 1.0).abs() < 1e-4);
        assert!((fourth / count - 3.0).abs() < 1e-3);
    }
}
