//! Text that a file holds, fit for a terminal.

/// Characters of a file's own text that a message shows.
const SHOWN: usize = 120;

/// A key, a type or another name from a file, as messages show it: on one line, and no longer
/// than a line or two.
pub(crate) fn shown(text: &str) -> String {
    printable(text, SHOWN)
}

/// `text` with every character escaped that moves the cursor, ends the line or turns the direction
/// of writing, so that a file's own words stay where they are quoted; at most `most` characters,
/// then dots.
pub fn printable(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(most) {
        if moves(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if characters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// Control characters, and those of Unicode's that are nothing but an effect on others: spaces
/// without width, marks of direction, ends of lines and of paragraphs.
fn moves(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_leaves_its_line() {
        assert_eq!(shown("blocks.0.norm1.weight"), "blocks.0.norm1.weight");
        assert_eq!(shown("é \"C:\\x\""), "é \"C:\\x\"");
        assert_eq!(shown("a\nerror: \u{1b}[2J"), "a\\nerror: \\u{1b}[2J");
        assert_eq!(shown("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
        assert_eq!(printable("abcd", 3), "abc...");
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(shown(&"x".repeat(1 << 20)).len(), SHOWN + 3);
    }
}
