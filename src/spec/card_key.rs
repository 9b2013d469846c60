//! Which card is which: what a record says of its checkpoint's, and a table of its rows'.

use serde::{Deserialize, Serialize};
use toml::Table;

/// A card by its name and by what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardKey {
    /// Stem of its file.
    pub stem: String,
    /// blake3 of everything it says but where the weights are (`[file]`), hexadecimal: comments,
    /// formatting and the order of fields leave it.
    pub identity: String,
}

impl CardKey {
    /// Of a card's text.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn of(stem: &str, text: &str) -> Result<Self, toml::de::Error> {
        let mut card: Table = text.parse()?;
        card.remove("file");
        // Tables are in the order of their keys.
        let said = toml::Value::Table(card).to_string();
        Ok(Self {
            stem: stem.to_owned(),
            identity: blake3::hash(said.as_bytes()).to_hex().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CardKey;

    #[test]
    fn only_what_a_card_says_of_the_model_counts() {
        let of = |text: &str| CardKey::of("x", text).unwrap();
        let card = of("name = \"x\"\nnote = \"n\"\n[file]\npath = \"x.pth\"\n[model]\nheads = 3\n");
        assert_eq!(card.identity.len(), 64);
        for same in [
            "# x\nnote = 'n'\nname = \"x\"\n[model]\nheads=3\n[file]\npath = \"elsewhere/x.pth\"\n",
            "name = \"x\"\nnote = \"n\"\nmodel = { heads = 3 }\nfile = { path = \"x\", blake3 = \"0\" }\n",
        ] {
            assert_eq!(of(same), card, "{same}");
        }
        for other in [
            "name = \"y\"\nnote = \"n\"\n[model]\nheads = 3\n",
            "name = \"x\"\n[model]\nheads = 3\n",
            "name = \"x\"\nnote = \"n\"\n[model]\nheads = 6\n",
        ] {
            assert_ne!(of(other).identity, card.identity, "{other}");
        }
        assert_ne!(
            CardKey::of("y", "name = \"x\"").unwrap(),
            of("name = \"x\"")
        );
        assert!(CardKey::of("x", "name = ").is_err());
    }
}
