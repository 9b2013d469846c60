//! The pre-training recipes that are built in, against what their sources say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mimbench::data::Interpolation;
use mimbench::data::augment::{CropSpec, Jitter};
use mimbench::pretrain::{
    Adaptor, AlignmentMatrix, AlignmentSpec, AttentionLayers, AttentionSource, BlockMask,
    Blueprint, ClassDistillationSpec, ClassLoss, ClusterPace, ClusterSchedule, Clustering,
    DecoderInput, Encoding, EpochCount, EvolvedMask, Initialisation, MaskSpec, MatrixPlace,
    MethodError, PatchDistillationSpec, PatchFeature, PixelDecoder, PixelLoss, PixelNorm,
    PixelReconstructionSpec, PositionKind, Positions, RelativeBiasKind, TargetNorm, TermSpec,
};
use mimbench::spec::{
    PretrainPreset, PretrainRecipe, PretrainedFeature, ResolvedRecipe, Setting, StudentNormalise,
};
use mimbench::train::{DecayExclusion, OptimizerKind, Schedule};
use mimbench::vit::{Architecture, VitConfig};
use toml::{Table, Value};

/// Train images of ImageNet-1K.
const IMAGENET: usize = 1_281_167;

/// What is written about how a recipe trains.
struct Facts {
    preset: PretrainPreset,
    epochs: usize,
    batch: usize,
    /// Peak of the learning rate, after its scaling.
    peak: f64,
    /// Epochs of warm-up, where it begins and where the cosine ends.
    schedule: (u64, f64, f64),
    /// Second beta of AdamW.
    beta: f64,
    /// Where the weight decay of 0.05 ends.
    decay_end: Option<f64>,
    exclusion: DecayExclusion,
    clip: Option<f64>,
    drop_path: f64,
    /// Least area of a crop, and whether its colours are changed.
    crop: (f64, bool),
}

impl Facts {
    /// `PRETRAIN.md` of MAE and defaults of `main_pretrain.py`.
    const MAE: Self = Self {
        preset: PretrainPreset::Mae,
        epochs: 800,
        batch: 4096,
        // 1.5e-4 for 256 images.
        peak: 2.4e-3,
        schedule: (40, 0.0, 0.0),
        beta: 0.95,
        decay_end: None,
        exclusion: DecayExclusion::Vectors,
        clip: None,
        drop_path: 0.0,
        crop: (0.2, false),
    };
    /// MEDiC, table 7.
    const MEDIC: Self = Self {
        preset: PretrainPreset::MedicPaper,
        epochs: 300,
        batch: 2048,
        peak: 1.5e-3,
        schedule: (10, 1e-5, 1e-5),
        beta: 0.999,
        decay_end: None,
        exclusion: DecayExclusion::Vectors,
        clip: Some(3.0),
        drop_path: 0.1,
        crop: (0.2, true),
    };
    /// MaskAlign, section 4.1, and its README.
    const MASK_ALIGN: Self = Self {
        preset: PretrainPreset::MaskAlignPaper,
        epochs: 200,
        batch: 1024,
        // 1.5e-4 for 256 images.
        peak: 6e-4,
        schedule: (20, 0.0, 1e-5),
        beta: 0.95,
        decay_end: None,
        exclusion: DecayExclusion::MaskAlign,
        clip: None,
        drop_path: 0.1,
        crop: (0.2, false),
    };
}

const RECIPES: [Facts; 8] = [
    Facts::MAE,
    // `configs/pretrain.yaml` and README of MaskDistill-PyTorch.
    Facts {
        preset: PretrainPreset::MaskDistill,
        decay_end: Some(0.0),
        ..Facts::MEDIC
    },
    // `fd_pretrain__clip_vit_base__img224__300ep.yaml` on 16 devices, rates for 512 images.
    Facts {
        preset: PretrainPreset::Fd,
        peak: 1.2e-3,
        schedule: (10, 2e-6, 2e-5),
        exclusion: DecayExclusion::Beit,
        drop_path: 0.2,
        crop: (0.08, false),
        ..Facts::MEDIC
    },
    Facts::MEDIC,
    // `configs/pretrain_medic.yaml` on 4 devices, rates but the first for 2,048 images.
    Facts {
        preset: PretrainPreset::MedicCode,
        batch: 1024,
        peak: 7.5e-4,
        schedule: (10, 1e-5, 5e-6),
        decay_end: Some(0.0),
        ..Facts::MEDIC
    },
    Facts {
        preset: PretrainPreset::MedicEvolved,
        ..Facts::MEDIC
    },
    Facts::MASK_ALIGN,
    Facts {
        preset: PretrainPreset::MaskAlignCode,
        ..Facts::MASK_ALIGN
    },
];

