//! Several tests at once.

/// Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979): p-values, in the order
/// given, that may each be held against the level that all tests together are to keep.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut reached = 0f64;
    for (rank, test) in order.into_iter().enumerate() {
        reached = reached.max((p.len() - rank) as f64 * p[test]).min(1.0);
        adjusted[test] = reached;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_statsmodels() {
        // statsmodels 0.15, `multipletests(p, method="holm")[1]`.
        for (p, want) in [
            (
                &[0.01, 0.04, 0.03, 0.005][..],
                &[0.03, 0.06, 0.06, 0.02][..],
            ),
            (&[0.2], &[0.2]),
            (&[0.001, 0.001, 0.5], &[0.003, 0.003, 0.5]),
            (&[0.9, 0.8, 0.7], &[1.0, 1.0, 1.0]),
            (
                &[0.0125, 0.0125, 0.04, 1.0, 0.03],
                &[0.0625, 0.0625, 0.09, 1.0, 0.09],
            ),
            (&[], &[]),
        ] {
            let got = holm(p);
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-15, "{p:?}: {got} {want}");
            }
        }
    }
}
