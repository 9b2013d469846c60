//! Where the hub is, and where its files are kept.

use std::ffi::OsString;
use std::path::PathBuf;

/// What huggingface_hub's environment variables say (its `constants.py` has the defaults).
#[derive(Clone)]
pub struct HubSettings {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Who asks.
    pub token: Option<String>,
    /// Whether the network must not be used.
    pub offline: bool,
}

impl HubSettings {
    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HOME`, `HF_TOKEN` and
    /// `HF_HUB_OFFLINE` through `variable`. Without `HF_TOKEN`, the token is the one that
    /// `hf auth login` has left in `HF_HOME`.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let folder = |name| set(name).map(PathBuf::from);
        let text = |name| set(name).and_then(|value| value.into_string().ok());
        let home = folder("HF_HOME").unwrap_or_else(|| {
            folder("XDG_CACHE_HOME")
                .unwrap_or_else(|| folder("HOME").unwrap_or_default().join(".cache"))
                .join("huggingface")
        });
        let saved = || std::fs::read_to_string(home.join("token")).ok();
        let token = text("HF_TOKEN").or_else(saved);
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        HubSettings::new(|name| {
            let found = variables.iter().find(|(key, _)| *key == name)?;
            Some(found.1.into())
        })
    }

    #[test]
    fn the_nearest_variable_decides() {
        let default = settings(&[("HOME", "/h")]);
        assert_eq!(default.endpoint, "https://huggingface.co");
        assert_eq!(default.cache, PathBuf::from("/h/.cache/huggingface/hub"));
        assert!(default.token.is_none() && !default.offline);
        let mut variables = vec![
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("HF_TOKEN", " t\n"),
        ];
        let cache = |variables: &[_]| settings(variables).cache;
        assert_eq!(cache(&variables), PathBuf::from("/x/huggingface/hub"));
        variables.push(("HF_HOME", "/f"));
        assert_eq!(cache(&variables), PathBuf::from("/f/hub"));
        variables.extend([("HF_HUB_CACHE", "/c"), ("HF_HUB_OFFLINE", "True")]);
        variables.push(("HF_ENDPOINT", "http://mirror/"));
        let all = settings(&variables);
        assert_eq!(all.cache, PathBuf::from("/c"));
        assert_eq!(all.endpoint, "http://mirror");
        assert_eq!(all.token.as_deref(), Some("t"));
        assert!(all.offline);
    }
}
