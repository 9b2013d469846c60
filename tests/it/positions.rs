//! Position tables at other grids, against PyTorch, timm, scipy and the original implementations.

use std::path::Path;

use mimbench::checkpoint::position::{
    AbsoluteResize, PositionError, TableResize, resize_absolute, resize_table,
};
use mimbench::checkpoint::source::TensorSource;
use mimbench::engine::HostTensor;
use mimbench::vit::relative_index;
use proptest::prelude::*;

use crate::support::{assert_close, fixture, relative_error, shared, tensor};

const ABSOLUTE: [AbsoluteResize; 3] = [
    AbsoluteResize::BicubicAntialias,
    AbsoluteResize::Bicubic,
    AbsoluteResize::BicubicOffset,
];

const RELATIVE: [TableResize; 4] = [
    TableResize::GeometricLinear,
    TableResize::GeometricCubic,
    TableResize::Bilinear,
    TableResize::Bicubic,
];

/// `HxW`.
fn grid(text: &str) -> [usize; 2] {
    let (rows, columns) = text.split_once('x').unwrap();
    [rows, columns].map(|side| side.parse().unwrap())
}

#[test]
fn tables_are_what_pytorch_timm_and_scipy_make() {
    let source = TensorSource::open(&fixture("goldens/position/tables.safetensors")).unwrap();
    let mut compared = 0;
    let mut check = |kind: &str, method: &str, resize: &dyn Fn(&HostTensor, _, _) -> HostTensor| {
        let prefix = format!("{kind}/{method}/");
        let mut worst = (0.0, String::new());
        for key in source.entries().keys() {
            let Some((from, to)) = key.strip_prefix(&prefix).and_then(|k| k.split_once('_')) else {
                continue;
            };
            let table = tensor(&source, &format!("{kind}/{from}"));
            let found = resize(&table, grid(from), grid(to));
            let error = relative_error("table", &found, &tensor(&source, key));
            assert!(error <= 1e-6, "{key}: {error}");
            if error >= worst.0 {
                worst = (error, key.clone());
            }
            compared += 1;
        }
        println!("{:.1e} at {}", worst.0, worst.1);
    };
    for method in ABSOLUTE {
        check("absolute", method.name(), &|table, from, to| {
            resize_absolute(table, 1, from, to, method).unwrap()
        });
    }
    for method in RELATIVE {
        check("relative", method.name(), &|table, from, to| {
            resize_table(table, from, to, method).unwrap()
        });
    }
    assert_eq!(compared, 9 * (ABSOLUTE.len() + RELATIVE.len()));
}

#[test]
fn pairs_of_tokens_share_rows_as_in_timm() {
    let source = TensorSource::open(&fixture("goldens/position/tables.safetensors")).unwrap();
    let mut compared = 0;
    for key in source.entries().keys() {
        let Some(size) = key.strip_prefix("index/") else {
            continue;
        };
        let expected = tensor(&source, key);
        let found: Vec<_> = relative_index(grid(size))
            .iter()
            .map(|&i| i as f32)
            .collect();
        assert_eq!(found, expected.data, "{key}");
        compared += 1;
    }
    assert_eq!(compared, 3);
}

/// PyTorch's own resizes of images, as tables of two channels and no prefix.
#[test]
fn images_are_resized_as_by_pytorch() {
    let Some(path) = shared("goldens/seg/interpolate.safetensors") else {
        return;
    };
    let source = TensorSource::open(&path).unwrap();
    for key in source.entries().keys() {
        let Some((name, method)) = key.rsplit_once('/') else {
            continue;
        };
        let method = match method {
            "bicubic_aa" => AbsoluteResize::BicubicAntialias,
            "bicubic" => AbsoluteResize::Bicubic,
            "out" if name.starts_with("scale/") => AbsoluteResize::BicubicOffset,
            _ => continue,
        };
        let [image, expected] =
            [&format!("{name}/in"), key].map(|key| channels_last(&tensor(&source, key)));
        let [from, to] = [&image, &expected].map(|(_, size)| *size);
        let found = resize_absolute(&image.0, 0, from, to, method).unwrap();
        let error = relative_error("table", &found, &expected.0);
        assert!(error <= 1e-6, "{key}: {error}");
    }
}

/// `[1, C, H, W]` -> `[1, H W, C]` and `[H, W]`.
fn channels_last(image: &HostTensor) -> (HostTensor, [usize; 2]) {
    let &[1, channels, rows, columns] = image.shape.as_slice() else {
        panic!("{:?}", image.shape);
    };
    let places = rows * columns;
    let at = |i: usize| image.data[i % channels * places + i / channels];
    let table = HostTensor {
        shape: vec![1, places, channels],
        data: (0..channels * places).map(at).collect(),
    };
    (table, [rows, columns])
}

