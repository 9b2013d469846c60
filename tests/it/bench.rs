//! `mimbench bench`: what it prints and what it refuses, never how fast anything is.

use serde_json::Value;

use crate::support::{Bench, Run};

/// Few rounds of the architecture that is the quickest to run, on one thread.
fn bench(work: &str, [batch, warmup, rounds]: [&str; 3], more: &[&str]) -> Run {
    let fixed = ["bench", work, "--arch", "vit_small_patch32_224"];
    let sizes = ["--batch", batch, "--warmup", warmup, "--rounds", rounds];
    let args = [&fixed[..], &sizes, &["--threads", "1"], more].concat();
    Bench::empty().run(&args)
}

fn json(work: &str, sizes: [&str; 3], more: &[&str]) -> Value {
    let run = bench(work, sizes, &[more, &["--json"]].concat()).ok();
    assert_eq!(run.stderr, "");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn json_says_everything_needed_to_repeat_it() {
    let found = json("forward", ["2", "1", "3"], &[]);
    for (key, value) in [
        ("what", Value::from("forward")),
        ("arch", "vit_small_patch32_224".into()),
        ("batch", 2.into()),
        ("precision", "f32".into()),
        ("threads", 1.into()),
        ("seed", 0.into()),
        ("warmup", 1.into()),
        ("rounds", 3.into()),
    ] {
        assert_eq!(found[key], value, "{key}");
    }
    assert!(found["engine"].as_str().unwrap().starts_with("candle "));
    assert!(found["device"].as_str().unwrap().starts_with("cpu"));
    assert!(found.get("loss").is_none());
    let rate = |key: &str| found[key].as_f64().unwrap();
    let rates = ["images_per_s_min", "images_per_s", "images_per_s_max"].map(rate);
    assert!(rates[0] > 0.0 && rates.is_sorted(), "{rates:?}");
    let seconds = found["seconds"].as_array().unwrap().iter();
    let seconds: Vec<_> = seconds.map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(seconds.len(), 3);
    assert_eq!(rates[0], 2.0 / seconds.iter().fold(0f64, |m, &x| m.max(x)));
    // ViT-S/32 has 22.5 million parameters.
    assert!(found["peak_memory"].as_u64().unwrap() > 90_000_000);
}

#[test]
fn attention_statistics_can_be_timed() {
    let found = json("attention", ["1", "0", "1"], &[]);
    assert_eq!(found["what"], "attention");
    assert!(found["images_per_s"].as_f64().unwrap() > 0.0);
    let table = bench("attention", ["1", "0", "1"], &[]).ok().stdout;
    let title = "forward pass with attention statistics, candle ";
    assert!(table.starts_with(title), "{table}");
}

#[test]
fn training_steps_are_a_function_of_the_seed() {
    let loss = |rounds, more: &[&str]| {
        let found = json("train-step", ["1", "0", rounds], more);
        found["loss"].as_f64().unwrap()
    };
    let untrained = loss("1", &[]);
    let second = loss("2", &[]);
    assert_eq!(second, loss("2", &[]));
    assert_ne!(untrained, loss("1", &["--seed", "1"]));
    // An untrained head is about as good as equal odds; a step on one image lowers the loss.
    assert!((untrained - 1000f64.ln()).abs() < 1.5, "{untrained}");
    assert!(second < untrained, "{second} after {untrained}");
}

#[test]
fn the_table_is_for_people() {
    let table = bench("train-step", ["1", "0", "1"], &[]).ok().stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("training step, candle "), "{table}");
    assert!(lines[0].ends_with(", f32, 1 thread(s)"), "{table}");
    for word in ["architecture", "images/s", "peak memory (MiB)", "last loss"] {
        assert!(lines[2].contains(word), "{word}: {table}");
    }
    assert!(lines[4].starts_with(" vit_small_patch32_224"), "{table}");
    let last = "images/s: median [slowest, fastest] of 1 round(s) after 0 of warm-up";
    assert_eq!(lines.last(), Some(&last));
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let bench = Bench::empty();
    let unknown = bench.run(&["bench", "forward", "--arch", "vit_base_16_224"]);
    unknown.refused(&["vit_base_16_224", "vit_huge_patch14_224"]);
    let hint = "hint: the nearest name is vit_base_patch16_224\n";
    assert!(unknown.stderr.ends_with(hint), "{}", unknown.stderr);
    for (args, said) in [
        (&["bench", "forward", "--batch", "0"][..], "--batch"),
        (&["bench", "forward", "--rounds", "0"], "--rounds"),
        (&["bench", "forward", "--threads", "0"], "--threads"),
        (&["bench", "forward"], "--arch"),
        (&["bench", "backward"], "train-step"),
    ] {
        let run = bench.run(args);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(run.stderr.contains(said), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn a_step_of_pre_training_learns() {
    let found = |rounds: &str, more: &[&str]| json("pretrain-step", ["1", "0", rounds], more);
    let [first, second] = ["1", "2"].map(|rounds| found(rounds, &["--method", "mae"]));
    assert_eq!(first["what"], "pretrain-step");
    assert_eq!(first["method"], "mae");
    assert!(first.get("teacher_arch").is_none());
    assert_eq!(second["seconds"].as_array().unwrap().len(), 2);
    let loss = |step: &Value| step["loss"].as_f64().unwrap();
    assert!(loss(&second) < loss(&first), "{first} {second}");
    let again = found("1", &["--method", "mae"]);
    assert_eq!(first["loss"], again["loss"]);
    let table = bench("pretrain-step", ["1", "0", "1"], &[]).ok().stdout;
    assert!(
        table.starts_with("pre-training step of MAE, candle "),
        "{table}"
    );
    let medic = ["--method", "medic"];
    let teacher = ["--teacher-arch", "vit_small_patch32_224"];
    let step = found("1", &[medic, teacher].concat());
    assert_eq!(step["teacher_arch"], teacher[1]);
    assert!(loss(&step).is_finite());
    // A teacher of ViT-Ti/16 has other patches than a student of ViT-S/32.
    bench("pretrain-step", ["1", "0", "1"], &medic).refused(&["14x14 patches"]);
}
