//! Lines and dots over two axes.

use maud::{Markup, html};

use super::axis::Axis;
use super::legend;
use super::palette::COLOURS;
use super::svg::{Drawing, px, text_width, told};
use crate::report::cell_text::printable;
use crate::report::table::Source;

/// Width of a chart: that of a phone, so that its text stays readable there.
const WIDTH: f64 = 420.0;
/// Height of the field between the axes.
const FIELD: f64 = 216.0;
/// Left of the field, apart from the ticks: the label.
const LEFT: f64 = 32.0;
/// Right of the field.
const RIGHT: f64 = 10.0;
/// Below the field: ticks and the label.
const BELOW: f64 = 40.0;

/// Lines or dots over an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Name of its file, without the extension; also its anchor in a page.
    pub id: String,
    /// What it shows, in a line.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// From back to front.
    pub series: Vec<Series>,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// In the legend; a series without a name is not in it.
    pub name: String,
    /// Decides colour, marker and dashes; one thing has one slot in all plots of a report.
    pub slot: usize,
    /// How it is drawn.
    pub shape: Shape,
    /// In the order of `x`.
    pub points: Vec<Point>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Markers on a line, with a band where there are intervals.
    Line,
    /// Small dots.
    Dots,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where it lies on the axis from left to right.
    pub x: f64,
    /// The number.
    pub y: f64,
    /// Its bounds, where they are known.
    pub interval: Option<[f64; 2]>,
    /// What is shown when one points at it.
    pub said: String,
    /// Where it stands written.
    pub source: Option<Source>,
}

impl Chart {
    pub(super) fn draw(&self, links: bool) -> Drawing {
        let named = self.series.iter().filter(|series| !series.name.is_empty());
        let entries: Vec<legend::Entry<'_>> = named
            .map(|series| (series.name.as_str(), series.slot, series.shape))
            .collect();
        let ticks = self.y.ticks.iter().map(|(_, label)| text_width(label));
        let left = LEFT + ticks.fold(20.0, f64::max);
        let (above, legend) = legend::draw(&entries, left, WIDTH - RIGHT);
        let top = above + 10.0;
        let bottom = top + FIELD;
        let field = Field {
            chart: self,
            left,
            top,
            bottom,
        };
        Drawing {
            size: [WIDTH, bottom + BELOW],
            content: html! {
                (legend)
                (field.axes())
                @for series in &self.series { (field.series(series, links)) }
            },
        }
    }
}

/// The rectangle between the axes.
struct Field<'a> {
    chart: &'a Chart,
    left: f64,
    top: f64,
    bottom: f64,
}

