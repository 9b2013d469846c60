//! Which images of a set are drawn: the best, the middle ones and the worst.

/// Where an image stands among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Among the best.
    Best,
    /// About the median.
    Median,
    /// Among the worst.
    Worst,
}

impl Standing {
    /// In a caption.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Median => "median",
            Self::Worst => "worst",
        }
    }
}

/// `each` of the best images, those about the (lower) median and the worst, by their values, the best
/// first, fewer of few; images without a value have no place, and none is there twice. Of equal ones
/// the first is the better.
pub fn standing(values: &[Option<f64>], each: usize) -> Vec<(Standing, usize)> {
    let mut order: Vec<(f64, usize)> = (values.iter().enumerate())
        .filter_map(|(image, value)| Some(((*value)?, image)))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let count = order.len();
    let each = each.min((count / 3).max(1)).min(count);
    let middle = (count / 2).saturating_sub(each.saturating_sub(1) / 2);
    let ranges = [
        (Standing::Best, 0..each),
        (Standing::Worst, count - each..count),
        (Standing::Median, middle..(middle + each).min(count)),
    ];
    let mut picked: Vec<(usize, Standing)> = Vec::new();
    for (standing, range) in ranges {
        for place in range {
            if picked.iter().all(|(other, _)| *other != place) {
                picked.push((place, standing));
            }
        }
    }
    picked.sort_by_key(|(place, _)| *place);
    let image = |(place, standing): (usize, Standing)| (standing, order[place].1);
    picked.into_iter().map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::Standing::{Best, Median, Worst};
    use super::*;

    #[test]
    fn the_best_the_middle_and_the_worst_are_picked() {
        let values = [0.3, 0.9, 0.1, 0.7, 0.5].map(Some);
        assert_eq!(standing(&values, 1), [(Best, 1), (Median, 4), (Worst, 2)]);
        let four = [
            Some(0.1),
            None,
            Some(0.4),
            Some(0.2),
            Some(0.3),
            Some(f64::MIN),
        ];
        assert_eq!(standing(&four, 1), [(Best, 2), (Median, 3), (Worst, 5)]);
        let nine: Vec<_> = (0..9).map(|at| Some(-f64::from(at))).collect();
        let pick = |each| -> Vec<usize> {
            standing(&nine, each)
                .into_iter()
                .map(|(_, image)| image)
                .collect()
        };
        assert_eq!(pick(3), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(pick(2), [0, 1, 4, 5, 7, 8]);
        assert_eq!(pick(20).len(), 9);
        assert_eq!(standing(&[Some(1.0); 2], 1), [(Best, 0), (Worst, 1)]);
        let places = standing(&values[..4], 2);
        let of: Vec<_> = places.iter().map(|(standing, _)| *standing).collect();
        assert_eq!(of, [Best, Median, Worst]);
        assert!(standing(&[None, None], 3).is_empty() && standing(&[], 1).is_empty());
        assert!(pick(0).is_empty());
    }
}
