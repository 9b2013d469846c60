//! `mimbench verify`: published numbers found again, or not, and everything that keeps it from
//! looking.

use std::path::Path;

use mimbench::checkpoint::save;
use mimbench::checkpoint::source::TensorSource;
use mimbench::nn::Weights;
use mimbench::vit::random_classifier_weights;
use serde_json::Value;

use crate::support::{Bench, CLASSES, Run, fixture, noisy_png, shared, tensor, tiny};

/// `data/three` with 12 validation images, `tiny.safetensors` with a head of `classes`.
fn bench(classes: usize) -> Bench {
    let bench = Bench::empty();
    bench.dataset("data/three", (2, 4), 8, 150);
    let mut weights = Weights::default();
    for (name, tensor) in random_classifier_weights(&tiny(), classes, 1).iter() {
        let mut tensor = tensor.clone();
        if tensor.shape.len() > 1 {
            tensor.data.iter_mut().for_each(|x| *x *= 10.0);
        }
        weights.insert(name.to_owned(), tensor);
    }
    save(&bench.path("tiny.safetensors"), &weights).unwrap();
    bench
}

fn anchor(dataset: &str, images: u64, measure: &str, rest: &str) -> String {
    format!(
        "[[anchor]]\nkind = \"classify\"\ndataset = \"{dataset}\"\nimages = {images}\nmeasure = \"{measure}\"\n{rest}\ncitation = \"a/b README.md\"\n"
    )
}

fn card(name: &str, path: &str, anchors: &[String]) -> String {
    let anchors = anchors.concat();
    format!("name = \"{name}\"\n[file]\npath = {path:?}\n{anchors}")
}

/// A card of `tiny.safetensors` with these anchors on `data/three`.
fn write_card(bench: &Bench, anchors: &[(&str, &str)]) {
    let anchors: Vec<_> = anchors
        .iter()
        .map(|(measure, rest)| anchor("three", 12, measure, rest))
        .collect();
    let text = card("Tiny", "../tiny.safetensors", &anchors);
    bench.write("cards/tiny.toml", text);
}

fn verify(bench: &Bench, more: &[&str]) -> Run {
    let args = ["verify", "--threads", "1", "--data", "data"];
    bench.run(&[&args[..], more].concat())
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap()
}

/// Images whose class the head names, and their mean loss, from the features that the program
/// writes and the definition of a linear head.
fn expected(bench: &Bench) -> (u64, f64) {
    let out = ["--images", "data/three/val", "--out", "f.safetensors"];
    let args = ["features", "--quiet", "--ckpt", "tiny.safetensors"];
    bench.run(&[&args[..], &out].concat()).ok();
    let features = TensorSource::open(&bench.path("f.safetensors")).unwrap();
    let file = TensorSource::open(&bench.path("tiny.safetensors")).unwrap();
    let [weight, bias] = ["head.weight", "head.bias"].map(|key| tensor(&file, key));
    let cls = tensor(&features, "cls");
    let width = cls.shape[1];
    let (mut correct, mut loss) = (0, 0.0);
    for (image, row) in cls.data.chunks(width).enumerate() {
        // Four images a class, in order.
        let label = image / 4;
        let logit = |(weights, bias): (&[f32], &f32)| -> f64 {
            let products = weights.iter().zip(row);
            let products = products.map(|(w, x)| f64::from(*w) * f64::from(*x));
            products.sum::<f64>() + f64::from(*bias)
        };
        let rows = weight.data.chunks(width).zip(&bias.data);
        let logits: Vec<f64> = rows.map(logit).collect();
        let own = logits[label];
        correct += u64::from(logits.iter().all(|&other| other <= own));
        loss -= own - logits.iter().map(|x| x.exp()).sum::<f64>().ln();
    }
    (correct, loss / 12.0)
}

const AGREES: &str = "\
Checkpoints evaluated as they are
──────────────────────────────────────────────────────────────────────────────────────────────────────
 checkpoint  anchor           expected                   measured   n  difference  tolerance  verdict
──────────────────────────────────────────────────────────────────────────────────────────────────────
 Tiny        three correct           6                   6 [3, 9]  12           0          0  agrees
 Tiny        three top-1 (%)    50.000    50.000 [25.378, 74.622]  12       0.000      0.001  agrees
 Tiny        three top-5 (%)   100.000  100.000 [75.751, 100.000]  12       0.000      0.000  agrees
 Tiny        three loss          0.903       0.903 [0.452, 1.354]  12       0.000      0.001  agrees
