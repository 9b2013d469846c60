//! What all plots have in common as SVG.

use maud::{Markup, PreEscaped, html};

use super::palette::file_style;
use super::{Chart, HeatMap};
use crate::report::cell_text::printable;
use crate::report::table::Source;

/// Height of the line that a file has for its title.
const TITLE: f64 = 28.0;

/// A plot of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Plot {
    /// Lines or dots over an axis.
    Chart(Chart),
    /// A square for every pair.
    HeatMap(HeatMap),
}

/// A plot that is drawn: `[width, height]` and what lies in it.
pub(super) struct Drawing {
    pub size: [f64; 2],
    pub content: Markup,
}

impl Plot {
    /// Name of its file, without the extension; also its anchor in a page.
    pub fn id(&self) -> &str {
        match self {
            Self::Chart(chart) => &chart.id,
            Self::HeatMap(map) => &map.id,
        }
    }

    /// What it shows, in a line.
    pub fn title(&self) -> &str {
        match self {
            Self::Chart(chart) => &chart.title,
            Self::HeatMap(map) => &map.title,
        }
    }

    fn draw(&self, links: bool) -> Drawing {
        match self {
            Self::Chart(chart) => chart.draw(links),
            Self::HeatMap(map) => map.draw(links),
        }
    }

    /// The `<svg>` of a page that has [`page_style`](super::page_style); numbers lead to
    /// `#record-<key>`.
    pub(in super::super) fn inline(&self) -> Markup {
        let Drawing {
            size: [width, height],
            content,
        } = self.draw(true);
        html! {
            svg class="plot" xmlns="http://www.w3.org/2000/svg" role="img"
                aria-label=(printable(self.title())) viewBox=(format!("0 0 {width} {height}"))
            { (content) }
        }
    }

    /// A file of its own: with its title, its style and a white ground.
    pub fn file(&self) -> String {
        let Drawing {
            size: [width, height],
            content,
        } = self.draw(false);
        let height = height + TITLE;
        let svg = html! {
            svg class="plot" xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
                viewBox=(format!("0 0 {width} {height}"))
            {
                title { (printable(self.title())) }
                style { (PreEscaped(file_style())) }
                rect class="ground" width=(width) height=(height) {}
                text class="title" x=(width / 2.0) y="18" text-anchor="middle" {
                    (fitting(self.title(), width - 16.0))
                }
                g transform=(format!("translate(0 {TITLE})")) { (content) }
            }
        };
        svg.into_string() + "\n"
    }
}

/// A mark with what is said about it, its number for programs, and the way to its record.
pub(super) fn told(
    mark: &Markup,
    value: f64,
    said: &str,
    source: Option<&Source>,
    links: bool,
) -> Markup {
    let mark = html! { title { (printable(said)) } (mark) };
    match source {
        Some(Source::Record { key, measure }) if links => html! {
            a href=(format!("#record-{key}")) data-value=(value) data-record=(key)
                data-measure=(measure) { (mark) }
        },
        _ => html! { g { (mark) } },
    }
}

/// A coordinate, to a hundredth of a pixel.
pub(super) fn px(at: f64) -> String {
    let text = format!("{at:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

/// About how wide a text of 12 px is: fonts differ, so rather too wide.
pub(super) fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | '\'' | '(' | ')' | '['
        | ']' => 4.2,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 10.5,
        'A'..='Z' | '–' => 8.6,
        c if c.is_ascii() => 7.0,
        _ => 12.0,
    };
    text.chars().map(width).sum()
}

/// The text, cut where it would be wider.
pub(super) fn fitting(text: &str, width: f64) -> String {
    let text = printable(text);
    if text_width(&text) <= width {
        return text;
    }
    let mut cut = String::new();
    for c in text.chars() {
        cut.push(c);
        if text_width(&cut) + 12.0 > width {
            cut.pop();
            break;
        }
    }
    cut + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [12.0, 0.5, 1.0 / 3.0, -0.001, 100.0].map(px),
            ["12", "0.5", "0.33", "0", "100"]
        );
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fitting("ViT-B/16", 100.0), "ViT-B/16");
        let cut = fitting(&"wide ".repeat(50), 100.0);
        assert!(cut.ends_with('…') && text_width(&cut) <= 100.0, "{cut}");
    }
}
