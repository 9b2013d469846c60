//! Class-stratified subsets.

use super::dataset::Split;
use std::{cmp::Reverse, collections::BinaryHeap};

impl Split {
    /// At most `n` samples, chosen class by class and kept in their order. A pure function of the
    /// samples' paths and labels, `n` and `seed`.
    ///
    /// Every class gets its share of `n` by largest remainder (equal remainders in an order drawn
    /// from `seed`), and at least one sample when `n` reaches the number of classes present;
    /// within a class the samples with the smallest hash of (`seed`, path) are taken.
    pub fn limited(&self, n: usize, seed: u64) -> Split {
        self.subset(&self.stratified(n, seed))
    }

    /// Places of the samples of [`Split::limited`], ascending.
    pub fn stratified(&self, n: usize, seed: u64) -> Vec<usize> {
        if n >= self.samples.len() {
            return (0..self.samples.len()).collect();
        }
        let classes = self.drawn_by_class(seed);
        let label = |&index: &usize| self.samples.get(index).map(|sample| sample.label);
        let ties = classes
            .iter()
            .map(|class| {
                let label = class.first().and_then(label);
                draw(seed, &label.unwrap_or_default().to_le_bytes())
            })
            .collect::<Vec<_>>();
        let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();

        let quotas = quotas(&sizes, n, &ties);
        let taken = classes.iter().zip(quotas);
        sorted(taken.flat_map(|(class, quota)| class.iter().take(quota)))
    }

    /// Places of a share of the samples, from 0 to 1, as [`Split::limited`] chooses them; of every
    /// class at least one.
    pub fn fraction(&self, fraction: f64, seed: u64) -> Vec<usize> {
        let n = (fraction * self.samples.len() as f64).round() as usize;
        self.stratified(n.max(self.drawn_by_class(seed).len()), seed)
    }

    /// Places of `n` samples of every class, or all where there are fewer, ascending: those with
    /// the smallest hash of (`seed`, path).
    pub fn per_class(&self, n: usize, seed: u64) -> Vec<usize> {
        let classes = self.drawn_by_class(seed);
        sorted(classes.iter().flat_map(|class| class.iter().take(n)))
    }

    /// Places of the samples that stay and of those held out, a share of every class from 0 to 1,
    /// both ascending. One is held out at least and one stays, where there are two; every class
    /// stays, where the share leaves as many samples as classes.
    pub fn hold_out(&self, fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let all = self.samples.len();
        let out = (fraction * all as f64).round() as usize;
        let rest = self.stratified(all - out.max(1).min(all.saturating_sub(1)), seed);
        let held_out = (0..all).filter(|place| rest.binary_search(place).is_err());
        let held_out = held_out.collect();
        (rest, held_out)
    }

    /// Places of the samples by class, those with the smallest hash of (`seed`, path) first.
    fn drawn_by_class(&self, seed: u64) -> Vec<Vec<usize>> {
        let samples = self.samples.iter().enumerate();
        let mut members: Vec<(u32, u128, usize)> = samples
            .map(|(place, sample)| (sample.label, draw(seed, sample.path.as_bytes()), place))
            .collect();
        members.sort_unstable();
        let classes = members.chunk_by(|a, b| a.0 == b.0);
        classes
            .map(|class| class.iter().map(|&(_, _, place)| place).collect())
            .collect()
    }

    /// Places of the first samples of each class, one of `share`, ascending.
    pub fn first_of_each_class(&self, share: usize) -> Vec<usize> {
        let classes = self.samples.iter().map(|sample| sample.label as usize + 1);
        let mut left = self.class_counts(classes.max().unwrap_or(0));
        left.iter_mut().for_each(|count| *count /= share as u64);
        let mut take = |label: u32| {
            let left = left.get_mut(label as usize);
            left.is_some_and(|left| {
                let takes = *left > 0;
                *left -= u64::from(takes);
                takes
            })
        };
        let samples = self.samples.iter().enumerate();
        samples
            .filter(|(_, sample)| take(sample.label))
            .map(|(place, _)| place)
            .collect()
    }