fn resolved(preset: PretrainPreset, settings: &[&str]) -> ResolvedRecipe {
    let settings: Vec<_> = settings.iter().map(|&text| Setting(text.into())).collect();
    ResolvedRecipe::preset(preset, &settings).unwrap()
}

fn recipe(preset: PretrainPreset) -> PretrainRecipe {
    resolved(preset, &[]).recipe
}

fn is_mini(preset: PretrainPreset) -> bool {
    preset.name().starts_with("mini-")
}

#[test]
fn presets_are_the_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols/pretrain");
    let mut hashes = BTreeSet::new();
    for preset in PretrainPreset::ALL {
        let name = preset.name();
        let own = resolved(preset, &[]);
        let file = folder.join(format!("{name}.toml"));
        let file = ResolvedRecipe::named(&file, &[]).unwrap();
        assert_eq!((&file.hash, &file.text), (&own.hash, &own.text), "{name}");
        let named = ResolvedRecipe::named(Path::new(name), &[]).unwrap();
        assert_eq!(named.hash, own.hash, "{name}");
        assert_eq!(own.recipe.name, format!("pretrain/{name}"));
        assert_eq!(own.recipe.version, 1);
        assert!(hashes.insert(own.hash), "{name} is another recipe");
        // Every setting is in the resolved text, which is a recipe itself.
        let again: PretrainRecipe = toml::from_str(&own.text).unwrap();
        assert_eq!(again, own.recipe, "{name}");
    }
    let files = std::fs::read_dir(folder).unwrap();
    let recipes = files.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|end| end == "toml")
    });
    assert_eq!(recipes.count(), hashes.len(), "a recipe that no preset is");
}

#[test]
fn training_is_that_of_the_sources() {
    for facts in &RECIPES {
        let recipe = recipe(facts.preset);
        let name = &recipe.name;
        let training = &recipe.training;
        assert_eq!(recipe.data.dataset, "imagenet-1k", "{name}");
        assert_eq!(
            (training.epochs, training.batch, training.drop_last),
            (facts.epochs, facts.batch, true),
            "{name}"
        );
        let peak = recipe.scaled_learning_rate();
        assert!((peak / facts.peak - 1.0).abs() < 1e-12, "{name}: {peak}");
        let (warmup, start, end) = facts.schedule;
        let schedule = match facts.beta < 0.99 {
            // MAE's loop, MaskAlign's too.
            true => Schedule::MaeCosine {
                warmup_epochs: warmup as f64,
                end,
            },
            false => Schedule::BeitCosine {
                warmup_epochs: warmup,
                warmup_steps: None,
                start,
                end,
            },
        };
        assert_eq!(training.schedule, schedule, "{name}");
        let optimizer = OptimizerKind::AdamW {
            betas: [0.9, facts.beta],
            eps: 1e-8,
        };
        assert_eq!(training.optimizer, optimizer, "{name}");
        assert_eq!(
            (training.weight_decay, training.weight_decay_end),
            (0.05, facts.decay_end),
            "{name}"
        );
        assert_eq!(training.decay_exclusion, facts.exclusion, "{name}");
        assert_eq!(
            (training.clip_norm, training.ema),
            (facts.clip, None),
            "{name}"
        );
        assert_eq!(recipe.student.drop_path, facts.drop_path, "{name}");
        let (area, coloured) = facts.crop;
        let augment = &recipe.augment;
        assert_eq!(augment.crop, CropSpec::Torchvision, "{name}");
        assert_eq!((augment.scale, augment.flip), ([area, 1.0], 0.5), "{name}");
        assert_eq!(augment.ratio, [0.75, 4.0 / 3.0], "{name}");
        let jitter = coloured.then_some(Jitter {
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.0,
        });
        assert_eq!(augment.jitter, jitter, "{name}");
        assert_eq!(
            (augment.rand_augment, augment.erase),
            (None, None),
            "{name}"
        );
        let interpolation = match facts.preset {
            // torchvision's default.
            PretrainPreset::Fd => Interpolation::Bilinear,
            _ => Interpolation::Bicubic,
        };
        assert_eq!(augment.interpolation, interpolation, "{name}");
        assert_eq!(recipe.input.normalise, StudentNormalise::Imagenet, "{name}");
        let feature = match facts.preset {
            PretrainPreset::Mae => PretrainedFeature::MeanPatch,
            _ => PretrainedFeature::Cls,
        };
        assert_eq!(recipe.input.feature, feature, "{name}");
        let updates = recipe.recipe(0, 32).updates(IMAGENET);
        assert_eq!(updates, IMAGENET / facts.batch * facts.epochs, "{name}");
    }
}

