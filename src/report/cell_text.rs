//! What the formats for people show of a cell; they add punctuation only.

use super::table::{Mark, Table, ordered};

/// A number as it is read: `71.4`, `†`, `["71.0", "71.8"]`.
pub(super) struct Shown {
    /// The value, rounded to its decimals.
    pub number: String,
    /// Its marks, in order.
    pub marks: Vec<Mark>,
    /// Lower and upper bound, rounded like the value.
    pub interval: Option<[String; 2]>,
}

impl Shown {
    pub(super) fn new(
        value: f64,
        interval: Option<[f64; 2]>,
        decimals: u8,
        marks: &[Mark],
    ) -> Self {
        Self {
            number: rounded(value, decimals),
            marks: ordered(marks).into_iter().collect(),
            interval: interval.map(|bounds| bounds.map(|bound| rounded(bound, decimals))),
        }
    }
}

/// A line below a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note<'a> {
    /// What a sign means.
    Mark(Mark),
    /// Why cells are missing that refer to this number.
    Missing(usize, &'a str),
    /// A footnote of the table's own.
    Own(&'a str),
}

/// Why cells are missing, numbered from 1 in the order in which a reader meets them.
pub(super) struct Reasons<'a>(Vec<&'a str>);

impl<'a> Reasons<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        Self(table.reasons())
    }

    /// The number of a reason that the table has.
    pub(super) fn number(&self, reason: &str) -> usize {
        self.0.iter().take_while(|&&other| other != reason).count() + 1
    }

    /// The lines below the table: the marks, the reasons, then its own.
    pub(super) fn notes(&self, table: &'a Table) -> Vec<Note<'a>> {
        let marks = table.marks().into_iter().map(Note::Mark);
        let missing = (1..).zip(&self.0);
        let missing = missing.map(|(number, reason)| Note::Missing(number, reason));
        let own = table.footnotes.iter().map(|note| Note::Own(note));
        marks.chain(missing).chain(own).collect()
    }
}

/// A number with so many decimals; what rounds to zero has no sign.
pub(super) fn rounded(value: f64, decimals: u8) -> String {
    let text = format!("{value:.0$}", usize::from(decimals));
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| c == '0' || c == '.') => digits.to_owned(),
        _ => text,
    }
}

/// Control characters (a name may hold any) would move a cursor, start an escape code or end a line.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_has_no_negative_zero() {
        for (value, decimals, text) in [
            (-0.04, 1, "0.0"),
            (-0.06, 1, "-0.1"),
            (71.4375, 2, "71.44"),
            (-0.4, 0, "0"),
            (1e6, 3, "1000000.000"),
        ] {
            assert_eq!(rounded(value, decimals), text);
        }
    }
}
