//! Bad input: exit code 2, one error that names the thing, one hint, and nothing half-written.

use mimbench::engine::HostTensor;
use mimbench::vit::{Heads, VitConfig};

use crate::support::{Bench, CLASSES, Run, headline, noisy_png, shared, tiny};

/// A bench without a dataset.
fn weights_only() -> Bench {
    let bench = Bench::empty();
    bench.model("tiny.safetensors", &tiny(), 1);
    bench
}

impl Bench {
    /// `knn` refuses the checkpoint before it looks at data or writes anything.
    #[track_caller]
    fn refuses(&self, ckpt: &str, more: &[&str], said: &[&str]) {
        let before = self.files("");
        let args = ["knn", "--quiet", "--data", "data", "--ckpt", ckpt];
        self.run(&[&args, more].concat()).refused(said);
        let out = [
            "features", "--quiet", "--images", "data", "--out", "f", "--ckpt", ckpt,
        ];
        self.run(&[&out, more].concat()).refused(said);
        assert_eq!(self.files(""), before, "{said:?}");
    }

    /// A protocol or a dataset that `knn` refuses before it writes anything.
    #[track_caller]
    fn knn_refused(&self, more: &[&str], said: &[&str]) {
        let before = self.files("");
        self.knn(&[&["--quiet"], more].concat()).refused(said);
        assert_eq!(self.files(""), before, "{said:?}");
    }

    fn broken(&self, change: impl Fn(&str, HostTensor) -> Option<HostTensor>) {
        self.model_with("broken.safetensors", &tiny(), 1, change);
    }
}

/// A safetensors file of this header and so many zero bytes of data.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn an_engine_that_cannot_be_had_is_refused_before_any_image() {
    let bench = weights_only();
    let refuses = |more: &[&str], said: &str| bench.refuses("tiny.safetensors", more, &[said]);
    refuses(&["--device", "cuda"], "candle engine computes on the CPU");
    refuses(&["--precision", "bf16"], "bf16 is for CUDA");
    for device in [
        "gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cpu:0", "CUDA",
    ] {
        let device = format!("--device={device}");
        refuses(&[&device], "is no device");
    }
    let torch = ["--engine", "torch"];
    if cfg!(feature = "torch") {
        // A GPU that few machines have; without any, or without CUDA, the error is another.
        refuses(&[&torch[..], &["--device", "cuda:99"]].concat(), "CUDA");
        let bf16 = ["--precision", "bf16"];
        refuses(&[&torch[..], &bf16].concat(), "bf16 is for CUDA");
    } else {
        refuses(&torch, "built without the torch engine");
        let cuda = [&torch[..], &["--device", "cuda"]].concat();
        refuses(&cuda, "built without the torch engine");
    }
}

#[cfg(not(feature = "hub"))]
#[test]
fn the_hub_is_refused_where_it_is_not_built_in() {
    let bench = Bench::empty();
    bench.refuses(
        "hf://owner/name",
        &[],
        &["hf://owner/name", "without the hub"],
    );
    bench.refuses("hf://owner/..", &[], &["not the name of a repository"]);
    let inspected = bench.run(&["inspect", "hf://owner/name/a.bin"]);
    inspected.refused(&["without the hub"]);
    assert!(inspected.stderr.contains("hf download owner/name a.bin"));
}

#[test]
fn what_is_no_safetensors_file_is_refused_by_what_it_is() {
    let bench = Bench::empty();
    let other = |bytes: &[u8], said: &str| {
        bench.write("x.safetensors", bytes);
        bench.refuses("x.safetensors", &[], &["x.safetensors", said]);
        let inspected = bench.run(&["inspect", "x.safetensors"]);
        inspected.refused(&["x.safetensors", said]);
    };
    other(b"", "empty");
    other(
        b"just a text, long enough to have a header",
        "no safetensors header",
    );
    other(b"abc", "no safetensors header");
    other(b"PK\x03\x04 and what torch.save writes", "zip");
    other(b"\x80\x02}q\x00(X\x06\x00\x00\x00", "pickle");
    other(b"version https://git-lfs.github.com/spec/v1\noid", "LFS");
    bench.refuses(
        "gone.safetensors",
        &[],
        &["gone.safetensors", "No such file"],
    );
    std::fs::create_dir(bench.path("folder")).unwrap();
    bench.refuses("folder", &[], &["folder", "directory"]);
}

