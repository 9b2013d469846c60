//! How many train images a protocol learns from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which train images are learnt from: all, or a fixed class-stratified choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum Shots {
    /// `"all"`.
    All,
    /// `"1%"`: this share of every class, hundredths.
    Percent(f64),
    /// `"10 per class"`.
    PerClass(usize),
}

impl fmt::Display for Shots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::PerClass(images) => write!(f, "{images} per class"),
        }
    }
}

impl FromStr for Shots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not \"all\", a share as in \"1%\" or \"10 per class\"");
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return match percent > 0.0 && percent < 100.0 {
                true => Ok(Self::Percent(percent)),
                false => Err(wrong()),
            };
        }
        let images = text.strip_suffix("per class").unwrap_or(text).trim();
        match images.parse() {
            Ok(images) if images > 0 => Ok(Self::PerClass(images)),
            _ => Err(wrong()),
        }
    }
}

/// Shots as a protocol has them; a number is one of every class.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for Shots {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(images) => images.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Shots> for String {
    fn from(shots: Shots) -> Self {
        shots.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shots_are_read_as_they_are_written() {
        for (text, shots) in [
            ("all", Shots::All),
            ("1%", Shots::Percent(1.0)),
            ("0.5%", Shots::Percent(0.5)),
            ("10 per class", Shots::PerClass(10)),
        ] {
            assert_eq!(text.parse(), Ok(shots));
            assert_eq!(shots.to_string(), text);
        }
        assert_eq!("10".parse(), Ok(Shots::PerClass(10)));
        for wrong in ["", "0", "0%", "100%", "-1%", "few", "nan%", "1.5"] {
            assert!(wrong.parse::<Shots>().is_err(), "{wrong}");
        }
    }
}
