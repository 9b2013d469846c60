//! A square for every pair of things.

use maud::html;

use super::palette::COLOURS;
use super::svg::{Drawing, px, told};
use crate::report::cell_text::{printable, rounded};
use crate::report::table::Source;

/// Side of the map.
const SIDE: f64 = 300.0;
/// Left of the map: ticks and the label.
const LEFT: f64 = 44.0;
/// Above the map.
const TOP: f64 = 8.0;
/// Below the map: ticks and the label.
const BELOW: f64 = 40.0;
/// Right of the map: the scale with its ticks.
const RIGHT: f64 = 64.0;
/// Sides up to which a square has its number written in it.
const WRITTEN: usize = 12;

/// Numbers from 0 to 1 for pairs of things counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Name of its file, without the extension; also its anchor in a page.
    pub id: String,
    /// What it shows, in a line.
    pub title: String,
    /// What is counted.
    pub label: String,
    /// Things.
    pub count: usize,
    /// Decides the colour.
    pub slot: usize,
    /// The pairs that are known.
    pub squares: Vec<Square>,
}

/// One pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Square {
    /// From left to right, from bottom to top.
    pub at: [usize; 2],
    /// From 0 to 1.
    pub value: f64,
    /// What is shown when one points at it.
    pub said: String,
    /// Where it stands written.
    pub source: Option<Source>,
}

impl HeatMap {
    pub(super) fn draw(&self, links: bool) -> Drawing {
        let side = SIDE / self.count.max(1) as f64;
        let bottom = TOP + SIDE;
        let middle = |i: usize| (i as f64 + 0.5) * side;
        let stride = if self.count > 13 { 2 } else { 1 };
        let (scale, scale_width, steps) = (LEFT + SIDE + 16.0, 12.0, 20u32);
        let content = html! {
            g class=(format!("s{}", self.slot % COLOURS)) {
                @for square in &self.squares {
                    @let [across, up] = square.at;
                    @let (x, y) = (LEFT + across as f64 * side, bottom - (up as f64 + 1.0) * side);
                    @let share = square.value.clamp(0.0, 1.0);
                    (told(&html! {
                        rect class="band" x=(px(x)) y=(px(y)) width=(px(side)) height=(px(side))
                            style=(format!("opacity:{}", px(share))) {}
                        @if self.count <= WRITTEN {
                            text class=(if share > 0.6 { "over tick" } else { "tick" })
                                x=(px(x + side / 2.0)) y=(px(y + side / 2.0 + 3.5))
                                style=(format!("font-size:{}px", px((side / 2.6).min(11.0))))
                                text-anchor="middle" { (short(square.value)) }
                        }
                    }, square.value, &square.said, square.source.as_ref(), links))
                }
                @for step in 0..steps {
                    @let share = (f64::from(step) + 0.5) / f64::from(steps);
                    @let height = SIDE / f64::from(steps);
                    rect class="band" x=(px(scale)) width=(px(scale_width))
                        y=(px(bottom - height * f64::from(step + 1))) height=(px(height + 0.2))
                        style=(format!("opacity:{}", px(share))) {}
                }
            }
            @for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
                text class="tick" x=(px(scale + scale_width + 5.0)) y=(px(bottom - SIDE * tick + 4.0)) {
                    (tick)
                }
            }
            @for i in (0..self.count).step_by(stride) {
                text class="tick" x=(px(LEFT + middle(i))) y=(px(bottom + 15.0)) text-anchor="middle" {
                    (i)
                }
                text class="tick" x=(LEFT - 6.0) y=(px(bottom - middle(i) + 4.0)) text-anchor="end" {
                    (i)
                }
            }
            text x=(px(LEFT + SIDE / 2.0)) y=(px(bottom + 33.0)) text-anchor="middle" {
                (printable(&self.label))
            }
            text transform=(format!("translate(13 {}) rotate(-90)", px(TOP + SIDE / 2.0)))
                text-anchor="middle" { (printable(&self.label)) }
        };
        Drawing {
            size: [LEFT + SIDE + RIGHT, bottom + BELOW],
            content,
        }
    }
}

/// `.97`, `1.0`: what fits into a square.
fn short(value: f64) -> String {
    let text = rounded(value, 2);
    match text.strip_prefix('0') {
        Some(digits) => digits.to_owned(),
        None => rounded(value, 1),
    }
}
