//! The curves of a training run: what is written, gone on with, read by TensorBoard, and drawn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use mimbench::report::Record;
use mimbench::spec::Kind;
use mimbench::store::{CurveKind, CurvePoint, curves_path, read_curves, run_folder};
use mimbench::train::{CurveLengths, Curves};
use serde_json::Value;

use super::report::{knn, outcomes, record};
use super::support::{Bench, Run, fixture};

/// A point that looks like one of a run of 200 steps, 20 an epoch.
fn point(step: u64) -> CurvePoint {
    let epoch = step as f64 / 20.0;
    let wave = (step as f64 * 12.9898).sin();
    let loss = 0.4 + 1.9 * (-epoch / 3.0).exp() + 0.05 * wave;
    let values = [
        ("loss", loss),
        ("loss/tokens", 0.7 * loss),
        ("learning_rate", 1e-3 * (1.0 + (0.314 * epoch).cos()) / 2.0),
        ("gradient_norm", 1.0 + wave),
        ("images_per_second", 512.0),
    ];
    CurvePoint {
        kind: CurveKind::Train,
        step,
        epoch,
        images: 64 * step,
        values: named(&values),
    }
}

fn validation(step: u64) -> CurvePoint {
    let epoch = step as f64 / 20.0;
    let top1 = 75.0 * (1.0 - (-epoch / 2.5).exp());
    let values = [
        ("top1", top1),
        ("top1/block 3", top1 - 8.0),
        ("top5", 60.0 + 0.5 * top1),
        ("loss", 0.6 + 1.6 * (-epoch / 3.0).exp()),
    ];
    CurvePoint {
        kind: CurveKind::Val,
        values: named(&values),
        ..point(step)
    }
}

fn named(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let values = values.iter().map(|&(name, value)| (name.to_owned(), value));
    values.collect()
}

fn write(curves: &mut Curves, steps: std::ops::Range<u64>) {
    for step in steps {
        curves.write(&point(step)).unwrap();
        if step % 20 == 19 {
            curves.write(&validation(step)).unwrap();
        }
    }
}

fn event_file(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let mut events = files
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("tfevents"));
    let only = events.next().unwrap();
    assert_eq!(events.next(), None);
    only
}

/// CRC-32C bit by bit (RFC 3720, appendix B.4), masked as record files mask it.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(count);
    *bytes = rest;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}

/// The fields of a protobuf message: number and contents, of numbers their little-endian bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let content = match key & 7 {
            0 => varint(&mut message).to_le_bytes().to_vec(),
            1 => take(&mut message, 8).to_vec(),
            2 => {
                let length = varint(&mut message) as usize;
                take(&mut message, length).to_vec()
            }
            5 => take(&mut message, 4).to_vec(),
            wire => panic!("wire type {wire}"),
        };
        fields.push((key >> 3, content));
    }
    fields
}

type Scalar = (String, u64, f32);

/// The scalars of an event file, whose checksums and first event are checked.
fn scalars(path: &Path) -> Vec<Scalar> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    let mut first = true;
    while !rest.is_empty() {
        let length = take(&mut rest, 8);
        assert_eq!(take(&mut rest, 4), checksum(length).to_le_bytes());
        let message = take(
            &mut rest,
            u64::from_le_bytes(length.try_into().unwrap()) as usize,
        );
        assert_eq!(take(&mut rest, 4), checksum(message).to_le_bytes());
        let mut step = 0;
        for (number, content) in fields(message) {
            match number {
                1 => assert!(f64::from_le_bytes(content[..].try_into().unwrap()) > 1.7e9),
                2 => step = u64::from_le_bytes(content[..].try_into().unwrap()),
                3 => assert!(first && content == b"brain.Event:2"),
                5 => {
                    for (_, value) in fields(&content) {
                        let value = fields(&value);
                        let (tag, number) = (&value[0], &value[1]);
                        assert_eq!((value.len(), tag.0, number.0), (2, 1, 2));
                        let tag = String::from_utf8(tag.1.clone()).unwrap();
                        let number = f32::from_le_bytes(number.1[..].try_into().unwrap());
                        found.push((tag, step, number));
                    }
                }
                number => panic!("field {number}"),
            }
        }
        first = false;
    }
    found
}

/// What `metrics.jsonl` says, as event files say it.
fn expected(points: &[CurvePoint]) -> Vec<Scalar> {
    let scalars = points.iter().flat_map(|point| {
        let kind = point.kind.name();
        let values = point.values.iter();
        values.map(move |(name, &value)| (format!("{kind}/{name}"), point.step, value as f32))
    });
    scalars.collect()
}

