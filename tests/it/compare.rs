//! `mimbench compare` on records of made-up images.

use mimbench::report::{ImageOutcomes, Outcomes, Record};
use mimbench::stats::{Measure, Noise, Spread, mcnemar};
use serde_json::Value;

use super::support::{Bench, Run, tiny};

/// Records of three untrained models on one dataset.
fn evaluated(more: &[&str]) -> Bench {
    let bench = Bench::empty();
    bench.dataset("data", (8, 20), 8, 150);
    for (seed, name) in [(1, "one"), (2, "two"), (3, "three")] {
        bench.model(&format!("{name}.safetensors"), &tiny(), seed);
    }
    knn(&bench, more);
    bench
}

fn knn(bench: &Bench, more: &[&str]) {
    let ckpts = ["one.safetensors", "two.safetensors", "three.safetensors"];
    bench.knn_of(&ckpts, more).ok();
}

fn compare(bench: &Bench, more: &[&str]) -> Run {
    bench.run(&[&["compare", "--protocol", "knn"], more].concat())
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.ok().stdout).unwrap()
}

fn record(bench: &Bench, name: &str) -> Record {
    let records = Record::all(&bench.path("results")).unwrap();
    let mut found = records.into_iter().filter(|r| r.subject.name == name);
    let record = found.next().unwrap();
    assert!(found.next().is_none(), "{name} has several records");
    record
}

/// Changes what became of a record's images, for the `place`th k, and the record with it.
fn change(bench: &Bench, mut record: Record, change: impl Fn(usize, &mut ImageOutcomes, &[u32])) {
    let results = bench.path("results");
    let mut outcomes = Outcomes::read(&results, &record.cell.key).unwrap();
    for (place, prediction) in outcomes.predictions.iter_mut().enumerate() {
        change(place, prediction, &outcomes.labels);
    }
    for measured in &mut record.measures {
        let name = format!("{}/k{}", measured.feature, measured.k.unwrap());
        let mut predictions = outcomes.predictions.iter();
        let says = predictions.find(|says| says.name == name).unwrap();
        let first = says.top1.iter().zip(&outcomes.labels);
        let hits = match &measured.measure.name[..] {
            "top1" => first.filter(|(class, label)| class == label).count(),
            "top5" => says.top5.iter().filter(|hit| **hit).count(),
            _ => continue,
        };
        let (name, n) = (&measured.measure.name, outcomes.labels.len() as u64);
        measured.measure = Measure::from_hits(name, hits as u64, n).unwrap();
    }
    outcomes.write(&results, &record.cell.key).unwrap();
    record.write(&results).unwrap();
}

/// Which images the headline gets right.
fn hits(bench: &Bench, record: &Record) -> (Outcomes, Vec<u32>, Vec<bool>) {
    let outcomes = Outcomes::read(&bench.path("results"), &record.cell.key).unwrap();
    let headline = record.measures.iter().find(|m| m.headline).unwrap();
    let name = format!("{}/k{}", headline.feature, headline.k.unwrap());
    let found = outcomes
        .predictions
        .iter()
        .find(|p| p.name == name)
        .unwrap();
    let says = found.top1.clone();
    let right = says
        .iter()
        .zip(&outcomes.labels)
        .map(|(a, b)| a == b)
        .collect();
    (outcomes, says, right)
}

