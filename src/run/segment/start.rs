//! What a segmentation begins with: a checkpoint's tensors in the architecture that is trained, and a
//! new head.

use super::super::training::{in_memory, share_out_tables};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::decoders::segmentation::{SegmenterConfig, initial_weights};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::features::{EncoderError, Tap};
use crate::nn::{TensorStore, WeightError, Weights};
use crate::plan::{Cell, Subject, segmenting_config};
use crate::spec::{ScenePositions, SegmentTask};
use crate::vit::{RelativeBias, VitConfig, table_rows, untrained};

/// Name of every block's table of relative positions.
const TABLE: &str = "relative_position_bias_table";

/// A network before its first update, on the host.
pub(in crate::run) struct Start {
    /// The encoder's architecture as far as the head reads it.
    pub encoder: VitConfig,
    /// What stands over it.
    pub segmenter: SegmenterConfig,
    /// All tensors, the encoder's under timm's names, the others under mmsegmentation's.
    pub weights: Weights,
    /// Whether keys may have a bias.
    pub key_bias: bool,
}

/// The network of a cell before its first update, a function of what it begins as and the seed.
pub(super) fn start(cell: &Cell, task: &SegmentTask) -> Result<Start, Error> {
    let checkpoint = architecture(&cell.subject)?;
    let config = segmenting_config(task, &checkpoint.config)?;
    let segmenter = SegmenterConfig::new(task.head.clone(), cell.set.classes.len(), &config)?;
    let failed = |source: WeightError| CheckpointError::Weight {
        path: checkpoint.path.clone(),
        source,
    };
    let mut weights = in_memory(checkpoint.weights()).map_err(failed)?;
    checkpoint.check_unchanged()?;
    if let Subject::Untrained { .. } = &*cell.subject {
        weights = untrained(&weights, cell.seed);
    }
    let encoder = segmenter.encoder(&config);
    // An encoder that was trained with its head has what the protocol asked for.
    if cell.scene_head.is_none() || task.frozen {
        place(&mut weights, task, &encoder);
    }
    let new;
    let head = match &cell.scene_head {
        Some(head) => &head.weights,
        None => {
            new = initial_weights(&segmenter, cell.seed);
            &new
        }
    };
    for (name, tensor) in head.iter() {
        weights.insert(name.to_owned(), tensor.clone());
    }
    Ok(Start {
        encoder,
        segmenter,
        weights,
        key_bias: checkpoint.key_bias(),
    })
}

/// Whose architecture is trained.
pub(super) fn architecture(subject: &Subject) -> Result<&Checkpoint, Error> {
    subject.architecture().ok_or_else(|| {
        let tap = Tap::Pixels;
        let reason = "raw pixels have no encoder to read";
        EncoderError::NoSuchTap { tap, reason }.into()
    })
}

/// Positions as the protocol asks for them, and layer scales where there are none.
fn place(weights: &mut Weights, task: &SegmentTask, encoder: &VitConfig) {
    match task.positions {
        ScenePositions::Checkpoint => {}
        ScenePositions::PerBlock | ScenePositions::Added
            if encoder.relative_bias == Some(RelativeBias::PerBlock) =>
        {
            share_out_tables(weights, encoder.depth);
        }
        ScenePositions::PerBlock | ScenePositions::Added => {}
        ScenePositions::Anew => {
            let had = weights.left();
            let tables = had.iter().filter(|name| name.ends_with(TABLE));
            tables.for_each(|name| drop(weights.remove(name)));
        }
    }
    if task.positions == ScenePositions::Anew {
        weights.remove("pos_embed");
    }
    let mut add = |name: String, shape: Vec<usize>, value: f64| {
        if !weights.contains(&name) {
            let data = vec![value as f32; shape.iter().product()];
            weights.insert(name, HostTensor { shape, data });
        }
    };
    for block in 0..encoder.depth {
        if let ScenePositions::Added | ScenePositions::Anew = task.positions {
            let shape = vec![table_rows(encoder.grid), encoder.heads.of(block)];
            add(format!("blocks.{block}.attn.{TABLE}"), shape, 0.0);
        }
        if let Some(scale) = task.layer_scale {
            for branch in ["ls1", "ls2"] {
                add(
                    format!("blocks.{block}.{branch}.gamma"),
                    vec![encoder.width],
                    scale,
                );
            }
        }
    }
}
