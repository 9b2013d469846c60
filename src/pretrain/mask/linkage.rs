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
