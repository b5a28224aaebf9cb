//! The live view: one table, calm, readable at 80 columns; and the same table as text for the summary.

use std::path::Path;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, Wrap};

use super::traffic::Row;
use crate::output;
use crate::screen::colored;
use crate::seeing::show;

const HEADINGS: [&str; 10] = [
    "FROM", "TO", "SHARE", "REQ/S", "OK", "P50", "P95", "P99", "MTLS", "IDENTITY",
];
/// Columns of each, and of the gaps between them; the identity gets the rest.
const WIDTHS: [u16; 9] = [12, 15, 5, 6, 6, 5, 5, 5, 4];
const FIXED: u16 = 12 + 15 + 5 + 6 + 6 + 5 + 5 + 5 + 4 + 9;
/// `spiffe://cluster.local/ns/default/sa/productpage`
const WHOLE_IDENTITY: u16 = 48;
/// `productpage`, and somewhat more.
const SHORT_IDENTITY: u16 = 14;
/// Which column that is.
const P95: usize = 6;
/// Lines of what is wrong; more are counted.
const MOST_PROBLEMS: usize = 6;

/// Everything the view shows.
#[derive(Debug)]
pub struct Model<'a> {
    pub rows: &'a [Row],
    pub workloads: usize,
    /// Workloads that have ended, which none should: which, how, and what they said last.
    pub ended: &'a [String],
    /// How long the control plane has not answered.
    pub lost: Option<Duration>,
    pub directory: &'a Path,
    /// Address of the product page.
    pub page: &'a str,
    /// And of the control plane's.
    pub dashboard: &'a str,
    pub elapsed: Duration,
    pub remaining: Option<Duration>,
    /// What the control plane has to say of the configuration, newest last.
    pub problems: &'a [String],
    pub color: bool,
}

pub fn draw(frame: &mut Frame<'_>, model: &Model<'_>) {
    let problems = problems(model);
    let wide = usize::from(frame.area().width.max(1));
    let lines: usize = problems
        .iter()
        .map(|(_, said)| said.chars().count().div_ceil(wide).max(1))
        .sum();
    let height = u16::try_from(lines.min(usize::from(frame.area().height) / 3)).unwrap_or(0);
    let [head, _, table, problem, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(height),
        Constraint::Length(4),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline(model)), head);
    if model.rows.is_empty() {
        let waiting = vec![
            Line::raw(" The workloads are starting; the first requests follow."),
            Line::raw(""),
            Line::styled(
                " Each gets a network of its own, an identity and a sidecar: a few seconds.",
                Style::new().add_modifier(Modifier::DIM),
            ),
        ];
        frame.render_widget(Paragraph::new(waiting), table);
    } else {
        frame.render_widget(edges(model, table.width), table);
    }
    let lines: Vec<Line<'_>> = problems
        .into_iter()
        .map(|(color, said)| Line::styled(said, colored(model.color, color)))
        .collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), problem);
    frame.render_widget(Paragraph::new(footer(model)), foot);
}

fn problems(model: &Model<'_>) -> Vec<(Color, String)> {
    let mut said = Vec::new();
    if let Some(lost) = model.lost {
        said.push((
            Color::Red,
            format!(
                " The control plane has not answered for {} s. Calls go on; the figures above are old. Trying again …",
                lost.as_secs()
            ),
        ));
    }
    let ended = model.ended.iter().map(|ended| (Color::Red, format!(" {ended}")));
    let config = model
        .problems
        .iter()
        .map(|problem| (Color::Yellow, format!(" {problem}")));
    said.extend(ended.chain(config));
    if said.len() > MOST_PROBLEMS {
        let more = said.len() - MOST_PROBLEMS;
        said.truncate(MOST_PROBLEMS);
        said.push((Color::Yellow, format!(" … and {more} more")));
    }
    said
}

