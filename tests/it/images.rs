//! Decoding against Pillow, and preprocessing against torchvision, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimbench::data::{
    Colour, ImageError, ImageFormat, InputSpec, Interpolation, Limits, Pixels, Preprocessor,
    Resize, Resizer, Window, decode,
};
use safetensors::SafeTensors;

use crate::mutation::{Random, mend_png};

fn goldens(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(folder)
}

/// The fixtures of a folder: everything but descriptions and expectations.
fn fixtures(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let files: BTreeMap<_, _> = std::fs::read_dir(goldens(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let extension = path
                .extension()
                .and_then(|e| e.to_str())
                .unwrap_or_default();
            ["jpg", "png", "webp"].contains(&extension)
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    assert!(files.len() >= 13);
    files
}

fn rgb(bytes: &[u8]) -> Result<Pixels, ImageError> {
    decode(bytes, Colour::Rgb, &Limits::default())
}

fn compare(name: &str, got: &Pixels, shape: &[usize], want: &[u8]) {
    let (height, width) = (shape[0], shape[1]);
    assert_eq!((got.height, got.width), (height, width), "{name}");
    assert_eq!(got.data.len(), want.len(), "{name}");
    let differences = got.data.iter().zip(want).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.clone().max().unwrap();
    assert!(
        worst == 0,
        "{name}: {} of {} bytes differ, by up to {worst}",
        differences.filter(|&d| d > 0).count(),
        want.len()
    );
}

#[test]
fn decodes_like_pillow() {
    let expected = std::fs::read(goldens("images").join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let files = fixtures("images");
    let mut wrong = Vec::new();
    for (name, bytes) in &files {
        for (key, colour) in [("rgb", Colour::Rgb), ("grey", Colour::Grey)] {
            let Ok(want) = expected.tensor(&format!("{name}/{key}")) else {
                assert_eq!(key, "grey");
                continue;
            };
            let result = std::panic::catch_unwind(|| {
                let got = decode(bytes, colour, &Limits::default()).unwrap();
                compare(name, &got, want.shape(), want.data());
            });
            if result.is_err() {
                wrong.push(format!("{name}/{key}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn pipelines() -> Vec<(&'static str, InputSpec)> {
    const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
    const HALF: [[f32; 3]; 2] = [[0.5; 3]; 2];
    const CLIP: [[f32; 3]; 2] = [
        [0.481_454_66, 0.457_827_5, 0.408_210_73],
        [0.268_629_54, 0.261_302_6, 0.275_777_1],
    ];
    let spec = |resize, interpolation, [mean, std]: [[f32; 3]; 2]| InputSpec {
        height: 56,
        width: 56,
        channels: 3,
        resize,
        interpolation,
        mean: mean.to_vec(),
        std: std.to_vec(),
    };
    use Interpolation::{Bicubic, Bilinear};
    vec![
        (
            "dino_resize64_bicubic_crop56",
            spec(Resize::Shorter(64), Bicubic, IMAGENET),
        ),
        (
            "timm_cp0.9_resize62_bicubic_crop56",
            spec(Resize::Shorter(62), Bicubic, IMAGENET),
        ),
        (
            "resize63_bilinear_crop56_halfnorm",
            spec(Resize::Shorter(63), Bilinear, HALF),
        ),
        ("hf_exact56_bilinear", spec(Resize::Exact, Bilinear, HALF)),
        (
            "clip_resize56_bicubic_crop56",
            spec(Resize::Shorter(56), Bicubic, CLIP),
        ),
    ]
}

#[test]
fn preprocesses_like_torchvision() {
    let files = fixtures("preprocess");
    let mut seen = 0;
    for half in ["a", "b"] {
        let expected = goldens("preprocess").join(format!("expected_{half}.safetensors"));
        let expected = std::fs::read(expected).unwrap();
        let expected = SafeTensors::deserialize(&expected).unwrap();
        for (key, want) in expected.iter() {
            let (name, what) = key.split_once('/').unwrap();
            let bytes = &files[name];
            seen += 1;
            match what {
                "decoded_u8_hwc" => {
                    compare(key, &rgb(bytes).unwrap(), want.shape(), want.data());
                }
                "resized64_bicubic_u8_hwc" => {
                    let window = |size| Window {
                        size,
                        start: 0,
                        len: size,
                    };
                    let pixels = rgb(bytes).unwrap();
                    let mut resizer = Resizer::new();
                    let (columns, rows) = (window(want.shape()[1]), window(want.shape()[0]));
                    let got = resizer
                        .resize(
                            &pixels,
                            Interpolation::Bicubic,
                            columns,
                            rows,
                            &Limits::default(),
                        )
                        .unwrap();
                    let resized = Pixels {
                        width: columns.size,
                        height: rows.size,
                        channels: 3,
                        data: got.to_vec(),
                    };
                    compare(key, &resized, want.shape(), want.data());
                }
                pipeline => {
                    let pipelines = pipelines();
                    let (_, spec) = pipelines
                        .iter()
                        .find(|(name, _)| *name == pipeline)
                        .unwrap();
                    let mut got = vec![0.0; 3 * 56 * 56];
                    let mut preprocessor =
                        Preprocessor::new(spec.clone(), Limits::default()).unwrap();
                    preprocessor.apply(bytes, &mut got).unwrap();
                    let want = want
                        .data()
                        .as_chunks()
                        .0
                        .iter()
                        .map(|b| u32::from_le_bytes(*b));
                    assert!(got.iter().map(|x| x.to_bits()).eq(want), "{key}");
                }
            }
        }
    }
    assert_eq!(seen, 51);
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0x00, 0x01, 0x7f, 0x80, 0xff][random.below(5)],
            3 => {
                let end = (at + random.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            // Headers are where the dangerous numbers are.
            _ => {
                let at = random.below(bytes.len().min(64));
                bytes[at] = random.below(256) as u8;
            }
        }
    }
    bytes
}

#[test]
fn damaged_files_never_panic() {
    let mut random = Random::new(20_240_229);
    let limits = Limits {
        max_pixels: 1 << 16,
    };
    let rounds = std::env::var("MIMBENCH_MUTATIONS").map_or(400, |n| n.parse().unwrap());
    for (name, bytes) in &fixtures("images") {
        for round in 0..rounds {
            let mut damaged = mutate(bytes, &mut random);
            if name.ends_with(".png") && round % 4 != 0 {
                mend_png(&mut damaged);
            }
            match decode(&damaged, Colour::Rgb, &limits) {
                Ok(Pixels {
                    width,
                    height,
                    data,
                    ..
                }) => assert_eq!(data.len(), width * height * 3),
                // What `decode` makes of a decoder's panic.
                Err(ImageError::Corrupt { reason, .. }) => {
                    assert!(!reason.contains("make sense"), "{name}, round {round}");
                }
                Err(_) => {}
            }
        }
    }
}

#[test]
fn every_truncation_of_a_jpeg_is_an_error() {
    let bytes = &fixtures("images")["jpeg_restart.jpg"];
    for length in 0..bytes.len() {
        assert!(
            rgb(&bytes[..length]).is_err(),
            "{length} of {} bytes",
            bytes.len()
        );
    }
}

#[test]
fn other_formats_are_named() {
    for (start, format) in [
        (&b"GIF89a\x01\0"[..], ImageFormat::Gif),
        (b"BM\x3a\0\0\0", ImageFormat::Bmp),
        (b"II*\0\x08\0\0\0", ImageFormat::Tiff),
        (b"\0\0\0\x1cftypavif", ImageFormat::Heif),
    ] {
        let error = rgb(start).unwrap_err();
        assert_eq!(error, ImageError::UnsupportedFormat(format));
        assert!(error.hint().unwrap().contains(&format.to_string()));
    }
    assert_eq!(rgb(b"").unwrap_err(), ImageError::Empty);
    let html = rgb(b"<html>404</html>").unwrap_err();
    assert_eq!(
        html.to_string(),
        "not an image: the first bytes are [3c 68 74 6d 6c 3e 34 30]"
    );
}

/// Headers that Pillow 13 reads as 2 x 2 pixels of these values, and the same for grey.
#[test]
fn ppm_and_pgm_are_read_like_pillow() {
    let pixels: Vec<u8> = (10..22).collect();
    for header in [
        "P6\n2 2\n255\n",
        "P6 2 2 255 ",
        "P6\t2\x0b2\x0c255\r",
        "P6\n# made by hand\n2 # wide\n2\n255\n",
        "P6\n02 0002\n0255\n",
        "P6\n0000000002 2\n255\n",
        "P6\n2 2\n25#c\n5\n",
        "P6\n2 2\n255#c\n\n",
    ] {
        let file = [header.as_bytes(), &pixels, b"what follows"].concat();
        let decoded = rgb(&file).unwrap();
        assert_eq!((decoded.width, decoded.height, decoded.channels), (2, 2, 3));
        assert_eq!(decoded.data, pixels, "{header:?}");
        let grey = decode(&file, Colour::Grey, &Limits::default()).unwrap();
        assert_eq!(grey.data, [11, 14, 17, 20], "{header:?}");
        let short = rgb(&[header.as_bytes(), &pixels[1..]].concat()).unwrap_err();
        assert_eq!(short, ImageError::Truncated(ImageFormat::Pnm), "{header:?}");
    }
    // One blank ends the header: the second is a pixel.
    let windows = rgb(&[b"P6\n2 2\r\n255\r\n", &pixels[..]].concat()).unwrap();
    assert_eq!(windows.data, [&[10], &pixels[..11]].concat());
    let pgm = [b"P5\n4 3\n255\n", &pixels[..]].concat();
    let grey = decode(&pgm, Colour::Grey, &Limits::default()).unwrap();
    assert_eq!((grey.width, grey.height, &grey.data), (4, 3, &pixels));
    let tripled: Vec<u8> = pixels.iter().flat_map(|&grey| [grey; 3]).collect();
    assert_eq!(rgb(&pgm).unwrap().data, tripled);
    for length in 0..pgm.len() {
        assert!(rgb(&pgm[..length]).is_err(), "{length}");
    }
}

#[test]
fn other_netpbm_files_are_refused_in_words() {
    let pixels: Vec<u8> = (10..22).collect();
    for (header, said) in [
        ("P3\n1 1\n255\n", "variant is not supported: P3"),
        ("P4\n1 1\n", "variant is not supported: P4"),
        ("P7\nWIDTH 1\n", "variant is not supported: P7"),
        ("P6\n2 2\n256\n", "values up to 256"),
        ("P5\n2 2\n15\n", "values up to 15"),
        ("P6\n2 2\n0\n", "largest value is 0"),
        ("P6\n2 2\n65536\n", "largest value is 65536"),
        ("P6\n0 2\n255\n", "no pixels"),
        ("P6\n-2 2\n255\n", "something else than numbers"),
        ("P6\n2 x\n255\n", "something else than numbers"),
        ("P6\n00000000002 2\n255\n", "something else than numbers"),
        (
            "P6\n9999999999 9999999999\n255\n",
            "9999999999 x 9999999999 pixels",
        ),
        ("P6\n2 2 #", "truncated"),
    ] {
        let bytes = match said {
            "truncated" => header.as_bytes().to_vec(),
            _ => [header.as_bytes(), &pixels].concat(),
        };
        let error = rgb(&bytes).unwrap_err();
        assert!(error.to_string().contains(said), "{header:?}: {error}");
        assert!(error.hint().is_some());
    }
    assert!(matches!(
        rgb(b"P6#x\n1 1 255\n"),
        Err(ImageError::NotAnImage { .. })
    ));
}

/// A header alone may claim any size; nothing of that size is allocated.
#[test]
fn decompression_bombs_are_refused_by_their_header() {
    let mut jpeg = fixtures("images")["jpeg_420_33x31.jpg"].clone();
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x80, 0, 0x80, 0]);
    let mut png = fixtures("images")["png_rgb16.png"].clone();
    png[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
    mend_png(&mut png);
    let mut webp = fixtures("images")["webp_animated_lossy.webp"].clone();
    webp[24..30].copy_from_slice(&[0xff, 0x7f, 0, 0xff, 0x7f, 0]);
    for bomb in [jpeg, png, webp] {
        let (width, height) = (32768, 32768);
        let max_pixels = Limits::default().max_pixels;
        let error = rgb(&bomb).unwrap_err();
        assert_eq!(
            error,
            ImageError::TooLarge {
                width,
                height,
                max_pixels
            }
        );
    }
}

/// Sampling factors that libjpeg-turbo-rs cannot upsample: an error, not grey pixels or a panic.
#[test]
fn unsupported_sampling_is_an_error() {
    for (name, component, factors) in [("jpeg_cmyk.jpg", 3, 0x13), ("jpeg_444_33x31.jpg", 1, 0x31)]
    {
        let mut bytes = fixtures("images")[name].clone();
        let frame = bytes
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        bytes[frame + 11 + 3 * component] = factors;
        let error = rgb(&bytes).unwrap_err();
        assert!(
            matches!(error, ImageError::UnsupportedVariant { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_small_image_is_padded_with_black_and_channels_must_fit() {
    let bytes = &fixtures("images")["png_rgb16.png"];
    let spec = InputSpec {
        height: 16,
        width: 40,
        channels: 3,
        resize: Resize::Shorter(13),
        interpolation: Interpolation::Bilinear,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let mut out = vec![f32::NAN; 3 * 16 * 40];
    let mut preprocessor = Preprocessor::new(spec.clone(), Limits::default()).unwrap();
    preprocessor.apply(bytes, &mut out).unwrap();
    // 21 x 13 stays; torchvision puts the smaller half of the padding first: 9 left, 1 above.
    let pixels = rgb(bytes).unwrap();
    for (at, value) in out.iter().enumerate() {
        let (c, y, x) = (at / 640, at / 40 % 16, at % 40);
        let inside = (1..14).contains(&y) && (9..30).contains(&x);
        let byte = if inside {
            pixels.data[((y - 1) * 21 + x - 9) * 3 + c]
        } else {
            0
        };
        assert_eq!(
            *value,
            (f32::from(byte) / 255.0 - 0.5) / 0.25,
            "{c} {y} {x}"
        );
    }
    let short = preprocessor.apply(bytes, &mut out[1..]).unwrap_err();
    assert_eq!(
        short,
        ImageError::OutputLength {
            expected: 1920,
            actual: 1919
        }
    );
    let bad = [
        InputSpec {
            channels: 4,
            ..spec.clone()
        },
        InputSpec {
            std: vec![0.0; 3],
            ..spec.clone()
        },
        InputSpec {
            mean: vec![0.5],
            ..spec.clone()
        },
        InputSpec {
            resize: Resize::Shorter(0),
            ..spec
        },
    ];
    for (spec, want) in bad.into_iter().zip(["channels", "std", "mean", "resize"]) {
        let error = Preprocessor::new(spec, Limits::default()).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("input.{want} ")),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
}
