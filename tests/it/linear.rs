//! `mimbench linear` on made-up images: every preset, their tables, comparisons and files.

use mimbench::vit::VitConfig;
use serde_json::Value;

use super::support::{Bench, Run, tiny};

/// A ViT of eight blocks for 8 x 8 images.
fn deep() -> VitConfig {
    VitConfig {
        mlp_width: 128,
        ..VitConfig::plain(4, [2, 2], (64, 8, 1))
    }
}

/// `data/` with 4 + 4 images a class, and `one.safetensors` and `two.safetensors` of two blocks.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.dataset("data", (4, 4), 8, 150);
    bench.model("one.safetensors", &tiny(), 1);
    bench.model("two.safetensors", &tiny(), 2);
    bench
}

/// Batches for a handful of images.
const SMALL: [&str; 6] = [
    "--epochs",
    "2",
    "--set",
    "task.batch=4",
    "--set",
    "task.local_batch=2",
];

fn linear(bench: &Bench, ckpts: &[&str], more: &[&str]) -> Run {
    let args = ["linear", "--threads", "1", "--data", "data", "--ckpt"];
    bench.run(&[&args[..], ckpts, &SMALL, more].concat())
}

fn cached(bench: &Bench, ckpts: &[&str], more: &[&str]) -> Run {
    let args = [
        "linear",
        "--preset",
        "cached",
        "--threads",
        "1",
        "--data",
        "data",
        "--ckpt",
    ];
    bench.run(&[&args[..], ckpts, more].concat())
}

/// Measures of one name, with their features.
fn measures<'a>(record: &'a Value, name: &str) -> Vec<(&'a str, &'a Value)> {
    let measures = record["measures"].as_array().unwrap().iter();
    measures
        .filter(|measure| measure["name"] == name)
        .map(|measure| (measure["feature"].as_str().unwrap(), measure))
        .collect()
}

#[test]
fn every_preset_runs() {
    let bench = Bench::empty();
    bench.dataset("data", (4, 2), 8, 150);
    bench.model("deep.safetensors", &deep(), 1);
    // Heads, whether one was selected, and of the warm-ups what two epochs leave.
    for (preset, heads, set) in [
        ("beit", 8, ""),
        ("mae", 1, "task.schedule.warmup_epochs=1.0"),
        ("dinov2", 52, "task.updates_per_epoch=3"),
        ("dino", 1, ""),
        ("dino-base", 1, ""),
        ("ibot", 1, ""),
        ("simmim", 1, ""),
        ("maskalign", 1, "task.schedule.warmup_epochs=1.0"),
        ("medic-paper", 8, "task.schedule.warmup_epochs=1"),
    ] {
        let set: &[&str] = if set.is_empty() { &[] } else { &["--set", set] };
        let more = [&["--preset", preset, "--json"], set].concat();
        let run = linear(&bench, &["deep.safetensors"], &more).ok();
        // ViT-B's recipe over a narrow network.
        let fitting = "--preset dino does";
        assert_eq!(run.stderr.contains(fitting), preset == "dino-base");
        let of = |line: &&str| line.starts_with("deep: ") && line.contains(" inputs");
        let announced = run.stderr.lines().find(of);
        let announced = announced.unwrap_or_else(|| panic!("{}", run.stderr));
        assert!(announced.contains(" of 3 x 8 x 8 inputs"), "{announced}");
        assert!(announced.contains("block"), "{announced}");
        assert!(!run.stderr.contains("0.0 MB"), "{}", run.stderr);
        let record = &run.records()[0];
        assert_eq!(record["protocol"]["name"], format!("linear/{preset}"));
        let top1 = measures(record, "top1");
        assert_eq!(top1.len(), heads, "{preset}");
        assert_eq!(measures(record, "top5").len(), heads, "{preset}");
        assert_eq!(measures(record, "loss").len(), heads, "{preset}");
        let headline: Vec<_> = top1.iter().filter(|(_, m)| m["headline"] == true).collect();
        assert_eq!(headline.len(), 1, "{preset}");
        let best = top1.iter().map(|(_, m)| m["value"].as_f64().unwrap());
        let best = best.fold(0.0, f64::max);
        assert_eq!(headline[0].1["value"].as_f64().unwrap(), best, "{preset}");
        let selection = match heads {
            1 => ["none", "best_epoch"],
            _ => ["best_head", "best_head_and_epoch"],
        };
        assert_eq!(record["selection"], selection[0], "{preset}");
        let largest = measures(record, "top1_max");
        assert_eq!(largest[0].1["selection"], selection[1], "{preset}");
        for (feature, measure) in top1 {
            let rate = measure["learning_rate"].as_f64().unwrap();
            assert!(rate > 0.0);
            let named = format!(" lr {rate}");
            assert_eq!(feature.ends_with(&named), heads == 52, "{feature}");
        }
    }
}