impl Field<'_> {
    fn x(&self, value: f64) -> f64 {
        self.left + self.chart.x.place(value) * (WIDTH - RIGHT - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.chart.y.place(value) * (self.bottom - self.top)
    }

    fn axes(&self) -> Markup {
        let (x, y) = (&self.chart.x, &self.chart.y);
        let (left, right) = (self.left, WIDTH - RIGHT);
        let middle = (self.top + self.bottom) / 2.0;
        html! {
            @for (at, label) in &y.ticks {
                @let height = self.y(*at);
                line class="grid" x1=(px(left)) x2=(right) y1=(px(height)) y2=(px(height)) {}
                text class="tick" x=(px(left - 7.0)) y=(px(height + 4.0)) text-anchor="end" { (label) }
            }
            line class="axis" x1=(px(left)) x2=(right) y1=(px(self.bottom)) y2=(px(self.bottom)) {}
            @for (at, label) in self.apart() {
                @let across = self.x(at);
                line class="axis" x1=(px(across)) x2=(px(across)) y1=(px(self.bottom))
                    y2=(px(self.bottom + 4.0)) {}
                text class="tick" x=(px(across)) y=(px(self.bottom + 16.0)) text-anchor="middle" {
                    (label)
                }
            }
            text x=(px((left + right) / 2.0)) y=(px(self.bottom + 34.0)) text-anchor="middle" {
                (printable(&x.label))
            }
            text transform=(format!("translate(13 {}) rotate(-90)", px(middle))) text-anchor="middle" {
                (printable(&y.label))
            }
        }
    }

    /// The ticks from left to right whose labels do not touch; the last one always.
    fn apart(&self) -> Vec<(f64, &str)> {
        let half = |label: &str| 3.5 * label.len() as f64 + 2.0;
        let mut kept: Vec<(f64, &str)> = Vec::new();
        let mut free = f64::INFINITY;
        for (at, label) in self.chart.x.ticks.iter().rev() {
            let across = self.x(*at);
            if across + half(label) <= free {
                kept.push((*at, label));
                free = across - half(label);
            }
        }
        kept
    }

    fn series(&self, series: &Series, links: bool) -> Markup {
        let Series {
            slot,
            shape,
            points,
            ..
        } = series;
        let at = |x: f64, y: f64| format!("{} {}", px(self.x(x)), px(self.y(y)));
        let path = |points: &mut dyn Iterator<Item = String>| {
            let points: Vec<String> = points.collect();
            format!("M{}", points.join("L"))
        };
        let line = || path(&mut points.iter().map(|point| at(point.x, point.y)));
        html! {
            g class=(format!("s{}", slot % COLOURS)) {
                @if *shape == Shape::Line && points.len() > 1 {
                    @if let Some(band) = self.band(points) { path class="band" d=(band) {} }
                    path class="line" d=(line()) stroke-dasharray=[dashes(*slot)] {}
                }
                @for point in points {
                    @let (x, y) = (self.x(point.x), self.y(point.y));
                    @if points.len() == 1 && let Some([low, high]) = point.interval {
                        line class="whisker" x1=(px(x)) x2=(px(x)) y1=(px(self.y(low)))
                            y2=(px(self.y(high))) {}
                    }
                    (told(&html! {
                        @if *shape == Shape::Line { circle class="hit" cx=(px(x)) cy=(px(y)) r="9" {} }
                        (mark(*slot, *shape, x, y))
                    }, point.y, &point.said, point.source.as_ref(), links))
                }
            }
        }
    }

    /// From the lower bounds and back over the upper ones, where every point has them.
    fn band(&self, points: &[Point]) -> Option<String> {
        let bounds: Option<Vec<(f64, [f64; 2])>> = points
            .iter()
            .map(|point| Some((point.x, point.interval?)))
            .collect();
        let bounds = bounds?;
        let corner = |x: f64, y: f64| format!("{} {}", px(self.x(x)), px(self.y(y)));
        let low = bounds.iter().map(|&(x, [low, _])| corner(x, low));
        let high = bounds.iter().rev().map(|&(x, [_, high])| corner(x, high));
        let corners: Vec<String> = low.chain(high).collect();
        Some(format!("M{}Z", corners.join("L")))
    }
}

/// Lines of the second round through the colours are dashed, of the third dotted.
pub(super) fn dashes(slot: usize) -> Option<&'static str> {
    match slot / COLOURS {
        0 => None,
        1 => Some("6 3"),
        _ => Some("2 3"),
    }
}

/// A circle, square, diamond or triangle: neighbours in the palette differ in shape, too.
pub(super) fn mark(slot: usize, shape: Shape, x: f64, y: f64) -> Markup {
    let path = |corners: &[[f64; 2]]| {
        let corners: Vec<String> = corners
            .iter()
            .map(|[dx, dy]| format!("{} {}", px(x + dx), px(y + dy)))
            .collect();
        format!("M{}Z", corners.join("L"))
    };
    if shape == Shape::Dots {
        return html! { circle class="mark small" cx=(px(x)) cy=(px(y)) r="2.6" {} };
    }
    match slot % 4 {
        0 => html! { circle class="mark" cx=(px(x)) cy=(px(y)) r="3.6" {} },
        1 => {
            html! { path class="mark" d=(path(&[[-3.3, -3.3], [3.3, -3.3], [3.3, 3.3], [-3.3, 3.3]])) {} }
        }
        2 => {
            html! { path class="mark" d=(path(&[[0.0, -4.6], [4.6, 0.0], [0.0, 4.6], [-4.6, 0.0]])) {} }
        }
        _ => html! { path class="mark" d=(path(&[[0.0, -4.2], [4.2, 3.4], [-4.2, 3.4]])) {} },
    }
}
