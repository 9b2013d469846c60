//! Mixup and CutMix against timm, bit for bit, what is drawn for them, and the loader that mixes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimbench::data::augment::{AugmentSpec, CropSpec};
use mimbench::data::{
    Cut, ImageError, Images, InputSpec, Interpolation, LoadError, Loaded, MixDraw, MixSpec, Mixed,
    Pick, Preparation, Resize, Split, load_batches,
};
use mimbench::train::{EpochLength, Sampler, Solo};
use safetensors::SafeTensors;
use serde::Deserialize;

fn goldens(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(folder)
}

/// What `tests/goldens/mix/generate.py` writes: mixup has only a coefficient, CutMix a box too.
#[derive(Deserialize)]
struct Case {
    lambda: f64,
    /// The coefficient that a box was asked for with.
    share: Option<f64>,
    centre: Option<[usize; 2]>,
    #[serde(rename = "box")]
    cut: Option<[usize; 4]>,
}

impl Case {
    fn draw(&self, size: [usize; 2]) -> MixDraw {
        let around = |(share, centre)| Cut::around(share, centre, size);
        let given = |[top, bottom, left, right]: [usize; 4]| Cut {
            top,
            bottom,
            left,
            right,
        };
        let cut = self.share.zip(self.centre).map(around);
        MixDraw {
            lambda: self.lambda,
            cut: cut.or(self.cut.map(given)),
        }
    }
}

#[test]
fn mixes_like_timm() {
    const SHAPE: [usize; 3] = [3, 5, 7];
    let read = |file| std::fs::read(goldens("mix").join(file)).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&read("cases.json")).unwrap();
    let expected = read("expected.safetensors");
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let images = |name: &str| -> [Vec<f32>; 4] {
        let data = expected.tensor(name).unwrap().data();
        let bytes = data.as_chunks().0.iter();
        let values: Vec<_> = bytes.map(|&bytes| f32::from_le_bytes(bytes)).collect();
        std::array::from_fn(|image| values[image * 105..][..105].to_vec())
    };
    let bits = |images: &[Vec<f32>; 4]| images.concat().iter().map(|x| x.to_bits()).collect();
    let mut cuts = 0;
    for (number, case) in cases.iter().enumerate() {
        let draw = case.draw([5, 7]);
        if let Some(cut) = draw.cut {
            cuts += 1;
            assert_eq!(cut.lambda([5, 7]), case.lambda, "case {number}");
        }
        let mut mixed = images("batch");
        let [a, b, c, d] = &mut mixed;
        draw.apply(a, d, SHAPE);
        draw.apply(b, c, SHAPE);
        let got: Vec<u32> = bits(&mixed);
        assert_eq!(got, bits(&images(&number.to_string())), "case {number}");
    }
    assert_eq!((cases.len(), cuts), (23, 14));
}

const SIZE: [usize; 2] = [10, 16];
const DRAWS: u32 = 40_000;

fn draws(spec: &MixSpec) -> impl Iterator<Item = MixDraw> {
    let draw = |group| MixDraw::new(spec, 5, u64::from(group), SIZE);
    (0..DRAWS).map(draw)
}

fn mixup(alpha: f64) -> MixSpec {
    MixSpec {
        mixup: alpha,
        cutmix: 0.0,
        ..MixSpec::default()
    }
}

fn cutmix(minmax: Option<[f64; 2]>) -> MixSpec {
    MixSpec {
        mixup: 0.0,
        cutmix_minmax: minmax,
        ..MixSpec::default()
    }
}

/// Whether something of this probability may have happened so often: five standard deviations.
fn likely(times: u32, probability: f64) -> bool {
    let draws = f64::from(DRAWS);
    let deviation = (draws * probability * (1.0 - probability)).sqrt();
    (f64::from(times) - draws * probability).abs() <= 5.0 * deviation
}

#[test]
fn a_draw_is_a_function_of_seed_and_batch() {
    let spec = MixSpec::default();
    let draw = |seed, group| MixDraw::new(&spec, seed, group, SIZE);
    assert_eq!(draw(1, 2), draw(1, 2));
    for (seed, group) in [(1, 3), (2, 2), (2, 1), (0, 2)] {
        assert_ne!(draw(1, 2), draw(seed, group));
    }
}

