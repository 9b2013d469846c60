//! `mimbench linear`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ComputeArgs, LoadArgs, StoreArgs};

/// Arguments of `mimbench linear`.
#[derive(Debug, Args)]
pub struct LinearArgs {
    /// Checkpoints, each a .safetensors, .pth, .pt or .bin file, an index or folder of shards, a card (.toml) or hf://owner/name[/file]
    #[arg(long, required = true, num_args = 1.., value_name = "FILE|CARD")]
    pub ckpt: Vec<PathBuf>,
    /// Folder with train/<class>/* and val/<class>/*, tar shards, or CIFAR's binary files
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Labels of a flat val folder: `file class` lines, synset lines or LOC_val_solution.csv
    #[arg(long, value_name = "FILE")]
    pub val_labels: Option<PathBuf>,
    /// Whose linear probe
    #[arg(long, value_enum, default_value = "beit", conflicts_with = "protocol")]
    pub preset: Preset,
    /// Protocol file, in place of a preset
    #[arg(long, value_name = "FILE")]
    pub protocol: Option<PathBuf>,
    /// Change a setting of the protocol, as in task.batch=256; marks the row
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Train for N epochs; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Train images: all, a share of every class as in 1%, or a number of each class; marks the row
    #[arg(long, value_name = "SHOTS")]
    pub shots: Option<String>,
    /// Use at most N images of each split, stratified by class; marks the row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Seeds, as in 0..4 (both ends included) or 1,5,7; a run each, then mean and deviation; not for cached, whose fits are alike for every seed
    #[arg(long, value_name = "SEEDS", value_parser = seeds, conflicts_with = "seed")]
    pub seeds: Option<Seeds>,
    /// Folder of the run: its states, from which the same command goes on, and its curves [default: runs/<key> in the results folder]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Seconds of training between two saved states: what a kill can lose
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub state_every: u32,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub load: LoadArgs,
    /// How to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Where results and features go.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Linear probes that are built in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Preset {
    /// BEiT: a head for every block, AdamW
    Beit,
    /// MAE: BatchNorm and LARS at a batch of 16,384
    Mae,
    /// DINOv2: 13 learning rates by blocks by pooling
    Dinov2,
    /// DINO, for ViT-S
    Dino,
    /// DINO, for ViT-B
    DinoBase,
    /// iBOT, for ViT-S
    Ibot,
    /// iBOT, for ViT-B and ViT-L
    IbotBase,
    /// SimMIM: the mean patch of the eighth block
    Simmim,
    /// MaskAlign: MAE's at a base learning rate of 0.025
    #[value(name = "maskalign")]
    MaskAlign,
    /// MEDiC, table 8
    MedicPaper,
    /// Logistic regression of stored features: minutes, and a protocol of its own
    Cached,
}

/// Seeds of several runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Vec<u64>);

/// Reads `0..4`, both ends included, or `1,5,7`.
pub(super) fn seeds(text: &str) -> Result<Seeds, String> {
    /// More runs than anybody waits for are a slip of the finger.
    const MOST: u64 = 1000;
    let wrong = || "seeds are 0..4 (both ends included) or 1,5,7".to_owned();
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let list: Vec<u64> = match text.split_once("..") {
        Some((first, last)) => {
            let [first, last] = [number(first)?, number(last.trim_start_matches('='))?];
            if first > last || last - first >= MOST {
                return Err(wrong());
            }
            (first..=last).collect()
        }
        None => text.split(',').map(number).collect::<Result<_, _>>()?,
    };
    let mut sorted = list.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("a seed stands twice".to_owned());
    }
    Ok(Seeds(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_ranges_and_lists() {
        assert_eq!(seeds("0..4"), Ok(Seeds(vec![0, 1, 2, 3, 4])));
        assert_eq!(seeds("3..=3"), Ok(Seeds(vec![3])));
        assert_eq!(seeds("7, 1"), Ok(Seeds(vec![7, 1])));
        for wrong in ["", "4..0", "a", "1,,2", "0..100000", "1,2,1", "-1"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
