//! Key patterns: `*` is any run of characters, `{i}` a block number.

/// Whether `key` matches `pattern`; the block number where the pattern has `{i}`.
pub(super) fn matches(pattern: &str, key: &str) -> Option<Option<usize>> {
    if let Some(rest) = pattern.strip_prefix("{i}") {
        let digits = key.bytes().take_while(u8::is_ascii_digit).count();
        let number = key[..digits].parse().ok()?;
        return matches(rest, &key[digits..]).map(|_| Some(number));
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
    fn block_numbers_and_globs() {
        assert_eq!(
            matches("blocks.{i}.norm1.weight", "blocks.12.norm1.weight"),
            Some(Some(12))
        );
        assert_eq!(
            matches("blocks.{i}.norm1.weight", "blocks.x.norm1.weight"),
            None
        );
        assert_eq!(
            matches("blocks.{i}.norm1.weight", "blocks..norm1.weight"),
            None
        );
        assert_eq!(matches("head.*", "head.weight"), Some(None));
        assert_eq!(matches("head.*", "head_dist.weight"), None);
        assert_eq!(matches("*.bias", "é.bias"), Some(None));
        assert_eq!(matches("norm", "norm.weight"), None);
        assert_eq!(
            matches("blocks.{i}.a", "blocks.99999999999999999999999.a"),
            None
        );
    }
}