#[test]
fn a_draw_never_changes_between_versions() {
    let draw = |spec, group| MixDraw::new(&spec, 42, group, [224, 224]);
    let whole = MixDraw {
        lambda: 0.20102946119810822,
        cut: None,
    };
    let cut = |lambda, [top, bottom, left, right]: [usize; 4]| MixDraw {
        lambda,
        cut: Some(Cut {
            top,
            bottom,
            left,
            right,
        }),
    };
    assert_eq!(draw(MixSpec::default(), 0), whole);
    assert_eq!(
        draw(cutmix(None), 7),
        cut(0.9397919323979592, [0, 53, 27, 84])
    );
    assert_eq!(
        draw(cutmix(Some([0.2, 0.8])), 7),
        cut(0.49410076530612246, [8, 160, 14, 181])
    );
}

#[test]
fn coefficients_have_the_moments_of_a_beta() {
    for alpha in [0.1, 0.2, 0.8, 1.0, 3.0, 40.0] {
        let spec = mixup(alpha);
        let (mut sum, mut squares) = (0.0, 0.0);
        for draw in draws(&spec) {
            assert!(draw.cut.is_none() && (0.0..=1.0).contains(&draw.lambda));
            sum += draw.lambda - 0.5;
            squares += (draw.lambda - 0.5).powi(2);
        }
        let n = f64::from(DRAWS);
        let variance = 0.25 / (2.0 * alpha + 1.0);
        let kurtosis = 3.0 - 6.0 / (2.0 * alpha + 3.0);
        assert!((sum / n).abs() < 5.0 * (variance / n).sqrt(), "{alpha}");
        let deviation = variance * ((kurtosis - 1.0) / n).sqrt();
        assert!((squares / n - variance).abs() < 5.0 * deviation, "{alpha}");
    }
}

#[test]
fn coefficients_are_spread_as_a_beta() {
    let arcsine = |x: f64| x.sqrt().asin() * std::f64::consts::FRAC_2_PI;
    let of_two = |x: f64| x * x * (3.0 - 2.0 * x);
    for (alpha, below) in [
        (0.5, &arcsine as &dyn Fn(f64) -> f64),
        (1.0, &|x| x),
        (2.0, &of_two),
    ] {
        let spec = mixup(alpha);
        let lambdas: Vec<_> = draws(&spec).map(|draw| draw.lambda).collect();
        for at in [0.001, 0.01, 0.1, 0.25, 0.4, 0.5, 0.7, 0.95, 0.999] {
            let times = lambdas.iter().filter(|&&lambda| lambda < at).count();
            assert!(likely(times as u32, below(at)), "{alpha}: {times} < {at}");
        }
    }
    // Nothing is divided by what has vanished.
    for alpha in [5e-324, 1e-300, 1e-5, 1e5, 1e300, f64::MAX] {
        let spec = mixup(alpha);
        let mut lambdas = draws(&spec).map(|draw| draw.lambda);
        assert!(
            lambdas.all(|lambda| (0.0..=1.0).contains(&lambda)),
            "{alpha}"
        );
    }
}

#[test]
fn a_batch_is_mixed_and_cut_as_often_as_asked() {
    for (probability, switch) in [(1.0, 0.5), (0.3, 0.8), (1.0, 0.0), (1.0, 1.0), (0.0, 0.5)] {
        let spec = MixSpec {
            probability,
            switch,
            ..MixSpec::default()
        };
        let (mut cut, mut whole, mut untouched) = (0, 0, 0);
        for draw in draws(&spec) {
            match draw.cut {
                Some(_) => cut += 1,
                None if draw.lambda < 1.0 => whole += 1,
                None => untouched += 1,
            }
        }
        assert!(likely(cut, probability * switch), "{cut}");
        assert!(likely(whole, probability * (1.0 - switch)), "{whole}");
        assert!(likely(untouched, 1.0 - probability), "{untouched}");
    }
    let off = MixSpec {
        cutmix: 0.0,
        ..mixup(0.0)
    };
    let untouched = MixDraw {
        lambda: 1.0,
        cut: None,
    };
    assert!(!off.mixes() && draws(&off).all(|draw| draw == untouched));
    assert!(mixup(0.1).mixes() && cutmix(None).mixes());
    let minmax = MixSpec {
        cutmix: 0.0,
        ..cutmix(Some([0.1, 0.2]))
    };
    assert!(minmax.mixes() && draws(&minmax).all(|draw| draw.cut.is_some()));
    let never = MixSpec {
        probability: 0.0,
        ..MixSpec::default()
    };
    assert!(!never.mixes());
}

