//! The terminal: the whole screen while a view runs, the user's own lines back afterwards.

use std::io::{self, IsTerminal, Stdout};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::style::{Color, Style};
use ratatui::{Frame, Terminal};

/// Without a terminal nothing is drawn: what is printed at the end says all.
pub struct Screen {
    terminal: Option<Terminal<CrosstermBackend<Stdout>>>,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Ok(Self { terminal: None });
        }
        // Not raw mode: Ctrl-C stays the terminal's affair.
        execute!(io::stdout(), EnterAlternateScreen)?;
        let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        terminal.hide_cursor()?;
        Ok(Self {
            terminal: Some(terminal),
        })
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// What is the same as before is not written again.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(view)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            // The terminal is going away with us: an error has nobody to hear it.
            let _ = terminal.show_cursor();
            let _ = execute!(io::stdout(), LeaveAlternateScreen);
        }
    }
}

/// A colour, where the user wants any.
pub fn colored(wanted: bool, color: Color) -> Style {
    if wanted {
        Style::new().fg(color)
    } else {
        Style::new()
    }
}
