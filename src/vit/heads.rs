//! Attention heads, block by block.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number of attention heads of each block. Most ViTs have the same everywhere; TinyMIM's last
/// block differs.
///
/// Written `12`, or `6x11,12` for eleven blocks of 6 and one of 12.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "HeadsText", try_from = "HeadsText")]
pub struct Heads(Vec<usize>);

/// What is wrong with a text that should say heads.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no number of heads")]
pub struct HeadsError(String);

impl HeadsError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        "write 12 for every block, or 6x11,12 for eleven blocks of 6 and one of 12"
    }
}

/// More blocks than any ViT has: `1x4000000000` is a slip.
const MOST_BLOCKS: usize = 1024;

impl Heads {
    /// The same in every block.
    pub fn same(heads: usize, depth: usize) -> Self {
        Self(vec![heads; depth])
    }

    /// One entry a block; a single entry stands for every block.
    pub fn over(&self, depth: usize) -> Option<Self> {
        match self.0[..] {
            [heads] => Some(Self::same(heads, depth)),
            _ => (self.0.len() == depth).then(|| self.clone()),
        }
    }

    /// Heads of block `i`.
    pub fn of(&self, block: usize) -> usize {
        self.0[block]
    }

    /// The number, where every block has the same.
    pub fn uniform(&self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().all(|heads| heads == first).then_some(*first)
    }

    /// Every block's number.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }

    /// Changes the last block's number.
    pub fn with_last(mut self, heads: usize) -> Self {
        if let Some(last) = self.0.last_mut() {
            *last = heads;
        }
        self
    }
}

impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(heads) = self.uniform() {
            return write!(f, "{heads}");
        }
        for (i, run) in self.0.chunk_by(|a, b| a == b).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match run {
                [heads] => write!(f, "{comma}{heads}")?,
                _ => write!(f, "{comma}{}x{}", run[0], run.len())?,
            }
        }
        Ok(())
    }
}

impl FromStr for Heads {
    type Err = HeadsError;

    fn from_str(text: &str) -> Result<Self, HeadsError> {
        let wrong = || HeadsError(text.to_owned());
        let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
        let mut heads = Vec::new();
        for part in text.split(',') {
            let (each, blocks) = match part.split_once('x') {
                Some((each, blocks)) => (number(each)?, number(blocks)?),
                None => (number(part)?, 1),
            };
            if blocks == 0 || blocks > MOST_BLOCKS - heads.len() {
                return Err(wrong());
            }
            heads.resize(heads.len() + blocks, each);
        }
        Ok(Self(heads))
    }
}

/// A number, or text of several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum HeadsText {
    Same(usize),
    Text(String),
}

impl From<Heads> for HeadsText {
    fn from(heads: Heads) -> Self {
        match heads.uniform() {
            Some(heads) => Self::Same(heads),
            None => Self::Text(heads.to_string()),
        }
    }
}

impl TryFrom<HeadsText> for Heads {
    type Error = HeadsError;

    fn try_from(text: HeadsText) -> Result<Self, HeadsError> {
        match text {
            HeadsText::Same(heads) => heads.to_string().parse(),
            HeadsText::Text(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Heads;

    #[test]
    fn texts_and_numbers() {
        for (text, heads) in [
            ("12", vec![12]),
            ("6x2,12", vec![6, 6, 12]),
            ("3,6", vec![3, 6]),
        ] {
            let parsed: Heads = text.parse().unwrap();
            assert_eq!(parsed.iter().collect::<Vec<_>>(), heads);
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!(Heads::same(3, 2).to_string(), "3");
        for text in ["", "x", "3x", "3x0", "3,", "-1", "1x4000000000", "1.5"] {
            let error = text.parse::<Heads>().unwrap_err();
            assert!(error.hint().contains("6x11,12"), "{text}");
        }
    }

    #[test]
    fn one_number_is_for_every_block() {
        let same: Heads = "4".parse().unwrap();
        assert_eq!(same.over(3), Some(Heads::same(4, 3)));
        let two: Heads = "4,8".parse().unwrap();
        assert_eq!(two.over(2), Some(two.clone()));
        assert_eq!(two.over(3), None);
        assert_eq!(serde_json::to_string(&two).unwrap(), "\"4,8\"");
        assert_eq!(serde_json::to_string(&Heads::same(4, 2)).unwrap(), "4");
        assert_eq!(serde_json::from_str::<Heads>("\"4,8\"").unwrap(), two);
    }
}
