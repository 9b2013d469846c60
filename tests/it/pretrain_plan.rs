//! `mimbench pretrain --plan` and `--batch auto`: what a run takes, counted by hand, and that nothing
//! is written.

use mimbench::plan::{AtOnce, TeacherOrigin, pretrain_at_once, pretrain_parts};
use mimbench::pretrain::{Blueprint, Products, StepProducts};
use mimbench::spec::{PretrainPreset, ResolvedRecipe, Setting};
use mimbench::vit::Architecture;
use serde_json::Value;

use crate::support::{Bench, Run};

fn blueprint(preset: PretrainPreset, teacher: &str, settings: &[&str]) -> Blueprint {
    let settings: Vec<_> = settings
        .iter()
        .map(|set| Setting((*set).to_owned()))
        .collect();
    let recipe = ResolvedRecipe::preset(preset, &settings).unwrap();
    let method = recipe.recipe.method();
    let teachers = method.counting_teachers().map(|(name, spec)| {
        let size = spec.input_size.map(|side| [side; 2]);
        let origin = TeacherOrigin::architecture(Architecture::named(teacher).unwrap(), size);
        (name.to_owned(), origin.config().clone())
    });
    Blueprint::new(&method, teachers.collect()).unwrap()
}

/// Products of `depth` blocks over so many tokens of this width: queries, keys, values and their
/// projection, the MLP's two, scores and mixtures.
fn blocks(depth: u64, tokens: u64, width: u64) -> u64 {
    let matrices = tokens * (3 + 1 + 4 + 4) * width * width;
    depth * (matrices + 2 * tokens * tokens * width)
}

fn trained(forward: u64) -> Products {
    let trained = 3 * forward;
    Products { forward, trained }
}

#[test]
fn products_of_mae() {
    // A quarter of 196 patches and the class token; 16 x 16 pixels of 3 colours.
    let embed = 49 * 768 * 768;
    let student = embed + blocks(12, 50, 768);
    let decoder = 50 * 768 * 512 + blocks(8, 197, 512) + 196 * 512 * 768;
    let found = blueprint(PretrainPreset::Mae, "vit_base_patch16_224", &[]).multiply_adds();
    let expected = StepProducts {
        student: Products {
            forward: student,
            // Pixels need no gradient.
            trained: 3 * student - embed,
        },
        decoders: trained(decoder),
        heads: Products::default(),
        teachers: Default::default(),
        look: 0,
    };
    assert_eq!(found, expected);
    assert_eq!(found.total(), 3 * (student + decoder) - embed);
}

#[test]
fn products_of_medic() {
    // 40 % of 196 patches, 78, are hidden.
    let embed = 118 * 768 * 768;
    let student = embed + blocks(12, 119, 768);
    let decoder = 119 * 768 * 512 + blocks(8, 197, 512) + 196 * 512 * 768;
    let teacher = 196 * 768 * 768 + blocks(12, 197, 768);
    let found = blueprint(PretrainPreset::MedicPaper, "vit_base_patch16_224", &[]).multiply_adds();
    assert_eq!(found.student.forward, student);
    assert_eq!(found.student.trained, 3 * student - embed);
    assert_eq!(found.decoders, trained(decoder));
    // Visible patches and the class token, each through the one head.
    assert_eq!(found.heads, trained((118 + 1) * 768 * 768));
    assert_eq!(found.teachers["clip"], teacher);
    assert_eq!(found.look, 0);
    // Terms of no weight are not computed, and a teacher that nobody asks is not looked at.
    let pixels = ["terms.patch.weight=0", "terms.class.weight=0"];
    let alone = blueprint(PretrainPreset::MedicPaper, "vit_base_patch16_224", &pixels);
    let alone = alone.multiply_adds();
    assert!(alone.teachers.is_empty());
    assert_eq!(alone.heads, Products::default());
    assert_eq!(alone.decoders, found.decoders);
}

#[test]
fn products_of_dense_students_are_those_of_whole_images() {
    let base = Architecture::named("vit_base_patch16_224")
        .unwrap()
        .config();
    let dense = blueprint(PretrainPreset::MaskDistill, "vit_base_patch16_224", &[]);
    let found = dense.multiply_adds();
    assert_eq!(found.student.forward, base.multiply_adds());
    assert_eq!(found.student.trained, base.training_multiply_adds());
}

