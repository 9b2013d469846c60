//! The frame of the page: head, menu, sections, style and script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::verbatim;
use crate::report::cell_text::printable;
use crate::report::plot::page_style;

/// Nothing is fetched from anywhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// A part of the page with an entry in its menu.
pub(super) struct Section {
    /// Anchor.
    pub id: String,
    /// In the menu.
    pub name: String,
    /// Above the section.
    pub title: String,
    /// The section.
    pub content: Markup,
}

impl Section {
    /// A section, unless it would be empty.
    pub(super) fn unless(empty: bool, id: &str, title: &str, content: Markup) -> Option<Self> {
        (!empty).then(|| Self {
            id: id.to_owned(),
            name: title.to_owned(),
            title: title.to_owned(),
            content,
        })
    }
}

/// The page.
pub(super) fn page(summary: &Markup, sections: &[Section]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "mimbench report" }
                link rel="icon" href="data:,";
                style { (PreEscaped(page_style())) (verbatim(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { "mimbench report" }
                    button id="theme" type="button" hidden { "Light or dark" }
                    p class="faint" { (summary) }
                }
                nav aria-label="Sections" {
                    @for section in sections {
                        a href=(format!("#{}", section.id)) { (printable(&section.name)) }
                    }
                }
                main {
                    @for section in sections {
                        section id=(section.id) {
                            h2 { (printable(&section.title)) }
                            (section.content)
                        }
                    }
                }
                dialog id="origin" aria-label="Where this number comes from" {
                    form method="dialog" { button { "Close" } }
                    div {}
                }
                script { (verbatim(include_str!("script.js"))) }
            }
        }
    }
}
