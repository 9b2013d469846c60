//! `mimbench finetune --plan` and `--batch auto`: what a run takes, and how many images at once.

use mimbench::data::check::published;
use mimbench::plan::{AtOnce, images_at_once, is_part, largest_carried_out, largest_within, parts};
use mimbench::spec::{FinetunePreset, FinetuneTask, Protocol, Task};
use mimbench::store::{CurveKind, read_curves};
use mimbench::vit::{Architecture, random_classifier_weights};
use serde_json::Value;

use crate::support::{Bench, Run, tiny};

fn task(preset: FinetunePreset) -> FinetuneTask {
    match Protocol::finetune(preset, &[]).unwrap().task {
        Task::Finetune(task) => *task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn updates_of_imagenet() {
    let imagenet = published("imagenet-1k").unwrap();
    assert_eq!((imagenet.val, imagenet.classes), (50_000, 1000));
    let recipe = task(FinetunePreset::Mae).recipe(0, 32);
    let images = imagenet.train as usize;
    assert_eq!(recipe.updates_per_epoch(images), 1251);
    assert_eq!(recipe.updates(images), 125_100);
    assert_eq!(recipe.images_per_epoch(images), 1251 * 1024);
    assert_eq!(recipe.schedule.warmup_epochs(1251), 5.0);
    let beit = task(FinetunePreset::Beit).recipe(0, 32);
    assert_eq!(beit.schedule.warmup_epochs(1251), 20.0);
    assert!(published("small").is_none());
}

#[test]
fn parameters_of_a_vit_b() {
    let config = Architecture::named("vit_base_patch16_224")
        .unwrap()
        .config();
    let weights = random_classifier_weights(&config, 1000, 0);
    let elements = weights.iter().map(|(_, tensor)| tensor.data.len());
    assert_eq!(elements.sum::<usize>(), 86_567_656);
}

#[test]
fn parts_divide_a_batch_by_pairs() {
    let mut task = task(FinetunePreset::Mae);
    task.batch = 12;
    assert_eq!(parts(&task), [2, 4, 6, 12]);
    assert!(!is_part(&task, 3) && !is_part(&task, 8) && !is_part(&task, 0));
    task.mix = None;
    assert_eq!(parts(&task), [1, 2, 3, 4, 6, 12]);
    let found = |at_once| images_at_once(&task, at_once).unwrap();
    assert_eq!(found(AtOnce::Images(3)), 3);
    assert_eq!(found(AtOnce::Usual), 12);
    task.batch = 96;
    assert_eq!(images_at_once(&task, AtOnce::Usual).unwrap(), 32);
}

#[test]
fn as_many_as_fit_are_found() {
    let parts = parts(&task(FinetunePreset::Mae));
    assert_eq!(parts, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
    let memory = |images: usize| 1000 + 10 * images as u64;
    for (budget, found) in [
        (0, 2),
        (1319, 16),
        (1320, 32),
        (11_239, 512),
        (11_240, 1024),
    ] {
        assert_eq!(largest_within(&parts, budget, &memory), Some(found));
    }
    assert_eq!(largest_within(&[], 10, &memory), None);

    let mut seen = Vec::new();
    let mut device = |images: usize| {
        seen.push(images);
        Ok::<_, String>(memory(images) <= 1320)
    };
    assert_eq!(largest_carried_out(&parts, &mut device), Ok(Some(32)));
    assert_eq!(seen, [2, 4, 8, 16, 32, 64]);
    assert_eq!(
        largest_carried_out(&parts, &mut |_| Ok::<_, String>(false)),
        Ok(None)
    );
    let fails = &mut |_| Err::<bool, _>("another");
    assert_eq!(largest_carried_out(&parts, fails), Err("another"));
}

/// A small recipe on made-up images: two epochs of three updates of 8 images.
fn finetune(bench: &Bench, more: &[&str]) -> Run {
    let args = [
        "finetune",
        "--preset",
        "mini",
        "--threads",
        "1",
        "--data",
        "data",
        "--ckpt",
        "tiny.safetensors",
        "--epochs",
        "2",
        "--set",
        "task.batch=8",
        "--set",
        "task.local_batch=8",
        "--set",
        "task.schedule.warmup_epochs=1.0",
    ];
    bench.run(&[&args[..], more].concat())
}

fn forecast(run: Run) -> Value {
    let forecasts: Vec<Value> = serde_json::from_str(&run.ok().stdout).unwrap();
    assert_eq!(forecasts.len(), 1);
    forecasts[0].clone()
}

#[test]
fn a_plan_counts_what_a_run_does_and_trains_nothing() {
    let bench = Bench::new();
    let plan = ["--plan", "--json", "--batch", "4"];
    let found = forecast(finetune(&bench, &plan));
    let recipe = &found["recipe"];
    for (number, expected) in [
        ("epochs", 2),
        ("updates_per_epoch", 3),
        ("updates", 6),
        ("batch", 8),
        ("at_once", 4),
        ("parts", 2),
        ("train_images", 48),
        ("validations", 2),
        ("val_images", 24),
    ] {
        assert_eq!(recipe[number], expected, "{number}");
    }
    assert_eq!(recipe["warmup_epochs"], 1.0);
    let weights = random_classifier_weights(&tiny(), 3, 0);
    let elements: usize = weights.iter().map(|(_, tensor)| tensor.data.len()).sum();
    assert_eq!(found["parameters"], elements);
    // Embeddings, two blocks and what is above, each with and without decay.
    assert_eq!(found["groups"], 8);
    let memory = &found["memory"];
    assert_eq!(memory["weights"], 4 * elements);
    assert_eq!(memory["gradients"], 8 * elements);
    assert_eq!(memory["moments"], 8 * elements);
    assert!(
        found["measured_memory"].is_null() || found["measured_memory"].as_u64() > Some(1 << 20)
    );
    // Parameters, two moments and gathered gradients; 17 bytes of 36 images and 5 of 12.
    let state = 16 * elements + 17 * 36 + 5 * 12;
    assert_eq!(found["disk"]["state"], state);
    assert_eq!(found["disk"]["states"], 2 * state);
    let operations = &found["operations"];
    let number = |name: &str| operations[name].as_f64().unwrap();
    let forward = 2.0 * (tiny().multiply_adds() + 64 * 3) as f64;
    assert_eq!(number("forward"), forward);
    assert_eq!(number("run"), 48.0 * number("trained") + 24.0 * forward);
    assert_eq!(found["done"], "nothing");
    assert!(found["time"]["run"].as_f64() >= found["time"]["compute"].as_f64());
    assert!(found["time"]["decoded_per_s"].as_f64() > Some(0.0));
    assert!(bench.files("results").is_empty());
    let table = finetune(&bench, &["--plan"]).ok().stdout;
    for said in [
        "8, all at once",
        "3 an epoch, 6 in all",
        "2, 1 of them warm-up",
        "time of the run",
    ] {
        assert!(table.contains(said), "{said}: {table}");
    }
    let several = finetune(&bench, &["--plan", "--json", "--seeds", "0..2"]).ok();
    let several: Vec<Value> = serde_json::from_str(&several.stdout).unwrap();
    let seeds: Vec<_> = several.iter().map(|one| one["seed"].as_u64()).collect();
    assert_eq!(seeds, [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_plan_needs_neither_images_nor_weights() {
    let bench = Bench::new();
    let small = [
        "--set",
        "task.depth=2",
        "--set",
        "task.batch=1024",
        "--batch",
        "4",
    ];
    let plan = ["finetune", "--plan", "--json", "--ckpt", "tiny.safetensors"];
    let run = bench.run(&[&plan[..], &small].concat()).ok();
    assert!(
        run.stderr
            .contains("ImageNet-1K as published has 1281167 + 50000 images")
    );
    assert!(run.stderr.contains("left out"), "{}", run.stderr);
    let found = forecast(run);
    assert_eq!(found["recipe"]["updates"], 125_100);
    assert_eq!(found["recipe"]["val_images"], 5_000_000);
    assert_eq!(found["recipe"]["parts"], 256);
    assert!(found["time"]["decoded_per_s"].is_null());
    let share = [&plan[..], &small, &["--shots", "1%"]].concat();
    let found = forecast(bench.run(&share));
    assert_eq!(found["recipe"]["updates_per_epoch"], 12_812 / 1024);
    // A dataset that nobody has published.
    let unknown = [
        "finetune",
        "--preset",
        "mini",
        "--plan",
        "--ckpt",
        "tiny.safetensors",
    ];
    bench
        .run(&unknown)
        .refused(&["$MIMBENCH_DATA/small was looked for"]);
    let arch = ["finetune", "--plan", "--arch", "vit_enormous"];
    bench.run(&arch).refused(&["vit_enormous"]);
    let arch = ["finetune", "--arch", "vit_tiny_patch16_224"];
    assert_eq!(bench.run(&arch).code, Some(2));
}

#[test]
fn numbers_at_once_that_cannot_be_are_refused() {
    let bench = Bench::new();
    for (batch, said) in [
        ("33", "--batch 33 does not cut"),
        ("1", "mixup and cutmix pair images"),
    ] {
        finetune(&bench, &["--batch", batch]).refused(&[said, "task.batch = 8"]);
        finetune(&bench, &["--plan", "--batch", batch]).refused(&[said]);
    }
}

/// Losses of the updates of a run, in order.
fn losses(bench: &Bench, run: &str) -> Vec<f64> {
    let points = read_curves(&bench.path(run).join("metrics.jsonl")).unwrap();
    let train = points.iter().filter(|point| point.kind == CurveKind::Train);
    train.map(|point| point.values["loss"]).collect()
}

#[test]
fn a_run_does_not_depend_on_how_many_images_are_seen_at_once() {
    let bench = Bench::new();
    let all: Vec<_> = ["2", "4", "8"]
        .into_iter()
        .map(|at_once| {
            let drop_path = ["--set", "task.drop_path=0.3", "--batch", at_once];
            let more = [
                "--run",
                at_once,
                "--results",
                &format!("results{at_once}")[..],
            ];
            finetune(&bench, &[&drop_path[..], &more].concat()).ok();
            losses(&bench, at_once)
        })
        .collect();
    assert_eq!(all[0].len(), 6);
    for other in &all[1..] {
        for (a, b) in all[0].iter().zip(other) {
            assert!((a - b).abs() <= 1e-5, "{all:?}");
        }
    }
}

#[test]
fn auto_goes_on_with_the_number_of_the_state() {
    let bench = Bench::new();
    let auto = finetune(&bench, &["--run", "auto", "--batch", "auto"]).ok();
    assert!(auto.stderr.contains(" images at once: "), "{}", auto.stderr);
    let more = ["--run", "run", "--results", "other"];
    finetune(&bench, &[&more[..], &["--batch", "4"]].concat()).ok();
    let plan = [&more[..], &["--plan", "--json", "--batch", "4"]].concat();
    assert_eq!(forecast(finetune(&bench, &plan))["done"], "all");
    std::fs::remove_dir_all(bench.path("other/records")).unwrap();
    let again = |batch: &[&str]| finetune(&bench, &[&more[..], batch].concat());
    let refused = again(&["--quiet", "--batch", "2"]);
    refused.refused(&["number of images at once (--batch) is 4, this run's is 2"]);
    assert!(refused.stderr.contains("--batch 4 or --batch auto goes on"));
    let plan = [&more[..], &["--plan", "--json", "--batch", "auto"]].concat();
    let found = forecast(finetune(&bench, &plan));
    assert_eq!(found["done"]["part"]["epochs"], 2);
    assert_eq!(found["done"]["part"]["updates"], 6);
    assert_eq!(found["recipe"]["at_once"], 4);
    assert_eq!(found["time"]["left"], 0.0);
    let auto = again(&["--batch", "auto"]).ok();
    let said = "4 images at once, as in the state that the run goes on from";
    assert!(auto.stderr.contains(said), "{}", auto.stderr);
}
