//! `mimbench segment`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mimbench::checkpoint::SceneHead;
use mimbench::cli::{Batch, ComputeArgs, Seeds, SegmentArgs, SegmentRecipe};
use mimbench::error::Error;
use mimbench::plan::{AtOnce, EvaluationSet, Plan, RunOptions, StateOptions, Subject};
use mimbench::spec::{Kind, Protocol, SegmentPreset, Setting, SpecError};
use mimbench::store::StoreError;

use super::{Outcome, data_request, evaluate, in_pool, load_options, run_options, subjects};

pub fn segment(args: SegmentArgs) -> Outcome {
    let updates = args.updates.map(|n| {
        [
            format!("task.updates={n}"),
            format!("task.validate_every={n}"),
        ]
    });
    let set = args.set.into_iter().chain(updates.into_iter().flatten());
    let settings: Vec<_> = set.map(Setting).collect();
    let head = args.head.as_deref().map(open_head).transpose()?;
    let protocol = match (&args.protocol, &head) {
        (Some(path), _) => Protocol::read(path, Some(Kind::Segment), &settings)?,
        (None, Some(head)) => protocol_of(head, &settings)?,
        (None, None) => Protocol::segment(preset(args.preset), &settings)?,
    };
    let load = load_options(args.load);
    let data = data_request(args.data, None, args.limit);
    let states = StateOptions {
        every: Duration::from_secs(args.state_every.into()),
        folder: args.run,
    };
    let at_once = match args.compute.batch {
        None => AtOnce::Usual,
        Some(Batch::Images(images)) => AtOnce::Images(images as usize),
        Some(Batch::Auto) => AtOnce::Fitting,
    };
    let compute_args = ComputeArgs {
        batch: args.compute.batch.filter(|&batch| batch != Batch::Auto),
        ..args.compute
    };
    in_pool(
        &compute_args.engine,
        compute_args.quiet,
        |compute, terminal| {
            let options = RunOptions {
                states,
                at_once,
                scene_head: head.map(Arc::new),
                ..run_options(compute, &compute_args, &args.store)?
            };
            let mut subjects = subjects(&args.ckpt, &load, terminal)?;
            if args.from_scratch {
                subjects = subjects.into_iter().map(Subject::untrained).collect();
            }
            let seeds = match args.seeds {
                Some(Seeds(seeds)) => seeds,
                None => vec![options.seed],
            };
            let root = data.root(&protocol.data.dataset)?;
            let set = EvaluationSet::of(&root, &protocol, &data, options.seed)?;
            let plan = Plan::new(subjects, vec![protocol], &seeds, set, options)?;
            evaluate(&plan, &args.store, terminal)
        },
    )
}

fn open_head(path: &Path) -> Result<SceneHead, Error> {
    SceneHead::open(path).map_err(|error| Error::Usage {
        message: match error {
            StoreError::Damaged { path, reason } => format!("{}: {reason}", path.display()),
            error => error.to_string(),
        },
        hint: "--head takes head.safetensors of a segmentation's run (results/runs/KEY)".to_owned(),
    })
}

/// The protocol that a head was trained by, under settings; what was changed then stays said.
fn protocol_of(head: &SceneHead, settings: &[Setting]) -> Result<Protocol, SpecError> {
    let text = &head.origin.protocol;
    let mut protocol = Protocol::text(&head.path, text, Kind::Segment, settings)?;
    protocol.modified = [head.origin.settings.clone(), protocol.modified].concat();
    Ok(protocol)
}

fn preset(recipe: SegmentRecipe) -> SegmentPreset {
    match recipe {
        SegmentRecipe::Beit => SegmentPreset::Beit,
        SegmentRecipe::Beit2 => SegmentPreset::Beit2,
        SegmentRecipe::Mae => SegmentPreset::Mae,
        SegmentRecipe::MedicPaper => SegmentPreset::MedicPaper,
        SegmentRecipe::MedicCode => SegmentPreset::MedicCode,
        SegmentRecipe::Ibot => SegmentPreset::Ibot,
        SegmentRecipe::Dinov3 => SegmentPreset::Dinov3,
        SegmentRecipe::Mini => SegmentPreset::Mini,
        SegmentRecipe::MiniLinear => SegmentPreset::MiniLinear,
    }
}