#[test]
fn two_checkpoints_are_tested_on_the_same_images() {
    let bench = evaluated(&[]);
    let found = json(compare(&bench, &["one", "two", "--json", "--show", "3"]));
    let (one, two) = (record(&bench, "one"), record(&bench, "two"));
    let (outcomes, says_one, right_one) = hits(&bench, &one);
    let (_, says_two, right_two) = hits(&bench, &two);
    let count = |pair: (bool, bool)| {
        let pairs = right_one.iter().zip(&right_two);
        pairs.filter(|&(&a, &b)| (a, b) == pair).count() as u64
    };
    let pair = &found["pairs"][0];
    let [only_a, only_b] = [count((true, false)), count((false, true))];
    assert!(only_a > 0 && only_b > 0, "the models are too much alike");
    for (field, want) in [
        ("only_a", only_a),
        ("only_b", only_b),
        ("both", count((true, true))),
        ("neither", count((false, false))),
    ] {
        assert_eq!(pair["hits"][field], want, "{field}");
    }
    assert_eq!(pair["test"], "mcnemar_exact");
    assert_eq!(pair["p"].as_f64().unwrap(), mcnemar(only_a, only_b));
    assert_eq!(pair["adjusted_p"], pair["p"]);
    let same = says_one
        .iter()
        .zip(&says_two)
        .filter(|(a, b)| a == b)
        .count();
    assert_eq!(pair["agreement"].as_f64().unwrap(), same as f64 / 60.0);
    let difference = pair["difference"].as_f64().unwrap();
    let want = 100.0 * (only_a as f64 - only_b as f64) / 60.0;
    assert!((difference - want).abs() < 1e-9);
    let end = |place: usize| pair["interval"][place].as_f64().unwrap();
    assert!(end(0) < difference && difference < end(1));

    assert_eq!(found["images"], 60);
    assert_eq!(
        (&found["measure"], &found["k"]),
        (&"top1".into(), &20.into())
    );
    for (side, record) in [&one, &two].into_iter().enumerate() {
        let side = &found["sides"][side];
        let run = &side["runs"][0];
        assert_eq!(run["key"], record.cell.key);
        let measured = &record.measures[run["measure"].as_u64().unwrap() as usize];
        assert!(measured.headline && measured.measure.name == "top1");
        assert_eq!(run["value"].as_f64().unwrap(), measured.measure.value);
        assert_eq!(side["seeds"]["noise"]["source"], "images");
    }

    let disagreements = pair["disagreements"].as_array().unwrap();
    assert!(!disagreements.is_empty() && disagreements.len() <= 6);
    let mut last = [u64::MAX; 2];
    for image in disagreements {
        let path = image["path"].as_str().unwrap();
        let row = outcomes
            .paths
            .iter()
            .position(|other| other == path)
            .unwrap();
        let winner = image["winner"].as_u64().unwrap() as usize;
        assert_eq!([right_one[row], right_two[row]], [winner == 0, winner == 1]);
        assert_eq!(image["label"]["index"], outcomes.labels[row]);
        assert!(path.contains(image["label"]["name"].as_str().unwrap()));
        assert_eq!(image["a"]["index"], says_one[row]);
        assert_eq!(image["b"]["index"], says_two[row]);
        let won = image["won"].as_u64().unwrap();
        assert!(won >= 1 && won <= image["of"].as_u64().unwrap() && won <= last[winner]);
        last[winner] = won;
    }

    // The same again, however the checkpoints are named, and from any number of threads.
    let keys = [&one.cell.key[..], &two.cell.key[..8]];
    for names in [keys, ["one.safetensors", "./two.safetensors"]] {
        let again = json(compare(
            &bench,
            &[names[0], names[1], "--json", "--show", "3"],
        ));
        assert_eq!(again, found);
    }
    let text = compare(&bench, &["one", "two"]).ok().stdout;
    println!("{text}");
    assert!(
        text.contains("McNemar, exact") && text.contains("of 7"),
        "{text}"
    );
    let csv = compare(&bench, &["one", "two", "--csv"]).ok().stdout;
    assert_eq!(csv.lines().count(), 2);
}