    /// The samples at these places, in the order given.
    pub fn subset(&self, places: &[usize]) -> Split {
        Split {
            samples: places
                .iter()
                .filter_map(|&index| self.samples.get(index).cloned())
                .collect(),
            name: self.name.clone(),
            directory: self.directory.clone(),
            root: self.root.clone(),
            labels: self.labels.clone(),
            ignored: self.ignored.clone(),
            shards: self.shards.clone(),
        }
    }
}

fn sorted<'a>(places: impl Iterator<Item = &'a usize>) -> Vec<usize> {
    let mut places: Vec<usize> = places.copied().collect();
    places.sort_unstable();
    places
}

/// How many samples to take from classes of these `sizes`: `n` in all, `n` at most their sum.
/// Equal remainders go to the smaller of `ties`.
fn quotas(sizes: &[usize], n: usize, ties: &[u128]) -> Vec<usize> {
    let total = sizes.iter().sum::<usize>().max(1) as u128;
    let mut quotas = Vec::with_capacity(sizes.len());
    let mut remainders = Vec::with_capacity(sizes.len());
    for (class, (&size, &tie)) in sizes.iter().zip(ties).enumerate() {
        let share = size as u128 * n as u128;
        quotas.push((share / total) as usize);
        remainders.push((Reverse(share % total), tie, class));
    }
    let left = n - quotas.iter().sum::<usize>();
    remainders.sort_unstable();
    for &(_, _, class) in remainders.iter().take(left) {
        if let Some(quota) = quotas.get_mut(class) {
            *quota += 1;
        }
    }
    if n >= sizes.len() {
        // The classes that can best spare a sample give one to each class that has none.
        let mut richest: BinaryHeap<(usize, Reverse<u128>, usize)> = quotas
            .iter()
            .zip(ties)
            .enumerate()
            .map(|(class, (&quota, &tie))| (quota, Reverse(tie), class))
            .collect();
        let poor: Vec<usize> = (0..quotas.len())
            .filter(|&class| quotas.get(class) == Some(&0))
            .collect();
        for class in poor {
            let Some((quota, tie, rich)) = richest.pop() else {
                break;
            };
            richest.push((quota - 1, tie, rich));
            if let Some(quota) = quotas.get_mut(rich) {
                *quota -= 1;
            }
            if let Some(quota) = quotas.get_mut(class) {
                *quota += 1;
            }
        }
    }
    quotas
}

/// A number drawn for `key` under `seed`.
fn draw(seed: u64, key: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"mimbench subset 1\0");
    hasher.update(&seed.to_le_bytes());
    hasher.update(key);
    let mut drawn = [0; 16];
    hasher.finalize_xof().fill(&mut drawn);
    u128::from_le_bytes(drawn)
}

#[cfg(test)]
mod tests {
    use super::super::dataset::tests::{labelled, tree};
    use super::*;

    fn split(sizes: &[usize]) -> Split {
        let files: Vec<String> = sizes
            .iter()
            .enumerate()
            .flat_map(|(class, &size)| (0..size).map(move |i| format!("c{class}/{i:03}.jpg")))
            .collect();
        let root = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
        Split::folder(root.path()).unwrap().0
    }

    #[test]
    fn quotas_are_proportional_and_leave_no_class_out() {
        let ties = [4, 3, 2, 1];
        assert_eq!(quotas(&[90, 10], 10, &ties), [9, 1]);
        assert_eq!(quotas(&[50, 30, 20], 10, &ties), [5, 3, 2]);
        // Shares 3.5, 1.75, 1.05, 0.7: the largest remainders round up.
        assert_eq!(quotas(&[50, 25, 15, 10], 7, &ties), [3, 2, 1, 1]);
        // A share below one half still gets its sample from the largest class.
        assert_eq!(quotas(&[97, 1, 1, 1], 4, &ties), [1, 1, 1, 1]);
        assert_eq!(quotas(&[97, 1, 1, 1], 10, &ties), [7, 1, 1, 1]);
        // Fewer samples than classes: ties decide, not the order of the classes.
        assert_eq!(quotas(&[5, 5, 5, 5], 2, &ties), [0, 0, 1, 1]);
        assert!(quotas(&[], 0, &[]).is_empty());
    }