#[test]
fn boxes_cover_every_row_and_column_as_often_as_they_should() {
    let mut covered = SIZE.map(|side| vec![0; side]);
    for draw in draws(&cutmix(None)) {
        let cut = draw.cut.unwrap();
        assert_eq!(draw.lambda, cut.lambda(SIZE));
        let [rows, columns] = &mut covered;
        rows[cut.top..cut.bottom].iter_mut().for_each(|n| *n += 1);
        columns[cut.left..cut.right]
            .iter_mut()
            .for_each(|n| *n += 1);
    }
    for (side, times) in SIZE.iter().zip(&covered) {
        let square = (side * side * side) as f64;
        for (place, &times) in times.iter().enumerate() {
            // A coefficient uniform in [0, 1] makes a side of `cut` as likely as 2 cut + 1.
            let ways = |cut: usize| {
                let covers =
                    |centre: &usize| place + cut / 2 >= *centre && place < centre + cut.div_ceil(2);
                (2 * cut + 1) * (0..*side).filter(covers).count()
            };
            let ways: usize = (0..*side).map(ways).sum();
            assert!(likely(times, ways as f64 / square), "{place} of {side}");
        }
    }
}

#[test]
fn boxes_between_two_shares_are_uniform() {
    let mut seen = BTreeMap::<[usize; 2], u32>::new();
    for draw in draws(&cutmix(Some([0.2, 0.5]))) {
        let cut = draw.cut.unwrap();
        assert_eq!(draw.lambda, cut.lambda(SIZE));
        assert!(cut.bottom <= 10 && cut.right <= 16 && (3..8).contains(&(cut.right - cut.left)));
        *seen.entry([cut.top, cut.bottom - cut.top]).or_default() += 1;
    }
    // Of ten rows 2, 3 or 4, at every place where they fit.
    assert_eq!(seen.len(), 9 + 8 + 7);
    for ([_, rows], times) in seen {
        assert!(likely(times, 1.0 / (3 * (11 - rows)) as f64));
    }
    // Shares that come to the same number of pixels are that number.
    let tiny = MixDraw::new(&cutmix(Some([0.3, 0.4])), 0, 0, [2, 5]);
    let cut = tiny.cut.unwrap();
    assert_eq!((cut.bottom - cut.top, cut.right - cut.left), (0, 1));
    assert_eq!(tiny.lambda, 1.0);
}

#[test]
fn values_without_meaning_are_refused() {
    let wrong = |change: fn(&mut MixSpec)| {
        let mut spec = MixSpec::default();
        assert_eq!(spec.check(), Ok(()));
        change(&mut spec);
        let error = spec.check().unwrap_err();
        assert!(error.hint().unwrap().contains(error.field));
        error.to_string()
    };
    assert_eq!(
        wrong(|spec| spec.mixup = -0.1),
        "mix.mixup is -0.1, not a number from 0 on"
    );
    assert!(wrong(|spec| spec.cutmix = f64::INFINITY).contains("inf"));
    assert!(wrong(|spec| spec.cutmix = f64::NAN).contains("NaN"));
    assert_eq!(
        wrong(|spec| spec.probability = 1.5),
        "mix.probability is 1.5, not from 0 to 1"
    );
    assert!(wrong(|spec| spec.switch = f64::NAN).contains("mix.switch"));
    assert_eq!(
        wrong(|spec| spec.cutmix_minmax = Some([0.5, 0.5])),
        "mix.cutmix_minmax is from 0.5 to 0.5, not a range within 0 and 1"
    );
    assert!(wrong(|spec| spec.cutmix_minmax = Some([-0.1, 0.5])).contains("-0.1"));
    assert!(wrong(|spec| spec.cutmix_minmax = Some([0.1, 1.5])).contains("1.5"));
    assert!(wrong(|spec| spec.cutmix_minmax = Some([f64::NAN, 0.5])).contains("NaN"));
}

#[test]
fn it_is_written_as_a_table() {
    let text = "mixup = 0.2\ncutmix_minmax = [0.3, 0.8]";
    let spec: MixSpec = toml::from_str(text).unwrap();
    let expected = MixSpec {
        mixup: 0.2,
        cutmix_minmax: Some([0.3, 0.8]),
        ..MixSpec::default()
    };
    assert_eq!(spec, expected);
    for spec in [spec, MixSpec::default()] {
        let text = toml::to_string(&spec).unwrap();
        assert_eq!(toml::from_str::<MixSpec>(&text).unwrap(), spec);
    }
    assert!(toml::from_str::<MixSpec>("mix_up = 0.2").is_err());
}