#[test]
fn images_are_won_by_the_measure_that_is_compared() {
    let bench = evaluated(&[]);
    // There are three classes, so that the first five are always right.
    for (salt, name) in ["one", "two"].into_iter().enumerate() {
        change(&bench, record(&bench, name), |place, says, labels| {
            for (i, hit) in says.top5.iter_mut().enumerate() {
                *hit = says.top1[i] == labels[i] || (i / 3 + place + 2 * salt) % 4 == 0;
            }
        });
    }
    let by_top5 = [
        "one",
        "two",
        "--measure",
        "top5",
        "--k",
        "5",
        "--show",
        "60",
    ];
    let found = json(compare(&bench, &[&by_top5[..], &["--json"]].concat()));
    assert_eq!(
        (&found["measure"], &found["k"]),
        (&"top5".into(), &5.into())
    );
    let records = ["one", "two"].map(|name| record(&bench, name));
    let [one, two] = records.map(|record| hits(&bench, &record).0);
    let pair = &found["pairs"][0];
    let disagreements = pair["disagreements"].as_array().unwrap();
    let hits = &pair["hits"];
    let apart = hits["only_a"].as_u64().unwrap() + hits["only_b"].as_u64().unwrap();
    assert_eq!(disagreements.len() as u64, apart);
    let mut beyond_top1 = 0;
    for image in disagreements {
        let row = one.paths.iter().position(|path| image["path"] == **path);
        let row = row.unwrap();
        assert_eq!(one.paths[row], two.paths[row]);
        let winner = image["winner"].as_u64().unwrap() as usize;
        let right = [winner == 0, winner == 1];
        let won = |right_is: &dyn Fn(&ImageOutcomes, u32) -> bool| {
            let pairs = one.predictions.iter().zip(&two.predictions);
            let count = pairs.filter(|&(a, b)| {
                assert_eq!(a.name, b.name);
                [right_is(a, one.labels[row]), right_is(b, one.labels[row])] == right
            });
            count.count() as u64
        };
        let by_five = won(&|says, _| says.top5[row]);
        assert_eq!(image["won"], by_five, "{image}");
        assert!(by_five > 0 && image["near"].is_null());
        beyond_top1 += usize::from(by_five != won(&|says, label| says.top1[row] == label));
    }
    assert!(beyond_top1 > 0, "both measures win the same images");
    let text = compare(&bench, &by_top5).ok().stdout;
    assert!(
        text.contains("of 7") && !text.contains("in top 5"),
        "{text}"
    );
    let text = compare(&bench, &["one", "two"]).ok().stdout;
    assert!(text.contains("in top 5"), "{text}");
}

#[test]
fn several_checkpoints_are_compared_each_with_each() {
    let bench = evaluated(&[]);
    let found = json(compare(&bench, &["one", "two", "three", "--json"]));
    let pairs = found["pairs"].as_array().unwrap();
    let places: Vec<_> = pairs
        .iter()
        .map(|p| (p["a"].as_u64(), p["b"].as_u64()))
        .collect();
    let place = |a, b| (Some(a), Some(b));
    assert_eq!(places, [place(0, 1), place(0, 2), place(1, 2)]);
    let p = |name: &str| -> Vec<f64> { pairs.iter().map(|p| p[name].as_f64().unwrap()).collect() };
    let (raw, adjusted) = (p("p"), p("adjusted_p"));
    assert_eq!(mimbench::stats::holm(&raw), adjusted);
    let alone = json(compare(&bench, &["one", "three", "--json"]));
    assert_eq!(alone["pairs"][0]["p"], pairs[1]["p"]);
    assert_eq!(alone["pairs"][0]["interval"], pairs[1]["interval"]);
    let text = compare(&bench, &["one", "two", "three"]).ok().stdout;
    assert!(text.contains("p (Holm)"), "{text}");
}

#[test]
fn seeds_are_taken_together() {
    let bench = evaluated(&[]);
    knn(&bench, &["--seed", "1"]);
    // Under the other seed, the first gets some images of the headline wrong that it got right.
    let results = bench.path("results");
    let all = Record::all(&results).unwrap();
    let mut of_one = all.into_iter().filter(|r| r.subject.name == "one");
    let other = of_one.find(|record| record.cell.seed == 1).unwrap();
    const LOST: usize = 7;
    change(&bench, other, |_, says, labels| {
        let right = says.top1.iter_mut().zip(labels);
        let right = right.filter(|(class, label)| class == label);
        right
            .take(LOST)
            .for_each(|(class, _)| *class = (*class + 1) % 3);
    });
    let found = json(compare(&bench, &["one", "two", "--json"]));
    let number = |value: &Value| value.as_f64().unwrap();
    let near = |found: &Value, want: f64| {
        let found = number(found);
        assert!((found - want).abs() < 1e-9, "{found} {want}");
    };
    let lost = 100.0 * LOST as f64 / 60.0;
    let mut spreads = Vec::new();
    let mut means = Vec::new();
    for (side, lost) in found["sides"].as_array().unwrap().iter().zip([lost, 0.0]) {
        let runs = side["runs"].as_array().unwrap();
        let values = runs.iter().map(|run| number(&run["value"]));
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let [low, high] = values[..] else {
            panic!("{side}");
        };
        assert!((high - low - lost).abs() < 1e-9);
        let seeds = &side["seeds"];
        assert_eq!(seeds["runs"], 2);
        // Of two values, the deviation is their difference by the root of two.
        let deviation = lost / 2f64.sqrt();
        near(&seeds["deviation"], deviation);
        near(&seeds["mean"], (low + high) / 2.0);
        means.push((low + high) / 2.0);
        assert_eq!(seeds["noise"]["source"], "images_and_seeds");
        // Of their mean it is that by the root of two again.
        spreads.push(Spread {
            deviation: lost / 2.0,
            freedom: 1.0,
        });
    }
    let pair = &found["pairs"][0];
    near(&pair["difference"], means[0] - means[1]);
    let images = (number(&pair["interval"][1]) - number(&pair["interval"][0])) / 2.0;
    let noise = Noise::combined(Some(images), &spreads).unwrap();
    near(&pair["noise"]["half_width"], noise.half_width);
    assert!(noise.half_width > images + 1.0);
    assert_eq!(pair["within_noise"], noise.covers(means[0] - means[1]));
    assert_eq!(pair["test"], "paired_bootstrap");
    assert!(pair["hits"].is_null() && pair["within_noise"].is_boolean());
    let text = compare(&bench, &["one", "two"]).ok().stdout;
    assert!(text.contains("within noise"), "{text}");
}