#[test]
fn blocks_rates_and_seeds_are_tables_that_fit_a_terminal() {
    let bench = bench();
    let two = ["one.safetensors", "two.safetensors"];
    let run = linear(&bench, &two, &["--seeds", "0..1"]).ok();
    let tables: Vec<&str> = run.stdout.split("\n\n").collect();
    assert_eq!(tables.len(), 3, "{}", run.stdout);
    let [headlines, seeds, blocks] = tables[..] else {
        panic!("{}", run.stdout)
    };
    let has = |table: &str, words: &[&str]| {
        for word in words {
            assert!(table.contains(word), "{word}: {table}");
        }
    };
    has(
        headlines,
        &[
            "linear/beit version 1",
            "seed",
            "best head and epoch (%)",
            "train images",
            "†",
            "*",
        ],
    );
    has(
        headlines,
        &[
            "one: --set task.epochs=2",
            "† selected on the validation set",
        ],
    );
    has(
        seeds,
        &[
            "mean and standard deviation over seeds",
            "top-1 deviation (points)",
        ],
    );
    has(
        blocks,
        &[
            "top-1 over blocks",
            "one, mean of 2 seeds (%)",
            "two, mean of 2 seeds (%)",
        ],
    );
    let rows = |table: &str, first: &str| {
        let rows = table.lines().filter(|line| line.starts_with(first));
        rows.count()
    };
    assert_eq!([rows(headlines, " one "), rows(headlines, " two ")], [2, 2]);
    assert_eq!([rows(seeds, " one "), rows(seeds, " two ")], [1, 1]);

    // Two learning rates by two blocks.
    let rates = ["--set", "task.learning_rates=[0.1,0.001]"];
    let run = linear(&bench, &two[..1], &rates).ok();
    let grid = run.stdout.split("\n\n").last().unwrap();
    has(
        grid,
        &[
            "top-1 over learning rates: one\n",
            "block 0 concat raw (%)",
            "learning rate",
        ],
    );
    for table in run.stdout.split("\n\n") {
        assert!(
            table
                .lines()
                .all(|line| line.starts_with("one: ") || line.chars().count() <= 130)
        );
    }

    // One seed is no mean.
    let run = linear(&bench, &two[..1], &[]).ok();
    assert_eq!(run.stdout.split("\n\n").count(), 2);
    assert!(run.stderr.contains("is up to date"), "{}", run.stderr);

    // For programs: every head, whether it is shown, and what it was trained at.
    let csv = linear(&bench, &two[..1], &["--csv"]).ok().stdout;
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let place = |name: &str| header.iter().position(|field| *field == name).unwrap();
    let rows: Vec<Vec<&str>> = csv
        .lines()
        .skip(1)
        .map(|row| row.split(',').collect())
        .collect();
    assert_eq!(rows.len(), 2 * 3 + 1);
    let yes = rows.iter().filter(|row| row[place("headline")] == "yes");
    let selected: Vec<_> = yes.map(|row| row[place("value_note")]).collect();
    assert!(
        selected.iter().all(|note| note.contains("selected")),
        "{selected:?}"
    );
    assert!(
        rows.iter()
            .all(|row| row[place("learning rate")] == "0.000015625"),
        "{csv}"
    );
}

