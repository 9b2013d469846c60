//! `mimbench features`: embeddings for anyone's own use, in one safetensors file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Terminal, dispatch};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::source::TensorSource;
use crate::data::{InputSpec, Split};
use crate::engine::{Compute, HostTensor};
use crate::error::Error;
use crate::features::{Ask, ExtractError, Outputs, PassOptions, Sink, Tap, Token, pass};
use crate::store::{Elements, NamedTensor, TensorFile};
use crate::vit::FinalNorm;

/// Where the pixels come from.
#[derive(Clone, Debug)]
pub enum PixelSource {
    /// Image files, brought to the input by this spec.
    Images(PathBuf, InputSpec),
    /// A tensor `[B, C, H, W]`, normalised already; its key where the file has several.
    Tensor(PathBuf, Option<String>),
}

/// What is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// `embed` and `block.i` of every block.
    pub layers: bool,
    /// `attn.i` of every block.
    pub attention: bool,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// Names and shapes, in the file's order.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// Images in the folder, or in the tensor.
    pub images: usize,
    /// Of these, images left out because they could not be decoded.
    pub skipped: usize,
}

/// Encodes the source and writes `out`, which appears once it is complete.
pub fn run(
    checkpoint: &mut Checkpoint,
    source: &PixelSource,
    wanted: Wanted,
    out: &Path,
    compute: Compute,
    options: &PassOptions,
    terminal: &mut Terminal,
) -> Result<Written, Error> {
    let file = TensorFile::create(out)?;
    let encoder = dispatch::encoder(checkpoint, compute)?;
    let (names, taps): (Vec<_>, Vec<_>) = taps(checkpoint, wanted).into_iter().unzip();
    let mut collected = Collected {
        tensors: vec![None; taps.len()],
        images: Vec::new(),
    };
    let mut extra = Vec::new();
    let images;
    let mut skipped = 0;
    let mut metadata = BTreeMap::from([
        ("checkpoint".to_owned(), checkpoint.blake3.clone()),
        ("format".to_owned(), "pt".to_owned()),
        ("heads".to_owned(), checkpoint.config.heads.to_string()),
    ]);
    match source {
        PixelSource::Images(folder, spec) => {
            let (split, classes) = Split::folder(folder)?;
            terminal.begin(&checkpoint.name);
            let mut asks = [Ask {
                taps,
                sink: &mut collected,
            }];
            let all = 0..split.samples.len();
            let encoded = pass(
                encoder.as_ref(),
                &split,
                spec,
                &[all],
                options,
                &mut asks,
                terminal,
            );
            terminal.end();
            encoded?;
            images = split.samples.len();
            if collected.images.is_empty() {
                return Err(ExtractError::NothingLeft(images, split.name).into());
            }
            skipped = images - collected.images.len();
            extra = image_tensors(&split, &classes, &collected.images);
            let input = serde_json::to_string(spec).unwrap_or_default();
            metadata.insert("input".to_owned(), input);
            metadata.insert("classes".to_owned(), classes.join("\n"));
        }
        PixelSource::Tensor(path, key) => {
            let pixels = pixel_tensor(checkpoint, path, key.as_deref())?;
            images = pixels.shape[0];
            let image = pixels.data.len() / images;
            for batch in pixels.data.chunks(image * options.batch) {
                let outputs = encoder.encode(batch, batch.len() / image, &taps)?;
                collected.append(&outputs.iter().collect::<Vec<_>>());
            }
        }
    }
    let mut tensors: Vec<_> = names
        .into_iter()
        .zip(&collected.tensors)
        .filter_map(|(name, tensor)| {
            let tensor = tensor.as_ref()?;
            Some(NamedTensor {
                name,
                shape: tensor.shape.clone(),
                elements: Elements::F32((&tensor.data).into()),
            })
        })
        .collect();
    if let Some(tensor) = tensors.iter().find(|tensor| !tensor.is_finite()) {
        return Err(Error::Usage {
            message: format!("{} is not finite", tensor.name),
            hint: "the checkpoint overflows on these pixels: are they normalised?".to_owned(),
        });
    }
    tensors.extend(extra);
    file.write(&tensors, &metadata)?;
    let tensors = tensors
        .into_iter()
        .map(|tensor| (tensor.name, tensor.shape));
    Ok(Written {
        tensors: tensors.collect(),
        images,
        skipped,
    })
}

