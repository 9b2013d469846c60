//! Records of segmentations: compared, tabled, and in the report.

use std::collections::BTreeMap;

use mimbench::data::segmentation::scene_content;
use mimbench::metric::Confusion;
use mimbench::protocol::segmentation::evaluate;
use mimbench::report::picture::{
    Classes, Picture, SegmentedImage, index_png, segmented_sheet, standing,
};
use mimbench::report::{Outcomes, Record, segmentation_folder, segmentation_sheet};
use mimbench::spec::Kind;
use mimbench::stats::Bootstrap;
use serde_json::Value;

use super::report::record;
use super::support::Bench;

const SIDE: [usize; 2] = [48, 32];
const IMAGES: usize = 30;
const IGNORED: u16 = u16::MAX;
const NAMES: [&str; 5] = ["sky", "wall", "<b>cat</b>", "road", "yeti"];
const PALETTE: [[u8; 3]; 5] = [
    [70, 130, 180],
    [190, 153, 153],
    [220, 20, 60],
    [128, 64, 128],
    [255, 255, 255],
];

fn names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

/// Sky above a wall above a road, a cat in every third image, an ignored corner; nowhere a yeti.
fn truth(image: usize) -> Vec<u16> {
    let [width, height] = SIDE;
    let class = |at: usize| {
        let [x, y] = [at % width, at / width];
        let cat = image.is_multiple_of(3) && x.abs_diff(20) < 5 && y.abs_diff(20) < 4;
        match y + (x + image) % 5 {
            _ if x < 4 && y < 4 => IGNORED,
            _ if cat => 2,
            0..10 => 0,
            10..22 => 1,
            _ => 3,
        }
    };
    (0..width * height).map(class).collect()
}

/// The mask moved by a few pixels, more in later images and for the worse; noise of its own a seed.
fn prediction(image: usize, worse: usize, seed: usize) -> Vec<u16> {
    let truth = truth(image);
    let moved = worse * (1 + image / 8) + (image * 7 + seed * 5) % 3;
    let count = truth.len();
    (0..count)
        .map(|at| match truth[(at + moved * (SIDE[0] + 1)) % count] {
            IGNORED => 0,
            class => class,
        })
        .collect()
}

fn confusions(worse: usize, seed: usize) -> Vec<Confusion> {
    (0..IMAGES)
        .map(|image| {
            let prediction = prediction(image, worse, seed);
            Confusion::count(&truth(image), &prediction, NAMES.len(), IGNORED).unwrap()
        })
        .collect()
}

/// Writes an image and something in its mask's place; gives their contents.
fn scene(bench: &Bench, at: usize) -> [u8; 16] {
    let (bytes, mask) = (image(at).png().unwrap(), [at as u8]);
    bench.write(&format!("scenes/images/val/{at}.jpg"), &bytes);
    bench.write(&format!("scenes/annotations/val/{at}.png"), mask);
    scene_content(&bytes, &mask)
}

/// The images in the order in which they are drawn, that of their contents.
fn in_order(bench: &Bench, images: &[Confusion]) -> Vec<Confusion> {
    let mut order: Vec<usize> = (0..IMAGES).collect();
    order.sort_by_key(|&at| scene(bench, at));
    order.into_iter().map(|at| images[at].clone()).collect()
}

/// Writes the record of a checkpoint, and what lies beside it.
fn write(bench: &Bench, key: &str, name: &str, worse: usize, seed: usize) -> Record {
    let results = bench.path("results");
    let confusions = confusions(worse, seed);
    let found = evaluate("upernet", &names(), confusions, &Bootstrap::new(0)).unwrap();
    let mut record = record(key, name, Kind::Segment, found.measures);
    record.cell.seed = seed as u64;
    record.data.classes = NAMES.len();
    record.data.dataset = Some("ade20k".to_owned());
    record.data.val.images = IMAGES;
    record.data.root = bench.path("scenes");
    record.notes = found.notes;
    let outcomes = Outcomes {
        paths: (0..IMAGES).map(|image| format!("{image}.jpg")).collect(),
        contents: (0..IMAGES).map(|image| scene(bench, image)).collect(),
        labels: vec![0; IMAGES],
        predictions: Vec::new(),
        values: Vec::new(),
        confusions: vec![found.confusions],
    };
    outcomes.write(&results, &record.cell.key).unwrap();
    let read = Outcomes::read(&results, &record.cell.key).unwrap();
    assert_eq!(read, outcomes);
    draw(bench, &record.cell.key, worse, seed);
    record.write(&results).unwrap()
}

