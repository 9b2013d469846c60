//! Plots as SVG: in a page, where they follow its light and dark, and as files of their own.

mod axis;
mod chart;
mod heat_map;
mod legend;
mod palette;
mod svg;

pub use axis::Axis;
pub use chart::{Chart, Point, Series, Shape};
pub use heat_map::{HeatMap, Square};
pub(super) use palette::page_style;
pub use svg::Plot;
