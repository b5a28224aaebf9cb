//! How data is printed: a table for people, JSON and YAML for programs.

use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

/// A table without lines, as kubectl prints it; it ends with a line break.
pub fn table<'a>(
    heads: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    columns(heads, rows, &[])
}

/// As [`table`]; figures stand in the columns `right`, counted from 0, one under the other.
pub fn columns<'a>(
    heads: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = Vec<String>>,
    right: &[usize],
) -> String {
    let mut lines = vec![heads.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    lines.extend(rows);
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        lines
            .iter()
            .filter_map(|l| l.get(at))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(at, (cell, width))| match right.contains(&at) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            })
            .collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Columns of the terminal; None where there is none.
pub fn width() -> Option<u16> {
    let (columns, _) = io::stdout()
        .is_terminal()
        .then(ratatui::crossterm::terminal::size)?
        .ok()?;
    Some(columns)
}

/// To standard output. Whoever reads it may have seen enough (`leno status | head -1`): that is no failure.
pub fn text(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

pub fn print(format: Format, value: &serde_json::Value) -> anyhow::Result<()> {
    let shown = match format {
        Format::Yaml => serde_saphyr::to_string(value)?,
        Format::Json | Format::Table => serde_json::to_string_pretty(value)? + "\n",
    };
    Ok(text(shown)?)
}

/// Runs a short conversation.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}