    #[test]
    fn quotas_always_add_up() {
        for n in 0..=60 {
            let sizes = [1, 7, 30, 2, 20];
            let quotas = quotas(&sizes, n, &[5, 1, 4, 2, 3]);
            assert_eq!(quotas.iter().sum::<usize>(), n);
            assert!(quotas.iter().zip(sizes).all(|(&q, size)| q <= size));
            assert!(n < 5 || quotas.iter().all(|&q| q > 0), "{n}: {quotas:?}");
        }
    }

    #[test]
    fn subsets_are_seeded_ordered_and_stratified() {
        let split = split(&[40, 20, 4]);
        let subset = split.limited(16, 7);
        assert_eq!(subset.class_counts(3), [10, 5, 1]);
        assert!(subset.samples.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(labelled(&subset), labelled(&split.limited(16, 7)));
        assert_ne!(labelled(&subset), labelled(&split.limited(16, 8)));
        assert_eq!(labelled(&split.limited(64, 7)), labelled(&split));
        assert_eq!(labelled(&split.limited(1000, 7)), labelled(&split));
        assert!(split.limited(0, 7).samples.is_empty());

        // The choice depends on paths and labels, not on where the samples stand.
        let mut reversed = split.clone();
        reversed.samples.reverse();
        let mut again = reversed.limited(16, 7);
        again.samples.reverse();
        assert_eq!(labelled(&again), labelled(&subset));
    }

    #[test]
    fn a_subset_never_changes_between_versions() {
        let chosen = split(&[6, 3]).limited(3, 42);
        assert_eq!(
            labelled(&chosen),
            [("c0/000.jpg", 0), ("c0/003.jpg", 0), ("c1/000.jpg", 1)]
        );
    }

    #[test]
    fn a_fraction_leaves_no_class_out() {
        let split = split(&[40, 20, 4]);
        assert_eq!(
            split.subset(&split.fraction(0.25, 7)).class_counts(3),
            [10, 5, 1]
        );
        assert_eq!(
            labelled(&split.subset(&split.fraction(0.25, 7))),
            labelled(&split.limited(16, 7))
        );
        assert_eq!(
            split.subset(&split.fraction(0.01, 7)).class_counts(3),
            [1, 1, 1]
        );
        assert_eq!(
            labelled(&split.subset(&split.fraction(1.0, 7))),
            labelled(&split)
        );
    }

    #[test]
    fn so_many_of_each_class_are_taken_and_more_include_them() {
        let split = split(&[40, 20, 4]);
        assert_eq!(
            split.subset(&split.per_class(5, 7)).class_counts(3),
            [5, 5, 4]
        );
        let (few, many) = (
            split.subset(&split.per_class(2, 7)),
            split.subset(&split.per_class(9, 7)),
        );
        let (few, many) = (labelled(&few), labelled(&many));
        assert!(few.iter().all(|sample| many.contains(sample)));
        assert!(
            split
                .subset(&split.per_class(5, 7))
                .samples
                .is_sorted_by(|a, b| a.path < b.path)
        );
        assert_ne!(
            labelled(&split.subset(&split.per_class(5, 7))),
            labelled(&split.subset(&split.per_class(5, 8)))
        );
        assert!(split.subset(&split.per_class(0, 7)).samples.is_empty());
    }

    #[test]
    fn what_is_held_out_and_the_rest_are_everything() {
        let whole = split(&[40, 20, 1]);
        let (rest, held_out) = whole.hold_out(0.1, 7);
        assert_eq!(whole.subset(&held_out).class_counts(3), [4, 2, 0]);
        assert_eq!(whole.subset(&rest).class_counts(3), [36, 18, 1]);
        let mut all = [rest.clone(), held_out].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..61));
        assert_eq!(whole.hold_out(0.1, 7).0, rest);
        assert_ne!(whole.hold_out(0.1, 8).0, rest);
        // Neither side is empty where that can be helped.
        let lengths = |size: usize, fraction| {
            let (rest, held_out) = split(&[size]).hold_out(fraction, 7);
            (rest.len(), held_out.len())
        };
        assert_eq!(lengths(3, 0.0), (2, 1));
        assert_eq!(lengths(3, 1.0), (1, 2));
        assert_eq!(lengths(1, 0.1), (1, 0));
    }
}
