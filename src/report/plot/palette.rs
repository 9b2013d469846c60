//! Colours of plots, for light and dark.

use std::fmt::Write;

/// Colours of series on light and on dark. The first seven are those of Okabe and Ito ("Color Universal
/// Design", 2008) without the yellow, which white swallows, in another order; on dark they are lighter.
/// Markers and dashes tell series apart as well.
const SERIES: [[&str; 2]; 8] = [
    ["#0072b2", "#5cb1ec"],
    ["#d55e00", "#ff8f50"],
    ["#009e73", "#35c99f"],
    ["#b8578f", "#e79bc8"],
    ["#b87700", "#f0b53c"],
    ["#2f8fc4", "#9ad8ff"],
    ["#4d4d4d", "#c4c8ce"],
    ["#882255", "#dd7aa6"],
];

/// Text, lines, background: each on light and on dark.
const INK: [[&str; 2]; 4] = [
    ["#1b1f24", "#e6e8eb"],
    ["#57606a", "#9aa4af"],
    ["#d8dee4", "#343b43"],
    ["#ffffff", "#14171a"],
];
const INK_NAMES: [&str; 4] = ["ink", "faint", "line", "ground"];

/// How many colours there are.
pub(super) const COLOURS: usize = SERIES.len();

/// Custom properties that a page sets, each for light and dark by the page's `color-scheme`.
fn properties() -> String {
    let mut css = ":root {\n".to_owned();
    let mut set = |name: &str, [light, dark]: [&str; 2]| {
        // Writing to memory cannot fail.
        let _ = writeln!(css, "  --{name}: light-dark({light}, {dark});");
    };
    for (name, colours) in INK_NAMES.into_iter().zip(INK) {
        set(name, colours);
    }
    for (i, colours) in SERIES.into_iter().enumerate() {
        set(&format!("s{i}"), colours);
    }
    css + "}\n"
}

/// The rules for the classes in plots, with what gives a colour's value by its name.
fn rules(colour: impl Fn(&str) -> String) -> String {
    let [ink, faint, line, ground] = INK_NAMES.map(&colour);
    let mut css = format!(
        ".plot text {{ font: 12px system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; fill: {ink}; }}
.plot .tick {{ font-size: 11px; fill: {faint}; }}
.plot .title {{ font-size: 13px; font-weight: 600; }}
.plot .grid {{ stroke: {line}; stroke-width: 1; }}
.plot .axis {{ stroke: {faint}; stroke-width: 1; }}
.plot .line {{ fill: none; stroke-width: 1.8; stroke-linejoin: round; }}
.plot .band {{ opacity: 0.16; stroke: none; }}
.plot .whisker {{ stroke-width: 1.4; opacity: 0.7; }}
.plot .mark {{ stroke: {ground}; stroke-width: 0.8; }}
.plot .small {{ opacity: 0.75; stroke-width: 0.4; }}
.plot .hit {{ fill-opacity: 0; stroke: none; }}
.plot .over {{ fill: {ground}; }}
.plot .ground {{ fill: {ground}; }}
"
    );
    for i in 0..COLOURS {
        let colour = colour(&format!("s{i}"));
        // Writing to memory cannot fail.
        let _ = writeln!(
            css,
            ".plot .s{i} .line, .plot .s{i} .whisker {{ stroke: {colour}; }} .plot .s{i} .mark, .plot .s{i} .band {{ fill: {colour}; }}"
        );
    }
    css
}

/// The style of a page with plots: one for light and dark.
pub(in super::super) fn page_style() -> String {
    properties() + &rules(|name| format!("var(--{name})"))
}

/// The style of a file of its own: the colours themselves, on light.
pub(super) fn file_style() -> String {
    rules(|name| {
        let ink = INK_NAMES.iter().position(|&other| other == name);
        let series = name.strip_prefix('s').and_then(|i| i.parse::<usize>().ok());
        let colours = ink
            .map(|i| INK[i])
            .or_else(|| series.and_then(|i| SERIES.get(i).copied()));
        colours.map_or_else(String::new, |[light, _]| light.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_names_and_a_file_has_colours() {
        let (page, file) = (page_style(), file_style());
        assert!(page.contains("--s0: light-dark(#0072b2, #5cb1ec);"));
        assert!(page.contains(".plot .s7 .line, .plot .s7 .whisker { stroke: var(--s7); }"));
        assert!(file.contains(".plot .s7 .line, .plot .s7 .whisker { stroke: #882255; }"));
        assert!(file.contains("fill: #1b1f24;") && !file.contains("var("));
        assert!(!file.contains(": ;"));
    }

    /// Contrast of two colours after WCAG 2.
    fn contrast(a: &str, b: &str) -> f64 {
        let luminance = |colour: &str| -> f64 {
            let weights = [0.2126, 0.7152, 0.0722];
            (0..3)
                .map(|i| {
                    let byte = u8::from_str_radix(&colour[1 + 2 * i..3 + 2 * i], 16).unwrap();
                    let c = f64::from(byte) / 255.0;
                    let linear = match c <= 0.04045 {
                        true => c / 12.92,
                        false => ((c + 0.055) / 1.055).powf(2.4),
                    };
                    weights[i] * linear
                })
                .sum()
        };
        let [a, b] = [luminance(a), luminance(b)];
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_colour_stands_out_from_its_ground() {
        // WCAG 2.2: 4.5 for text, 3 for graphics.
        for theme in 0..2 {
            let ground = INK[3][theme];
            for text in &INK[..2] {
                assert!(contrast(text[theme], ground) >= 4.5, "{text:?}");
            }
            for colours in SERIES {
                assert!(contrast(colours[theme], ground) >= 3.0, "{colours:?}");
            }
        }
    }
}