/// A data set of six images; the one at `broken` ends early.
fn split(broken: Option<usize>) -> (tempfile::TempDir, Split) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("a")).unwrap();
    for (place, file) in [
        "a_rgb_131x97.jpg",
        "b_rgb_tall_75x163_444.jpg",
        "c_gray_90x111.jpg",
        "e_palette_121x99.png",
        "h_rgba_87x87.png",
        "i_small_33x41.png",
    ]
    .into_iter()
    .enumerate()
    {
        let mut bytes = std::fs::read(goldens("preprocess").join(file)).unwrap();
        if broken == Some(place) {
            bytes.truncate(bytes.len() / 2);
        }
        std::fs::write(root.path().join("a").join(file), bytes).unwrap();
    }
    let split = Split::folder(root.path()).unwrap().0;
    (root, split)
}

const SEED: u64 = 3;
const SHAPE: [usize; 3] = [3, 24, 32];

fn training(mix: Option<MixSpec>) -> Preparation {
    let [channels, height, width] = SHAPE;
    Preparation::Training {
        input: InputSpec {
            height,
            width,
            channels,
            resize: Resize::Exact,
            interpolation: Interpolation::Bicubic,
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        },
        augment: Box::new(AugmentSpec {
            crop: CropSpec::Mae,
            ..AugmentSpec::default()
        }),
        seed: SEED,
        mix,
    }
}

fn load(
    split: &Split,
    mix: Option<MixSpec>,
    batches: &[Vec<Pick>],
    workers: usize,
) -> Result<Vec<Loaded>, LoadError> {
    let mut loaded = Vec::new();
    load_batches(split, &training(mix), batches, workers, &mut |images| {
        for image in images {
            loaded.push(image?);
        }
        Ok::<_, LoadError>(())
    })?;
    Ok(loaded)
}

/// An epoch of three updates of twelve images.
fn epoch(local_batch: usize) -> Vec<Vec<Pick>> {
    let sampler = Sampler {
        samples: 6,
        batch: 12,
        local_batch,
        mixed: 4,
        repeats: 1,
        epoch: EpochLength::Updates(3),
        seed: 9,
    };
    let steps = sampler.epoch(1, &Solo);
    steps.into_iter().flat_map(|step| step.local).collect()
}

#[test]
fn neighbours_are_mixed_alike_on_every_thread_and_however_an_epoch_is_cut() {
    let (_root, split) = split(None);
    let picks = epoch(12).concat();
    let mut expected = load(&split, None, &epoch(12), 1).unwrap();
    assert!(expected.iter().all(|image| image.mixed.is_none()));
    let spec = MixSpec::default();
    let mut lambdas = Vec::new();
    for (pair, picks) in expected.chunks_exact_mut(2).zip(picks.chunks_exact(2)) {
        let [first, second] = pair else { panic!() };
        let draw = MixDraw::new(&spec, SEED, picks[0].group, [24, 32]);
        let pixels = [&mut first.pixels, &mut second.pixels];
        let [a, b] = pixels.map(|pixels| pixels.as_deref_mut().unwrap());
        draw.apply(a, b, SHAPE);
        let lambda = draw.lambda;
        let with = |partner| Some(Mixed { partner, lambda });
        (first.mixed, second.mixed) = (with(second.index), with(first.index));
        lambdas.push(lambda);
    }
    assert_eq!(lambdas.len(), 18);
    lambdas.dedup();
    assert_eq!(lambdas.len(), 9);
    let same = |a: &Loaded, b: &Loaded| {
        let tensors = a.pixels == b.pixels && a.mixed == b.mixed;
        tensors && a.index == b.index && a.content == b.content && a.stamp == b.stamp
    };
    for local_batch in [2, 4, 6, 12] {
        for workers in [1, 2, 7] {
            let got = load(&split, Some(spec), &epoch(local_batch), workers).unwrap();
            assert_eq!(got.len(), expected.len());
            let mut both = got.iter().zip(&expected);
            assert!(both.all(|(a, b)| same(a, b)), "{local_batch}, {workers}");
        }
    }
    // What mixes nothing leaves every byte as it was, and takes batches of any length.
    let off = MixSpec {
        cutmix: 0.0,
        ..mixup(0.0)
    };
    let [with, without] = [Some(off), None].map(|mix| load(&split, mix, &epoch(5), 3).unwrap());
    assert!(with.iter().zip(&without).all(|(a, b)| same(a, b)));
    assert!(with.iter().all(|image| image.mixed.is_none()));
}

/// These places in one pass, in batches of these groups.
fn batch<const N: usize>(places: [(usize, u64); N]) -> Vec<Pick> {
    let pick = |(index, group)| Pick {
        index,
        pass: 0,
        group,
    };
    places.map(pick).to_vec()
}

