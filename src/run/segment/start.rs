//! What a segmentation begins with: a checkpoint's tensors in the architecture that is trained, and a
//! new head.

use super::super::training::{in_memory, share_out_tables};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::decoders::segmentation::{SegmenterConfig, initial_weights};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::features::{EncoderError, Tap};
use crate::nn::{WeightError, Weights};
use crate::plan::{Cell, Subject, segmenting_config};
use crate::spec::{ScenePositions, SegmentTask};
use crate::vit::{VitConfig, random_weights, untrained};

/// Name of every block's table of relative positions, and of the scales of its branches.
const TABLE: &str = "relative_position_bias_table";

/// A network before its first update, on the host.
pub(super) struct Start {
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
    place(&mut weights, task, &encoder);
    for (name, tensor) in initial_weights(&segmenter, cell.seed).iter() {
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
        ScenePositions::PerBlock => share_out_tables(weights, encoder.depth),
        ScenePositions::Added | ScenePositions::Anew => {
            let had = weights.left();
            let tables = had.iter().filter(|name| name.ends_with(TABLE));
            tables.for_each(|name| drop(weights.remove(name)));
        }
    }
    if task.positions == ScenePositions::Anew {
        weights.remove("pos_embed");
    }
    let expected = random_weights(encoder, 0);
    for (name, tensor) in expected.iter() {
        let value = match name.rsplit('.').next() {
            Some(TABLE) => Some(0.0),
            Some("gamma") => task.layer_scale,
            _ => None,
        };
        if let (Some(value), false) = (value, weights.contains(name)) {
            let data = vec![value as f32; tensor.data.len()];
            let shape = tensor.shape.clone();
            weights.insert(name.to_owned(), HostTensor { shape, data });
        }
    }
}
