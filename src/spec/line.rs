//! Errors of the TOML parser on one line.

/// What is wrong with `text`, after the number of the line that it is wrong in.
pub fn line_of(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}