/// Tables that the original fine-tuning code has enlarged from 4 x 4 to 5 x 5.
#[test]
fn original_relative_tables() {
    let Some(goldens) = shared("goldens") else {
        return;
    };
    let mut compared = 0;
    for folder in [
        "beit_original_finetune",
        "beit_original_pretrain_shared",
        "beit_original_pretrain_shared_abs_prefix",
        "beitv2_original_pretrain_cls",
        "simmim_original",
    ] {
        let model = TensorSource::open(&goldens.join(folder).join("model.safetensors")).unwrap();
        let expected = goldens.join(folder).join("expected.safetensors");
        let expected = TensorSource::open(&expected).unwrap();
        for key in expected.entries().keys() {
            let Some(name) = key.strip_prefix("r2.resized.") else {
                continue;
            };
            let table = tensor(&model, named(&model, name));
            let found = resize_table(&table, [4, 4], [5, 5], TableResize::GeometricCubic).unwrap();
            let error = relative_error("table", &found, &tensor(&expected, key));
            assert!(error <= 1e-6, "{folder}: {key}: {error}");
            compared += 1;
        }
    }
    assert_eq!(compared, 6);
}

/// The key that ends in `name`, whatever the file has in front of it.
fn named<'a>(source: &'a TensorSource, name: &str) -> &'a str {
    let mut keys = source.entries().keys();
    keys.find(|key| key.ends_with(name)).unwrap()
}

/// What the patch tokens of block 0's input are beyond the patch projection is the resized table.
#[test]
fn each_family_resizes_as_its_own_code() {
    use AbsoluteResize::{Bicubic, BicubicAntialias, BicubicOffset};
    const TIMM: [&str; 2] = ["pos_embed", "patch_embed.proj"];
    const HF: [&str; 2] = [
        "position_embeddings",
        "embeddings.patch_embeddings.projection",
    ];
    const SIGLIP: [&str; 2] = [
        "position_embedding.weight",
        "vision_model.embeddings.patch_embedding",
    ];
    let Some(goldens) = shared("goldens") else {
        return;
    };
    for (folder, keys, method) in [
        ("timm_vit", TIMM, BicubicAntialias),
        ("timm_vit_reg4", TIMM, BicubicAntialias),
        ("timm_vit_reg4_nocls_gap", TIMM, BicubicAntialias),
        ("timm_deit3", TIMM, BicubicAntialias),
        ("timm_deit_distilled", TIMM, BicubicAntialias),
        ("timm_dinov2", TIMM, BicubicAntialias),
        ("timm_dinov2_reg4_swiglu", TIMM, BicubicAntialias),
        ("timm_eva_giant", TIMM, BicubicAntialias),
        ("timm_eva02_small", TIMM, BicubicAntialias),
        ("timm_eva02_base", TIMM, BicubicAntialias),
        ("timm_beit_abs_and_rel", TIMM, BicubicAntialias),
        ("dinov2_original_reg4_swiglu", TIMM, BicubicAntialias),
        ("hf_dinov2_registers", HF, BicubicAntialias),
        ("mae_original", TIMM, Bicubic),
        ("mae_original_finetune_gap", TIMM, Bicubic),
        ("beit_original_pretrain_shared_abs_prefix", TIMM, Bicubic),
        ("eva02_original_small", TIMM, Bicubic),
        ("eva02_original_sub_ln", TIMM, Bicubic),
        ("hf_vit", HF, Bicubic),
        ("hf_vit_mae_encoder", HF, Bicubic),
        ("hf_deit", HF, Bicubic),
        ("hf_dinov2", HF, Bicubic),
        ("hf_ijepa", HF, Bicubic),
        ("hf_siglip_vision", SIGLIP, Bicubic),
        ("dino_original", TIMM, BicubicOffset),
        ("ibot_original", TIMM, BicubicOffset),
        ("dinov2_original", TIMM, BicubicOffset),
        ("dinov2_original_chunked", TIMM, BicubicOffset),
    ] {
        let folder = goldens.join(folder);
        let compared = resized_embeddings(&folder, keys, method);
        assert!(compared > 0, "{}", folder.display());
    }
}