fn image(at: usize) -> Picture {
    let [width, height] = SIDE;
    let pixel = |place: usize| {
        let [x, y] = [place % width, place / width];
        [(4 * x + at) as u8, (7 * y) as u8, 120]
    };
    let rgb = (0..width * height).flat_map(pixel).collect();
    Picture::new(width, height, rgb).unwrap()
}

fn draw(bench: &Bench, key: &str, worse: usize, seed: usize) {
    let results = bench.path("results");
    let confusions = confusions(worse, seed);
    let values: Vec<Option<f64>> = confusions.iter().map(Confusion::mean_iou).collect();
    let picked = standing(&values, 1);
    let pictures: Vec<Picture> = picked.iter().map(|&(_, at)| image(at)).collect();
    let maps: Vec<_> = (picked.iter())
        .map(|&(_, at)| [truth(at), prediction(at, worse, seed)])
        .collect();
    let rows = picked.iter().zip(&pictures).zip(&maps);
    let rows: Vec<SegmentedImage<'_>> = rows
        .map(|((&(standing, at), image), [truth, prediction])| {
            let value = 100.0 * values[at].unwrap();
            SegmentedImage {
                caption: format!("{}: {at}.jpg, mIoU {value:.1} %", standing.name()),
                image,
                truth,
                prediction,
            }
        })
        .collect();
    let names = names();
    let classes = Classes {
        names: &names,
        palette: &PALETTE,
        ignored: IGNORED,
    };
    let sheet = segmented_sheet("upernet of a made-up network", &rows, classes, 192).unwrap();
    std::fs::create_dir_all(segmentation_folder(&results, key)).unwrap();
    std::fs::write(segmentation_sheet(&results, key), sheet.png().unwrap()).unwrap();
    let index = index_png(SIDE, &prediction(0, worse, seed), &PALETTE).unwrap();
    std::fs::write(segmentation_folder(&results, key).join("0.png"), index).unwrap();
}

/// Two checkpoints, the second worse; the first also under another seed.
fn made() -> Bench {
    let bench = Bench::empty();
    write(&bench, "0a1b", "good", 0, 0);
    write(&bench, "2c3d", "bad", 2, 0);
    bench
}

fn compare(bench: &Bench, more: &[&str]) -> Value {
    let args = [
        &["compare", "good", "bad", "--protocol", "segment", "--json"],
        more,
    ]
    .concat();
    serde_json::from_str(&bench.run(&args).ok().stdout).unwrap()
}

fn near(found: &Value, want: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - want).abs() < 1e-9, "{found} {want}");
}