#[test]
fn students_are_those_of_the_sources() {
    let beit = Initialisation::TruncatedNormal {
        std: 0.02,
        rescale: true,
    };
    let (dense, sparse) = (Encoding::Dense, Encoding::Sparse);
    let shared = Some(RelativeBiasKind::Shared);
    let mae = (PositionKind::SinCos, None, None, true);
    let medic = (PositionKind::Learned, None, Some(0.1), false);
    let tables = (PositionKind::None, shared, Some(0.1), false);
    for (preset, encoding, layers, initial) in [
        (PretrainPreset::Mae, sparse, mae, Initialisation::Xavier {}),
        (PretrainPreset::MaskDistill, dense, tables, beit),
        (PretrainPreset::Fd, dense, tables, beit),
        (PretrainPreset::MedicPaper, sparse, medic, beit),
        (PretrainPreset::MedicCode, sparse, medic, beit),
        (PretrainPreset::MedicEvolved, sparse, medic, beit),
        (
            PretrainPreset::MaskAlignPaper,
            sparse,
            mae,
            Initialisation::Xavier {},
        ),
        (
            PretrainPreset::MaskAlignCode,
            sparse,
            mae,
            Initialisation::Xavier {},
        ),
    ] {
        let student = recipe(preset).student;
        let name = preset.name();
        assert_eq!(
            (student.encoding, student.initial),
            (encoding, initial),
            "{name}"
        );
        let found = (
            student.positions,
            student.relative_bias,
            student.layer_scale,
            student.key_bias,
        );
        assert_eq!(found, layers, "{name}");
        let config = student.config().unwrap();
        let size = (
            config.width,
            config.depth,
            config.mlp_width,
            config.patches(),
        );
        assert_eq!(size, (768, 12, 3072, 196), "{name}");
    }
}

#[test]
fn masks_are_those_of_the_sources() {
    let block = MaskSpec::Block(BlockMask {
        ratio: 0.4,
        minimum: 16,
        maximum: None,
        aspect: 0.3,
        exact: true,
    });
    let attentive = MaskSpec::Attentive {
        ratio: 0.7,
        of: AttentionSource::Teacher {
            name: Some("clip".to_owned()),
            layers: AttentionLayers::Last,
        },
    };
    // MEDiC, table 11 and equations 5 to 7.
    let evolved = MaskSpec::Evolved(EvolvedMask {
        ratio: 0.75,
        gamma: 1.7,
        epochs: EpochCount::Done,
        clusters: ClusterSchedule {
            first: 10,
            last: 40,
            pace: ClusterPace::Alpha,
            spread: 0,
        },
        clustering: Clustering::Hierarchical { zeta: 0.9 },
        feature: PatchFeature::Received,
        of: AttentionSource::Student {
            layers: AttentionLayers::Last,
        },
    });
    for (preset, mask, kept) in [
        (PretrainPreset::Mae, MaskSpec::Random { ratio: 0.75 }, 49),
        (PretrainPreset::MaskDistill, block.clone(), 118),
        (PretrainPreset::Fd, MaskSpec::None {}, 196),
        (PretrainPreset::MedicPaper, block.clone(), 118),
        (PretrainPreset::MedicCode, block, 118),
        (PretrainPreset::MedicEvolved, evolved, 49),
        (PretrainPreset::MaskAlignPaper, attentive.clone(), 58),
        (PretrainPreset::MaskAlignCode, attentive, 58),
    ] {
        let found = recipe(preset).mask;
        assert_eq!(found, mask, "{}", preset.name());
        assert_eq!(found.kept([14, 14]), Some(kept), "{}", preset.name());
    }
}

