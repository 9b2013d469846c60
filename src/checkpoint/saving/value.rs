//! Values of arguments in Python.

use std::fmt;

/// The value of one argument of a timm model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Flag(bool),
    Count(usize),
    Number(f64),
    Text(&'static str),
    /// Height and width.
    Sides([usize; 2]),
}

/// As Python writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(true) => f.write_str("True"),
            Self::Flag(false) => f.write_str("False"),
            Self::Count(count) => write!(f, "{count}"),
            // The shortest digits that are read back as this number, in Rust as in Python.
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Sides([height, width]) if height == width => write!(f, "{height}"),
            Self::Sides([height, width]) => write!(f, "({height}, {width})"),
        }
    }
}