/// Compares the patch tokens of every resolution but the first; returns how many there were.
fn resized_embeddings(folder: &Path, keys: [&str; 2], method: AbsoluteResize) -> usize {
    let open = |name: &str| TensorSource::open(&folder.join(name)).unwrap();
    let (model, input, expected) = (
        open("model.safetensors"),
        open("input.safetensors"),
        open("expected.safetensors"),
    );
    let weight = |name: &str| tensor(&model, named(&model, name));
    let mut table = weight(keys[0]);
    if table.shape.len() == 2 {
        table.shape.insert(0, 1);
    }
    let kernel = weight(&format!("{}.weight", keys[1]));
    let bias = weight(&format!("{}.bias", keys[1]));
    let prefix = table.shape[1] - 16;
    let mut compared = 0;
    for resolution in ["r2", "r3"] {
        let key = format!("{resolution}.embed");
        if !expected.entries().contains_key(&key) {
            continue;
        }
        let pixels = tensor(&input, &format!("{resolution}.pixels"));
        let (mut found, grid) = projected(&pixels, &kernel, &bias);
        let resized = resize_absolute(&table, prefix, [4, 4], grid, method).unwrap();
        let width = bias.data.len();
        let places = &resized.data[prefix * width..];
        for (x, place) in found.data.iter_mut().zip(places.iter().cycle()) {
            *x += place;
        }
        let embed = tensor(&expected, &key);
        let patches = found.shape[1];
        let others = embed.shape[1] - patches;
        let tokens = embed.data.chunks((others + patches) * width);
        let expected = HostTensor {
            data: tokens
                .flat_map(|image| &image[others * width..])
                .copied()
                .collect(),
            shape: found.shape.clone(),
        };
        assert_close(&format!("{} {key}", folder.display()), &found, &expected);
        compared += 1;
    }
    compared
}

/// images: `[B, C, H, W]`, kernel: `[D, C, p, p]`, bias: `[D]` -> patches `[B, N, D]`, and the grid.
fn projected(
    images: &HostTensor,
    kernel: &HostTensor,
    bias: &HostTensor,
) -> (HostTensor, [usize; 2]) {
    let &[batch, channels, height, width] = images.shape.as_slice() else {
        panic!("{:?}", images.shape);
    };
    let (depth, side) = (kernel.shape[0], kernel.shape[3]);
    let [rows, columns] = [height / side, width / side];
    let mut data = Vec::new();
    for patch in 0..batch * rows * columns {
        let (image, row, column) = (
            patch / (rows * columns),
            patch / columns % rows,
            patch % columns,
        );
        for (kernel, &bias) in kernel.data.chunks(channels * side * side).zip(&bias.data) {
            let terms = kernel.iter().enumerate().map(|(i, &weight)| {
                let (channel, y, x) = (i / side / side, i / side % side, i % side);
                let line = (image * channels + channel) * height + row * side + y;
                f64::from(weight) * f64::from(images.data[line * width + column * side + x])
            });
            data.push((terms.sum::<f64>() + f64::from(bias)) as f32);
        }
    }
    let shape = vec![batch, rows * columns, depth];
    (HostTensor { shape, data }, [rows, columns])
}

#[test]
fn tables_of_another_grid_are_refused() {
    let zeros = |shape: &[usize]| HostTensor {
        shape: shape.to_vec(),
        data: vec![0.0; shape.iter().product()],
    };
    let absolute = |shape: &[usize], prefix, from, to| {
        resize_absolute(&zeros(shape), prefix, from, to, AbsoluteResize::Bicubic).unwrap_err()
    };
    let relative = |shape: &[usize], from, to| {
        resize_table(&zeros(shape), from, to, TableResize::GeometricCubic).unwrap_err()
    };
    let shape = |error: PositionError| matches!(error, PositionError::Shape { .. });
    assert!(shape(absolute(&[1, 17, 8], 0, [4, 4], [5, 5])));
    assert!(shape(absolute(&[1, 3, 8], 4, [4, 4], [5, 5])));
    assert!(shape(absolute(&[17, 8], 1, [4, 4], [5, 5])));
    assert!(shape(absolute(&[1, 17, 0], 1, [4, 4], [5, 5])));
    assert!(shape(relative(&[49, 3], [4, 4], [5, 5])));
    assert!(shape(relative(&[2, 3], [1, 1], [5, 5])));
    let error = absolute(&[1, 17, 8], 1, [4, 4], [0, 5]);
    assert_eq!(error, PositionError::Grid { grid: [0, 5] });
    let error = relative(&[52, 3], [4, 4], [usize::MAX, 2]);
    assert_eq!(
        error,
        PositionError::Grid {
            grid: [usize::MAX, 2]
        }
    );
    // Three distances an axis.
    let error = relative(&[12, 3], [2, 2], [4, 4]);
    assert_eq!(error, PositionError::TooFewPoints { grid: [2, 2] });
    assert!(error.hint().is_some());
}

/// A way to resize, and how many rows stand before and after those of places.
#[derive(Clone, Copy, Debug)]
enum Method {
    Absolute(AbsoluteResize),
    Relative(TableResize),
}

impl Method {
    fn all() -> impl Strategy<Value = Self> {
        let absolute = ABSOLUTE.map(Self::Absolute);
        let relative = RELATIVE.map(Self::Relative);
        proptest::sample::select([&absolute[..], &relative[..]].concat())
    }

