//! Texts as protocols 0 and 1 write them.

/// A Python literal without its quotes, or a text escaped as `raw-unicode-escape` does; `None`
/// where an escape is incomplete.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        let digits = match rest.next()? {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c => {
                plain.push(match c {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    c => c,
                });
                continue;
            }
        };
        let code = (0..digits).try_fold(0u32, |code, _| {
            Some(code.checked_mul(16)? | rest.next()?.to_digit(16)?)
        })?;
        plain.push(char::from_u32(code)?);
    }
    Some(plain)
}

/// What stands between the quotes of a Python literal.
pub(super) fn unquote(literal: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|&quote| {
        literal
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        let plain = |literal: &str| unescape(unquote(literal)?);
        assert_eq!(plain(r"'a\x41\n\\\'\u00e9'").unwrap(), "aA\n\\'\u{e9}");
        assert_eq!(plain("\"b\"").unwrap(), "b");
        for wrong in [
            "'",
            "a",
            "'a",
            r"'\x4'",
            r"'\'",
            r"'\ud800'",
            r"'\UFFFFFFFF'",
        ] {
            assert_eq!(plain(wrong), None, "{wrong}");
        }
    }
}
