//! What fine-tuning begins with: a checkpoint's tensors in the architecture that is trained.

use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::training::{in_memory, share_out_tables};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::data::InputSpec;
use crate::engine::HostTensor;
use crate::error::Error;
use crate::features::{EncoderError, Tap, Token};
use crate::nn::{TensorStore, WeightError, Weights};
use crate::plan::{Cell, HeadStart, Origin, Prospect, Subject};
use crate::spec::{FinetuneTask, Pool, RelativeBiasChoice};
use crate::vit::{
    FinalNorm, HeadConfig, HeadInput, RelativeBias, VitConfig, random_weights, untrained,
};

/// A classifier before its first update, on the host.
pub(super) struct Start {
    /// The encoder's architecture as it is trained.
    pub config: VitConfig,
    /// The head's.
    pub head: HeadConfig,
    /// All tensors, under timm's names.
    pub weights: Weights,
    /// Whether keys may have a bias.
    pub key_bias: bool,
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

/// What decides a network before its first update, and its input.
pub(super) struct Basis<'a> {
    /// What it begins as.
    pub origin: Origin,
    /// What its head begins as.
    pub head: HeadStart,
    /// Classes of the head.
    pub classes: usize,
    /// How images become inputs.
    pub input: &'a InputSpec,
    /// Seed of everything random.
    pub seed: u64,
    /// How it is trained.
    pub task: &'a FinetuneTask,
}

impl<'a> Basis<'a> {
    /// What a cell trains.
    pub(super) fn of_cell(cell: &'a Cell, task: &'a FinetuneTask) -> Self {
        Self {
            origin: Origin::Subject(Arc::clone(&cell.subject)),
            head: cell.head,
            classes: cell.set.classes.len(),
            input: &cell.input,
            seed: cell.seed,
            task,
        }
    }

    /// What a run would train.
    pub(super) fn of_prospect(prospect: &'a Prospect, task: &'a FinetuneTask) -> Self {
        Self {
            origin: prospect.origin.clone(),
            head: prospect.head,
            classes: prospect.classes,
            input: &prospect.input,
            seed: prospect.seed,
            task,
        }
    }

    /// The encoder's architecture before training.
    fn config(&self) -> Result<VitConfig, Error> {
        Ok(match &self.origin {
            Origin::Subject(subject) => checkpoint(subject)?.config.clone(),
            Origin::Architecture(architecture) => architecture.config(),
        })
    }
}

/// The architecture: the checkpoint's with the normalisation and the tables that the protocol asks
/// for, and a head.
pub(super) fn network(basis: &Basis<'_>) -> Result<Network, Error> {
    let mut config = basis.config()?;
    let task = basis.task;
    config.pooler = None;
    let token = match task.pool {
        Pool::MeanPatch => {
            config.final_norm = FinalNorm::MeanPatch;
            Token::MeanPatch
        }
        Pool::Cls => {
            config.final_norm = FinalNorm::Tokens;
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
        classes: basis.classes,
    };
    Ok(Network { config, head })
}

/// Whose architecture is trained.
fn checkpoint(subject: &Subject) -> Result<&Checkpoint, Error> {
    subject.architecture().ok_or_else(|| {
        let tap = Tap::Pixels;
        let reason = "raw pixels have no encoder to train";
        EncoderError::NoSuchTap { tap, reason }.into()
    })
}

/// The network before its first update, a function of what it begins as and the seed.
pub(super) fn start(basis: &Basis<'_>) -> Result<Start, Error> {
    let Network { config, head } = network(basis)?;
    let mut weights = match &basis.origin {
        Origin::Subject(subject) => of_subject(basis, subject)?,
        Origin::Architecture(architecture) => random_weights(&architecture.config(), basis.seed),
    };
    renormalise(&mut weights, &config);
    if config.relative_bias != basis.config()?.relative_bias {
        share_out_tables(&mut weights, config.depth);
    }
    if basis.head == HeadStart::New {
        // A stream of its own, so that it begins alike over every encoder of a width.
        let mut rng = ChaCha8Rng::seed_from_u64(basis.seed);
        rng.set_stream(1);
        let matrix = (basis.task)
            .head_initial
            .tensor(&mut rng, vec![head.classes, head.width]);
        weights.insert("head.weight".to_owned(), matrix);
        weights.insert("head.bias".to_owned(), constant(head.classes, 0.0));
    }
    let key_bias = match &basis.origin {
        Origin::Subject(subject) => checkpoint(subject)?.key_bias(),
        Origin::Architecture(_) => true,
    };
    Ok(Start {
        config,
        head,
        weights,
        key_bias,
    })
}

/// The tensors of what is evaluated elsewhere too.
fn of_subject(basis: &Basis<'_>, subject: &Subject) -> Result<Weights, Error> {
    let checkpoint = checkpoint(subject)?;
    let failed = |source: WeightError| CheckpointError::Weight {
        path: checkpoint.path.clone(),
        source,
    };
    let weights = match basis.head {
        HeadStart::Own => in_memory(checkpoint.classifier()?.weights()),
        HeadStart::New => in_memory(checkpoint.weights()),
    }
    .map_err(failed)?;
    checkpoint.check_unchanged()?;
    Ok(match subject {
        Subject::Untrained { .. } => untrained(&weights, basis.seed),
        Subject::Checkpoint(_) | Subject::Pixels(_) => weights,
    })
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
    // The class token's own norm is all that a head over it reads.
    if config.final_norm == FinalNorm::Tokens {
        for part in ["weight", "bias"] {
            if let Some(own) = weights.remove(&format!("cls_norm.{part}")) {
                weights.insert(format!("norm.{part}"), own);
            }
        }
    }
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

fn constant(length: usize, value: f32) -> HostTensor {
    HostTensor {
        shape: vec![length],
        data: vec![value; length],
    }
}