#[test]
fn both_files_hold_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/0a");
    let mut curves = Curves::create(&run).unwrap();
    let mut zero = point(0);
    zero.values.insert("nothing".to_owned(), 0.0);
    curves.write(&zero).unwrap();
    write(&mut curves, 1..45);
    // Nothing is held back: a reader sees it while the run goes on.
    let points = read_curves(&run.join("metrics.jsonl")).unwrap();
    let mut written: Vec<CurvePoint> = vec![zero];
    for step in 1..45 {
        written.push(point(step));
        written.extend((step % 20 == 19).then(|| validation(step)));
    }
    assert_eq!(points, written);
    assert_eq!(scalars(&event_file(&run)), expected(&points));
    // New curves take the place of old ones.
    drop(curves);
    let mut curves = Curves::create(&run).unwrap();
    curves.write(&point(0)).unwrap();
    assert_eq!(read_curves(&run.join("metrics.jsonl")).unwrap(), [point(0)]);
    assert_eq!(scalars(&event_file(&run)), expected(&[point(0)]));
}

#[test]
fn a_resumed_run_has_every_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = folder.path().join("metrics.jsonl");
    let mut curves = Curves::create(folder.path()).unwrap();
    write(&mut curves, 0..30);
    let json = serde_json::to_string(&curves.save().unwrap()).unwrap();
    write(&mut curves, 30..50);
    drop(curves);
    // Killed in the middle of a line and of a record.
    for (path, cut) in [(metrics.clone(), 11), (event_file(folder.path()), 7)] {
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
    }
    assert_eq!(read_curves(&metrics).unwrap().len(), 51);
    let lengths: CurveLengths = serde_json::from_str(&json).unwrap();
    let mut curves = Curves::resume(folder.path(), &lengths, &mut never).unwrap();
    write(&mut curves, 30..60);
    let points = read_curves(&metrics).unwrap();
    let steps = points.iter().filter(|point| point.kind == CurveKind::Train);
    assert!(steps.map(|point| point.step).eq(0..60));
    assert_eq!(points.len(), 63);
    assert_eq!(scalars(&event_file(folder.path())), expected(&points));

    // What is lost begins anew, and what is not goes on.
    let mut said = Vec::new();
    let mut goes_on = |steps| {
        let mut notice = |line: &str| said.push(line.to_owned());
        let mut curves = Curves::resume(folder.path(), &lengths, &mut notice).unwrap();
        write(&mut curves, steps);
    };
    std::fs::write(&metrics, "{").unwrap();
    goes_on(30..40);
    assert!(read_curves(&metrics).unwrap()[0] == point(30));
    assert_eq!(
        scalars(&event_file(folder.path()))[..10],
        expected(&points)[..10]
    );
    std::fs::remove_file(&metrics).unwrap();
    std::fs::remove_file(event_file(folder.path())).unwrap();
    goes_on(30..31);
    assert_eq!(read_curves(&metrics).unwrap(), [point(30)]);
    assert_eq!(scalars(&event_file(folder.path())), expected(&[point(30)]));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains("metrics.jsonl is damaged: 1 bytes"),
        "{said:?}"
    );
    assert!(said.iter().all(|line| line.ends_with("begin anew")));
}

fn never(message: &str) {
    panic!("{message}");
}

#[test]
fn files_of_others_are_neither_overwritten_nor_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let foreign = [
        ("metrics.jsonl", "{\"loss\": 1}\n{\"loss\": 2}\n"),
        ("events.out.tfevents.1700000000.machine.7.0", "theirs"),
    ];
    for (name, text) in foreign {
        std::fs::write(file(name), text).unwrap();
    }
    let error = Curves::create(folder.path()).unwrap_err();
    assert!(error.to_string().contains("metrics.jsonl"), "{error}");
    assert!(error.hint().unwrap().contains("--run DIR"));
    for (name, text) in foreign {
        assert_eq!(std::fs::read_to_string(file(name)).unwrap(), text);
    }
    std::fs::remove_file(file("metrics.jsonl")).unwrap();
    drop(Curves::create(folder.path()).unwrap());
    let (name, text) = foreign[1];
    assert_eq!(std::fs::read_to_string(file(name)).unwrap(), text);
}

