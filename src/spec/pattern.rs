//! Several protocols by the names or patterns of their files.

use std::path::PathBuf;

use super::{Protocol, SpecError};

impl Protocol {
    /// The protocols of all files that `patterns` name, in order; a pattern is a path or has `*`,
    /// `?` or `[...]` in it, whose files come in the order of their names.
    ///
    /// # Errors
    /// A pattern without files, a file that is named twice, and those of [`Protocol::read`].
    pub fn read_all(patterns: &[String]) -> Result<Vec<Self>, SpecError> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for pattern in patterns {
            paths.extend(files(pattern)?);
        }
        let mut protocols: Vec<(PathBuf, Self)> = Vec::new();
        for path in paths {
            let protocol = Self::read(&path, None, &[])?;
            let twin = |(_, other): &&(PathBuf, Self)| other.hash == protocol.hash;
            if let Some((other, _)) = protocols.iter().find(twin) {
                return Err(SpecError::Twice {
                    path,
                    other: other.clone(),
                });
            }
            protocols.push((path, protocol));
        }
        Ok(protocols
            .into_iter()
            .map(|(_, protocol)| protocol)
            .collect())
    }
}

fn files(pattern: &str) -> Result<Vec<PathBuf>, SpecError> {
    let wrong = |reason: String| SpecError::Pattern {
        pattern: pattern.to_owned(),
        reason,
    };
    // A file whose name happens to be a pattern is that file.
    if !pattern.contains(['*', '?', '[']) || PathBuf::from(pattern).is_file() {
        return Ok(vec![pattern.into()]);
    }
    let found = glob::glob(pattern).map_err(|error| wrong(error.to_string()))?;
    let mut files = Vec::new();
    for file in found {
        let file = file.map_err(|error| wrong(error.to_string()))?;
        files.extend(file.is_file().then_some(file));
    }
    if files.is_empty() {
        return Err(wrong("matches no file".to_owned()));
    }
    Ok(files)
}