fn patch(on: Positions, normalise: TargetNorm) -> PatchDistillationSpec {
    PatchDistillationSpec {
        weight: 1.0,
        teacher: "clip".to_owned(),
        block: None,
        final_norm: false,
        on,
        class_token: false,
        beta: 1.0,
        normalise,
        head: "distill".to_owned(),
    }
}

fn class(weight: f64, normalise: TargetNorm, loss: ClassLoss) -> TermSpec {
    TermSpec::ClassDistillation(ClassDistillationSpec {
        weight,
        teacher: "clip".to_owned(),
        block: None,
        normalise,
        loss,
        head: "distill".to_owned(),
    })
}

fn pixels(weight: f64, normalise: PixelNorm) -> TermSpec {
    TermSpec::PixelReconstruction(PixelReconstructionSpec {
        weight,
        on: Positions::Masked,
        loss: PixelLoss::L2,
        normalise,
        decoder: PixelDecoder::Transformer {
            width: 512,
            depth: 8,
            heads: 16,
            mlp_width: None,
            reads: DecoderInput::Visible,
        },
    })
}

fn alignment(place: MatrixPlace, factor: f64) -> TermSpec {
    TermSpec::Alignment(AlignmentSpec {
        weight: 1.0,
        teacher: "clip".to_owned(),
        top: 5,
        adaptor: Adaptor::Linear,
        matrix: AlignmentMatrix::Identity { offset: 0.01 },
        place,
        normalise: TargetNorm::Layer,
        class_token: true,
        on: Positions::Visible,
        beta: 1.0,
        factor,
    })
}

#[test]
fn terms_are_those_of_the_sources() {
    let (layer, unbiased) = (TargetNorm::Layer, TargetNorm::Unbiased);
    // Weights of section 4.4; equation 3 has no temperatures.
    let cross_entropy = ClassLoss::CrossEntropy {
        teacher_temperature: 1.0,
        student_temperature: 1.0,
    };
    let medic = || {
        vec![
            ("class", class(0.30, layer, cross_entropy)),
            (
                "patch",
                TermSpec::PatchDistillation(patch(Positions::Visible, layer)),
            ),
            ("pixels", pixels(0.01, PixelNorm::Prediction)),
        ]
    };
    let cosine = ClassLoss::Cosine { temperature: 0.1 };
    let fd = PatchDistillationSpec {
        final_norm: true,
        class_token: true,
        beta: 2.0,
        ..patch(Positions::All, layer)
    };
    for (preset, terms) in [
        (
            PretrainPreset::Mae,
            vec![("pixels", pixels(1.0, PixelNorm::Target))],
        ),
        (
            PretrainPreset::MaskDistill,
            vec![(
                "patch",
                TermSpec::PatchDistillation(patch(Positions::Masked, unbiased)),
            )],
        ),
        (
            PretrainPreset::Fd,
            vec![("patch", TermSpec::PatchDistillation(fd))],
        ),
        (PretrainPreset::MedicPaper, medic()),
        (PretrainPreset::MedicEvolved, medic()),
        (
            PretrainPreset::MedicCode,
            vec![
                ("class", class(1.0, unbiased, cosine)),
                (
                    "patch",
                    TermSpec::PatchDistillation(patch(Positions::Visible, unbiased)),
                ),
                ("pixels", pixels(1.0, PixelNorm::Target)),
            ],
        ),
        (
            PretrainPreset::MaskAlignPaper,
            vec![("alignment", alignment(MatrixPlace::AfterAdaptor, 1.0))],
        ),
        (
            PretrainPreset::MaskAlignCode,
            vec![("alignment", alignment(MatrixPlace::BeforeAdaptor, 2.0))],
        ),
    ] {
        let expected: BTreeMap<_, _> = terms
            .into_iter()
            .map(|(name, term)| (name.to_owned(), term))
            .collect();
        assert_eq!(recipe(preset).terms, expected, "{}", preset.name());
    }
}

#[test]
fn what_a_paper_lacks_is_a_setting() {
    for preset in PretrainPreset::ALL {
        let own = resolved(preset, &[]);
        let settings: Table = toml::from_str(&own.text).unwrap();
        let lacks = &own.recipe.not_in_paper;
        for path in lacks {
            let mut place = Value::Table(settings.clone());
            for key in path.split('.') {
                let inner = place.get(key).cloned();
                place = inner.unwrap_or_else(|| panic!("{}: no {path}", preset.name()));
            }
        }
        // Those that claim to be a paper's say so, and no others.
        let of_paper = matches!(
            preset,
            PretrainPreset::MedicPaper
                | PretrainPreset::MedicEvolved
                | PretrainPreset::MaskAlignPaper
        );
        assert_eq!(!lacks.is_empty(), of_paper, "{}", preset.name());
    }
}