#[test]
fn numbers_that_are_none_are_valid_json() {
    let folder = tempfile::tempdir().unwrap();
    let mut odd = point(3);
    odd.values = named(&[
        ("loss", f64::NAN),
        ("rate", f64::NEG_INFINITY),
        ("sum", 0.1),
    ]);
    Curves::create(folder.path()).unwrap().write(&odd).unwrap();
    let path = folder.path().join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["values"]["loss"], Value::Null);
    let read = read_curves(&path).unwrap();
    assert!(read[0].values["loss"].is_nan() && read[0].values["sum"] == 0.1);
    // TensorBoard has them as they are.
    let found = scalars(&event_file(folder.path()));
    assert!(found[0].2.is_nan() && found[1].2 == f32::NEG_INFINITY);

    std::fs::write(&path, text + "{\"kind\": \"other\"}\n").unwrap();
    let error = read_curves(&path).unwrap_err().to_string();
    assert!(
        error.contains("metrics.jsonl is damaged: line 2 is no point"),
        "{error}"
    );
}

#[test]
fn tensorboard_reads_the_event_file() {
    let Some(python) = std::env::var_os("MIMBENCH_TENSORBOARD_PYTHON") else {
        println!("skipped: MIMBENCH_TENSORBOARD_PYTHON names no interpreter with tensorboard");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut curves = Curves::create(folder.path()).unwrap();
    write(&mut curves, 0..30);
    let lengths = curves.save().unwrap();
    write(&mut curves, 30..40);
    let mut curves = Curves::resume(folder.path(), &lengths, &mut never).unwrap();
    write(&mut curves, 30..100);
    let mut script = Command::new(python);
    script.arg(fixture("it/read_scalars.py")).arg(folder.path());
    let printed = Run::of(&mut script).ok().stdout;
    let mut found: Vec<Scalar> = Vec::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let value = line["value"].as_str().unwrap().parse::<f64>().unwrap();
        let tag = line["tag"].as_str().unwrap().to_owned();
        found.push((tag, line["step"].as_u64().unwrap(), value as f32));
    }
    let points = read_curves(&folder.path().join("metrics.jsonl")).unwrap();
    let mut expected = expected(&points);
    expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(found.len(), 5 * 100 + 4 * 5);
    assert_eq!(found, expected);
}

#[test]
fn the_page_draws_the_curves_that_belong_to_a_record() {
    let bench = Bench::empty();
    let results = bench.path("results");
    let images = outcomes(1);
    let made = record("0a1b", "MAE ViT-B/16", Kind::Knn, knn(&images));
    let key = made.cell.key.clone();
    images.write(&results, &key).unwrap();
    made.write(&results).unwrap();
    // A record that knows no curves reads as it did before there were any.
    let path = results.join(format!("records/{key}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("curves"));
    let read = || Record::all(&results).unwrap().remove(0);
    assert!(read().is_whole(&results) && read().curves(&results).unwrap().is_empty());
    bench.run(&["report"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    assert!(!page.contains("id=\"training\""));

    let mut curves = Curves::create(&run_folder(&results, &key)).unwrap();
    write(&mut curves, 0..200);
    let mut last = point(200);
    last.values.insert("loss".to_owned(), f64::NAN);
    curves.write(&last).unwrap();
    assert!(!read().is_whole(&results));
    let made = made.write(&results).unwrap();
    assert!(made.is_whole(&results) && made.beside.curves.is_some());
    assert_eq!(read().curves(&results).unwrap().len(), 211);

    bench.run(&["report", "--plots", "plots"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    assert!(page.contains("id=\"training\"") && page.contains("loss over epochs"));
    assert!(!page.contains("NaN"));
    for name in ["loss", "accuracy", "rate"] {
        let plot = bench.path(&format!("plots/training-1-{name}.svg"));
        let plot = std::fs::read_to_string(plot).unwrap();
        roxmltree::Document::parse(&plot).unwrap();
    }
    // Another file in its place is refused, none at all is said.
    let metrics = curves_path(&results, &key);
    let whole = std::fs::read_to_string(&metrics).unwrap();
    std::fs::write(&metrics, whole.replacen("0.0", "0.5", 1)).unwrap();
    let said = bench.run(&["report"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("metrics.jsonl is not the file"),
        "{}",
        said.stderr
    );
    std::fs::remove_file(&metrics).unwrap();
    bench.run(&["report"]).ok();
    let page = std::fs::read_to_string(bench.path("report.html")).unwrap();
    assert!(page.contains("curves of the training are missing"));
}
