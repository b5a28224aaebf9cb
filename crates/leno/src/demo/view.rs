//! The live view: one table, calm, readable at 80 columns; and the same table as text for the summary.

use std::path::Path;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table};

use super::traffic::Row;

const HEADINGS: [&str; 8] = ["FROM", "TO", "REQ/S", "OK", "P50", "P99", "MTLS", "PEER IDENTITY"];
/// Columns before the identity, with the gaps between.
const FIXED: u16 = 12 + 15 + 5 + 6 + 5 + 5 + 4 + 7;
/// `spiffe://cluster.local/ns/default/sa/productpage`
const WHOLE_IDENTITY: u16 = 48;

/// Everything the view shows.
#[derive(Debug)]
pub struct Model<'a> {
    pub rows: &'a [Row],
    pub workloads: usize,
    pub directory: &'a Path,
    /// Address of the product page.
    pub page: &'a str,
    pub elapsed: Duration,
    pub remaining: Option<Duration>,
    /// What the control plane has to say of the configuration, newest last.
    pub problems: &'a [String],
    pub color: bool,
}

pub fn draw(frame: &mut Frame<'_>, model: &Model<'_>) {
    let problems = u16::try_from(model.problems.len().min(4)).unwrap_or(0);
    let [head, _, table, problem, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(problems),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(model)), head);
    if model.rows.is_empty() {
        frame.render_widget(
            Paragraph::new(" The workloads are starting; the first requests follow."),
            table,
        );
    } else {
        frame.render_widget(edges(model, table.width), table);
    }
    let first = model.problems.len().saturating_sub(4);
    let lines: Vec<Line<'_>> = model
        .problems
        .iter()
        .skip(first)
        .map(|p| Line::styled(format!(" {p}"), style(model, Color::Yellow)))
        .collect();
    frame.render_widget(Paragraph::new(lines), problem);
    frame.render_widget(Paragraph::new(footer(model)), foot);
}

fn headline(model: &Model<'_>) -> Line<'static> {
    let workloads = format!("   {} workloads", model.workloads);
    let name = Span::styled(" leno demo", Style::new().add_modifier(Modifier::BOLD));
    if model.rows.is_empty() {
        return Line::from(vec![name, Span::raw(format!("{workloads}   starting"))]);
    }
    let rate: f64 = model.rows.iter().map(|r| r.per_second).sum();
    let all_mtls = model.rows.iter().all(|r| r.mtls);
    let mtls = if all_mtls { "all mTLS" } else { "NOT ALL MTLS" };
    let time = match model.remaining {
        Some(left) => format!("{} s left", left.as_secs()),
        None => format!("{} s", model.elapsed.as_secs()),
    };
    let mtls_style = if all_mtls {
        style(model, Color::Green)
    } else {
        style(model, Color::Red).add_modifier(Modifier::BOLD)
    };
    Line::from(vec![
        name,
        Span::raw(format!("{workloads}   {rate:.0} requests/s   ")),
        Span::styled(mtls, mtls_style),
        Span::raw(format!("   {time}")),
    ])
}

fn footer(model: &Model<'_>) -> Vec<Line<'static>> {
    vec![
        Line::raw(format!(" Product page: {}", model.page)),
        Line::raw(format!(
            " Change the weights in {}.   Ctrl-C ends.",
            model.directory.join("reviews.yaml").display()
        )),
    ]
}

fn edges(model: &Model<'_>, width: u16) -> Table<'static> {
    let whole = width >= FIXED + WHOLE_IDENTITY;
    let rows = model.rows.iter().map(|row| {
        let failing = row.success.is_some_and(|s| s < 1.0);
        let success = if failing {
            style(model, Color::Red)
        } else {
            Style::new()
        };
        let mtls = if row.mtls {
            style(model, Color::Green)
        } else {
            style(model, Color::Red)
        };
        let [from, to, rate, ok, p50, p99, tls, identity] = cells(row, whole);
        TableRow::new([
            Cell::new(format!(" {from}")),
            Cell::new(to),
            Cell::new(Line::raw(rate).right_aligned()),
            Cell::new(Line::styled(ok, success).right_aligned()),
            Cell::new(Line::raw(p50).right_aligned()),
            Cell::new(Line::raw(p99).right_aligned()),
            Cell::new(Line::styled(tls, mtls)),
            Cell::new(identity),
        ])
    });
    let right = [false, false, true, true, true, true, false, false];
    let head = HEADINGS.iter().zip(right).map(|(name, right)| {
        let line = if *name == "FROM" {
            Line::raw(format!(" {name}"))
        } else {
            Line::raw(*name)
        };
        Cell::new(if right { line.right_aligned() } else { line })
    });
    let widths = [12, 15, 5, 6, 5, 5, 4]
        .map(Constraint::Length)
        .into_iter()
        .chain([Constraint::Fill(1)]);
    Table::new(rows, widths).header(TableRow::new(head).style(Style::new().add_modifier(Modifier::DIM)))
}

fn style(model: &Model<'_>, color: Color) -> Style {
    if model.color {
        Style::new().fg(color)
    } else {
        Style::new()
    }
}

fn cells(row: &Row, whole_identity: bool) -> [String; 8] {
    let identity = if whole_identity || row.principal.is_empty() {
        row.principal.clone()
    } else {
        short(&row.principal)
    };
    [
        row.name.source.clone(),
        row.name.destination.clone(),
        format!("{:.1}", row.per_second),
        row.success.map_or("-".into(), percent),
        row.p50.map_or("-".into(), latency),
        row.p99.map_or("-".into(), latency),
        if row.mtls { "yes" } else { "NO" }.into(),
        if identity.is_empty() {
            "none".into()
        } else {
            identity
        },
    ]
}

/// `spiffe://cluster.local/ns/default/sa/reviews` as `default/reviews`: what differs within a mesh.
fn short(principal: &str) -> String {
    let path = principal
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once("/ns/"));
    let parts = path.and_then(|(_, path)| path.split_once("/sa/"));
    parts.map_or_else(
        || principal.to_owned(),
        |(namespace, account)| format!("{namespace}/{account}"),
    )
}

/// Never rounds a failure away: 99.99 % stays under 100 %.
fn percent(share: f64) -> String {
    if share >= 1.0 {
        "100%".into()
    } else {
        format!("{:.2}%", (share * 10_000.0).floor() / 100.0)
    }
}

fn latency(value: Duration) -> String {
    let ms = value.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.1}ms"),
        ms if ms < 1000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    }
}

