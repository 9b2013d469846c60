//! `hf://owner/name[@revision][/file]`.

use std::fmt;
use std::str::FromStr;

use super::HubError;

/// A repository of the hub, and a file in it where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// `owner/name`.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Path inside the repository; the weights are looked for where it is absent.
    pub file: Option<String>,
}

impl HubReference {
    /// What such a reference begins with.
    pub const SCHEME: &str = "hf://";

    /// The revision taken where none is given.
    const MAIN: &str = "main";
}

impl FromStr for HubReference {
    type Err = HubError;

    /// A slash inside a revision is written `%2F`, as in huggingface_hub's `hf://` paths.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = |reason| HubError::Reference {
            text: text.to_owned(),
            reason,
        };
        let rest = text
            .strip_prefix(Self::SCHEME)
            .ok_or_else(|| wrong("it does not begin with hf://"))?;
        let mut parts = rest.splitn(3, '/');
        let owner = parts.next().unwrap_or_default();
        let (name, revision) = match parts.next().unwrap_or_default().split_once('@') {
            Some((name, revision)) => (name, revision.replace("%2F", "/")),
            None => (
                rest.split('/').nth(1).unwrap_or_default(),
                Self::MAIN.to_owned(),
            ),
        };
        if !is_name(owner) || !is_name(name) {
            return Err(wrong("owner/name is not the name of a repository"));
        }
        if !is_relative(&revision) {
            return Err(wrong("the revision is not the name of one"));
        }
        let file = parts.next().map(str::to_owned);
        if !file.as_deref().is_none_or(is_relative) {
            return Err(wrong("the file is not a path inside the repository"));
        }
        Ok(Self {
            repository: format!("{owner}/{name}"),
            revision,
            file,
        })
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, self.repository)?;
        if self.revision != Self::MAIN {
            write!(f, "@{}", self.revision.replace('/', "%2F"))?;
        }
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

/// Letters, digits, `-`, `_` and `.`, as in huggingface_hub's `utils/_validators.py`; `--`, which
/// separates owner from name in the cache, is none of them.
fn is_name(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty()
        && text.chars().all(known)
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && !text.contains("--")
        && !text.contains("..")
}

/// Whether `text` stays inside the folder that it is appended to.
fn is_relative(text: &str) -> bool {
    let inside = |part: &str| !matches!(part, "" | "." | "..");
    text.split('/').all(inside) && !text.contains(|c: char| c == '\\' || c.is_control())
}

/// Whether `text` is a file's name, as the loader wants shards to be: it stays in the folder.
#[cfg(feature = "hub")]
pub(super) fn is_plain(text: &str) -> bool {
    is_relative(text) && !text.contains(['/', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_revision_and_file_are_told_apart() {
        let parsed = |text: &str| {
            let reference: HubReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
            (reference.repository, reference.revision, reference.file)
        };
        let expected = |revision: &str, file: Option<&str>| {
            (
                "facebook/vit-mae_b.1".to_owned(),
                revision.to_owned(),
                file.map(str::to_owned),
            )
        };
        assert_eq!(parsed("hf://facebook/vit-mae_b.1"), expected("main", None));
        assert_eq!(
            parsed("hf://facebook/vit-mae_b.1/a/b@c.bin"),
            expected("main", Some("a/b@c.bin"))
        );
        assert_eq!(
            parsed("hf://facebook/vit-mae_b.1@refs%2Fpr%2F1/m.safetensors"),
            expected("refs/pr/1", Some("m.safetensors"))
        );
    }

    #[test]
    fn what_names_no_repository_or_leaves_it_is_refused() {
        for text in [
            "owner/name",
            "hf://",
            "hf://owner",
            "hf://owner/",
            "hf:///name",
            "hf://../name",
            "hf://owner/..",
            "hf://a--b/c",
            "hf://owner/na me",
            "hf://owner/name/",
            "hf://owner/name@",
            "hf://owner/name@/file",
            "hf://owner/name@..%2F..%2Fx/file",
            "hf://owner/name/../../x",
            "hf://owner/name/a//b",
            "hf://owner/name/./b",
            "hf://owner/name/a\\b",
            "hf://owner/name/a\nb",
        ] {
            assert!(text.parse::<HubReference>().is_err(), "{text}");
        }
    }
}