/// A teacher of timm's name for every name that the recipe has.
fn taught(recipe: &PretrainRecipe, teacher: &str) -> Result<Blueprint, MethodError> {
    let config = Architecture::named(teacher).unwrap().config();
    between(recipe, config)
}

fn between(recipe: &PretrainRecipe, teacher: VitConfig) -> Result<Blueprint, MethodError> {
    let method = recipe.method();
    let names = method.counting_teachers();
    let teachers = names.map(|(name, _)| (name.to_owned(), teacher.clone()));
    Blueprint::new(&method, teachers.collect())
}

#[test]
fn students_of_every_size_meet_their_teachers() {
    for preset in PretrainPreset::ALL.into_iter().filter(|own| !is_mini(*own)) {
        for (arch, width, depth) in [
            ("vit_tiny_patch16_224", 192, 12),
            ("vit_small_patch16_224", 384, 12),
            ("vit_base_patch16_224", 768, 12),
            ("vit_large_patch16_224", 1024, 24),
        ] {
            let own = resolved(preset, &[&format!("student.arch={arch}")]);
            assert_eq!(own.modified.len(), 1);
            for teacher in ["vit_base_patch16_224", "vit_large_patch16_224"] {
                let blueprint = taught(&own.recipe, teacher).unwrap();
                let student = blueprint.student();
                assert_eq!((student.width, student.depth), (width, depth));
                assert_eq!(blueprint.terms().len(), own.recipe.terms.len());
            }
        }
    }
    // CIFAR's: patches of 4 of 32 pixels.
    let small = VitConfig::plain(4, [8, 8], (128, 4, 4));
    for preset in PretrainPreset::ALL.into_iter().filter(|own| is_mini(*own)) {
        let blueprint = between(&recipe(preset), small.clone()).unwrap();
        assert_eq!(blueprint.student().patches(), 64, "{}", preset.name());
    }
}

#[test]
fn a_teacher_of_another_grid_is_told_what_to_do() {
    // CLIP-L/14 at 224 pixels has 16 x 16 patches.
    let clip = VitConfig::plain(14, [16, 16], (1024, 24, 16));
    for preset in [PretrainPreset::MaskAlignPaper, PretrainPreset::MedicCode] {
        let recipe = recipe(preset);
        let error = between(&recipe, clip.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "teacher clip has 16x16 patches at 224 x 224 pixels, the student 14x14"
        );
        let hint = error.hint().unwrap();
        assert_eq!(
            hint,
            "--set teachers.clip.input_size=196 gives it as many patches"
        );
        let setting = hint.split_whitespace().nth(1).unwrap();
        let given = resolved(preset, &[setting]);
        assert_eq!(given.recipe.teachers["clip"].input_size, Some(196));
        // At that size it has the student's patches.
        between(
            &given.recipe,
            VitConfig::plain(14, [14, 14], (1024, 24, 16)),
        )
        .unwrap();
    }
}

#[test]
fn commands_in_comments_resolve() {
    let kinds = |preset, settings: &[&str]| resolved(preset, settings).recipe;
    let code = kinds(
        PretrainPreset::MaskAlignCode,
        &["terms.alignment.matrix={ kind = \"equal\" }"],
    );
    let TermSpec::Alignment(term) = &code.terms["alignment"] else {
        panic!("{:?}", code.terms);
    };
    assert_eq!(term.matrix, AlignmentMatrix::Equal {});
    let evolved = kinds(PretrainPreset::MedicEvolved, &["mask.of.kind=teacher"]);
    assert_eq!(evolved.method().mask_teacher(), Some("clip"));
    kinds(
        PretrainPreset::MedicPaper,
        &[
            "terms.class.loss.teacher_temperature=0.1",
            "terms.class.loss.student_temperature=0.1",
        ],
    );
    kinds(
        PretrainPreset::MaskAlignCode,
        &[
            "student.arch=vit_large_patch16_224",
            "student.drop_path=0.2",
        ],
    );
}