/// Labels, where there are any, and file names (bytes, newline between two) of encoded images.
fn image_tensors(split: &Split, classes: &[String], images: &[usize]) -> Vec<NamedTensor<'static>> {
    let samples = || images.iter().map(|&image| &split.samples[image]);
    let files: Vec<&str> = samples().map(|sample| sample.path.as_str()).collect();
    let files = files.join("\n").into_bytes();
    let mut tensors = Vec::new();
    if !classes.is_empty() {
        let labels: Vec<i64> = samples().map(|sample| sample.label.into()).collect();
        tensors.push(NamedTensor {
            name: "labels".to_owned(),
            shape: vec![labels.len()],
            elements: Elements::I64(labels.into()),
        });
    }
    tensors.push(NamedTensor {
        name: "files".to_owned(),
        shape: vec![files.len()],
        elements: Elements::U8(files.into()),
    });
    tensors
}

/// Names in the file and what they hold, for what the architecture has.
fn taps(checkpoint: &Checkpoint, wanted: Wanted) -> Vec<(String, Tap)> {
    let config = &checkpoint.config;
    let last = config.depth.saturating_sub(1);
    let pooled = |token, norm| Tap::Pooled {
        layer: last,
        token,
        norm,
    };
    let over_tokens = config.final_norm.over_tokens();
    let mut taps = Vec::new();
    if config.class_token {
        taps.push(("cls".to_owned(), pooled(Token::Cls, over_tokens)));
    }
    taps.push((
        "mean_patch".to_owned(),
        pooled(Token::MeanPatch, over_tokens),
    ));
    if config.pooler.is_some() {
        taps.push(("pooled".to_owned(), pooled(Token::Pooled, true)));
    } else if config.final_norm == FinalNorm::MeanPatch {
        taps.push(("pooled".to_owned(), pooled(Token::MeanPatch, true)));
    }
    taps.push(("tokens".to_owned(), Tap::Tokens));
    if wanted.layers {
        taps.push(("embed".to_owned(), Tap::Embed));
        taps.extend((0..config.depth).map(|i| (format!("block.{i}"), Tap::Block(i))));
    }
    if wanted.attention {
        taps.extend((0..config.depth).map(|i| (format!("attn.{i}"), Tap::Attention(i))));
    }
    taps
}

/// Keeps everything in memory: the features are what the user asked for.
struct Collected {
    tensors: Vec<Option<HostTensor>>,
    images: Vec<usize>,
}

impl Collected {
    fn append(&mut self, outputs: &[&HostTensor]) {
        for (kept, output) in self.tensors.iter_mut().zip(outputs) {
            match kept {
                Some(kept) => {
                    kept.shape[0] += output.shape[0];
                    kept.data.extend_from_slice(&output.data);
                }
                None => *kept = Some((*output).clone()),
            }
        }
    }
}

impl Sink for Collected {
    fn wants(&self, _: usize) -> bool {
        true
    }

    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError> {
        let decoded = outputs
            .images
            .iter()
            .filter(|image| image.skipped.is_none());
        let before = self.images.len();
        self.images.extend(decoded.map(|image| image.index));
        if self.images.len() > before {
            self.append(&outputs.taps);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ExtractError> {
        Ok(())
    }
}

/// Pixels of the checkpoint's input: `[B, C, H, W]`.
fn pixel_tensor(
    checkpoint: &Checkpoint,
    path: &Path,
    key: Option<&str>,
) -> Result<HostTensor, Error> {
    let source = TensorSource::open(path)?;
    let usage = |message: String| Error::Usage {
        message,
        hint: format!(
            "--pixels FILE:KEY; {} holds {}",
            path.display(),
            source
                .entries()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let key = match (key, source.entries().len()) {
        (Some(key), _) => key,
        (None, 1) => source.entries().keys().next().map_or("", String::as_str),
        (None, _) => return Err(usage(format!("{} holds several tensors", path.display()))),
    };
    let pixels = source
        .tensor(key)
        .ok_or_else(|| usage(format!("no tensor {key}")))??;
    let config = &checkpoint.config;
    let [height, width] = config.input_size();
    let &[images, channels, rows, columns] = pixels.shape.as_slice() else {
        return Err(usage(format!(
            "{key} has shape {:?}, pixels are [B, C, H, W]",
            pixels.shape
        )));
    };
    if [channels, rows, columns] != [config.channels, height, width] || images == 0 {
        return Err(usage(format!(
            "{key} has shape {:?}, the checkpoint takes [B, {}, {height}, {width}]; --input-size changes that",
            pixels.shape, config.channels
        )));
    }
    if let Some(at) = pixels.data.iter().position(|x| !x.is_finite()) {
        let value = pixels.data[at];
        return Err(usage(format!("{key} holds {value} at element {at}")));
    }
    source.check_unchanged()?;
    Ok(pixels)
}