#[test]
fn a_truncated_file_is_refused_at_any_length() {
    let bench = weights_only();
    let whole = std::fs::read(bench.path("tiny.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [
        1,
        7,
        8,
        9,
        100,
        header - 1,
        header,
        header + 1,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        bench.write("cut.safetensors", &whole[..length]);
        bench
            .run(&["inspect", "cut.safetensors"])
            .refused(&["cut.safetensors"]);
    }
    bench.write("cut.safetensors", [&whole[..], b"more"].concat());
    bench.refuses("cut.safetensors", &[], &["cut.safetensors is damaged"]);
}

#[test]
fn a_header_that_lies_is_refused() {
    let bench = Bench::empty();
    let tensor = |name: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    let fine = raw(&two(tensor("a", "2", 0, 8), tensor("b", "2", 8, 16)), 16);
    bench.write("x.safetensors", &fine);
    bench.refuses("x.safetensors", &[], &["no known dialect", "a, b"]);
    for (header, data) in [
        (two(tensor("a", "2", 0, 8), tensor("b", "2", 4, 12)), 12),
        (two(tensor("a", "2", 0, 8), tensor("b", "2", 12, 20)), 20),
        (two(tensor("a", "2", 0, 8), tensor("b", "2", 8, 16)), 12),
        (two(tensor("a", "3", 0, 8), tensor("b", "2", 8, 16)), 16),
        (two(tensor("a", "2", 8, 0), tensor("b", "2", 8, 16)), 16),
        (
            two(
                tensor("a", "4294967296,4294967296", 0, 8),
                tensor("b", "2", 8, 16),
            ),
            16,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]"#.to_owned(),
            8,
        ),
        (r#"{"a":7}"#.to_owned(), 0),
    ] {
        bench.write("x.safetensors", raw(&header, data));
        bench.refuses("x.safetensors", &[], &["x.safetensors is damaged"]);
    }
    for claim in [1 << 20, 1 << 40, u64::MAX] {
        let mut bytes = fine.clone();
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        bench.write("x.safetensors", bytes);
        bench.refuses("x.safetensors", &[], &["x.safetensors is damaged"]);
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let bench = Bench::new();
    for key in [
        "blocks.1.attn.qkv.bias",
        "patch_embed.proj.bias",
        "pos_embed",
        "norm.weight",
    ] {
        bench.broken(|name, tensor| (name != key).then_some(tensor));
        bench.refuses("broken.safetensors", &[], &[&format!("{key} is missing")]);
    }
}

#[test]
fn a_block_that_is_missing_whole_is_named() {
    let bench = weights_only();
    bench.broken(|name, tensor| (!name.starts_with("blocks.0.")).then_some(tensor));
    bench.refuses("broken.safetensors", &[], &["blocks.0.", "missing"]);
    // A block number far beyond the others is no depth.
    let mut far = String::new();
    for number in ["1000000000", "18446744073709551615"] {
        far.clone_from(&format!("blocks.{number}.norm1.weight"));
        let mut weights = mimbench::vit::random_weights(&tiny(), 1);
        let shape = vec![64];
        let data = vec![1.0; 64];
        weights.insert(far.clone(), HostTensor { shape, data });
        mimbench::checkpoint::save(&bench.path("broken.safetensors"), &weights).unwrap();
        let all = ["--set", "task.layers=all"];
        let args = [
            "knn",
            "--quiet",
            "--data",
            "data",
            "--ckpt",
            "broken.safetensors",
        ];
        bench
            .run(&[&args[..], &all].concat())
            .refused(&["blocks.2.", "missing"]);
    }
}

#[test]
fn a_shape_that_does_not_fit_is_shown_with_the_one_that_does() {
    let bench = Bench::new();
    bench.broken(|name, mut tensor| {
        if name == "blocks.1.mlp.fc2.weight" {
            tensor.shape = vec![128, 64];
        }
        Some(tensor)
    });
    let said = ["blocks.1.mlp.fc2.weight", "[128, 64]", "[64, 128]"];
    bench.refuses("broken.safetensors", &[], &said);
    bench.broken(|name, mut tensor| {
        if name == "pos_embed" {
            tensor.shape = vec![1, 4, 80];
        }
        Some(tensor)
    });
    bench.refuses(
        "broken.safetensors",
        &[],
        &["pos_embed", "[1, 4, 80]", "[1, 4, 64]"],
    );
    bench.broken(|name, mut tensor| {
        if name == "pos_embed" {
            tensor.shape = vec![5, 64];
        }
        Some(tensor)
    });
    bench.refuses("broken.safetensors", &[], &["pos_embed", "[5, 64]"]);
}

#[test]
fn weights_that_are_no_numbers_are_named_with_their_place() {
    let bench = weights_only();
    for (value, said) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        bench.broken(|name, mut tensor| {
            if name == "blocks.1.attn.proj.weight" {
                tensor.data[77] = value;
            }
            Some(tensor)
        });
        let said = [&format!("blocks.1.attn.proj.weight holds {said} at element 77") as &str];
        bench.refuses("broken.safetensors", &[], &said);
    }
}

#[test]
fn unknown_keys_are_named_and_left_out_only_on_request() {
    let bench = Bench::new();
    let mut weights = mimbench::vit::random_weights(&tiny(), 1);
    for key in ["blocks.0.ls3.gamma", "blocks.1.ls3.gamma"] {
        let (shape, data) = (vec![64], vec![1.0; 64]);
        weights.insert(key.to_owned(), HostTensor { shape, data });
    }
    mimbench::checkpoint::save(&bench.path("scaled.safetensors"), &weights).unwrap();
    let both = ["2 key(s)", "blocks.0.ls3.gamma", "blocks.1.ls3.gamma"];
    bench.refuses("scaled.safetensors", &[], &both);
    let one = ["1 key(s)", "blocks.1.ls3.gamma"];
    bench.refuses(
        "scaled.safetensors",
        &["--ignore-key", "blocks.0.*.gamma"],
        &one,
    );
    let ignore = ["--ignore-key", "*.gamma"];
    let table = bench.knn_of(&["scaled.safetensors"], &ignore).ok();
    assert!(table.stdout.contains("* ["), "{}", table.stdout);
    assert!(
        table
            .stdout
            .contains("key blocks.0.ls3.gamma left out on request")
    );
    let records = bench
        .knn_of(
            &["scaled.safetensors"],
            &[&ignore[..], &["--json"]].concat(),
        )
        .records();
    let ignored = &records[0]["subject"]["ignored_keys"];
    assert_eq!(
        ignored,
        &serde_json::json!(["blocks.0.ls3.gamma", "blocks.1.ls3.gamma"])
    );
}

#[test]
fn of_two_final_norms_one_is_chosen_as_the_hint_says() {
    let bench = Bench::new();
    let mut weights = mimbench::vit::random_weights(&tiny(), 1);
    for key in ["fc_norm.weight", "fc_norm.bias"] {
        let (shape, data) = (vec![64], vec![1.0; 64]);
        weights.insert(key.to_owned(), HostTensor { shape, data });
    }
    mimbench::checkpoint::save(&bench.path("both.safetensors"), &weights).unwrap();
    bench.refuses("both.safetensors", &[], &["norm and fc_norm"]);
    for (ignore, feature) in [("fc_norm.*", "cls"), ("norm.*", "mean_patch")] {
        let more = ["--json", "--ignore-key", ignore];
        let records = bench.knn_of(&["both.safetensors"], &more).records();
        let found = records[0]["measures"][0]["feature"].as_str().unwrap();
        assert_eq!(found, format!("block 1 {feature} norm"));
    }
}

#[test]
fn heads_are_told_or_divide() {
    let bench = weights_only();
    let said = ["5 heads (--heads) do not divide the width 64"];
    bench.refuses("tiny.safetensors", &["--heads", "5"], &said);
    bench.refuses("tiny.safetensors", &["--heads", "0"], &["0 heads"]);
    let narrow = VitConfig {
        width: 48,
        heads: Heads::same(3, 2),
        ..tiny()
    };
    bench.model("narrow.safetensors", &narrow, 1);
    bench.refuses(
        "narrow.safetensors",
        &[],
        &["width 48 is no multiple of 64"],
    );
    bench
        .run(&["inspect", "narrow.safetensors", "--heads", "3"])
        .ok();
}

#[test]
fn a_vit_that_is_not_pre_norm_is_refused_by_name() {
    let bench = weights_only();
    bench.write("config.json", r#"{"norm_position": "post"}"#);
    let said = ["tiny.safetensors is not a pre-norm ViT", "norm_position"];
    bench.refuses("tiny.safetensors", &[], &said);
    bench.write("config.json", r#"{"norm_position": "pre"}"#);
    bench.run(&["inspect", "tiny.safetensors"]).ok();
    let Some(folder) = shared("data/weights/agentzz1_mnist_vit") else {
        return;
    };
    let weights = folder.join("timm_names.safetensors");
    bench.refuses(
        weights.to_str().unwrap(),
        &[],
        &["agentzz1_mnist_vit", "not a pre-norm ViT"],
    );
}

#[test]
fn a_config_json_that_is_malformed_or_of_another_model_is_refused() {
    let bench = weights_only();
    for (config, said) in [
        ("{", "EOF"),
        (
            r#"{"num_heads": "two"}"#,
            "num_heads must be a positive integer",
        ),
        (r#"{"hidden_act": "relu"}"#, "relu"),
        (
            r#"{"model_args": {"block_fn": "Parallel"}}"#,
            "model_args.block_fn",
        ),
        (
            r#"{"model_args": {"qk_norm": true}}"#,
            "with norms of queries and keys, the weights lack it",
        ),
        (
            r#"{"qkv_bias": false}"#,
            "without a bias of queries, keys and values",
        ),
        (
            r#"{"mean": [0.5, "x", 0.5]}"#,
            "mean must be a list of numbers",
        ),
        (r#"{"hidden_size": 768}"#, "width 768, the weights have 64"),
        (
            r#"{"num_hidden_layers": 12}"#,
            "depth 12, the weights have 2",
        ),
        (r#"{"patch_size": 16}"#, "patch size 16, the weights have 4"),
        (r#"{"num_channels": 1}"#, "channels 1, the weights have 3"),
        (r#"{"image_size": 64}"#, "64 x 64"),
        (r#"{"mean": [0.5]}"#, "3 input channels"),
        (r#"{"std": [0.5, 0.0, 0.5]}"#, "std [0.5, 0.0, 0.5]"),
    ] {
        bench.write("config.json", config);
        bench.refuses("tiny.safetensors", &[], &[said]);
    }
}

#[test]
fn a_card_is_strict() {
    let bench = weights_only();
    let card = |more: &str| {
        let file = "[file]\npath = \"tiny.safetensors\"\n";
        bench.write("card.toml", format!("name = \"Card\"\n{file}{more}"));
    };
    card("[model]\nheadz = 3\n");
    bench.refuses("card.toml", &[], &["card.toml", "line 5", "headz"]);
    card(&format!("blake3 = \"{}\"\n", "0".repeat(64)));
    let found = blake3::hash(&std::fs::read(bench.path("tiny.safetensors")).unwrap());
    let found = found.to_string();
    bench.refuses(
        "card.toml",
        &[],
        &["tiny.safetensors", &found, "0000000000"],
    );
    card("[input]\nsize = [18, 16]\n");
    bench.refuses("card.toml", &[], &["18 x 16", "patches of 4"]);
    bench.write(
        "card.toml",
        "name = \"Card\"\n[file]\npath = \"gone.safetensors\"\n",
    );
    bench.refuses("card.toml", &[], &["gone.safetensors"]);
    card(&format!("blake3 = \"{}\"\n", found.to_uppercase()));
    let inspected = bench.run(&["inspect", "--json", "card.toml"]).ok();
    assert!(inspected.stdout.contains(&found));
}

#[test]
fn a_dataset_that_cannot_be_evaluated_is_refused() {
    let bench = weights_only();
    let refused = |said: &[&str]| bench.knn_refused(&[], said);
    refused(&["data is not a directory"]);
    std::fs::create_dir(bench.path("data")).unwrap();
    refused(&["data has no train split"]);
    bench.write("data/cars/train/ant/0.png", noisy_png(0, 0, 8, 100));
    let nested = bench.knn(&["--quiet"]);
    assert!(
        nested.stderr.contains("hint: data/cars has one"),
        "{nested:?}"
    );
    bench.write("data/train/ant/0.png", noisy_png(0, 0, 8, 100));
    refused(&["data has no val split"]);
    std::fs::create_dir(bench.path("data/val")).unwrap();
    refused(&["data/val has no images"]);
    bench.write("data/val/wasp/0.png", noisy_png(0, 1, 8, 100));
    refused(&["wasp", "no training images"]);
    std::fs::rename(bench.path("data/val/wasp"), bench.path("data/val/ant")).unwrap();
    bench.write("data/train/bee/notes.txt", "no image");
    refused(&["bee", "no images"]);
    let unset = bench.run(&["knn", "--quiet", "--ckpt", "tiny.safetensors"]);
    unset.refused(&["$MIMBENCH_DATA", "imagenet-1k"]);
    let mut elsewhere = bench.command(&["knn", "--quiet", "--ckpt", "tiny.safetensors"]);
    let elsewhere = Run::of(elsewhere.env("MIMBENCH_DATA", "/nowhere"));
    elsewhere.refused(&["/nowhere/imagenet-1k"]);
}

/// A PNG whose header claims 100,000 x 100,000 pixels.
fn bomb() -> Vec<u8> {
    let mut bytes = noisy_png(0, 0, 8, 100);
    let side = 100_000u32.to_be_bytes();
    bytes[16..24].copy_from_slice(&[side, side].concat());
    let mut crc = u32::MAX;
    for byte in &bytes[12..29] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

#[test]
fn an_image_that_does_not_decode_stops_or_is_counted() {
    let bench = Bench::new();
    let good = noisy_png(1, 7, 8, 100);
    for (image, said) in [
        (b"no image at all".to_vec(), "not an image"),
        (good[..good.len() / 2].to_vec(), "truncated"),
        (Vec::new(), "empty"),
        (bomb(), "100000 x 100000"),
    ] {
        bench.write("data/train/bee/3.png", &image);
        bench.write("data/val/cat/1.png", &image);
        let results = ["--results", said];
        let stopped = || {
            let stopped = bench.knn(&[&["--quiet"], &results[..]].concat());
            stopped.refused(&["data/train/bee/3.png", said]);
            let files = bench.files(said);
            let unfinished = |name: &&String| name.ends_with(".json") || name.ends_with(".tmp");
            assert_eq!(files.keys().find(unfinished), None);
        };
        stopped();
        let skip = [&results[..], &["--on-bad-image", "skip"]].concat();
        let table = bench.knn(&skip).ok();
        assert!(table.stdout.contains("‡"), "{}", table.stdout);
        let note = "1 of 24 train images could not be decoded and are left out";
        assert!(table.stdout.contains(note), "{}", table.stdout);
        let records = bench.knn(&[&skip[..], &["--json"]].concat()).records();
        let data = &records[0]["data"];
        assert_eq!(
            (&data["train"]["images"], &data["train"]["skipped"]),
            (&24.into(), &1.into())
        );
        assert_eq!(
            (&data["val"]["images"], &data["val"]["skipped"]),
            (&12.into(), &1.into())
        );
        assert_eq!(records[0]["measures"][0]["n"], 11);
        // What was skipped on request is not forgotten without it.
        let record = bench.files(said);
        let again = bench.knn(&[&["--quiet"], &results[..]].concat());
        again.refused(&["data/train/bee/3.png", said]);
        let records = |files: std::collections::BTreeMap<String, String>| {
            let json = |(name, _): &(String, String)| name.ends_with(".json");
            files.into_iter().filter(json).collect::<Vec<_>>()
        };
        assert_eq!(records(bench.files(said)), records(record));
    }
}

#[test]
fn a_dataset_without_one_good_image_has_no_row() {
    let bench = weights_only();
    for class in CLASSES {
        bench.write(&format!("data/train/{class}/0.png"), "none");
        bench.write(&format!("data/val/{class}/0.png"), "none");
    }
    let skip = ["--quiet", "--on-bad-image", "skip"];
    bench.knn(&skip).refused(&["none of the 3 images"]);
    let args = [
        "features",
        "--ckpt",
        "tiny.safetensors",
        "--images",
        "data/train",
        "--out",
        "f",
    ];
    bench
        .run(&[&args, &skip[..]].concat())
        .refused(&["none of the 3 images"]);
    assert!(!bench.path("f").exists());
}

#[test]
fn results_that_cannot_be_written_are_refused_before_any_image_is_encoded() {
    let bench = Bench::new();
    bench.write("file", "in the way");
    bench.knn_refused(&["--results", "file"], &["file", "cannot create"]);
    bench.knn_refused(&["--results", "file/below"], &["file/below"]);
    let before = bench.files("store");
    let store = bench.knn(&["--quiet", "--store", "file"]);
    store.refused(&["cannot create", "file"]);
    assert_eq!(bench.files("store"), before);
    assert_eq!(std::fs::read(bench.path("file")).unwrap(), b"in the way");
}

const PROTOCOL: &str = "kind = \"knn\"\nname = \"mine\"\nversion = 1\n";

#[test]
fn a_protocol_file_is_strict() {
    let bench = Bench::new();
    for (text, said) in [
        ("[task]\nkk = [20]\n", &["p.toml", "line 5", "kk"][..]),
        ("[taks]\n", &["p.toml", "line 4", "taks"]),
        (
            "[task]\nvote = \"loudest\"\n",
            &["p.toml", "line 5", "loudest"],
        ),
        ("[task]\nk = 20\n", &["p.toml", "line 5"]),
        ("[task]\nk = []\n", &["mine", "task.k", "[]"]),
        ("[task]\nk = [0, 20]\n", &["mine", "task.k"]),
        ("[task]\nk = [20, 5, 20]\n", &["mine", "task.k", "20 twice"]),
        (
            "[task]\nk = [1, 5]\n",
            &["mine", "task.headline", "20", "[1, 5]"],
        ),
        ("[task]\ntemperature = 0.0\n", &["mine", "task.temperature"]),
        ("[task]\nlayers = []\n", &["mine", "task.layers"]),
        (
            "[task]\nlayers = [1, 1]\n",
            &["mine", "task.layers", "block 1 twice"],
        ),
        ("[task]\nlayers = \"most\"\n", &["p.toml", "line 5"]),
        ("[task\n", &["p.toml", "line 4"]),
    ] {
        bench.write("p.toml", format!("{PROTOCOL}{text}"));
        bench.knn_refused(&["--protocol", "p.toml"], said);
    }
    bench.write("p.toml", PROTOCOL.replace("\"knn\"", "\"linear\""));
    bench.knn_refused(
        &["--protocol", "p.toml"],
        &["p.toml", "\"linear\"", "\"knn\""],
    );
    bench.write("p.toml", "name = \"mine\"\nversion = 1\n");
    bench.knn_refused(&["--protocol", "p.toml"], &["p.toml", "kind"]);
    bench.knn_refused(&["--protocol", "gone.toml"], &["gone.toml"]);
}

#[test]
fn a_protocol_extends_one_other() {
    let bench = Bench::new();
    bench.write(
        "base.toml",
        format!("{PROTOCOL}[task]\nk = [1, 3]\nheadline = 3\n"),
    );
    let over = PROTOCOL.replace("version", "extends = \"base.toml\"\nversion");
    bench.write("over.toml", format!("{over}[task]\nheadline = 1\n"));
    let records = bench.knn(&["--json", "--protocol", "over.toml"]).records();
    let task: toml::Table =
        toml::from_str(records[0]["protocol"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(task["task"]["k"], toml::Value::from(vec![1, 3]));
    assert_eq!(task["task"]["headline"], toml::Value::from(1));
    bench.write("chain.toml", over.replace("base.toml", "over.toml"));
    bench.knn_refused(&["--protocol", "chain.toml"], &["over.toml", "extends"]);
    bench.write("lost.toml", over.replace("base.toml", "gone.toml"));
    bench.knn_refused(&["--protocol", "lost.toml"], &["gone.toml"]);
}

#[test]
fn a_setting_that_cannot_be_applied_is_refused() {
    let bench = Bench::new();
    for (setting, said) in [
        ("task.k", "needs key=value"),
        ("=3", "names no key"),
        ("task.neighbours=[3]", "neighbours"),
        ("task.vote=loudest", "loudest"),
        ("task.k=twenty", "twenty"),
        ("task.k.first=1", "no table"),
        ("task.k=[1]", "headline"),
    ] {
        bench.knn_refused(&["--set", setting], &[said]);
    }
    for (setting, said) in [
        ("task.layers=[2]", "fewer blocks"),
        ("input.resize=card", "tiny"),
    ] {
        bench.knn_refused(&["--set", setting], &[said]);
    }
    let nameless = VitConfig {
        class_token: false,
        positions: Some(0),
        ..tiny()
    };
    bench.model("tiny.safetensors", &nameless, 1);
    bench.knn_refused(&["--set", "task.feature=cls"], &["no class token"]);
}

#[test]
fn hints_name_only_what_there_is() {
    let bench = Bench::new();
    let outside = bench.knn(&["--quiet", "--set", "task.layers=[2]"]);
    let hint = outside.stderr.split("hint: ").nth(1).unwrap();
    let help = bench.run(&["knn", "--help"]).ok().stdout;
    for flag in hint
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
    {
        assert!(help.contains(flag), "{flag} is no flag of knn: {hint}");
    }
}

#[test]
fn pixels_that_are_no_input_are_refused() {
    let bench = weights_only();
    let pixels = |shape: &[usize], value: f32| {
        let mut tensors = mimbench::nn::Weights::default();
        let mut data = vec![0.5; shape.iter().product()];
        data.last_mut().into_iter().for_each(|last| *last = value);
        let shape = shape.to_vec();
        tensors.insert("images".to_owned(), HostTensor { shape, data });
        mimbench::checkpoint::save(&bench.path("pixels.safetensors"), &tensors).unwrap();
    };
    let refused = |file: &str, said: &[&str]| {
        let before = bench.files("");
        let args = [
            "features",
            "--ckpt",
            "tiny.safetensors",
            "--out",
            "f",
            "--pixels",
            file,
        ];
        bench.run(&[&args[..], &["--quiet"]].concat()).refused(said);
        assert_eq!(bench.files(""), before);
    };
    for shape in [&[2, 3, 8, 9][..], &[2, 1, 8, 8], &[3, 8, 8], &[0, 3, 8, 8]] {
        pixels(shape, 0.5);
        let shown = format!("{shape:?}");
        refused("pixels.safetensors", &["images", &shown]);
    }
    pixels(&[2, 3, 8, 8], f32::NAN);
    refused("pixels.safetensors", &["images holds NaN at element 383"]);
    pixels(&[2, 3, 8, 8], 0.5);
    refused("pixels.safetensors:labels", &["labels"]);
    refused("gone.safetensors", &["gone.safetensors"]);
    refused("tiny.safetensors", &["several tensors"]);
    let args = [
        "features",
        "--quiet",
        "--ckpt",
        "tiny.safetensors",
        "--out",
        "new/f",
    ];
    let args = [&args[..], &["--pixels", "pixels.safetensors:images"]].concat();
    // A folder that is missing is made; a file in its place is an error.
    bench.run(&args).ok();
    assert_eq!(bench.files("new").len(), 1);
    bench.write("file", "in the way");
    let args: Vec<_> = args
        .iter()
        .map(|arg| arg.replace("new/f", "file/f"))
        .collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    bench.run(&args).refused(&["file"]);
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let bench = Bench::empty();
    let data = ["knn", "--data", "data", "--ckpt", "x"];
    for args in [
        &["knnn"][..],
        &["knn"],
        &["knn", "--data", "data"],
        &["inspect"],
        &["features", "--ckpt", "x", "--out", "f"],
        &[
            "features", "--ckpt", "x", "--out", "f", "--images", "i", "--pixels", "p",
        ],
        &[&data[..], &["--batch", "0"]].concat(),
        &[&data[..], &["--limit", "0"]].concat(),
        &[&data[..], &["--threads", "0"]].concat(),
        &[&data[..], &["--save-every", "61"]].concat(),
        &[&data[..], &["--engine", "abacus"]].concat(),
        &[&data[..], &["--json", "--csv"]].concat(),
        &[&data[..], &["--no-such-flag"]].concat(),
    ] {
        let run = bench.run(args);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        let error = run.stderr.starts_with("error: ") && run.stderr.contains("try '--help'");
        assert!(error, "{args:?}: {}", run.stderr);
    }
    let nothing = bench.run(&[]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(2), ""));
    assert!(nothing.stderr.contains("Usage: mimbench"));
    assert!(bench.files("").is_empty());
}

#[test]
fn a_record_that_does_not_parse_is_written_again() {
    let bench = Bench::new();
    let before = bench.knn(&["--json"]).records();
    let name = bench.files("results/records").into_keys();
    let name = name
        .into_iter()
        .find(|name| name.ends_with(".json"))
        .unwrap();
    bench.write(&name, "{\"schema\": 1");
    let after = bench.knn(&["--json"]).records();
    assert_eq!(headline(&before[0], "top1"), headline(&after[0], "top1"));
    assert_eq!(after[0]["compute"]["encoded"], 0);
}