#[test]
fn attention_is_compared_image_by_image() {
    let bench = Bench::empty();
    bench.dataset("data", (1, 4), 8, 150);
    for (seed, name) in [(1, "one"), (2, "two")] {
        bench.model(&format!("{name}.safetensors"), &tiny(), seed);
    }
    let args = ["attention", "--threads", "1", "--data", "data", "--ckpt"];
    bench
        .run(&[&args[..], &["one.safetensors", "two.safetensors"]].concat())
        .ok();
    let attention = |more: &[&str]| {
        bench.run(&[&["compare", "--protocol", "attention", "one", "two"], more].concat())
    };
    attention(&[]).refused(&["several features", "block 0", "block 1"]);
    for feature in ["block 1", "block 1 head 0"] {
        let more = ["--measure", "distance", "--feature", feature, "--json"];
        let found = json(attention(&more));
        let pair = &found["pairs"][0];
        assert_eq!(
            (&found["unit"], &pair["test"]),
            (&"pixels".into(), &"paired_bootstrap".into())
        );
        let value = |side: usize| {
            let record = record(&bench, ["one", "two"][side]);
            let run = &found["sides"][side]["runs"][0];
            let measured = &record.measures[run["measure"].as_u64().unwrap() as usize];
            assert_eq!(
                (&measured.feature[..], &measured.measure.name[..]),
                (feature, "distance")
            );
            measured.measure.value
        };
        let difference = pair["difference"].as_f64().unwrap();
        assert!((difference - (value(0) - value(1))).abs() < 1e-9);
    }
    attention(&["--measure", "rank_me"]).refused(&["several features"]);
}

#[test]
fn seeds_that_draw_other_images_are_not_taken_together() {
    let bench = Bench::empty();
    bench.dataset("data", (1, 20), 8, 150);
    let ckpts = [(1, "one.safetensors"), (2, "two.safetensors")];
    for (seed, name) in ckpts {
        bench.model(name, &tiny(), seed);
    }
    let key = |ckpt: &str, seed: &str| {
        let args = ["attention", "--threads", "1", "--data", "data", "--json"];
        let more = ["--set", "task.images=12", "--ckpt", ckpt, "--seed", seed];
        let records = bench.run(&[&args[..], &more].concat()).records();
        records[0]["cell"]["key"].as_str().unwrap().to_owned()
    };
    let [one, two] = ["0", "1"].map(|seed| key("one.safetensors", seed));
    let other = key("two.safetensors", "1");
    let compared = |names: [&str; 2]| {
        let args = [
            "compare",
            "--protocol",
            "attention",
            "--measure",
            "distance",
        ];
        bench.run(&[&args[..], &["--feature", "block 1"], &names].concat())
    };
    let run = compared([&one, &other]);
    run.refused(&["different images"]);
    assert!(run.stderr.contains("seeds are 0 and 1"), "{}", run.stderr);
    let run = compared(["one", "two"]);
    run.refused(&["2 records", &one, &two]);
    let hint = "seeds that draw images of their own";
    assert!(run.stderr.contains(hint), "{}", run.stderr);
    compared([&two, &other]).ok();
}

