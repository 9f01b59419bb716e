//! What happens while one waits: a spinner for each scene, or plain lines when nobody watches a terminal.
//!
//! On standard error, as standard output is for the result.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All that goes on.
pub(crate) struct Progress {
    lines: Option<MultiProgress>,
}

/// One thing that goes on.
pub(crate) struct Line {
    what: &'static str,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Spinners on a terminal, else lines.
    pub(crate) fn new() -> Self {
        Self { lines: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// Something begins.
    pub(crate) fn line(&self, what: &'static str) -> Line {
        let bar = self.lines.as_ref().map(|lines| {
            let bar = lines.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix:<26} {msg}");
            bar.set_style(style.expect("the template above is one"));
            bar.set_prefix(what);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Line { what, bar }
    }

    /// Takes all spinners away.
    pub(crate) fn clear(&self) {
        if let Some(lines) = &self.lines {
            // The terminal may be gone; there is nothing to clear then.
            let _ = lines.clear();
        }
    }
}

impl Line {
    /// What it does now. A plain log has only the ends.
    pub(crate) fn says(&self, doing: impl Into<std::borrow::Cow<'static, str>>) {
        if let Some(bar) = &self.bar {
            bar.set_message(doing);
        }
    }

    /// It is over.
    pub(crate) fn ends(&self, how: &str, well: bool) {
        let mark = if well { "" } else { "  <- not as expected" };
        match &self.bar {
            Some(bar) => bar.finish_with_message(format!("{how}{mark}")),
            None => remark(&format!("{:<26} {how}{mark}\n", self.what)),
        }
    }
}

/// Something beside the result. Nobody may be listening any more, and that is no reason to stop.
pub(super) fn remark(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
