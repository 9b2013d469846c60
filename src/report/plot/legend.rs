//! Legends: rows of samples and names above a plot, where no number is.

use maud::{Markup, html};

use super::chart::{Shape, dashes, mark};
use super::palette::COLOURS;
use super::svg::{fitting, px, text_width};

/// Height of a row of the legend.
const ROW: f64 = 18.0;
/// Width of a sample and the gap to its name.
const SAMPLE: f64 = 30.0;
/// Between two entries.
const GAP: f64 = 14.0;

/// A name with its slot and shape.
pub(super) type Entry<'a> = (&'a str, usize, Shape);

/// The legend between `left` and `right`, and its height.
pub(super) fn draw(entries: &[Entry<'_>], left: f64, right: f64) -> (f64, Markup) {
    let room = right - left - SAMPLE;
    let mut placed = Vec::new();
    let (mut x, mut row) = (left, 0);
    for &(name, slot, shape) in entries {
        let text = fitting(name, room);
        let width = SAMPLE + text_width(&text);
        if x > left && x + width > right {
            (x, row) = (left, row + 1);
        }
        placed.push((x, ROW * f64::from(row) + 12.0, text, slot, shape));
        x += width + GAP;
    }
    let rows = if placed.is_empty() { 0 } else { row + 1 };
    let content = html! {
        @for (x, y, text, slot, shape) in placed {
            g class=(format!("s{}", slot % COLOURS)) {
                @if shape == Shape::Line {
                    line class="line" x1=(px(x)) x2=(px(x + 22.0)) y1=(px(y)) y2=(px(y))
                        stroke-dasharray=[dashes(slot)] {}
                }
                (mark(slot, shape, x + 11.0, y))
                text x=(px(x + 28.0)) y=(px(y + 4.0)) { (text) }
            }
        }
    };
    (ROW * f64::from(rows), content)
}