#[test]
fn what_is_not_in_pairs_is_refused_before_anything_is_loaded() {
    let (_root, split) = split(None);
    let pairs = batch([(0, 0), (1, 0), (2, 1), (3, 1)]);
    for wrong in [
        batch([(4, 0)]),
        batch([(0, 0), (1, 0), (2, 0)]),
        batch([(0, 0), (1, 1)]),
    ] {
        let batches = [pairs.clone(), wrong.clone()];
        let mut never = |_: &mut Images<'_>| -> Result<(), LoadError> { panic!("loaded") };
        let mix = training(Some(MixSpec::default()));
        let refused = load_batches(&split, &mix, &batches, 2, &mut never).unwrap_err();
        let images = wrong.len();
        assert_eq!(
            refused.to_string(),
            format!("a local batch of {images} images does not consist of pairs that can be mixed")
        );
        assert!(refused.hint().unwrap().contains("even"));
        assert!(load(&split, None, &batches, 2).is_ok());
    }
    let wrong = load(&split, Some(mixup(-1.0)), &[pairs], 2).unwrap_err();
    assert!(wrong.to_string().starts_with("mix.mixup is -1"));
    assert!(wrong.hint().is_some());
}

#[test]
fn an_image_whose_partner_does_not_decode_says_so() {
    let (_root, split) = split(Some(3));
    let spec = Some(MixSpec::default());
    for (places, broken) in [
        ([(0, 0), (1, 0), (2, 0), (3, 0)], 3),
        ([(3, 0), (2, 0), (0, 0), (1, 0)], 0),
    ] {
        let loaded = load(&split, spec, &[batch(places)], 2).unwrap();
        let whole: Vec<_> = loaded.iter().map(|image| image.pixels.is_ok()).collect();
        let mut expected = [true; 4];
        expected[broken / 2 * 2..][..2].fill(false);
        assert_eq!(whole, expected);
        let own = loaded[broken].pixels.as_ref().unwrap_err();
        assert!(matches!(own, ImageError::Truncated(_)), "{own}");
        let partner = loaded[broken ^ 1].pixels.as_ref().unwrap_err();
        let text = partner.to_string();
        assert!(text.contains("e_palette_121x99.png") && text.contains(&own.to_string()));
        assert!(partner.hint().unwrap().contains("e_palette_121x99.png"));
        let mixed = loaded.iter().map(|image| image.mixed.is_some());
        assert!(mixed.eq(expected));
    }
    let loaded = load(&split, spec, &[batch([(3, 0), (3, 0)])], 1).unwrap();
    let own = |image: &Loaded| matches!(image.pixels, Err(ImageError::Truncated(_)));
    assert!(loaded.iter().all(own));
}

#[test]
fn loading_in_pairs_ends_with_an_error_in_the_middle_and_with_its_consumer() {
    let (root, split) = split(None);
    std::fs::remove_file(root.path().join("a/i_small_33x41.png")).unwrap();
    let mix = training(Some(MixSpec::default()));
    for workers in [1, 2, 3, 16] {
        for places in [[5, 1], [1, 5]] {
            let mut batches: Vec<_> = (0..31).map(|_| batch([(0, 0), (1, 0)])).collect();
            batches[15] = batch(places.map(|index| (index, 0)));
            // An error that is looked at ends the loading, and one that is passed over does too.
            let mut taken = 0;
            let ended = load_batches(&split, &mix, &batches, workers, &mut |images| {
                taken += 1;
                images.try_for_each(|image| image.map(drop))
            });
            assert!(matches!(ended, Err(LoadError::Dataset(_))));
            assert_eq!(taken, 16);
            let ended = load_batches(&split, &mix, &batches, workers, &mut |_| {
                Ok::<_, LoadError>(())
            });
            assert!(matches!(ended, Err(LoadError::Dataset(_))));
            // A consumer that does not mind has all the others, though one without its partner.
            let (mut whole, mut without) = (0, 0);
            load_batches(&split, &mix, &batches, workers, &mut |images| {
                for image in images.flatten() {
                    whole += usize::from(image.pixels.is_ok());
                    without += usize::from(image.pixels.is_err());
                }
                Ok::<_, LoadError>(())
            })
            .unwrap();
            assert_eq!((whole, without), (60, 1));
        }
        let batches: Vec<_> = (0..31).map(|_| batch([(0, 0), (1, 0)])).collect();
        let mut taken = 0;
        let ended = load_batches(&split, &mix, &batches, workers, &mut |images| {
            taken += 1;
            // Half a pair.
            images.next().unwrap()?;
            let enough = || Err(LoadError::Thread(std::io::Error::other("enough")));
            if taken == 7 { enough() } else { Ok(()) }
        });
        assert!(matches!(ended, Err(LoadError::Thread(_))));
        assert_eq!(taken, 7);
    }
}
