//! `mimbench features`: embeddings for anyone's own use, in one safetensors file.

use std::path::{Path, PathBuf};

use super::{Terminal, dispatch};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::source::TensorSource;
use crate::data::{InputSpec, Split};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::features::{Ask, Encoder, ExtractError, Outputs, Sink, Tap, Token, pass};
use crate::plan::RunOptions;
use crate::store::{Elements, NamedTensor, write_tensors};
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

/// Encodes the source and writes `out`; returns names and shapes of what was written.
pub fn run(
    checkpoint: &mut Checkpoint,
    source: &PixelSource,
    wanted: Wanted,
    out: &Path,
    options: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Vec<(String, Vec<usize>)>, Error> {
    let encoder = dispatch::encoder(checkpoint, options.engine, options.precision)?;
    let taps = taps(checkpoint, wanted);
    let mut collected = Collected {
        tensors: vec![None; taps.len()],
        images: Vec::new(),
    };
    let mut extra = Vec::new();
    match source {
        PixelSource::Images(folder, spec) => {
            let (split, classes) = Split::folder(folder)?;
            terminal.begin(&checkpoint.name);
            let mut asks = [Ask {
                taps: taps.iter().map(|(_, tap)| *tap).collect(),
                sink: &mut collected,
            }];
            let all = 0..split.samples.len();
            let encoded = pass(
                encoder.as_ref(),
                &split,
                spec,
                &[all],
                &options.pass,
                &mut asks,
                terminal,
            );
            terminal.end();
            encoded?;
            let kept = || collected.images.iter().map(|&image| &split.samples[image]);
            if !classes.is_empty() {
                let labels: Vec<i64> = kept().map(|sample| sample.label.into()).collect();
                extra.push(NamedTensor {
                    name: "labels".to_owned(),
                    shape: vec![labels.len()],
                    elements: Elements::I64(labels.into()),
                });
            }
            let names: Vec<&str> = kept().map(|sample| sample.path.as_str()).collect();
            let names = names.join("\n").into_bytes();
            extra.push(NamedTensor {
                name: "files".to_owned(),
                shape: vec![names.len()],
                elements: Elements::U8(names.into()),
            });
        }
        PixelSource::Tensor(path, key) => {
            encode_tensor(
                encoder.as_ref(),
                checkpoint,
                path,
                key.as_deref(),
                &taps,
                options,
                &mut collected,
            )?;
        }
    }
    let mut tensors: Vec<_> = taps
        .iter()
        .zip(&collected.tensors)
        .filter_map(|((name, _), tensor)| {
            let tensor = tensor.as_ref()?;
            Some(NamedTensor {
                name: name.clone(),
                shape: tensor.shape.clone(),
                elements: Elements::F32((&tensor.data).into()),
            })
        })
        .collect();
    tensors.extend(extra);
    let metadata = [
        ("checkpoint".to_owned(), checkpoint.blake3.clone()),
        ("heads".to_owned(), checkpoint.config.heads.to_string()),
        ("format".to_owned(), "pt".to_owned()),
    ];
    write_tensors(out, &tensors, Some(metadata.into_iter().collect()))?;
    Ok(tensors
        .into_iter()
        .map(|tensor| (tensor.name, tensor.shape))
        .collect())
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
    let over_tokens = config.final_norm == FinalNorm::Tokens;
    let mut taps = Vec::new();
    if config.class_token {
        taps.push(("cls".to_owned(), pooled(Token::Cls, over_tokens)));
    }
    taps.push((
        "mean_patch".to_owned(),
        pooled(Token::MeanPatch, over_tokens),
    ));
    if !over_tokens {
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
    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError> {
        let kept = outputs
            .images
            .iter()
            .filter(|(_, _, reason)| reason.is_none());
        self.images.extend(kept.clone().map(|(_, image, _)| *image));
        if kept.count() > 0 {
            self.append(&outputs.taps);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ExtractError> {
        Ok(())
    }
}

fn encode_tensor(
    encoder: &dyn Encoder,
    checkpoint: &Checkpoint,
    path: &Path,
    key: Option<&str>,
    taps: &[(String, Tap)],
    options: &RunOptions,
    collected: &mut Collected,
) -> Result<(), Error> {
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
            "{key} has shape {:?}, the checkpoint takes [B, {}, {height}, {width}]",
            pixels.shape, config.channels
        )));
    }
    let taps: Vec<_> = taps.iter().map(|(_, tap)| *tap).collect();
    let image = channels * rows * columns;
    for batch in pixels.data.chunks(image * options.pass.batch.max(1)) {
        let outputs = encoder.encode(batch, batch.len() / image, &taps)?;
        collected.append(&outputs.iter().collect::<Vec<_>>());
    }
    Ok(())
}