#[test]
fn images_are_matched_by_their_contents() {
    let bench = Bench::empty();
    bench.dataset("data", (8, 6), 8, 150);
    bench.dataset("moved", (8, 6), 8, 150);
    for class in super::support::CLASSES {
        for i in 0..6 {
            let name = |i: usize| bench.path(&format!("moved/val/{class}/{i}.png"));
            std::fs::rename(
                name(i),
                bench.path(&format!("moved/val/{class}/z{}.png", 9 - i)),
            )
            .unwrap();
        }
    }
    bench.model("one.safetensors", &tiny(), 1);
    bench.model("two.safetensors", &tiny(), 2);
    let run = |ckpt: &str, data: &str| {
        let args = [
            "knn",
            "--threads",
            "1",
            "--quiet",
            "--ckpt",
            ckpt,
            "--data",
            data,
            "--json",
        ];
        bench.run(&args).records()[0]["cell"]["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let one = run("one.safetensors", "data");
    let two = [
        run("two.safetensors", "data"),
        run("two.safetensors", "moved"),
    ];
    compare(&bench, &["one", "two"]).refused(&["2 records", &two[0], &two[1], "seed 0", "moved"]);
    let [here, moved] =
        two.map(|two| json(compare(&bench, &[&one, &two, "--json"]))["pairs"][0].clone());
    assert_eq!(here["hits"], moved["hits"]);
    assert_eq!(here["interval"], moved["interval"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let bench = evaluated(&[]);
    compare(&bench, &["one", "one"]).refused(&["one", "twice"]);
    compare(&bench, &["one", "four"]).refused(&["four", "one, three, two"]);
    compare(&bench, &["one", "two", "--measure", "top7"]).refused(&["top7", "top5_strict"]);
    compare(&bench, &["one", "two", "--measure", "top5_strict"]).refused(&["image by image"]);
    compare(&bench, &["one", "two", "--k", "3"]).refused(&["k = 3", "k = 200"]);
    compare(&bench, &["one", "two", "--feature", "block 9"]).refused(&["block 9", "block 1"]);
    compare(&bench, &["one", "two", "--results", "nowhere"]).refused(&["no records in nowhere"]);
    let other = bench.run(&["compare", "one", "two", "--protocol", "linear"]);
    other.refused(&["protocol linear", "knn"]);

    // Other images: one of them changed, one more.
    bench.dataset("other", (8, 20), 8, 150);
    bench.write(
        "other/val/bee/7.png",
        super::support::noisy_png(1, 999, 8, 150),
    );
    bench.write(
        "other/val/cat/77.png",
        super::support::noisy_png(2, 998, 8, 150),
    );
    let ckpt = [
        "knn",
        "--threads",
        "1",
        "--quiet",
        "--ckpt",
        "two.safetensors",
        "--json",
    ];
    let key = |more: &[&str]| {
        let records = bench.run(&[&ckpt[..], more].concat()).records();
        records[0]["cell"]["key"].as_str().unwrap().to_owned()
    };
    let images = key(&["--data", "other"]);
    compare(&bench, &["one", &images]).refused(&[
        "different images",
        "1 of 60 are only in the first, 2 of 61 only in the second",
        "such as bee/7.png",
    ]);
    // Other settings.
    let protocol = key(&["--data", "data", "--set", "task.k=[5,20]"]);
    compare(&bench, &["one", &protocol])
        .refused(&["task.k: [1, 5, 10, 20, 50, 100, 200] and [5, 20]"]);
    // Other train images.
    bench.write(
        "data/train/ant/99.png",
        super::support::noisy_png(0, 997, 8, 150),
    );
    let train = key(&["--data", "data"]);
    compare(&bench, &["one", &train]).refused(&["different train images"]);
    // Outcomes of another record.
    let records = ["one", "three"].map(|name| record(&bench, name).cell.key);
    let [one, three] = records.map(|key| Outcomes::path(&bench.path("results"), &key));
    std::fs::copy(three, one).unwrap();
    compare(&bench, &["one", "three"])
        .refused(&["outcomes.safetensors", "is not the file that the record"]);
}
