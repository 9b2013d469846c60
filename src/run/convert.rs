//! `mimbench convert`: a checkpoint under timm's names and a card beside it, or as it is.

use std::path::{Path, PathBuf};

use super::pair::Pair;
use super::{Terminal, dispatch};
use crate::checkpoint::card::Card;
use crate::checkpoint::source::TensorSource;
use crate::checkpoint::{Checkpoint, ConvertError, LoadOptions, TimmModel, save_original};
use crate::error::Error;
use crate::features::Observer;

/// What was written.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Tensors in the file.
    pub tensors: usize,
    /// Python that loads it in timm, under timm's names.
    pub python: Option<String>,
}

/// Writes a checkpoint under timm's names to `output`, and its card beside it.
pub fn timm(
    input: &Path,
    output: &Path,
    force: bool,
    load: &LoadOptions,
    terminal: &mut Terminal,
) -> Result<Converted, Error> {
    let card = output.with_extension("toml");
    vacant(input, &[output, &card], force)?;
    let checkpoint = Checkpoint::open(input, load)?;
    not_onto(output, checkpoint.files())?;
    if same_file(&card, input) || same_file(&card, &checkpoint.path.with_extension("toml")) {
        return Err(ConvertError::OntoCard { path: card }.into());
    }
    for choice in &checkpoint.choices {
        terminal.notice(&format!("{}: {choice}", choice.field));
    }
    dispatch::check(&checkpoint)?;
    let model = TimmModel::of(&checkpoint)?;
    Pair::beside(output).write(
        output,
        &|path| model.write(path),
        &|path| model.card(path),
        &|again| model.difference(again),
    )?;
    terminal.notice(&format!(
        "{}: {} tensors of timm's {}; {} says what they are",
        output.display(),
        model.tensors(),
        model.class(),
        card.display()
    ));
    for note in model.notes() {
        terminal.notice(&note);
    }
    Ok(Converted {
        tensors: model.tensors(),
        python: Some(model.python(output)),
    })
}

/// Writes the tensors of any file as they are to `output`.
pub fn original(
    input: &Path,
    output: &Path,
    force: bool,
    load: &LoadOptions,
    terminal: &mut Terminal,
) -> Result<Converted, Error> {
    let LoadOptions {
        key, ignore_keys, ..
    } = load;
    let used = LoadOptions {
        key: key.clone(),
        ignore_keys: ignore_keys.clone(),
        ..LoadOptions::default()
    };
    if *load != used {
        return Err(Error::Usage {
            message: "--names original does not look at what the tensors mean".to_owned(),
            hint: "of the options that say how a checkpoint is read, it has --key and --ignore-key"
                .to_owned(),
        });
    }
    vacant(input, &[output], force)?;
    let source = TensorSource::open(&weights(input)?)?;
    not_onto(output, source.files())?;
    let tensors = save_original(&source, key.as_deref(), ignore_keys, output)?;
    for other in source.others() {
        terminal.notice(&format!("left out: {other}, which is no tensor"));
    }
    Ok(Converted {
        tensors,
        python: None,
    })
}

/// The weights that a card names, or the file itself.
fn weights(input: &Path) -> Result<PathBuf, Error> {
    Ok(match input.extension() {
        Some(extension) if extension == "toml" => Card::read(input)?.weights(input)?,
        _ => input.to_owned(),
    })
}

/// An error where the output has another format's name, or something is in its place.
fn vacant(input: &Path, paths: &[&Path], force: bool) -> Result<(), ConvertError> {
    let path = paths[0].to_owned();
    not_onto(&path, std::iter::once(input))?;
    if path.extension().is_none_or(|x| x != "safetensors") {
        return Err(ConvertError::Extension { path });
    }
    match paths.iter().find(|path| !force && path.exists()) {
        None => Ok(()),
        Some(path) => Err(ConvertError::Exists {
            path: path.to_path_buf(),
        }),
    }
}

fn not_onto<'a>(
    output: &Path,
    mut files: impl Iterator<Item = &'a Path>,
) -> Result<(), ConvertError> {
    match files.any(|file| same_file(file, output)) {
        false => Ok(()),
        true => Err(ConvertError::OntoInput {
            path: output.to_owned(),
        }),
    }
}

/// Whether both are there and are one.
fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