#[test]
fn a_head_learns_at_its_rate_as_it_would_alone() {
    let bench = bench();
    // The schedule ends above 0, whatever the peak.
    let first_loss = |rates| {
        let set = [
            "--set",
            rates,
            "--set",
            "task.learning_rate_rule=absolute",
            "--set",
            "task.schedule.end=0.05",
            "--json",
        ];
        let record = linear(&bench, &["one.safetensors"], &set)
            .records()
            .remove(0);
        measures(&record, "loss")[0].1["value"].as_f64().unwrap()
    };
    let alone = first_loss("task.learning_rates=[0.4]");
    assert_eq!(first_loss("task.learning_rates=[0.4,0.1]"), alone);
}

#[test]
fn stored_features_give_a_probe_of_every_block_and_of_few_images() {
    let bench = bench();
    let run = cached(&bench, &["one.safetensors"], &["--set", "task.layers=all"]).ok();
    let tables: Vec<&str> = run.stdout.split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{}", run.stdout);
    assert!(
        tables[0].contains("linear/cached version 1"),
        "{}",
        run.stdout
    );
    assert!(
        !run.stdout.contains('†'),
        "nothing is selected: {}",
        run.stdout
    );
    let record = &cached(&bench, &["one.safetensors"], &["--json"]).records()[0];
    assert_eq!(record["protocol"]["kind"], "linear_cached");
    assert_eq!(measures(record, "top1").len(), 1);

    for (shots, images) in [("2 per class", 6), ("2", 6), ("50%", 6)] {
        for kind in [linear, cached] {
            let more = ["--shots", shots, "--json"];
            let record = &kind(&bench, &["one.safetensors"], &more).records()[0];
            assert_eq!(record["data"]["train"]["images"], images, "{shots}");
            assert_ne!(record["protocol"]["modified"], serde_json::json!([]));
        }
    }
    // Of one image a class, what is held out has a class that no fit saw.
    let one_each = |more: &[&str]| {
        let more = [&["--shots", "1", "--quiet"], more].concat();
        cached(&bench, &["one.safetensors"], &more)
    };
    let refused = one_each(&[]);
    refused.refused(&["no strength can be chosen"]);
    assert!(refused.stderr.contains("--set 'task.strengths=[1.0]'"));
    one_each(&["--set", "task.strengths=[1.0]"]).ok();
    // The same choice again, and whatever the seed.
    let of = |seed| {
        let more = ["--shots", "2", "--json", "--seed", seed];
        linear(&bench, &["one.safetensors"], &more).records()[0]["data"]["train"].clone()
    };
    assert_eq!(of("0"), of("7"));
}