/// The table as text, for the summary: identities whole where the width (in columns; None: no terminal) allows it.
pub fn text(rows: &[Row], width: Option<u16>) -> String {
    let whole = width.is_none_or(|width| width >= FIXED + WHOLE_IDENTITY);
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| cells(row, whole)));
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            let padded = if (2..6).contains(&at) {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            };
            text.push_str(&padded);
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::traffic::EdgeName;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn row(mtls: bool) -> Row {
        Row {
            name: EdgeName {
                source: "productpage".into(),
                destination: "reviews v3".into(),
            },
            per_second: 12.34,
            success: Some(0.99999),
            p50: Some(Duration::from_micros(1500)),
            p99: Some(Duration::from_millis(42)),
            mtls,
            principal: "spiffe://cluster.local/ns/default/sa/reviews".into(),
            total: 100,
        }
    }

    fn screen(width: u16, rows: &[Row]) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, 12)).unwrap();
        let model = Model {
            rows,
            workloads: 7,
            directory: Path::new("/tmp/demo/mesh"),
            page: "http://127.0.0.1:8080/productpage",
            elapsed: Duration::from_secs(3),
            remaining: None,
            problems: &[],
            color: false,
        };
        terminal.draw(|frame| draw(frame, &model)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            (0..width)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        };
        (0..12).map(line).collect()
    }

    #[test]
    fn eighty_columns_hold_every_figure() {
        let lines = screen(80, &[row(true)]);
        assert_eq!(
            lines[0],
            " leno demo   7 workloads   12 requests/s   all mTLS   3 s"
        );
        for part in [
            "productpage",
            "reviews v3",
            "12.3",
            "99.99%",
            "1.5ms",
            "42ms",
            "yes",
            "default/reviews",
        ] {
            assert!(lines[3].contains(part), "{part} is missing in {:?}", lines[3]);
        }
    }

    #[test]
    fn a_wide_terminal_shows_the_whole_identity() {
        assert!(screen(120, &[row(true)])[3].ends_with("spiffe://cluster.local/ns/default/sa/reviews"));
    }

    #[test]
    fn plaintext_is_said_aloud() {
        let lines = screen(80, &[row(true), row(false)]);
        assert!(lines[0].contains("NOT ALL MTLS"));
        assert!(lines[4].contains(" NO "));
    }

    #[test]
    fn the_empty_state_says_what_is_awaited() {
        assert!(screen(80, &[])[2].contains("workloads are starting"));
    }
}
