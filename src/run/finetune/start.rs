//! What fine-tuning begins with: a checkpoint's tensors in the architecture that is trained.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::features::{EncoderError, Tap, Token};
use crate::nn::{TensorStore, WeightError, Weights};
use crate::plan::{Cell, HeadStart, Subject};
use crate::spec::{FinetuneTask, Pool, RelativeBiasChoice};
use crate::vit::{FinalNorm, HeadConfig, HeadInput, RelativeBias, VitConfig, untrained};

/// A classifier before its first update, on the host.
pub(super) struct Start {
    /// The encoder's architecture as it is trained.
    pub config: VitConfig,
    /// The head's.
    pub head: HeadConfig,
    /// All tensors, under timm's names.
    pub weights: Weights,
}

/// The architecture that a cell trains.
pub(super) struct Network {
    /// The encoder's.
    pub config: VitConfig,
    /// The head's.
    pub head: HeadConfig,
}

impl Network {
    /// What the head reads, in words.
    pub(super) fn reads(&self) -> String {
        match self.head.input {
            HeadInput::Pooled { token, .. } => format!("{} norm", token.name()),
            HeadInput::ClassAndDistillation => "cls and distillation token".to_owned(),
        }
    }
}

/// The architecture: the checkpoint's with the normalisation and the tables that the protocol asks
/// for, and a head.
pub(super) fn network(cell: &Cell, task: &FinetuneTask) -> Result<Network, Error> {
    let mut config = checkpoint(cell)?.config.clone();
    config.pooler = None;
    let token = match task.pool {
        Pool::MeanPatch => {
            config.final_norm = FinalNorm::MeanPatch;
            Token::MeanPatch
        }
        Pool::Cls => {
            if !config.final_norm.over_tokens() {
                config.final_norm = FinalNorm::Tokens;
            }
            Token::Cls
        }
    };
    if let (RelativeBiasChoice::PerBlock, Some(RelativeBias::Shared)) =
        (task.relative_bias, config.relative_bias)
    {
        config.relative_bias = Some(RelativeBias::PerBlock);
    }
    let head = HeadConfig {
        input: HeadInput::Pooled { token, norm: true },
        width: config.width,
        classes: cell.set.classes.len(),
    };
    Ok(Network { config, head })
}

/// Whose architecture a cell trains.
fn checkpoint(cell: &Cell) -> Result<&Checkpoint, Error> {
    cell.subject.architecture().ok_or_else(|| {
        let tap = Tap::Pixels;
        let reason = "raw pixels have no encoder to train";
        EncoderError::NoSuchTap { tap, reason }.into()
    })
}

/// The network before its first update, a function of the checkpoint and the cell's seed.
pub(super) fn start(cell: &Cell, task: &FinetuneTask) -> Result<Start, Error> {
    let checkpoint = checkpoint(cell)?;
    let Network { config, head } = network(cell, task)?;
    let failed = |source: WeightError| CheckpointError::Weight {
        path: checkpoint.path.clone(),
        source,
    };
    let mut weights = match cell.head {
        HeadStart::Own => all(checkpoint.classifier()?.weights()),
        HeadStart::New => all(checkpoint.weights()),
    }
    .map_err(failed)?;
    checkpoint.check_unchanged()?;
    if let Subject::Untrained { .. } = &*cell.subject {
        weights = untrained(&weights, cell.seed);
    }
    renormalise(&mut weights, &config);
    if config.relative_bias != checkpoint.config.relative_bias {
        copy_tables(&mut weights, config.depth);
    }
    if cell.head == HeadStart::New {
        // A stream of its own, so that it begins alike over every encoder of a width.
        let mut rng = ChaCha8Rng::seed_from_u64(cell.seed);
        rng.set_stream(1);
        let matrix = task
            .head_initial
            .tensor(&mut rng, vec![head.classes, head.width]);
        weights.insert("head.weight".to_owned(), matrix);
        weights.insert("head.bias".to_owned(), constant(head.classes, 0.0));
    }
    Ok(Start {
        config,
        head,
        weights,
    })
}

/// Every tensor of a checkpoint, in memory.
fn all(mut mapped: impl TensorStore) -> Result<Weights, WeightError> {
    let mut weights = Weights::default();
    for name in mapped.left() {
        let tensor = mapped.take(&name)?;
        weights.insert(name, tensor);
    }
    Ok(weights)
}

/// Leaves the norms and poolers of the architecture alone, and adds what it has and the checkpoint
/// has not, as the identity.
fn renormalise(weights: &mut Weights, config: &VitConfig) {
    let kept: &[&str] = match config.final_norm {
        FinalNorm::MeanPatch => &["fc_norm"],
        FinalNorm::Untied => &["norm", "cls_norm"],
        FinalNorm::Tokens => &["norm"],
        FinalNorm::None => &[],
    };
    let above = ["norm", "cls_norm", "fc_norm", "projection", "attn_pool"];
    let dropped: Vec<_> = (weights.left().into_iter())
        .filter(|name| {
            let layer = name.split('.').next().unwrap_or_default();
            above.contains(&layer) && !kept.contains(&layer)
        })
        .collect();
    for name in dropped {
        weights.remove(&name);
    }
    for norm in kept {
        for (part, value) in [("weight", 1.0), ("bias", 0.0)] {
            let name = format!("{norm}.{part}");
            if !weights.contains(&name) {
                weights.insert(name, constant(config.width, value));
            }
        }
    }
}

/// Gives every block a copy of the table that they share.
fn copy_tables(weights: &mut Weights, depth: usize) {
    const TABLE: &str = "relative_position_bias_table";
    if let Some(shared) = weights.remove(&format!("rel_pos_bias.{TABLE}")) {
        for block in 0..depth {
            weights.insert(format!("blocks.{block}.attn.{TABLE}"), shared.clone());
        }
    }
}

fn constant(length: usize, value: f32) -> HostTensor {
    HostTensor {
        shape: vec![length],
        data: vec![value; length],
    }
}
