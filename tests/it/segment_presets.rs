//! The segmentation recipes that are built in, against what their sources say: configurations and
//! commands of the repositories, and MEDiC's table 10.

use mimbench::data::segmentation::MaskSpec;
use mimbench::decoders::segmentation::{
    AuxiliaryConfig, LinearHeadConfig, SegmentationHead, SegmenterConfig, UperNetConfig,
};
use mimbench::spec::{Protocol, ScenePositions, SegmentPreset, SegmentTask, Task};
use mimbench::train::{LayerDecayRule, OptimizerKind, Schedule};
use mimbench::vit::Architecture;

/// What is written about a recipe.
struct Facts {
    preset: SegmentPreset,
    head: fn() -> SegmentationHead,
    positions: ScenePositions,
    /// Crops of a device, and devices.
    devices: [usize; 2],
    updates: usize,
    peak: f64,
    weight_decay: f64,
    decay: (f64, LayerDecayRule),
    drop_path: f64,
    layer_scale: Option<f64>,
}

fn uper_net() -> SegmentationHead {
    SegmentationHead::UperNet(UperNetConfig {
        channels: 768,
        pool_scales: vec![1, 2, 3, 6],
        auxiliary: Some(AuxiliaryConfig {
            channels: 256,
            weight: 0.4,
        }),
        dropout: 0.1,
    })
}

impl Facts {
    /// unilm `beit/semantic_segmentation/configs/beit/upernet`,
    /// `upernet_beit_base_12_512_slide_160k_ade20k_pt.py`.
    const BEIT: Self = Self {
        preset: SegmentPreset::Beit,
        head: uper_net,
        positions: ScenePositions::PerBlock,
        devices: [2, 8],
        updates: 160_000,
        peak: 7e-4,
        weight_decay: 0.05,
        decay: (0.65, LayerDecayRule::Mmseg),
        drop_path: 0.1,
        layer_scale: None,
    };
}

const RECIPES: [Facts; 7] = [
    Facts::BEIT,
    // `beit2/semantic_segmentation/configs/beit2/upernet`, `..._12_512_slide_160k_21ktoade20k`'s neighbour
    // without labels.
    Facts {
        preset: SegmentPreset::Beit2,
        peak: 5e-5,
        decay: (0.75, LayerDecayRule::Mmseg),
        drop_path: 0.15,
        ..Facts::BEIT
    },
    // implus/mae_segmentation `configs/mae/upernet_mae_base_12_512_slide_160k_ade20k.py`.
    Facts {
        preset: SegmentPreset::Mae,
        positions: ScenePositions::Added,
        peak: 1e-4,
        layer_scale: Some(1.0),
        ..Facts::BEIT
    },
    // Table 10: 16 crops.
    Facts {
        preset: SegmentPreset::MedicPaper,
        peak: 0.5e-4,
        decay: (0.75, LayerDecayRule::Mmseg),
        ..Facts::BEIT
    },
    // `scripts/submit_train.sh` has 4 devices; its layer decay finds no layer.
    Facts {
        preset: SegmentPreset::MedicCode,
        positions: ScenePositions::Anew,
        devices: [2, 4],
        peak: 8e-5,
        decay: (1.0, LayerDecayRule::Mmseg),
        ..Facts::BEIT
    },
    // The README's command: 4 crops on each of 4 devices, 8e-4.
    Facts {
        preset: SegmentPreset::Ibot,
        head: || SegmentationHead::Linear(LinearHeadConfig::IBOT),
        positions: ScenePositions::Checkpoint,
        devices: [4, 4],
        peak: 8e-4,
        decay: (1.0, LayerDecayRule::Uniform),
        drop_path: 0.0,
        ..Facts::BEIT
    },
    // `configs/config-ade20k-linear-training.yaml`.
    Facts {
        preset: SegmentPreset::Dinov3,
        head: || SegmentationHead::Linear(LinearHeadConfig::DINOV3),
        positions: ScenePositions::Checkpoint,
        updates: 40_000,
        peak: 1e-3,
        weight_decay: 1e-3,
        decay: (1.0, LayerDecayRule::Uniform),
        drop_path: 0.0,
        ..Facts::BEIT
    },
];

fn task(preset: SegmentPreset) -> SegmentTask {
    let protocol = Protocol::segment(preset, &[]).unwrap();
    assert_eq!(protocol.name, format!("segment/{}", preset.name()));
    match protocol.task {
        Task::Segment(task) => *task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn recipes_are_their_sources() {
    for facts in RECIPES {
        let name = facts.preset.name();
        let task = task(facts.preset);
        assert_eq!(task.head, (facts.head)(), "{name}");
        assert_eq!(task.positions, facts.positions, "{name}");
        assert_eq!(
            task.batch,
            facts.devices.iter().product::<usize>(),
            "{name}"
        );
        assert_eq!(task.updates, facts.updates, "{name}");
        assert_eq!(task.learning_rate, facts.peak, "{name}");
        assert_eq!(task.weight_decay, facts.weight_decay, "{name}");
        let decay = (task.layer_decay, task.layer_decay_rule);
        assert_eq!(decay, facts.decay, "{name}");
        assert_eq!(task.drop_path, facts.drop_path, "{name}");
        assert_eq!(task.layer_scale, facts.layer_scale, "{name}");
        // What all have.
        let linear = matches!(task.head, SegmentationHead::Linear(_));
        assert_eq!(task.frozen, linear, "{name}");
        assert_eq!(task.clip_norm, None, "{name}");
        let adamw = OptimizerKind::AdamW {
            betas: [0.9, 0.999],
            eps: 1e-8,
        };
        assert_eq!(task.optimizer, adamw, "{name}");
        let schedule = match facts.preset {
            SegmentPreset::Dinov3 => Schedule::OneCycle {
                end: 0.0,
                warmup_steps: 1500,
                warmup_ratio: 1e-6,
            },
            _ => Schedule::MmcvPolynomial {
                power: 1.0,
                end: 0.0,
                warmup_steps: 1500,
                warmup_ratio: 1e-6,
            },
        };
        assert_eq!(task.schedule, schedule, "{name}");
        let masks = MaskSpec {
            classes: 150,
            ignore: None,
            reduce_zero_label: true,
        };
        assert_eq!(task.masks, masks, "{name}");
        let augment = &task.augment;
        let sizes = (augment.scale, augment.ratio, augment.crop);
        assert_eq!(sizes, ([2048, 512], [0.5, 2.0], 512), "{name}");
        let share = (augment.category_share, augment.flip, augment.photometric);
        assert_eq!(share, (0.75, 0.5, true), "{name}");
        let test = &task.test;
        assert_eq!((test.scale, test.stride), ([2048, 512], 341), "{name}");
        assert_eq!((&test.ratios[..], test.flip), (&[1.0][..], false), "{name}");
    }
}

#[test]
fn a_vit_b_at_the_crop_has_a_place_for_every_head() {
    let mut encoder = Architecture::named("vit_base_patch16_224")
        .unwrap()
        .config();
    encoder.grid = [32, 32];
    for facts in RECIPES {
        let task = task(facts.preset);
        let depths = [None, Some(encoder.depth)];
        assert!(depths.contains(&task.depth), "{}", facts.preset.name());
        let config = SegmenterConfig::new(task.head, 150, &encoder).unwrap();
        let blocks = match facts.preset {
            SegmentPreset::Dinov3 => &[11][..],
            _ => &[3, 5, 7, 11],
        };
        assert_eq!(config.blocks(), blocks, "{}", facts.preset.name());
    }
}