/// Mean intersection over union of images that count so often, percent.
fn miou(images: &[Confusion], counts: &[u32]) -> f64 {
    let mut areas: BTreeMap<u32, [u64; 2]> = BTreeMap::new();
    for (image, &count) in images.iter().zip(counts) {
        for (class, own) in image.areas() {
            let [intersect, union] = areas.entry(class).or_default();
            *intersect += u64::from(count) * own.intersect;
            *union += u64::from(count) * own.union();
        }
    }
    let known = areas.values().filter(|[_, union]| *union > 0);
    let values: Vec<f64> = known.map(|[i, u]| 100.0 * *i as f64 / *u as f64).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn two_segmentations_are_tested_on_resampled_images() {
    let bench = made();
    let found = compare(&bench, &["--show", "2"]);
    assert_eq!(found["measure"], "miou");
    let pair = &found["pairs"][0];
    let [good, bad] = [confusions(0, 0), confusions(2, 0)];
    let all = [1; IMAGES];
    near(&pair["difference"], miou(&good, &all) - miou(&bad, &all));
    // The same draws, counted by hand.
    let drawn = [&good, &bad].map(|images| in_order(&bench, images));
    let bootstrap = Bootstrap::new(0);
    let want = bootstrap.statistic(IMAGES, |counts| {
        miou(&drawn[0], counts) - miou(&drawn[1], counts)
    });
    let want = want.unwrap();
    for (end, want) in want.interval().into_iter().enumerate() {
        near(&pair["interval"][end], want);
    }
    near(&pair["p"], want.p_of_zero());
    assert_eq!(pair["test"], "paired_bootstrap");
    assert!(pair["hits"].is_null() && pair["disagreements"].as_array().unwrap().is_empty());

    // Nothing is a yeti, which has no difference.
    let classes = pair["classes"].as_array().unwrap();
    let said: Vec<&str> = classes
        .iter()
        .map(|c| c["class"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(said, NAMES[..4]);
    for class in classes {
        let difference = class["difference"].as_f64().unwrap();
        let interval = class["interval"].as_array().unwrap();
        assert!(interval[0].as_f64().unwrap() <= difference);
        assert!(difference <= interval[1].as_f64().unwrap());
    }
    let images = pair["images"].as_array().unwrap();
    assert!(!images.is_empty() && images.len() <= 4);
    let at = |image: &Value| -> usize {
        let path = image["path"].as_str().unwrap();
        path.strip_suffix(".jpg").unwrap().parse().unwrap()
    };
    for image in images {
        near(&image["a"], 100.0 * good[at(image)].mean_iou().unwrap());
        near(&image["b"], 100.0 * bad[at(image)].mean_iou().unwrap());
    }
    let largest = (0..IMAGES)
        .map(|at| 100.0 * (good[at].mean_iou().unwrap() - bad[at].mean_iou().unwrap()))
        .max_by(f64::total_cmp);
    let first = images[0]["a"].as_f64().unwrap() - images[0]["b"].as_f64().unwrap();
    assert_eq!(
        (images[0]["winner"].as_u64(), Some(first)),
        (Some(0), largest)
    );

    // One class, and the other measures.
    let cat = compare(&bench, &["--measure", "iou", "--feature", NAMES[2]]);
    assert_eq!(cat["pairs"][0]["difference"], classes[2]["difference"]);
    assert_eq!(cat["pairs"][0]["interval"], classes[2]["interval"]);
    let pixels = compare(&bench, &["--measure", "aacc"]);
    assert!(pixels["pairs"][0]["classes"].is_null());
    assert!(pixels["pairs"][0]["difference"].as_f64().unwrap() > 0.0);
    let run = bench
        .run(&["compare", "good", "bad", "--protocol", "segment"])
        .ok();
    println!("{}", run.stdout);
    for said in [
        "Classes that differ most",
        "The images that tell most",
        "paired bootstrap",
    ] {
        assert!(run.stdout.contains(said), "{said}");
    }
}

#[test]
fn seeds_of_a_segmentation_are_taken_together() {
    let bench = made();
    write(&bench, "4e5f", "good", 0, 1);
    let found = compare(&bench, &[]);
    let side = &found["sides"][0];
    assert_eq!(side["runs"].as_array().unwrap().len(), 2);
    let all = [1; IMAGES];
    let runs = [confusions(0, 0), confusions(0, 1)];
    let bad = confusions(2, 0);
    let mean = |counts: &[u32]| (miou(&runs[0], counts) + miou(&runs[1], counts)) / 2.0;
    near(&side["seeds"]["mean"], mean(&all));
    let pair = &found["pairs"][0];
    near(&pair["difference"], mean(&all) - miou(&bad, &all));
    let drawn = [&runs[0], &runs[1], &bad].map(|images| in_order(&bench, images));
    let want = Bootstrap::new(0).statistic(IMAGES, |counts| {
        let [a, b, bad] = [0, 1, 2].map(|at| miou(&drawn[at], counts));
        (a + b) / 2.0 - bad
    });
    near(&pair["interval"][0], want.unwrap().interval()[0]);
    assert_eq!(pair["noise"]["source"], "images_and_seeds");
    let image = &pair["images"][0];
    let at: usize = image["path"]
        .as_str()
        .unwrap()
        .strip_suffix(".jpg")
        .unwrap()
        .parse()
        .unwrap();
    let own = |run: &[Confusion]| 100.0 * run[at].mean_iou().unwrap();
    near(&image["a"], (own(&runs[0]) + own(&runs[1])) / 2.0);
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    let bench = made();
    let results = bench.path("results");
    let compare = ["compare", "good", "bad", "--protocol", "segment"];
    let record = Record::all(&results).unwrap().remove(0);
    let key = record.cell.key.clone();
    let whole = Outcomes::read(&results, &key).unwrap();
    let with = |change: &dyn Fn(&mut Outcomes)| {
        let mut outcomes = whole.clone();
        change(&mut outcomes);
        outcomes.write(&results, &key).unwrap();
        record.write(&results).unwrap();
        bench.run(&compare)
    };
    with(&|_| {}).ok();
    let better = |outcomes: &mut Outcomes| {
        let own = Confusion::count(&truth(3), &truth(3), NAMES.len(), IGNORED);
        outcomes.confusions[0].images[3] = own.unwrap();
    };
    with(&better).refused(&["says miou", "its images give"]);
    // The same pixels in other images change no sum.
    let moved = |outcomes: &mut Outcomes| {
        let images = &mut outcomes.confusions[0].images;
        images.swap(3, 4);
    };
    with(&moved).refused(&["do not agree on which pixels of"]);
    let other = |outcomes: &mut Outcomes| outcomes.contents[5] = [99; 16];
    with(&other).refused(&["evaluated on different images", "1 of 30"]);
    let without = |outcomes: &mut Outcomes| outcomes.confusions.clear();
    with(&without).refused(&["was not kept image by image"]);
}

#[test]
fn segmentations_are_in_tables_papers_and_the_report() {
    let bench = made();
    write(&bench, "4e5f", "good", 0, 1);
    bench.run(&["report"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    for said in [
        "mIoU (%)",
        "mAcc (%)",
        "aAcc (%)",
        "mIoU deviation (points)",
        "Classes by IoU",
        "&lt;b&gt;cat&lt;/b&gt;",
        "Image, truth and prediction: good (seed 0)",
        "Images that <strong>bad</strong> and <strong>good</strong> segment most differently",
        "1 of 5 classes neither occur nor are predicted",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(!page.contains("<b>cat"));
    // Three sheets, and the images that the better one segments better.
    assert_eq!(page.matches("data:image/png;base64,").count(), 3 + 5);
    let records = Record::all(&bench.path("results")).unwrap();
    for record in &records {
        for (place, measured) in record.measures.iter().enumerate() {
            let data = format!(
                "<data value=\"{}\" data-record=\"{}\" data-measure=\"{place}\">",
                measured.measure.value, record.cell.key
            );
            assert!(page.contains(&data), "{data}");
        }
    }
    let table = bench
        .run(&["table", "medic-3", "--format", "csv"])
        .ok()
        .stdout;
    println!("{table}");
    let mut of_bad = records.iter().filter(|record| record.subject.name == "bad");
    let value = of_bad.next().unwrap().measures[0].measure.value;
    assert!(table.contains(&value.to_string()), "{value}");

    // A sheet of other images is refused, a deleted one is not missed.
    let results = bench.path("results");
    let key = &records[0].cell.key;
    let path = segmentation_sheet(&results, key);
    std::fs::write(&path, b"png").unwrap();
    assert!(!records[0].is_whole(&results));
    bench
        .run(&["report"])
        .refused(&["sheet.png", "is not the file"]);
    std::fs::remove_file(&path).unwrap();
    assert!(records[0].is_whole(&results));
    bench.run(&["report"]).ok();
}
