//! Hierarchical clustering with average linkage.

use super::Distances;

/// Two clusters become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merge {
    /// A point of each.
    pub points: [u32; 2],
    /// The mean distance of a point of one to a point of the other.
    pub height: f64,
}

/// How points become one cluster, two clusters at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Linkage {
    points: usize,
    merges: Vec<Merge>,
}

impl Linkage {
    /// Average linkage (UPGMA), by chains of nearest neighbours in O(points²) (Müllner, "Modern
    /// hierarchical, agglomerative clustering algorithms", 2011). Of equally near clusters the one that
    /// came before in the chain is taken, else the first, as SciPy 1.17 does in
    /// `cluster.hierarchy.linkage`.
    pub fn average(distances: Distances) -> Self {
        let points = distances.points();
        let mut matrix = distances.values;
        // What is infinitely far is never near: a cluster itself, and those that are no more.
        for point in 0..points {
            matrix[point * points + point] = f64::INFINITY;
        }
        let mut sizes = vec![1; points];
        let mut chain: Vec<usize> = Vec::with_capacity(points);
        let mut first = 0;
        let mut merges = Vec::with_capacity(points.saturating_sub(1));
        while merges.len() + 1 < points {
            let Some(last) = chain.pop() else {
                while sizes[first] == 0 {
                    first += 1;
                }
                chain.push(first);
                continue;
            };
            let row = &matrix[last * points..][..points];
            let (near, height) = nearest(row);
            let before = chain.last().copied();
            if before.is_none_or(|before| row[before] > height) {
                chain.extend([last, near]);
                continue;
            }
            let Some(before) = chain.pop() else { continue };
            let (gone, merged) = (last.min(before), last.max(before));
            join(&mut matrix, [gone, merged], &mut sizes);
            merges.push(Merge {
                points: [gone as u32, merged as u32],
                height,
            });
        }
        merges.sort_by(|a, b| a.height.total_cmp(&b.height));
        Self { points, merges }
    }

    /// Every merge, the lowest first.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// The cluster of every point where there are at most `clusters` and at least one, numbered as they
    /// come: as many as can be had without parting merges of one height, as `fcluster` of SciPy 1.17 cuts
    /// with the criterion `maxclust`.
    pub fn cut(&self, clusters: usize) -> Vec<u32> {
        let needed = self.points.saturating_sub(clusters.max(1));
        let height = match needed.checked_sub(1) {
            Some(last) => self.merges[last].height,
            None => f64::NEG_INFINITY,
        };
        let mut parents: Vec<u32> = (0..self.points as u32).collect();
        for merge in self
            .merges
            .iter()
            .take_while(|merge| merge.height <= height)
        {
            let [one, other] = merge.points.map(|point| root(&mut parents, point));
            parents[one.max(other) as usize] = one.min(other);
        }
        // A root is the first point of its cluster, so that its label is there before it is asked for.
        let mut labels = vec![0; self.points];
        let mut next = 0;
        for point in 0..self.points as u32 {
            let root = root(&mut parents, point);
            if root == point {
                labels[point as usize] = next;
                next += 1;
            } else {
                labels[point as usize] = labels[root as usize];
            }
        }
        labels
    }
}

/// Where the least of the distances stands first, and what it is.
fn nearest(row: &[f64]) -> (usize, f64) {
    let mut least = (0, f64::INFINITY);
    for (place, &distance) in row.iter().enumerate() {
        if distance < least.1 {
            least = (place, distance);
        }
    }
    least
}

/// Puts the mean distances of both clusters' points in the place of the second's; the first is no more.
///
/// matrix: `[points, points]`; sizes: `[points]`
fn join(matrix: &mut [f64], [gone, merged]: [usize; 2], sizes: &mut [usize]) {
    let points = sizes.len();
    let (of_gone, of_merged) = (sizes[gone] as f64, sizes[merged] as f64);
    let both = of_gone + of_merged;
    for other in 0..points {
        let distance =
            of_gone * matrix[gone * points + other] + of_merged * matrix[merged * points + other];
        let distance = distance / both;
        matrix[merged * points + other] = distance;
        matrix[other * points + merged] = distance;
        matrix[other * points + gone] = f64::INFINITY;
    }
    matrix[merged * points + merged] = f64::INFINITY;
    sizes[merged] += sizes[gone];
    sizes[gone] = 0;
}