──────────────────────────────────────────────────────────────────────────────────────────────────────
Tiny: a/b README.md
Tiny: a/b README.md; rounded
mimbench ";

#[test]
fn what_follows_from_weights_and_images_is_found_again() {
    let bench = bench(3);
    let (correct, loss) = expected(&bench);
    assert!((1..12).contains(&correct), "{correct}");
    let value = |value: f64| format!("value = {value}");
    let near = |value: f64| format!("value = {value}\ntolerance = 0.001\nreason = \"rounded\"");
    write_card(
        &bench,
        &[
            ("correct", &value(correct as f64)),
            ("top1", &near(correct as f64 / 0.12)),
            ("top5", "value = 100"),
            ("loss", &near(loss)),
        ],
    );
    let run = verify(&bench, &["--cards", "cards"]).ok();
    assert_eq!(run.stderr, "");
    let by = run
        .stdout
        .strip_prefix(AGREES)
        .unwrap_or_else(|| panic!("{}", run.stdout));
    assert_eq!(by.lines().count(), 1, "{by}");
    // The order, the batch and the card's way of being named leave every number.
    let one = verify(&bench, &["--ckpt", "cards/tiny.toml", "--batch", "5"]).ok();
    assert_eq!(one.stdout, run.stdout);
    let json = json(&verify(&bench, &["--cards", "cards", "--json"]).ok());
    for what in ["engine", "precision", "device", "decoder", "mimbench"] {
        assert!(by.contains(json["compute"][what].as_str().unwrap()), "{by}");
    }
    let checks = json["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 4);
    assert!(checks.iter().all(|check| check["agrees"] == true));
    assert_eq!(checks[0]["measured"], correct as f64);
    assert_eq!(checks[0]["head_reads"], "cls norm");
    let found = checks[3]["measured"].as_f64().unwrap();
    assert!(
        (found - loss).abs() < 1e-5 * loss.max(1.0),
        "{found} {loss}"
    );
    let [low, high] = [0, 1].map(|end| checks[3]["interval"][end].as_f64().unwrap());
    assert!(low < found && found < high);
}

#[test]
fn a_number_that_is_not_found_again_is_exit_code_1() {
    let bench = bench(3);
    let (correct, _) = expected(&bench);
    let [right, wrong] = [correct, correct - 1].map(|value| format!("value = {value}"));
    write_card(&bench, &[("correct", &right), ("correct", &wrong)]);
    let run = verify(&bench, &["--cards", "cards"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(run.stderr, "");
    let verdicts = |word: &str| {
        run.stdout
            .lines()
            .filter(|x| x.trim_end().ends_with(word))
            .count()
    };
    assert_eq!(
        [verdicts("agrees"), verdicts("differs")],
        [1, 1],
        "{}",
        run.stdout
    );
}

#[test]
fn a_card_of_a_file_is_read_beside_it_and_one_without_anchors_is_refused() {
    let bench = bench(3);
    let (correct, _) = expected(&bench);
    let refused = |said: &[&str]| verify(&bench, &["--ckpt", "tiny.safetensors"]).refused(said);
    refused(&["no card of tiny.safetensors has an anchor"]);
    bench.write("tiny.toml", card("Tiny", "tiny.safetensors", &[]));
    refused(&["tiny.safetensors", "anchor"]);
    let anchor = anchor("three", 12, "correct", &format!("value = {correct}"));
    bench.write("tiny.toml", card("Tiny", "tiny.safetensors", &[anchor]));
    verify(&bench, &["--ckpt", "tiny.safetensors"]).ok();
    let one = ["--ckpt", "tiny.safetensors", "--data", "data/three"];
    bench.run(&[&["verify"], &one[..]].concat()).ok();
}

#[test]
fn what_is_not_there_is_skipped_in_a_folder_and_refused_by_name() {
    let bench = bench(3);
    let (correct, _) = expected(&bench);
    let value = format!("value = {correct}");
    let three = anchor("three", 12, "correct", &value);
    let other = anchor("imagenet-1k", 50_000, "top1", "value = 80.0");
    bench.write(
        "cards/a.toml",
        card("Gone", "a.pth", std::slice::from_ref(&three)),
    );
    let all = [other.clone(), three, other.clone()];
    bench.write("cards/b.toml", card("Tiny", "../tiny.safetensors", &all));
    bench.write("cards/c.toml", card("Plain", "c.pth", &[]));
    let run = verify(&bench, &["--cards", "cards"]).ok();
    assert_eq!(run.stderr, "");
    let (checked, skipped) = run.stdout.split_once("\n\nNot checked\n").unwrap();
    assert!(checked.contains(" agrees"), "{checked}");
    assert!(skipped.contains("a.pth is not there; cards/a.toml names it"));
    let absent = "--data data has no folder imagenet-1k";
    assert_eq!(skipped.matches(absent).count(), 1, "{skipped}");
    assert!(!run.stdout.contains("Plain"));

    let absent = verify(&bench, &["--ckpt", "cards/a.toml"]);
    absent.refused(&["cards/a.toml", "a.pth is not there"]);
    bench.write(
        "cards/b.toml",
        card("Tiny", "../tiny.safetensors", &[other]),
    );
    verify(&bench, &["--ckpt", "cards/b.toml"]).refused(&["no folder imagenet-1k"]);
    let none = bench.run(&["verify", "--ckpt", "cards/b.toml"]);
    none.refused(&["$MIMBENCH_DATA/imagenet-1k"]);

    let run = verify(&bench, &["--cards", "cards"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stdout.starts_with("Not checked\n"), "{}", run.stdout);
    assert!(
        run.stderr
            .starts_with("error: nothing could be checked: 2 skipped\nhint: ")
    );
    bench.write("empty/readme", "");
    verify(&bench, &["--cards", "empty"]).refused(&["no card in empty has an anchor"]);
    verify(&bench, &["--cards", "none"]).refused(&["none"]);
}

#[test]
fn one_dataset_is_not_taken_for_two() {
    let bench = bench(3);
    let (correct, _) = expected(&bench);
    let here = anchor("three", 12, "correct", &format!("value = {correct}"));
    let elsewhere = anchor("four", 12, "correct", "value = 3");
    bench.write("cards/a.toml", card("A", "../tiny.safetensors", &[here]));
    bench.write(
        "cards/b.toml",
        card("B", "../tiny.safetensors", &[elsewhere]),
    );
    let args = ["verify", "--data", "data/three", "--cards", "cards"];
    let run = bench.run(&args).ok();
    let (checked, skipped) = run.stdout.split_once("\n\nNot checked\n").unwrap();
    assert!(checked.contains(" agrees"), "{checked}");
    assert!(
        skipped.contains("was taken for three, and cannot be four too"),
        "{skipped}"
    );
}

#[test]
fn a_head_that_does_not_fit_the_dataset_is_refused_with_both_counts() {
    let bench = bench(5);
    write_card(&bench, &[("correct", "value = 3")]);
    let run = verify(&bench, &["--cards", "cards"]);
    run.refused(&["Tiny", "names 5 classes", "three has 3"]);
}

#[test]
fn a_dataset_of_another_size_is_refused_with_both_counts() {
    let bench = bench(3);
    let anchors = [anchor("three", 50, "correct", "value = 3")];
    bench.write(
        "cards/tiny.toml",
        card("Tiny", "../tiny.safetensors", &anchors),
    );
    let run = verify(&bench, &["--cards", "cards"]);
    run.refused(&["12 validation images", "over 50"]);
}

#[test]
fn a_label_out_of_range_is_refused() {
    let bench = bench(3);
    write_card(&bench, &[("correct", "value = 3")]);
    std::fs::remove_dir_all(bench.path("data/three")).unwrap();
    for split in ["train", "val"] {
        let mut archive = tar::Builder::new(Vec::new());
        for (image, label) in [0, 1, 2, 9].into_iter().cycle().take(12).enumerate() {
            let class = format!("{label}").into_bytes();
            let png = noisy_png(image % 3, image as u32, 8, 150);
            for (extension, bytes) in [("png", png), ("cls", class)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                let name = format!("{image:04}.{extension}");
                archive.append_data(&mut header, name, &bytes[..]).unwrap();
            }
        }
        let name = format!("data/three/{split}/0.tar");
        bench.write(&name, archive.into_inner().unwrap());
    }
    let run = verify(&bench, &["--cards", "cards"]);
    run.refused(&["names 3 classes", "three has 10"]);
}

#[test]
fn checkpoints_that_cannot_be_evaluated_are_refused_and_the_others_go_on() {
    let bench = bench(3);
    let (correct, _) = expected(&bench);
    let value = format!("value = {correct}");
    write_card(&bench, &[("correct", &value)]);
    let bytes = std::fs::read(bench.path("tiny.safetensors")).unwrap();
    let of = |name: &str| {
        let anchors = [anchor("three", 12, "correct", &value)];
        let file = format!("../{name}.safetensors");
        bench.write(&format!("cards/{name}.toml"), card(name, &file, &anchors));
        let card = format!("cards/{name}.toml");
        let run = verify(&bench, &["--ckpt", &card, "cards/tiny.toml"]);
        assert_eq!(run.code, Some(2), "{name}");
        assert!(run.stdout.contains(" agrees"), "{name}: {}", run.stdout);
        run.stderr
    };
    bench.model("headless.safetensors", &tiny(), 1);
    let said = of("headless");
    assert!(
        said.contains("headless.safetensors holds no classification head"),
        "{said}"
    );
    assert!(said.contains("hint: "), "{said}");

    bench.write("short.safetensors", &bytes[..bytes.len() / 2]);
    let said = of("short");
    assert!(said.contains("short.safetensors is damaged"), "{said}");

    let file = TensorSource::open(&bench.path("tiny.safetensors")).unwrap();
    let mut weights = Weights::default();
    for key in file.entries().keys() {
        let mut tensor = tensor(&file, key);
        if key == "head.weight" {
            tensor.data[5] = f32::NAN;
        }
        weights.insert(key.clone(), tensor);
    }
    save(&bench.path("nan.safetensors"), &weights).unwrap();
    let said = of("nan");
    assert!(
        said.contains("head.weight holds NaN at element 5"),
        "{said}"
    );

    // An image that does not decode leaves a number that cannot be compared.
    bench.write(&format!("data/three/val/{}/0.png", CLASSES[0]), "no image");
    verify(&bench, &["--cards", "cards"]).refused_of(3, "0.png");
    let skip = verify(
        &bench,
        &["--ckpt", "cards/tiny.toml", "--on-bad-image", "skip"],
    );
    skip.refused(&["1 of the 12 validation images"]);
}

impl Run {
    /// Exit code 2 and so many errors, one of which says `said`.
    #[track_caller]
    fn refused_of(&self, errors: usize, said: &str) {
        assert_eq!(self.code, Some(2), "{self:?}");
        let found = self.stderr.lines().filter(|x| x.starts_with("error: "));
        assert!(found.clone().count() >= errors, "{}", self.stderr);
        assert!(
            found.clone().any(|line| line.contains(said)),
            "{}",
            self.stderr
        );
    }
}

/// Images that the weights' own golden says are right, of how many.
fn told(weights: &Path) -> (u64, u64) {
    let json = std::fs::read(weights.join("config.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let [right, of] = [0, 1].map(|i| json["correct_on_curated_val"][i].as_u64().unwrap());
    (right, of)
}

#[test]
fn two_published_checkpoints_name_as_many_images_right_as_an_independent_program() {
    let Some(data) = shared("data") else { return };
    let bench = Bench::empty();
    for (name, dataset, right) in [
        ("sachin_cifar10", "cifar10", 724),
        ("sunny_fmnist", "fashion_mnist", 913),
    ] {
        let weights = data.join("weights").join(name).canonicalize().unwrap();
        assert_eq!(told(&weights), (right, 1000));
        let anchors = [
            anchor(dataset, 1000, "correct", &format!("value = {right}")),
            anchor(
                dataset,
                1000,
                "top1",
                &format!("value = {}", right as f64 / 10.0),
            ),
        ];
        let file = weights.join("timm_names.safetensors");
        let text = card(name, file.to_str().unwrap(), &anchors);
        bench.write(&format!("cards/{name}.toml"), text);
    }
    let data = data.to_str().unwrap();
    let run = bench
        .run(&["verify", "--cards", "cards", "--data", data, "--json"])
        .ok();
    let found = json(&run);
    let measured = |at: usize| found["checks"][at]["measured"].as_f64().unwrap();
    assert_eq!([measured(0), measured(2)], [724.0, 913.0]);
    assert_eq!([measured(1), measured(3)], [72.4, 91.3]);
}

#[test]
fn the_cards_of_the_repository_say_what_they_wait_for() {
    let bench = Bench::empty();
    let cards = fixture("../checkpoints");
    let run = bench.run(&["verify", "--cards", cards.to_str().unwrap()]);
    assert_eq!(run.code, Some(2));
    for size in ["base-16", "large-16", "huge-14"] {
        let file = format!("mae-fine-tuned-vit-{size}.pth is not there");
        assert!(run.stdout.contains(&file), "{}", run.stdout);
    }
}
