//! Progress and notices on stderr, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::features::Observer;
#[cfg(feature = "hub")]
use crate::hub::Watcher;

/// What the person at the terminal sees; stdout is left to results.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    signals: Arc<Signals>,
    bar: Option<ProgressBar>,
    label: String,
}

#[derive(Debug, Default)]
struct Signals {
    /// Whether a pass is under way that can store what it has before it ends.
    in_pass: AtomicBool,
    cancelled: AtomicBool,
}

impl Terminal {
    /// A Ctrl-C, SIGTERM or SIGHUP during a pass ends it once the batch in hand is stored; a
    /// second one, or one at another time, ends the process at once.
    pub fn new(quiet: bool) -> Self {
        let signals = Arc::new(Signals::default());
        let seen = Arc::clone(&signals);
        // Where no handler can be set the signal ends the process, and finished parts are kept.
        let _ = ctrlc::set_handler(move || {
            let again = seen.cancelled.swap(true, Ordering::SeqCst);
            if again || !seen.in_pass.load(Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        Self {
            quiet,
            signals,
            bar: None,
            label: String::new(),
        }
    }

    /// Begins a pass, named so in its progress.
    pub fn begin(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        self.signals.in_pass.store(true, Ordering::SeqCst);
    }

    /// Ends a pass.
    pub fn end(&mut self) {
        self.signals.in_pass.store(false, Ordering::SeqCst);
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A progress bar over `total` of `unit`, to be moved from any thread.
    pub fn bar(&self, label: &str, total: usize, unit: &str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        // Draws nothing where stderr is no terminal.
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let template = format!(
            "{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_message(label.to_owned());
        bar
    }
}

impl Observer for Terminal {
    fn progress(&mut self, done: usize, total: usize) {
        if self.bar.is_none() {
            self.bar = Some(self.bar(&self.label, total, "images"));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
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
        self.signals.cancelled.load(Ordering::SeqCst)
    }
}

#[cfg(feature = "hub")]
impl Watcher for Terminal {
    fn notice(&mut self, message: &str) {
        Observer::notice(self, message);
    }

    fn progress(&mut self, file: &str, bytes: u64, size: u64) {
        let bar = match self.bar.take() {
            Some(bar) => bar,
            None => self.bar(file, size as usize, "bytes"),
        };
        bar.set_position(bytes);
        if bytes < size {
            self.bar = Some(bar);
        } else {
            bar.finish_and_clear();
        }
    }
}