fn headline(model: &Model<'_>) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let alarm = colored(model.color, Color::Red).add_modifier(Modifier::BOLD);
    let calm = colored(model.color, Color::Green);
    let mut line = vec![Span::styled(" leno demo", bold)];
    let mut say = |text: String, style: Style| {
        line.push(Span::raw("   "));
        line.push(Span::styled(text, style));
    };
    say(format!("{} workloads", model.workloads), Style::new());
    match model.ended.len() {
        0 => {}
        1 => say("1 HAS ENDED".into(), alarm),
        more => say(format!("{more} HAVE ENDED"), alarm),
    }
    if model.lost.is_some() {
        say("NO CONTROL PLANE".into(), alarm);
    } else if model.rows.is_empty() {
        say("starting".into(), Style::new());
    } else {
        let rate: f64 = model.rows.iter().map(|r| r.per_second).sum();
        say(format!("{rate:.0} req/s"), Style::new());
        match model.rows.iter().all(|r| r.success.is_none_or(|s| s >= 1.0)) {
            true => say("all succeed".into(), calm),
            false => say("SOME FAIL".into(), alarm),
        }
        match model.rows.iter().all(|r| r.mtls != Some(false)) {
            true => say("all mTLS".into(), calm),
            false => say("NOT ALL MTLS".into(), alarm),
        }
    }
    let time = match model.remaining {
        Some(left) => format!("{} s left", left.as_secs()),
        None => format!("{} s", model.elapsed.as_secs()),
    };
    say(time, Style::new().add_modifier(Modifier::DIM));
    Line::from(line)
}

fn footer(model: &Model<'_>) -> Vec<Line<'static>> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    vec![
        Line::raw(""),
        Line::styled(format!(" Product page: {}", model.page), dim),
        Line::styled(format!(" Dashboard:    {}", model.dashboard), dim),
        Line::styled(
            format!(
                " Change the weights in {}.   Ctrl-C ends.",
                model.directory.join("reviews.yaml").display()
            ),
            dim,
        ),
    ]
}

