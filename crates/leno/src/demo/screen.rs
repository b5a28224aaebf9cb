//! The terminal: the whole screen while the view runs, the user's own lines back afterwards.

use std::io::{self, IsTerminal, Stdout};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};

use super::view::{self, Model};

/// Without a terminal nothing is drawn: the summary says all.
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

    pub fn draw(&mut self, model: &Model<'_>) -> io::Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(|frame| view::draw(frame, model))?;
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

/// Columns of the terminal; None where there is none.
pub fn width() -> Option<u16> {
    let (columns, _) = io::stdout()
        .is_terminal()
        .then(ratatui::crossterm::terminal::size)?
        .ok()?;
    Some(columns)
}