#[test]
fn parameters_of_mae() {
    let blueprint = blueprint(PretrainPreset::Mae, "vit_base_patch16_224", &[]);
    let block = |width: usize| 12 * width * width + 13 * width;
    let patch = 16 * 16 * 3;
    let encoder = (patch + 1) * 768 + 768 + 12 * block(768) + 2 * 768;
    let decoder = (768 + 1) * 512 + 512 + 8 * block(512) + 2 * 512 + (512 + 1) * patch;
    let (mut learned, mut fixed) = (0, 0);
    for (name, elements) in blueprint.elements().unwrap() {
        match blueprint.is_fixed(&name) {
            true => fixed += elements,
            false => learned += elements,
        }
    }
    assert_eq!(learned, encoder + decoder);
    assert_eq!(fixed, 197 * (768 + 512));
    // transformers' `ViTMAEForPreTraining` of facebook/vit-mae-base has as many.
    assert_eq!(learned + fixed, 111_907_840);
}

#[test]
fn memory_follows_the_tokens_that_are_seen() {
    use mimbench::engine::{EngineKind, Precision};
    let kept = |ratio: &str| {
        let ratio = format!("mask.ratio={ratio}");
        let of = blueprint(PretrainPreset::Mae, "vit_base_patch16_224", &[&ratio]);
        of.activation_bytes(EngineKind::Candle, Precision::F32)
    };
    let [half, quarter] = [kept("0.5"), kept("0.75")];
    // 99 and 50 tokens.
    let ratio = half.student as f64 / quarter.student as f64;
    assert!((ratio / (99.0 / 50.0) - 1.0).abs() < 0.01, "{ratio}");
    assert_eq!(half.decoders, quarter.decoders);
    assert_eq!((half.lessons, half.looking), (0, 0));
    let base = Architecture::named("vit_base_patch16_224")
        .unwrap()
        .config();
    let medic = blueprint(PretrainPreset::MedicPaper, "vit_base_patch16_224", &[]);
    let medic = medic.activation_bytes(EngineKind::Candle, Precision::F32);
    assert_eq!(medic.lessons, 4 * 197 * 768);
    // Two rows of tokens and the hidden layer, of one block.
    assert_eq!(medic.looking, 4 * 197 * (2 + 4) * 768);
    assert!(medic.student < base.activation_bytes(EngineKind::Candle, Precision::F32));
}

#[test]
fn parts_divide_a_batch() {
    assert_eq!(pretrain_parts(12), [1, 2, 3, 4, 6, 12]);
    let found = |batch, at_once| pretrain_at_once(batch, at_once).unwrap();
    assert_eq!(found(12, AtOnce::Images(3)), 3);
    assert_eq!(found(12, AtOnce::Usual), 12);
    assert_eq!(found(96, AtOnce::Usual), 32);
    assert!(pretrain_at_once(12, AtOnce::Images(5)).is_err());
}

/// MEDiC in miniature between made-up images and an architecture: two epochs of three updates of 8
/// images.
fn medic(bench: &Bench, more: &[&str]) -> Run {
    let args = [
        "pretrain",
        "mini-medic",
        "--threads",
        "1",
        "--teacher",
        "arch:vit_small_patch32_224",
        "--set",
        "teachers.clip.input_size=256",
        "--set",
        "training.batch=8",
        "--set",
        "training.schedule.warmup_epochs=1",
        "--epochs",
        "2",
    ];
    bench.run(&[&args[..], more].concat())
}

fn forecast(run: Run) -> Value {
    let forecasts: Vec<Value> = serde_json::from_str(&run.ok().stdout).unwrap();
    assert_eq!(forecasts.len(), 1);
    forecasts[0].clone()
}

