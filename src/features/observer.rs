//! How long work is watched and stopped from outside.

/// Sees how work goes on, and may end it.
pub trait Observer {
    /// `done` of `total` images have been encoded since the pass began.
    fn progress(&mut self, done: usize, total: usize);

    /// Something the user should know, in one line.
    fn notice(&mut self, message: &str);

    /// Whether to stop at the next batch.
    fn cancelled(&self) -> bool;
}
