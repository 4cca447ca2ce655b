//! How the demo shows what it does: numbered steps with the time each took, a bar where something takes long.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

pub struct Screen {
    step: usize,
    steps: usize,
    begun: Instant,
    is_terminal: bool,
    /// Each step's name and time, for the summary.
    pub times: Vec<(String, Duration)>,
}

impl Screen {
    /// The steps before `first` were shown by somebody else.
    pub fn new(first: usize, steps: usize) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { step: first - 1, steps, begun: Instant::now(), is_terminal, times: Vec::new() }
    }

    pub fn step(&mut self, title: &str) {
        self.step += 1;
        self.begun = Instant::now();
        println!("\n{}", self.bold(&format!("[{}/{}] {title}", self.step, self.steps)));
    }

    /// One line of what the step did.
    pub fn line(&self, text: impl AsRef<str>) {
        println!("      {}", text.as_ref());
    }

    pub fn done(&mut self, name: &str) {
        let took = self.begun.elapsed();
        println!("      {}", self.dim(&format!("done in {}", seconds(took))));
        self.times.push((name.to_owned(), took));
    }

    /// A line that turns while we wait.
    pub fn spinner(&self, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("      {spinner} {msg} {elapsed}");
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        styled(bar, style)
    }

    pub fn bar(&self, what: &str, length: u64) -> ProgressBar {
        let style = ProgressStyle::with_template("      {msg} [{bar:32}] {pos}/{len} {elapsed}");
        let style = style.map(|style| style.progress_chars("=> "));
        styled(ProgressBar::new(length).with_message(what.to_owned()), style)
    }

    pub fn bold(&self, text: &str) -> String {
        if self.is_terminal { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        if self.is_terminal { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A bar whose template does not parse is shown in the default style.
fn styled(bar: ProgressBar, style: Result<ProgressStyle, indicatif::style::TemplateError>) -> ProgressBar {
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
