//! What standard output can show.

use std::io::IsTerminal as _;

use crate::args::{ColorChoice, GlobalArgs};

/// Width and colours of the place that tables are printed to.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Whether standard output is a terminal.
    pub is_terminal: bool,
    /// Columns; `None` when the output is not a terminal, and lines may be as long as they are.
    pub width: Option<usize>,
    /// Whether to use colours.
    pub colour: bool,
    /// The same for standard error, where progress is shown.
    pub colour_on_stderr: bool,
}

impl Terminal {
    /// Looks at standard output and the flags.
    #[must_use]
    pub fn detect(global: &GlobalArgs) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let allowed = |on_terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => on_terminal && global.no_color.is_empty(),
        };
        Self {
            is_terminal,
            width: width.filter(|_| is_terminal),
            colour: allowed(is_terminal),
            colour_on_stderr: allowed(std::io::stderr().is_terminal()),
        }
    }
}
