//! Key patterns: `*` is any run of characters, `{p}` is `weight` or `bias`.

/// Whether `key` matches `pattern`, and what `{p}` is, where the pattern has one.
pub(super) fn matches<'k>(pattern: &str, key: &'k str) -> Option<Option<&'k str>> {
    if let Some(rest) = pattern.strip_prefix("{p}") {
        return ["weight", "bias"].into_iter().find_map(|parameter| {
            matches(rest, key.strip_prefix(parameter)?).map(|_| Some(&key[..parameter.len()]))
        });
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return (0..=key.len())
            .filter(|&at| key.is_char_boundary(at))
            .find_map(|at| matches(rest, &key[at..]));
    }
    let mut pattern_chars = pattern.chars();
    let mut key_chars = key.chars();
    match (pattern_chars.next(), key_chars.next()) {
        (None, None) => Some(None),
        (Some(a), Some(b)) if a == b => matches(pattern_chars.as_str(), key_chars.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_and_parameters() {
        assert_eq!(matches("norm.{p}", "norm.weight"), Some(Some("weight")));
        assert_eq!(matches("norm.{p}", "norm.bias"), Some(Some("bias")));
        assert_eq!(matches("norm.{p}", "norm.biases"), None);
        assert_eq!(matches("/*.{p}", "/a.b.bias"), Some(Some("bias")));
        assert_eq!(matches("head.*", "head.weight"), Some(None));
        assert_eq!(matches("head.*", "head_dist.weight"), None);
        assert_eq!(matches("*.bias", "é.bias"), Some(None));
        assert_eq!(matches("norm", "norm.weight"), None);
        assert_eq!(matches("", ""), Some(None));
        assert_eq!(matches("{p}", "é"), None);
    }
}