#[test]
fn a_plan_counts_what_a_run_does_and_writes_nothing() {
    let bench = Bench::new();
    let before = bench.files(".");
    let plan = ["--plan", "--data", "data", "--batch", "4"];
    let found = forecast(medic(&bench, &[&plan[..], &["--json"]].concat()));
    for (number, expected) in [
        ("epochs", 2),
        ("updates_per_epoch", 3),
        ("updates", 6),
        ("batch", 8),
        ("at_once", 4),
        ("parts", 2),
        ("train_images", 48),
    ] {
        assert_eq!(found["recipe"][number], expected, "{number}");
    }
    assert_eq!(found["done"], "nothing");
    assert_eq!(found["teachers"]["clip"], "vit_small_patch32_224");
    let settings = ["teachers.clip.input_size=256"];
    let blueprint = blueprint(
        PretrainPreset::MiniMedic,
        "vit_small_patch32_224",
        &settings,
    );
    let products = blueprint.multiply_adds();
    let operations = &found["operations"];
    let number = |name: &str| operations[name].as_f64().unwrap();
    assert_eq!(number("student"), 2.0 * products.student.forward as f64);
    assert_eq!(number("image"), 2.0 * products.total() as f64);
    assert_eq!(number("update"), 8.0 * number("image"));
    let elements = blueprint.elements().unwrap();
    let learned = elements
        .iter()
        .filter(|(name, _)| !blueprint.is_fixed(name));
    let learned: usize = learned.map(|(_, elements)| elements).sum();
    assert_eq!(found["parameters"], learned);
    let memory = &found["memory"];
    assert_eq!(memory["gradients"], 8 * learned);
    assert_eq!(memory["moments"], 8 * learned);
    assert_eq!(
        memory["teachers"],
        4 * found["teacher_parameters"].as_u64().unwrap()
    );
    // Parameters, two moments and gathered gradients; 17 bytes of 24 images.
    assert_eq!(found["disk"]["state"], 16 * learned + 17 * 24);
    assert!(found["teaching"].as_f64() > Some(0.0));
    assert!(found["teaching"].as_f64() < found["time"]["local_batch"].as_f64());
    assert!(found["time"]["decoded_per_s"].as_f64() > Some(0.0));
    assert!(found["time"]["run"].as_f64() >= found["time"]["compute"].as_f64());
    let table = medic(&bench, &plan).ok().stdout;
    for said in [
        "8, 4 at once in 2 parts",
        "3 an epoch, 6 in all",
        "2, 1 of them warm-up",
        "teacher clip",
        "operations of an update",
        "time of the run",
    ] {
        assert!(table.contains(said), "{said}: {table}");
    }
    assert_eq!(bench.files("."), before);
}

#[test]
fn a_plan_needs_no_images() {
    let bench = Bench::empty();
    let small = [
        "--set",
        "student.arch=vit_small_patch32_224",
        "--batch",
        "1",
    ];
    let plan = ["pretrain", "mae", "--plan", "--json", "--threads", "1"];
    let run = bench.run(&[&plan[..], &small].concat()).ok();
    let said = "ImageNet-1K as published has 1281167 + 50000 images";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    let found = forecast(run);
    // 312 updates of 4096 images an epoch.
    assert_eq!(found["recipe"]["updates"], 800 * 312);
    assert_eq!(found["recipe"]["parts"], 4096);
    assert!(found["time"]["decoded_per_s"].is_null());
    assert!(bench.files(".").is_empty());
}

#[test]
fn an_architecture_teaches_nothing() {
    let bench = Bench::new();
    let run = ["--data", "data", "--out", "out"];
    medic(&bench, &run).refused(&["vit_small_patch32_224 alone"]);
    assert!(!bench.path("out").exists());
    let unknown = [
        "pretrain",
        "medic-paper",
        "--plan",
        "--teacher",
        "arch:vit_enormous",
    ];
    bench.run(&unknown).refused(&["vit_enormous"]);
    let nobody = ["pretrain", "medic-paper", "--plan"];
    bench.run(&nobody).refused(&["learns from a teacher"]);
    let part = ["pretrain", "mae", "--plan", "--quiet", "--batch", "33"];
    bench
        .run(&part)
        .refused(&["--batch 33 does not divide training.batch = 4096"]);
}

#[test]
fn auto_finds_a_number_that_fits_and_goes_on_with_it() {
    let bench = Bench::new();
    let mae = [
        "pretrain",
        "mini-mae",
        "--threads",
        "1",
        "--data",
        "data",
        "--out",
        "out",
        "--epochs",
        "1",
        "--set",
        "training.batch=8",
        "--set",
        "training.schedule.warmup_epochs=0",
    ];
    let with = |more: &[&str]| bench.run(&[&mae[..], more].concat());
    with(&["--batch", "4"]).ok();
    let plan = with(&["--plan", "--json", "--batch", "auto"]);
    let said = "4 images at once, as in the state that the run goes on from";
    assert!(plan.stderr.contains(said), "{}", plan.stderr);
    let found = forecast(plan);
    assert_eq!(
        (&found["recipe"]["at_once"], &found["done"]),
        (&4.into(), &"all".into())
    );
    assert_eq!(found["time"]["left"], 0.0);
    let again = with(&["--batch", "auto", "--recompute"]).ok();
    assert!(
        again.stderr.contains(" images at once: "),
        "{}",
        again.stderr
    );
    assert!(
        !again.stderr.contains("as in the state"),
        "{}",
        again.stderr
    );
}
