//! Windows over images: mmsegmentation's averages, whole maps line by line, seams and memory.

use mimbench::checkpoint::source::TensorSource;
use mimbench::decoders::segmentation::{LineLogits, Sliding, View, Window};
use mimbench::engine::candle::Candle;
use mimbench::engine::{Engine, EngineError, HostTensor, Precision};

use crate::segmentation_network::channels_last;
use crate::support::{assert_close, shared, tensor};

/// A convolution by 5 x 5 pixels over a border of zeros: the network of the golden.
fn convolved(
    (weight, bias): (&HostTensor, &HostTensor),
    (image, [channels, height, width]): (&[f32], [usize; 3]),
) -> Vec<f32> {
    let outputs = bias.data.len();
    let mut out = Vec::with_capacity(outputs * height * width);
    for y in 0..height {
        for x in 0..width {
            for (output, bias) in bias.data.iter().enumerate() {
                let mut sum = *bias;
                for place in 0..channels * 25 {
                    let (channel, dy, dx) = (place / 25, place / 5 % 5, place % 5);
                    if (2..height + 2).contains(&(y + dy)) && (2..width + 2).contains(&(x + dx)) {
                        let pixel = (channel * height + y + dy - 2) * width + x + dx - 2;
                        sum += weight.data[output * channels * 25 + place] * image[pixel];
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

fn cut(image: &HostTensor, window: &Window) -> Vec<f32> {
    let (height, width) = (image.shape[2], image.shape[3]);
    let mut out = Vec::new();
    for plane in image.data.chunks(height * width) {
        for row in plane.chunks(width).skip(window.top).take(window.height) {
            out.extend_from_slice(&row[window.left..window.left + window.width]);
        }
    }
    out
}

fn plain(size: [usize; 2]) -> View {
    View {
        size,
        mirrored: false,
    }
}

/// The logits of an image's only view as they are.
fn kept(views: &[LineLogits], line: &mut [f32]) -> Result<(), EngineError> {
    let logits = views[0].pixels().flatten();
    line.iter_mut()
        .zip(logits)
        .for_each(|(out, logit)| *out = *logit);
    Ok(())
}

/// A network of two classes that knows where in its window a pixel is: by its border of zeros.
fn bordered() -> (HostTensor, HostTensor) {
    let weight = HostTensor {
        shape: vec![2, 1, 5, 5],
        data: (0..50).map(|i| ((i * i) as f32 * 0.3).sin()).collect(),
    };
    let bias = HostTensor {
        shape: vec![2],
        data: vec![0.1, -0.2],
    };
    (weight, bias)
}

/// What a network of one convolution says of windows over an image.
fn answers(
    (weight, bias): &(HostTensor, HostTensor),
    image: &HostTensor,
    windows: &[Window],
) -> Result<HostTensor, EngineError> {
    let mut data = Vec::new();
    for window in windows {
        let part = cut(image, window);
        let size = [image.shape[1], window.height, window.width];
        data.extend(convolved((weight, bias), (&part, size)));
    }
    let [height, width] = [windows[0].height, windows[0].width];
    Ok(HostTensor {
        shape: vec![windows.len(), height, width, bias.data.len()],
        data,
    })
}

#[test]
fn windows_are_averaged_as_by_mmsegmentation() {
    let Some(path) = shared("goldens/seg/slide.safetensors") else {
        return;
    };
    let source = TensorSource::open(&path).unwrap();
    let network = (tensor(&source, "conv.weight"), tensor(&source, "conv.bias"));
    let sliding = Sliding::new([32, 36], [20, 24]).unwrap();
    for case in 0..3 {
        let image = tensor(&source, &format!("{case}/in"));
        let expected = channels_last(&tensor(&source, &format!("{case}/out")));
        let [_, height, width, classes] = expected.shape[..] else {
            panic!("{:?}", expected.shape);
        };
        for at_once in [1, 2, 5] {
            let mut logits = |_: usize, windows: &[Window]| answers(&network, &image, windows);
            let views = [plain([height, width])];
            let image = (&views[..], [height, width]);
            let lines = sliding.lines(image, at_once, &mut logits, (classes, &kept));
            let lines = lines.unwrap();
            let found = HostTensor {
                shape: expected.shape.clone(),
                data: lines,
            };
            assert_close(&format!("case {case}"), &found, &expected);
        }
    }
}

/// Sums over whole maps, the resize to the original by the engine's own operation.
fn by_maps(
    (windows, size, original): (&[Window], [usize; 2], [usize; 2]),
    logits: &HostTensor,
) -> Vec<u32> {
    let e = Candle::new(Precision::F64);
    let classes = logits.shape[3];
    let each = logits.data.len() / windows.len();
    let mut sums = vec![0.0; size[0] * size[1] * classes];
    let mut counts = vec![0.0; size[0] * size[1]];
    for (window, data) in windows.iter().zip(logits.data.chunks(each)) {
        let shape = [1, logits.shape[1], logits.shape[2], classes];
        let own = e.tensor(data, &shape).unwrap();
        let own = e.resize_bilinear(&own, [window.height, window.width]);
        let own = e.to_f64(&own.unwrap()).unwrap();
        for (at, own) in own.chunks(classes).enumerate() {
            let (y, x) = (at / window.width, at % window.width);
            let pixel = (window.top + y) * size[1] + window.left + x;
            counts[pixel] += 1.0;
            for (sum, own) in sums[pixel * classes..][..classes].iter_mut().zip(own) {
                *sum += own;
            }
        }
    }
    for (sums, count) in sums.chunks_mut(classes).zip(&counts) {
        assert!(*count > 0.0);
        sums.iter_mut().for_each(|sum| *sum /= count);
    }
    let map = e
        .tensor(&sums[..], &[1, size[0], size[1], classes])
        .unwrap();
    let map = e
        .to_f64(&e.resize_bilinear(&map, original).unwrap())
        .unwrap();
    let best = |row: &[f64]| {
        let best = (0..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        best as u32
    };
    map.chunks(classes).map(best).collect()
}

#[test]
fn lines_at_a_time_are_the_whole_map() {
    for (crop, stride, size, original) in [
        ([8, 8], [8, 8], [8, 8], [8, 8]),
        ([8, 8], [5, 5], [20, 31], [40, 50]),
        ([8, 12], [3, 7], [25, 29], [11, 7]),
        ([16, 16], [11, 11], [9, 40], [9, 37]),
        ([16, 16], [16, 16], [64, 5], [200, 1]),
    ] {
        let sliding = Sliding::new(crop, stride).unwrap();
        let windows = sliding.windows(size);
        let (h, w, classes) = (3, 2, 5);
        let count = windows.len() * h * w * classes;
        let all = HostTensor {
            shape: vec![windows.len(), h, w, classes],
            data: (0..count)
                .map(|i| ((i * i % 1009) as f32 * 0.71).sin())
                .collect(),
        };
        let expected = by_maps((&windows, size, original), &all);
        let each = h * w * classes;
        for at_once in [1, 3, 100] {
            let mut seen = vec![false; windows.len()];
            let mut logits = |_: usize, asked: &[Window]| {
                assert!(asked.len() <= at_once);
                let mut data = Vec::new();
                for window in asked {
                    let place = windows.iter().position(|own| own == window).unwrap();
                    assert!(!std::mem::replace(&mut seen[place], true));
                    data.extend_from_slice(&all.data[place * each..][..each]);
                }
                let shape = vec![asked.len(), h, w, classes];
                Ok::<_, EngineError>(HostTensor { shape, data })
            };
            let views = [plain(size)];
            let image = (&views[..], original);
            let found = sliding.classes(image, at_once, &mut logits).unwrap();
            assert_eq!(found, expected, "{crop:?} over {size:?} for {original:?}");
            assert!(seen.iter().all(|seen| *seen));
        }
    }
}

#[test]
fn windows_end_with_the_image() {
    let sliding = Sliding::new([512, 512], [341, 341]).unwrap();
    let starts = |size| -> Vec<_> {
        let windows = sliding.windows(size);
        windows
            .iter()
            .map(|window| (window.top, window.left))
            .collect()
    };
    assert_eq!(starts([512, 512]), [(0, 0)]);
    assert_eq!(starts([512, 683]), [(0, 0), (0, 171)]);
    assert_eq!(starts([512, 853]), [(0, 0), (0, 341)]);
    assert_eq!(starts([300, 854]), [(0, 0), (0, 341), (0, 342)]);
    let windows = sliding.windows([300, 854]);
    assert!(
        windows
            .iter()
            .all(|window| (window.height, window.width) == (300, 512))
    );
    for (crop, stride) in [([8, 8], [0, 8]), ([8, 8], [8, 9]), ([0, 8], [0, 8])] {
        let error = Sliding::new(crop, stride).unwrap_err();
        assert!(error.to_string().contains("distance of windows"), "{error}");
    }
}

#[test]
fn a_logit_that_is_no_number_is_refused() {
    let sliding = Sliding::new([4, 4], [4, 4]).unwrap();
    let predict = |data: Vec<f32>| {
        let mut logits = |_: usize, _: &[Window]| {
            let shape = vec![1, 1, data.len() / 2, 2];
            let data = data.clone();
            Ok::<_, EngineError>(HostTensor { shape, data })
        };
        sliding.classes((&[plain([4, 4])], [4, 4]), 1, &mut logits)
    };
    // Of equal ones the first.
    assert_eq!(predict(vec![1.0, 1.0]).unwrap(), [0; 16]);
    let error = predict(vec![1.0, f32::NAN]).unwrap_err();
    assert!(
        error.to_string().contains("class 1 is no number"),
        "{error}"
    );
    assert!(predict(Vec::new()).is_err());
}

/// What a network that sees one pixel at a time says of windows over `pixel`, one class for each of
/// its numbers.
fn pixelwise<const K: usize>(
    pixel: impl Fn(usize, usize) -> [f32; K],
    windows: &[Window],
) -> HostTensor {
    let mut data = Vec::new();
    for window in windows {
        for row in window.top..window.top + window.height {
            for column in window.left..window.left + window.width {
                data.extend(pixel(row, column));
            }
        }
    }
    let [height, width] = [windows[0].height, windows[0].width];
    HostTensor {
        shape: vec![windows.len(), height, width, K],
        data,
    }
}

const SIZES: [[usize; 2]; 5] = [[16, 16], [16, 90], [90, 16], [61, 37], [37, 61]];

#[test]
fn what_windows_agree_on_has_no_seams() {
    let sliding = Sliding::new([16, 12], [11, 7]).unwrap();
    let pixel = |row: usize, column: usize| [(row * 7 + column) as f32, 1.0];
    for size in SIZES {
        let mut look =
            |_: usize, windows: &[Window]| Ok::<_, EngineError>(pixelwise(pixel, windows));
        let views = [plain(size)];
        let found = sliding
            .lines((&views, size), 2, &mut look, (2, &kept))
            .unwrap();
        for (at, found) in found.chunks(2).enumerate() {
            let expected = pixel(at / size[1], at % size[1]);
            let error = found
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs() / b.max(1.0));
            assert!(error.fold(0.0, f32::max) < 1e-6, "pixel {at} of {size:?}");
        }
    }
}

#[test]
fn a_scene_moved_by_a_stride_is_answered_moved() {
    let network = bordered();
    let (crop, stride) = (20, 13);
    let sliding = Sliding::new([crop; 2], [stride; 2]).unwrap();
    let scene = |row: usize, column: usize| ((row * row + 3 * column * column) as f32 * 0.01).sin();
    let answer = |moved: [usize; 2], size: [usize; 2]| {
        let data = (0..size[0] * size[1])
            .map(|at| scene(moved[0] + at / size[1], moved[1] + at % size[1]))
            .collect();
        let image = HostTensor {
            shape: vec![1, 1, size[0], size[1]],
            data,
        };
        let mut look = |_: usize, windows: &[Window]| answers(&network, &image, windows);
        let views = [plain(size)];
        sliding
            .lines((&views, size), 3, &mut look, (2, &kept))
            .unwrap()
    };
    for windows in [[3, 3], [2, 5], [5, 2]] {
        let size = windows.map(|count| crop + stride * count);
        let whole = answer([0, 0], size);
        for axis in [0, 1] {
            let (mut moved, mut smaller) = ([0, 0], size);
            moved[axis] = stride;
            smaller[axis] -= stride;
            let found = answer(moved, smaller);
            let overlap = crop - stride;
            for (at, found) in found.chunks(2).enumerate() {
                let place = [at / smaller[1], at % smaller[1]];
                // There the larger scene has one window more.
                if place[axis] < overlap {
                    continue;
                }
                let pixel = (place[0] + moved[0]) * size[1] + place[1] + moved[1];
                let same = found.iter().zip(&whole[2 * pixel..]);
                for (found, whole) in same {
                    assert!((found - whole).abs() < 1e-6, "{place:?} of {smaller:?}");
                }
            }
        }
    }
}

#[test]
fn a_mirrored_view_is_what_its_mirror_image_says() {
    let network = bordered();
    let sliding = Sliding::new([16, 12], [11, 7]).unwrap();
    for size in SIZES {
        let [height, width] = size;
        let image = HostTensor {
            shape: vec![1, 1, height, width],
            data: (0..height * width)
                .map(|i| ((i * i % 977) as f32 * 0.37).sin())
                .collect(),
        };
        let mut look = |_: usize, windows: &[Window]| answers(&network, &image, windows);
        let mut lines = |mirrored: bool| {
            let views = [View { size, mirrored }];
            let found = sliding.lines((&views, size), 2, &mut look, (2, &kept));
            found.unwrap()
        };
        let (plain, mirrored) = (lines(false), lines(true));
        for (plain, mirrored) in plain.chunks(2 * width).zip(mirrored.chunks(2 * width)) {
            let back = mirrored.chunks(2).rev().flatten();
            let mut error = plain.iter().zip(back).map(|(a, b)| (a - b).abs());
            assert!(error.all(|error| error < 1e-5), "{size:?}");
        }
    }
}

#[test]
fn probabilities_of_views_are_added() {
    let sliding = Sliding::new([16, 12], [11, 7]).unwrap();
    let logit = |view: usize, row: usize, column: usize| {
        let place = (row * 31 + column * 17 + view * 5) as f32;
        [0.37, 0.61, 0.83].map(|pace| 3.0 * (place * pace).sin())
    };
    for size in SIZES {
        let mirrored = View {
            size,
            mirrored: true,
        };
        let views = [plain(size), mirrored, plain(size)];
        let own = |view: usize, column: usize| match view {
            1 => size[1] - 1 - column,
            _ => column,
        };
        let mut look = |view: usize, windows: &[Window]| {
            let pixel = |row, column| logit(view, row, own(view, column));
            Ok::<_, EngineError>(pixelwise(pixel, windows))
        };
        let found = sliding.classes((&views, size), 2, &mut look).unwrap();
        let mut close = 0;
        for (at, found) in found.into_iter().enumerate() {
            let mut sums = [0f64; 3];
            for view in 0..3 {
                let logits = logit(view, at / size[1], at % size[1]).map(f64::from);
                let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
                (sums.iter_mut().zip(logits)).for_each(|(sum, logit)| *sum += logit.exp() / total);
            }
            let best = sums.iter().copied().fold(0.0, f64::max);
            // Of nearly equal ones either.
            assert!(best - sums[found as usize] < 1e-5, "pixel {at} of {size:?}");
            close += usize::from(sums.iter().filter(|sum| best - **sum < 1e-5).count() > 1);
        }
        assert!(close * 100 < size[0] * size[1]);
    }
    // One that is no number is refused here too.
    let mut look = |_: usize, windows: &[Window]| {
        Ok::<_, EngineError>(pixelwise(|_, _| [f32::NAN, 1.0], windows))
    };
    let views = [plain([16, 12]), plain([16, 12])];
    let error = sliding
        .classes((&views, [16, 12]), 1, &mut look)
        .unwrap_err();
    assert!(error.to_string().contains("no numbers"), "{error}");
}