#[test]
fn what_cannot_be_probed_is_refused() {
    let bench = bench();
    bench.model(
        "three.safetensors",
        &VitConfig::plain(4, [2, 2], (64, 3, 1)),
        1,
    );
    bench.model(
        "four.safetensors",
        &VitConfig::plain(4, [2, 2], (64, 4, 1)),
        1,
    );
    let headless = VitConfig {
        class_token: false,
        positions: Some(0),
        ..tiny()
    };
    bench.model("patches.safetensors", &headless, 1);
    let refused = |ckpt: &str, more: &[&str], said: &[&str]| {
        linear(&bench, &[ckpt], more).refused(said);
    };
    refused("four.safetensors", &["--preset", "simmim"], &["block 7"]);
    refused(
        "three.safetensors",
        &["--preset", "dinov2", "--set", "task.updates_per_epoch=1"],
        &["the last 4 blocks", "three has 3"],
    );
    refused(
        "three.safetensors",
        &["--preset", "dino"],
        &["the last 4 blocks", "three has 3"],
    );
    refused("patches.safetensors", &[], &["class token"]);
    let block = "task.inputs=[{blocks=9, token=\"cls\", norm=\"raw\"}]";
    refused("one.safetensors", &["--set", block], &["block 9"]);
    // One norm over all heads would couple them.
    let clipped = "--quiet --results clipped --set task.clip_norm=1.0";
    let clipped: Vec<_> = clipped.split(' ').collect();
    refused("one.safetensors", &clipped, &["task.clip_norm", "one head"]);
    let hinted = |run: Run, said: &str, hint: &str| {
        run.refused(&[said]);
        let found = run.stderr.split("hint: ").nth(1).unwrap();
        assert!(found.contains(hint), "{}", run.stderr);
    };
    let one = |more: &[&str]| linear(&bench, &["one.safetensors"], more);
    hinted(
        one(&["--preset", "mae"]),
        "leaves nothing of task.epochs = 2",
        "--set task.schedule.warmup_epochs=",
    );
    let mae = [
        "--preset",
        "mae",
        "--set",
        "task.schedule.warmup_epochs=1",
        "--set",
        "task.drop_last=false",
        "--set",
        "task.batch=11",
        "--set",
        "task.local_batch=11",
    ];
    hinted(
        one(&mae),
        "12 images leave one over",
        "--set task.drop_last=true",
    );
    hinted(
        one(&["--on-bad-image", "skip"]),
        "--on-bad-image",
        "linear-cached",
    );
    hinted(
        cached(&bench, &["one.safetensors"], &["--seeds", "0..2"]),
        "every seed gives the same fit",
        "task.shots_seed",
    );
    for (more, said) in [
        (["--shots", "0"], "\"0\""),
        (["--shots", "few"], "\"few\""),
        (["--seeds", "4..0"], "4..0"),
        (["--preset", "beitt"], "beitt"),
        (["--set", "task.batch=3"], "task.local_batch"),
        (
            ["--set", "task.batch=3"],
            "protocols/linear-beit.toml shows",
        ),
        (["--set", "task.learning_rates=[]"], "task.learning_rates"),
    ] {
        let run = linear(&bench, &["one.safetensors"], &more);
        assert_eq!(run.code, Some(2), "{more:?}: {run:?}");
        assert!(run.stderr.contains(said), "{more:?}: {}", run.stderr);
    }
    assert_eq!(bench.files("results").len(), 0);
}

#[test]
fn how_features_would_be_stored_is_nothing_to_a_trained_probe() {
    let bench = bench();
    linear(&bench, &["one.safetensors"], &[]).ok();
    let half = ["--store-type", "f16", "--json"];
    let again = linear(&bench, &["one.safetensors"], &half).ok();
    assert!(again.stderr.contains("is up to date"), "{}", again.stderr);
    assert_eq!(again.records()[0]["compute"]["stored"], "f32");
    let cached = cached(&bench, &["one.safetensors"], &half).records();
    assert_eq!(cached[0]["compute"]["stored"], "f16");
}

#[test]
fn one_network_under_two_names_is_trained_once() {
    let bench = bench();
    let same = std::fs::read(bench.path("one.safetensors")).unwrap();
    bench.write("same.safetensors", same);
    let both = ["one.safetensors", "same.safetensors"];
    for more in [&[][..], &["--recompute"]] {
        let run = linear(&bench, &both, more).ok();
        assert_eq!(run.stderr.matches("epoch 1 of 2").count(), 1, "{run:?}");
    }
}

fn compare(bench: &Bench, more: &[&str]) -> Run {
    bench.run(&[&["compare", "one", "two"], more].concat())
}

