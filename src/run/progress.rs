//! Progress and notices on stderr, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::features::Observer;

/// What the person at the terminal sees; stdout is left to results.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    cancelled: Arc<AtomicBool>,
    bar: Option<ProgressBar>,
    label: String,
}

impl Terminal {
    /// Stops at the first Ctrl-C, SIGTERM or SIGHUP once the batch in hand is stored; a second
    /// one ends the process at once.
    pub fn new(quiet: bool) -> Self {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        // Where no handler can be set the signal ends the process, and finished parts are kept.
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        Self {
            quiet,
            cancelled,
            bar: None,
            label: String::new(),
        }
    }

    /// Names what the next progress is about.
    pub fn begin(&mut self, label: &str) {
        self.end();
        label.clone_into(&mut self.label);
    }

    /// Takes the progress bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Terminal {
    fn progress(&mut self, done: usize, total: usize) {
        if self.quiet {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            // Draws nothing where stderr is no terminal.
            let bar =
                ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {human_pos}/{human_len} images, {per_sec}, {eta} left",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(self.label.clone());
            bar
        });
        bar.set_position(done as u64);
    }

    fn notice(&mut self, message: &str) {
        if self.quiet {
            return;
        }
        let print = || {
            #[expect(
                clippy::print_stderr,
                reason = "notices are for the person at the terminal"
            )]
            {
                eprintln!("{message}");
            }
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}