fn edges(model: &Model<'_>, width: u16) -> Table<'static> {
    let whole = width >= FIXED + WHOLE_IDENTITY;
    // Without it the identity has room at 80 columns.
    let shown = |at: &usize| *at != P95 || width >= FIXED + SHORT_IDENTITY;
    let rows = model.rows.iter().map(|row| {
        let bad = colored(model.color, Color::Red);
        let success = match row.success {
            Some(share) if share < 1.0 => bad,
            _ => Style::new(),
        };
        let mtls = match row.mtls {
            Some(true) => colored(model.color, Color::Green),
            Some(false) => bad,
            None => Style::new(),
        };
        let quiet = row.per_second == 0.0 || model.lost.is_some();
        let cells = cells(row, whole).into_iter().enumerate();
        let cells = cells.filter(|(at, _)| shown(at)).map(|(at, cell)| {
            let line = Line::raw(if at == 0 { format!(" {cell}") } else { cell });
            match at {
                4 => Cell::new(line.right_aligned()).style(success),
                2..8 => Cell::new(line.right_aligned()),
                8 => Cell::new(line).style(mtls),
                _ => Cell::new(line),
            }
        });
        let row = TableRow::new(cells);
        match quiet {
            true => row.style(Style::new().add_modifier(Modifier::DIM)),
            false => row,
        }
    });
    let head = HEADINGS.iter().enumerate().filter(|(at, _)| shown(at));
    let head = head.map(|(at, name)| match at {
        0 => Cell::new(format!(" {name}")),
        2..8 => Cell::new(Line::raw(*name).right_aligned()),
        _ => Cell::new(*name),
    });
    let widths = WIDTHS.iter().enumerate().filter(|(at, _)| shown(at));
    let widths = widths.map(|(_, width)| Constraint::Length(*width));
    let widths = widths.chain([Constraint::Fill(1)]);
    Table::new(rows, widths).header(TableRow::new(head).style(Style::new().add_modifier(Modifier::DIM)))
}

fn cells(row: &Row, whole_identity: bool) -> [String; 10] {
    let identity = match row.principal.as_str() {
        "" => "-".into(),
        principal if whole_identity => principal.to_owned(),
        principal => account(principal),
    };
    let quantile = |value: Option<Duration>| show::or_dash(value.map(show::latency));
    [
        row.name.source.clone(),
        row.name.destination.clone(),
        show::or_dash(row.share.map(|share| format!("{:.0}%", share * 100.0))),
        show::rate(row.per_second),
        show::or_dash(row.success.map(show::percent)),
        quantile(row.p50),
        quantile(row.p95),
        quantile(row.p99),
        match row.mtls {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        }
        .into(),
        identity,
    ]
}

/// The service account: what differs within the demo's namespace.
fn account(principal: &str) -> String {
    let short = show::identity(principal);
    match short.strip_prefix("default/") {
        Some(account) => account.to_owned(),
        None => short,
    }
}

/// The table as text, for the summary: identities whole where the width (in columns; None: no terminal) allows it.
pub fn text(rows: &[Row], width: Option<u16>) -> String {
    let whole = width.is_none_or(|width| width >= FIXED + WHOLE_IDENTITY);
    let lines = rows.iter().map(|row| cells(row, whole).to_vec());
    output::columns(HEADINGS, lines, &[2, 3, 4, 5, 6, 7])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::traffic::EdgeName;
    use crate::seeing::sums::Sums;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn row(mtls: bool) -> Row {
        Row {
            name: EdgeName {
                source: "productpage".into(),
                destination: "reviews v3".into(),
            },
            share: Some(0.5),
            per_second: 12.34,
            success: Some(0.99999),
            p50: Some(Duration::from_micros(1500)),
            p95: Some(Duration::from_millis(30)),
            p99: Some(Duration::from_millis(42)),
            mtls: Some(mtls),
            principal: "spiffe://cluster.local/ns/default/sa/reviews".into(),
            total: Sums::default(),
        }
    }

    fn model<'a>(rows: &'a [Row]) -> Model<'a> {
        Model {
            rows,
            workloads: 7,
            ended: &[],
            lost: None,
            directory: Path::new("/tmp/demo/mesh"),
            page: "http://127.0.0.1:8080/productpage",
            dashboard: "http://127.0.0.1:15014/dashboard/",
            elapsed: Duration::from_secs(3),
            remaining: None,
            problems: &[],
            color: false,
        }
    }

    fn screen(width: u16, model: &Model<'_>) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, 16)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            (0..width)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        };
        (0..16).map(line).collect()
    }

    #[test]
    fn eighty_columns_hold_every_figure() {
        let rows = [row(true)];
        let lines = screen(80, &model(&rows));
        assert_eq!(
            lines[0],
            " leno demo   7 workloads   12 req/s   SOME FAIL   all mTLS   3 s"
        );
        for part in [
            "productpage",
            "reviews v3",
            "50%",
            "12.3",
            "99.99%",
            "1.5ms",
            "42ms",
            "yes",
            "reviews",
        ] {
            assert!(lines[3].contains(part), "{part} is missing in {:?}", lines[3]);
        }
    }

    #[test]
    fn a_wide_terminal_shows_the_whole_identity() {
        let rows = [row(true)];
        assert!(screen(120, &model(&rows))[3].ends_with("spiffe://cluster.local/ns/default/sa/reviews"));
    }

    #[test]
    fn plaintext_is_said_aloud() {
        let rows = [row(true), row(false)];
        let lines = screen(80, &model(&rows));
        assert!(lines[0].contains("NOT ALL MTLS"));
        assert!(lines[4].contains(" NO "));
    }

    #[test]
    fn the_empty_state_says_what_is_awaited() {
        assert!(screen(80, &model(&[]))[2].contains("workloads are starting"));
    }

    #[test]
    fn a_workload_that_ended_and_a_lost_control_plane_are_said_with_what_to_look_at() {
        let rows = [row(true)];
        let ended = ["reviews-v2 ended: signal 9 — /tmp/logs/reviews-v2.log — out of memory".to_owned()];
        let model = Model {
            ended: &ended,
            lost: Some(Duration::from_secs(4)),
            ..model(&rows)
        };
        let lines = screen(80, &model);
        assert_eq!(
            lines[0],
            " leno demo   7 workloads   1 HAS ENDED   NO CONTROL PLANE   3 s"
        );
        let all = lines.join("\n");
        for part in [
            "not answered for 4 s",
            "reviews-v2 ended: signal 9",
            "Ctrl-C ends",
        ] {
            assert!(all.contains(part), "{part} is missing: {all}");
        }
    }
}
