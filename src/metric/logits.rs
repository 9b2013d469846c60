//! How a classifier's logits fare against the true classes.

use super::metric_error::{MetricError, Side};

/// Cross entropy of an image, nats; none when its class has no logit.
///
/// logits: `[C]`
pub fn cross_entropy(logits: &[f32], label: u32) -> Option<f64> {
    let own = *logits.get(label as usize)?;
    let largest = logits.iter().fold(own, |a, &b| a.max(b));
    let exp = |&logit: &f32| (f64::from(logit) - f64::from(largest)).exp();
    let sum: f64 = logits.iter().map(exp).sum();
    Some(sum.ln() + f64::from(largest) - f64::from(own))
}

/// Hits and losses of images one by one; nothing of an image is kept.
#[derive(Clone, Debug, Default)]
pub struct LogitTally {
    images: u64,
    top1: u64,
    top5: u64,
    mean_loss: f64,
    /// Sum of the squared deviations of the losses from their mean.
    spread: f64,
}

impl LogitTally {
    /// Counts one image. Among equal logits the lower class comes first.
    ///
    /// logits: `[C]`
    ///
    /// # Errors
    /// `Label` when the true class has no logit.
    pub fn add(&mut self, logits: &[f32], label: u32) -> Result<(), MetricError> {
        let class = logits.get(label as usize).zip(cross_entropy(logits, label));
        let Some((&own, loss)) = class else {
            return Err(MetricError::Label {
                side: Side::Test,
                row: self.images as usize,
                label,
                classes: logits.len(),
            });
        };
        let before = |&(class, &logit): &(usize, &f32)| {
            logit > own || (logit == own && class < label as usize)
        };
        let rank = logits.iter().enumerate().filter(before).count();
        self.top1 += u64::from(rank < 1);
        self.top5 += u64::from(rank < 5);
        // Welford, Technometrics 4, 1962.
        self.images += 1;
        let off = loss - self.mean_loss;
        self.mean_loss += off / self.images as f64;
        self.spread += off * (loss - self.mean_loss);
        Ok(())
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Images whose best class is the true one.
    pub fn top1(&self) -> u64 {
        self.top1
    }

    /// Images whose true class is among the best five.
    pub fn top5(&self) -> u64 {
        self.top5
    }

    /// Mean cross-entropy, nats.
    pub fn loss(&self) -> f64 {
        self.mean_loss
    }

    /// Sample standard deviation of the losses; none for less than two.
    pub fn loss_deviation(&self) -> Option<f64> {
        (self.images > 1).then(|| (self.spread / (self.images - 1) as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_and_losses_are_those_of_the_definition() {
        let mut tally = LogitTally::default();
        assert_eq!(tally.loss_deviation(), None);
        tally.add(&[1.0, 3.0, 2.0], 1).unwrap();
        tally.add(&[0.0; 7], 0).unwrap();
        tally.add(&[0.0; 7], 4).unwrap();
        tally.add(&[0.0; 7], 5).unwrap();
        assert_eq!((tally.images(), tally.top1(), tally.top5()), (4, 2, 3));
        let first = (1.0 + (-1f64).exp() + (-2f64).exp()).ln();
        let losses = [first, 7f64.ln(), 7f64.ln(), 7f64.ln()];
        let mean = losses.iter().sum::<f64>() / 4.0;
        assert!((tally.loss() - mean).abs() < 1e-12);
        let squares: f64 = losses.iter().map(|x| (x - mean).powi(2)).sum();
        let deviation = tally.loss_deviation().unwrap();
        assert!((deviation - (squares / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn large_logits_do_not_overflow_and_a_label_without_one_is_refused() {
        let mut tally = LogitTally::default();
        tally.add(&[3e38, -3e38], 0).unwrap();
        assert!(tally.loss().abs() < 1e-12);
        assert!(tally.add(&[0.0, 1.0], 2).is_err());
        assert_eq!(tally.images(), 1);
    }
}
