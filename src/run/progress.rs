//! Progress and notices on stderr, and the signals that ask for the end.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::features::Observer;
#[cfg(feature = "hub")]
use crate::hub::Watcher;

/// What the person at the terminal sees; stdout is left to results.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    asked: Arc<Asked>,
    bar: Option<ProgressBar>,
    label: String,
}

/// What signals have asked for.
#[derive(Debug, Default)]
struct Asked {
    /// Whether a pass is under way that can store what it has before it ends.
    in_pass: AtomicBool,
    cancelled: AtomicBool,
}

impl Asked {
    fn hear(&self, signal: i32) {
        let again = self.cancelled.swap(true, Ordering::SeqCst);
        // Only a person is impatient: timeout(1) sends its signal twice, and clusters follow
        // SIGUSR1 by SIGTERM, long before they kill.
        let at_once = again && signal == SIGINT;
        if at_once || !self.in_pass.load(Ordering::SeqCst) {
            std::process::exit(130);
        }
    }
}

/// Whether whoever started the process had it ignore this signal, as nohup does; only Linux tells.
fn ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut masks = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigIgn:"));
    let mask = masks.find_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

impl Terminal {
    /// Ctrl-C, SIGTERM, SIGHUP, or the SIGUSR1 that clusters send before the time is up, during a
    /// pass end it once the batch in hand is stored; a second Ctrl-C, or any of them at another
    /// time, ends the process at once.
    pub fn new(quiet: bool) -> Self {
        let asked = Arc::new(Asked::default());
        // Where no handler can be set the signal ends the process, and what is stored is kept.
        let heard = [SIGINT, SIGTERM, SIGUSR1];
        let hangs_up = (!ignored(SIGHUP)).then_some(SIGHUP);
        if let Ok(mut signals) = Signals::new(heard.into_iter().chain(hangs_up)) {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || signals.forever().for_each(|signal| asked.hear(signal)));
        }
        Self {
            quiet,
            asked,
            bar: None,
            label: String::new(),
        }
    }

    /// Begins a pass, named so in its progress.
    pub fn begin(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        self.asked.in_pass.store(true, Ordering::SeqCst);
    }

    /// Ends a pass.
    pub fn end(&mut self) {
        self.asked.in_pass.store(false, Ordering::SeqCst);
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
            "{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit}, {{rate}} {unit}/s, {{eta}} left"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.0}", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
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
        // Where nobody reads any more, the work goes on.
        let print = || {
            let _ = writeln!(std::io::stderr(), "{message}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn cancelled(&self) -> bool {
        self.asked.cancelled.load(Ordering::SeqCst)
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