    /// Rows and columns of the table of a grid, and the others before and after them.
    fn layout(self, grid: [usize; 2]) -> ([usize; 2], usize, usize) {
        match self {
            Self::Absolute(_) => (grid, 2, 0),
            Self::Relative(_) => (grid.map(|side| 2 * side - 1), 0, 3),
        }
    }

    /// places: `[rows, columns, WIDTH]`
    fn resize(self, table: &HostTensor, from: [usize; 2], to: [usize; 2]) -> HostTensor {
        match self {
            Self::Absolute(method) => resize_absolute(table, 2, from, to, method),
            Self::Relative(method) => resize_table(table, from, to, method),
        }
        .unwrap()
    }

    /// A table of `grid` whose elements are `value(row, column, channel)`, others `OTHER`.
    fn table(self, grid: [usize; 2], value: impl Fn(usize, usize, usize) -> f32) -> HostTensor {
        let ([rows, columns], before, after) = self.layout(grid);
        let mut data = vec![OTHER; before * WIDTH];
        for row in 0..rows {
            for column in 0..columns {
                data.extend((0..WIDTH).map(|channel| value(row, column, channel)));
            }
        }
        data.resize(data.len() + after * WIDTH, OTHER);
        let mut shape = vec![data.len() / WIDTH, WIDTH];
        if let Self::Absolute(_) = self {
            shape.insert(0, 1);
        }
        HostTensor { shape, data }
    }
}

const WIDTH: usize = 3;
const OTHER: f32 = 0.1;

/// Numbers without a pattern.
fn noise(row: usize, column: usize, channel: usize) -> f32 {
    let mixed = (row * 7919 + column * 104_729 + channel * 1_299_709) as f64;
    (mixed.sin() * 43758.5).fract() as f32
}

fn grids() -> impl Strategy<Value = [usize; 2]> {
    proptest::array::uniform2(3usize..18)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn constant_tables_stay_constant(method in Method::all(), from in grids(), to in grids()) {
        let found = method.resize(&method.table(from, |_, _, _| 0.7), from, to);
        let expected = method.table(to, |_, _, _| 0.7);
        prop_assert!(relative_error("table", &found, &expected) <= 1e-6);
    }

    #[test]
    fn equal_grids_change_nothing(method in Method::all(), grid in grids()) {
        let table = method.table(grid, noise);
        prop_assert_eq!(method.resize(&table, grid, grid), table);
    }

    #[test]
    fn rows_without_a_place_keep_their_bits(method in Method::all(), from in grids(), to in grids()) {
        let found = method.resize(&method.table(from, noise), from, to);
        let ([rows, columns], before, after) = method.layout(to);
        prop_assert_eq!(found.data.len(), (before + rows * columns + after) * WIDTH);
        let (first, rest) = found.data.split_at(before * WIDTH);
        let last = &rest[rows * columns * WIDTH..];
        prop_assert!(first.iter().chain(last).all(|x| x.to_bits() == OTHER.to_bits()));
    }

    #[test]
    fn transposed_tables_give_transposed_results(
        method in Method::all(), from in grids(), to in grids(),
    ) {
        let found = method.resize(&method.table(from, noise), from, to);
        let turned = |[rows, columns]: [usize; 2]| [columns, rows];
        let table = method.table(turned(from), |row, column, channel| noise(column, row, channel));
        let transposed = method.resize(&table, turned(from), turned(to));
        let ([_, columns], before, _) = method.layout(turned(to));
        let back = method.table(to, |row, column, channel| {
            transposed.data[(before + column * columns + row) * WIDTH + channel]
        });
        prop_assert!(relative_error("table", &found, &back) <= 1e-6);
    }

    /// The offset shifts every coordinate, so that its results are not symmetric. The others'
    /// coordinates are, but for f32: up to 33, they are rounded by 2e-6 on either side, and
    /// neighbours differ by up to 2, which a cubic kernel makes 3.
    #[test]
    fn mirrored_tables_give_mirrored_results(
        method in Method::all().prop_filter("offset", |method| {
            !matches!(method, Method::Absolute(AbsoluteResize::BicubicOffset))
        }),
        from in grids(),
        to in grids(),
    ) {
        let ([_, old], _, _) = method.layout(from);
        let ([_, new], before, _) = method.layout(to);
        let found = method.resize(&method.table(from, noise), from, to);
        let mirror = method.table(from, |row, column, channel| noise(row, old - 1 - column, channel));
        let mirrored = method.resize(&mirror, from, to);
        let back = method.table(to, |row, column, channel| {
            mirrored.data[(before + row * new + new - 1 - column) * WIDTH + channel]
        });
        prop_assert!(relative_error("table", &found, &back) <= 12e-6);
    }
}