#[test]
fn the_heads_that_records_chose_are_compared_on_the_same_images() {
    let bench = bench();
    let two = ["one.safetensors", "two.safetensors"];
    linear(&bench, &two, &[]).ok();
    let json = |run: Run| -> Value { serde_json::from_str(&run.ok().stdout).unwrap() };
    let records = linear(&bench, &two, &["--json"]).records();
    let found = json(compare(&bench, &["--protocol", "linear/beit", "--json"]));
    assert_eq!(found["measure"], "top1");
    assert_eq!(found["k"], Value::Null);
    for (side, record) in records.iter().enumerate() {
        let measures = record["measures"].as_array().unwrap();
        let headline = measures.iter().find(|m| m["headline"] == true).unwrap();
        let side = &found["sides"][side];
        assert_eq!(side["feature"], headline["feature"]);
        assert_eq!(side["runs"][0]["value"], headline["value"]);
        assert_eq!(side["selected"], true);
    }
    let pair = &found["pairs"][0];
    assert_eq!(pair["test"], "mcnemar_exact");
    let hits = ["only_a", "only_b", "both", "neither"];
    let images: u64 = hits
        .iter()
        .map(|name| pair["hits"][name].as_u64().unwrap())
        .sum();
    assert_eq!(images, 12);

    let text = compare(&bench, &["--protocol", "linear"]).ok().stdout;
    assert!(text.contains('†'), "{text}");
    assert!(
        text.contains("was chosen by the images that are compared"),
        "{text}"
    );
    assert!(!text.contains("at k"), "{text}");

    // A head by name was not chosen by them; nor is a loss known image by image.
    let head = ["--protocol", "linear", "--feature", "block 0 concat raw"];
    let named = json(compare(&bench, &[&head[..], &["--json"]].concat()));
    assert_eq!(named["sides"][0]["feature"], "block 0 concat raw");
    let top5 = json(compare(
        &bench,
        &["--protocol", "linear", "--measure", "top5", "--json"],
    ));
    assert_eq!(top5["pairs"][0]["difference"], 0.0);
    for (more, said) in [
        (["--measure", "loss"], "loss"),
        (["--measure", "top1_max"], "top1_max"),
        (["--feature", "block 5 concat raw"], "block 5 concat raw"),
    ] {
        compare(&bench, &[&["--protocol", "linear"], &more[..]].concat()).refused(&[said]);
    }

    // Several seeds are a mean; their heads need not be the same.
    linear(&bench, &two, &["--seeds", "0..1"]).ok();
    let seeds = json(compare(&bench, &["--protocol", "linear/beit", "--json"]));
    assert_eq!(seeds["sides"][0]["runs"].as_array().unwrap().len(), 2);
    assert_eq!(seeds["pairs"][0]["test"], "paired_bootstrap");

    // Stored features: the last block, or the one that is named.
    cached(&bench, &two, &[]).ok();
    let found = json(compare(&bench, &["--protocol", "linear_cached", "--json"]));
    assert_eq!(found["protocol"], "linear/cached");
    assert_eq!(found["sides"][0]["selected"], false);
    assert_eq!(found["sides"][0]["feature"], "block 1 cls norm");
}

#[test]
fn a_plan_knows_what_probes_cost_and_the_report_shows_them() {
    let bench = bench();
    bench.write("beit.toml", "kind = \"linear\"\nname = \"linear/small\"\nversion = 1\n[task]\nbatch = 4\nlocal_batch = 4\nepochs = 3\n");
    bench.write(
        "cached.toml",
        "kind = \"linear_cached\"\nname = \"blocks\"\nversion = 1\n[task]\nlayers = \"all\"\n",
    );
    let all = |more: &[&str]| {
        let args = [
            "all",
            "--protocols",
            "beit.toml",
            "cached.toml",
            "--ckpt",
            "one.safetensors",
            "two.safetensors",
            "--data",
            "data",
            "--threads",
            "1",
        ];
        bench.run(&[&args[..], more].concat()).ok()
    };
    let plan = all(&["--plan"]).stdout;
    let row = |protocol: &str| {
        let line = plan
            .lines()
            .find(|line| line.contains("one ") && line.contains(protocol));
        line.unwrap_or_else(|| panic!("{plan}")).to_owned()
    };
    // Three epochs of 12 images and three looks at 12 others.
    assert!(row("linear/small").contains(" 72 "), "{plan}");
    assert!(row("linear/small").contains("to compute"), "{plan}");
    assert!(row("blocks").contains(" 24 "), "{plan}");
    all(&[]);
    let done = all(&["--plan"]).stdout;
    assert_eq!(done.matches(" done ").count(), 4, "{done}");

    bench
        .run(&["report", "--out", "report.html", "--plots", "plots"])
        .ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    for words in [
        "linear/small on data",
        "blocks on data",
        "top-1 accuracy over blocks",
        "best head and epoch",
        "Class by class",
        "selected on the validation set",
        "Compared on the same images",
        "linear/small version 1",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let plots = bench.files("plots");
    let curves = plots.keys().filter(|name| name.ends_with("-layers.svg"));
    assert_eq!(curves.count(), 2, "{plots:?}");
}