/// The first point of the cluster that `point` belongs to.
fn root(parents: &mut [u32], mut point: u32) -> u32 {
    while parents[point as usize] != point {
        let above = parents[parents[point as usize] as usize];
        parents[point as usize] = above;
        point = above;
    }
    point
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::data::stream::Stream;

    fn random(points: usize, seed: u64) -> Distances {
        let mut stream = Stream::new(b"a test..", [seed, 0, 0]);
        let mut values = vec![0.0; points * points];
        for i in 0..points {
            for j in 0..i {
                values[i * points + j] = stream.unit();
                values[j * points + i] = values[i * points + j];
            }
        }
        Distances::new(points, values).unwrap()
    }

    /// Average linkage by its definition: at every step the means of all pairs of clusters.
    fn by_definition(distances: &Distances, mut visit: impl FnMut(f64, &[Vec<usize>])) {
        let points = distances.points();
        let mut clusters: Vec<_> = (0..points).map(|point| vec![point]).collect();
        while clusters.len() > 1 {
            let mut best = (f64::INFINITY, 0, 0);
            for second in 0..clusters.len() {
                for first in 0..second {
                    let (a, b) = (&clusters[first], &clusters[second]);
                    let pairs = a.iter().flat_map(|i| b.iter().map(move |j| (i, j)));
                    let sum: f64 = pairs.map(|(i, j)| distances.values()[i * points + j]).sum();
                    let mean = sum / (a.len() * b.len()) as f64;
                    if mean < best.0 {
                        best = (mean, first, second);
                    }
                }
            }
            let gone = clusters.remove(best.2);
            clusters[best.1].extend(gone);
            visit(best.0, &clusters);
        }
    }

    fn partition(labels: &[u32]) -> BTreeSet<BTreeSet<usize>> {
        let with = |label: u32| {
            let members = labels
                .iter()
                .enumerate()
                .filter(move |(_, of)| **of == label);
            members.map(|(point, _)| point).collect()
        };
        labels.iter().map(|&label| with(label)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn merges_and_cuts_follow_the_definition(points in 1usize..24, seed in any::<u64>()) {
            let distances = random(points, seed);
            let linkage = Linkage::average(distances.clone());
            prop_assert_eq!(linkage.merges().len(), points - 1);
            let mut merges = linkage.merges().iter();
            by_definition(&distances, |height, clusters| {
                let merge = merges.next().unwrap();
                assert!((merge.height - height).abs() < 1e-12);
                let expected = clusters.iter().map(|cluster| cluster.iter().copied().collect());
                let labels = linkage.cut(clusters.len());
                assert_eq!(partition(&labels), expected.collect());
                // Labels are numbered as they come.
                let mut next = 0;
                for &label in &labels {
                    assert!(label <= next);
                    next = next.max(label + 1);
                }
            });
            let alone: Vec<_> = (0..points as u32).collect();
            prop_assert_eq!(linkage.cut(points), alone.clone());
            prop_assert_eq!(linkage.cut(points + 3), alone);
            prop_assert_eq!(linkage.cut(1), vec![0; points]);
            prop_assert_eq!(linkage.cut(0), vec![0; points]);
        }
    }

    #[test]
    fn merges_of_one_height_are_not_parted() {
        // Two pairs, as near; then all.
        let values = vec![
            0.0, 1.0, 5.0, 5.0, 1.0, 0.0, 5.0, 5.0, 5.0, 5.0, 0.0, 1.0, 5.0, 5.0, 1.0, 0.0,
        ];
        let linkage = Linkage::average(Distances::new(4, values).unwrap());
        assert_eq!(linkage.cut(4), [0, 1, 2, 3]);
        assert_eq!(linkage.cut(3), [0, 0, 1, 1]);
        assert_eq!(linkage.cut(2), [0, 0, 1, 1]);
        let flat = Linkage::average(Distances::of_patches(&[], [3, 3], 1.0));
        assert_eq!(flat.cut(9), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(flat.cut(8), [0; 9]);
        let none = Linkage::average(Distances::new(0, vec![]).unwrap());
        assert_eq!((none.merges(), none.cut(3)), (&[][..], vec![]));
    }
}
