//! `leno top`: which requests there are most of, live.

mod board;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use leno_proto::control::TapResponse;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use serde_json::{Value, json};

use crate::client::Mesh;
use crate::duration;
use crate::env::Environment;
use crate::interrupt::Interrupt;
use crate::join::JoinArgs;
use crate::output::{self, Format};
use crate::screen::{Screen, colored};
use crate::seeing::show;
use crate::tap::Watched;
use board::{Board, Called, Key};

/// Which requests there are most of: a live table, or without a terminal one at the end
#[derive(Debug, Args)]
pub struct Top {
    #[command(flatten)]
    watched: Watched,
    /// End after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    limit: Option<Duration>,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

const REDRAW: Duration = Duration::from_millis(500);
/// Requests a second that are looked at, if nothing else is said.
const MAX_RPS: u32 = 1000;
/// Columns for a workload; the path gets the rest.
const LONGEST_NAME: usize = 22;
const HEADS: [&str; 9] = [
    "FROM", "TO", "METHOD", "PATH", "COUNT", "BEST", "WORST", "LAST", "OK",
];

pub fn run(args: &Top, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    let mut board = Board::default();
    let color = !environment.no_color;
    output::block_on(async {
        let mut interrupt = Interrupt::new()?;
        let mesh = Mesh::connect(&join).await?;
        let mut responses = mesh.tap(&args.watched.request(MAX_RPS)).await?;
        // JSON is printed at the end, and a screen would be in its way.
        let mut screen = match args.output {
            Format::Table => Some(Screen::open()?),
            Format::Json | Format::Yaml => None,
        };
        let begun = Instant::now();
        let end = args.limit.map(|limit| begun + limit);
        let mut redraw = tokio::time::interval(REDRAW);
        loop {
            tokio::select! {
                response = responses.next() => {
                    let response: Option<TapResponse> = response.context("the requests are not told any more")?;
                    let Some(response) = response else {
                        anyhow::bail!("the control plane ended the tap — {} — it may be stopping; start again", join.address)
                    };
                    board.add(response);
                }
                _ = redraw.tick() => {
                    if let Some(screen) = &mut screen {
                        screen.draw(|frame| draw(frame, &board, begun.elapsed(), color))?;
                    }
                }
                () = interrupt.wait() => return Ok(()),
                () = until(end) => return Ok(()),
            }
        }
    })?;
    match args.output {
        Format::Table => output::text(table(&board))?,
        other => output::print(other, &document(&board))?,
    }
    Ok(())
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

fn draw(frame: &mut Frame<'_>, board: &Board, elapsed: Duration, color: bool) {
    let [head, _, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let title = format!(
        " leno top   {} proxies   {} requests   {} s",
        board.proxies,
        board.count,
        elapsed.as_secs()
    );
    frame.render_widget(
        Paragraph::new(Line::styled(title, Style::new().add_modifier(Modifier::BOLD))),
        head,
    );
    if board.is_empty() {
        let said = match board.proxies {
            0 => " No proxy is asked: no workload is connected yet.",
            _ => " No request has ended yet.",
        };
        frame.render_widget(Paragraph::new(said), body);
    } else {
        frame.render_widget(live(board, usize::from(body.height), color), body);
    }
    let note = match board.unseen() {
        0 => " Ctrl-C ends.".to_owned(),
        unseen => format!(" {unseen} more requests were not looked at (--max-rps).   Ctrl-C ends."),
    };
    frame.render_widget(Paragraph::new(note), foot);
}

fn live(board: &Board, height: usize, color: bool) -> Table<'static> {
    let sorted: Vec<_> = board.sorted().into_iter().take(height).collect();
    let longest = |part: fn(&Key) -> &str| {
        let lengths = sorted
            .iter()
            .map(|(key, _)| show::short(part(key)).chars().count());
        let longest = lengths.max().unwrap_or(0).clamp(4, LONGEST_NAME);
        u16::try_from(longest).unwrap_or(u16::MAX)
    };
    // The first with a margin.
    let from = Constraint::Length(longest(|key| &key.source) + 1);
    let to = Constraint::Length(longest(|key| &key.destination));
    let rows = sorted.into_iter().map(|(key, called)| {
        let failing = called.failures > 0;
        let cells = cells(key, called);
        Row::new(cells.into_iter().enumerate().map(|(at, cell)| {
            let line = Line::raw(if at == 0 { format!(" {cell}") } else { cell });
            match at {
                8 if failing => Cell::new(line.right_aligned()).style(colored(color, Color::Red)),
                4.. => Cell::new(line.right_aligned()),
                _ => Cell::new(line),
            }
        }))
    });
    let heads = HEADS.iter().enumerate().map(|(at, head)| match at {
        0 => Cell::new(format!(" {head}")),
        4.. => Cell::new(Line::raw(*head).right_aligned()),
        _ => Cell::new(*head),
    });
    let figures = [6, 5, 5, 5, 6].map(Constraint::Length);
    let names = [from, to, Constraint::Length(6), Constraint::Fill(1)];
    let widths = names.into_iter().chain(figures);
    Table::new(rows, widths).header(Row::new(heads).style(Style::new().add_modifier(Modifier::DIM)))
}

fn cells(key: &Key, called: &Called) -> [String; 9] {
    [
        show::short(&key.source).to_owned(),
        show::short(&key.destination).to_owned(),
        key.method.clone(),
        key.path.clone(),
        called.count.to_string(),
        show::latency(called.best),
        show::latency(called.worst),
        show::latency(called.last),
        show::percent(called.success()),
    ]
}

fn table(board: &Board) -> String {
    let mut out = if board.is_empty() {
        "No request has ended while this was looking.\n".to_owned()
    } else {
        let rows = board
            .sorted()
            .into_iter()
            .map(|(key, called)| cells(key, called).to_vec());
        output::columns(HEADS, rows, &[4, 5, 6, 7, 8])
    };
    if board.unseen() > 0 && !std::io::stdout().is_terminal() {
        out.push_str(&format!(
            "({} more were not looked at: --max-rps)\n",
            board.unseen()
        ));
    }
    out
}

fn document(board: &Board) -> Value {
    let ms = |value: Duration| value.as_secs_f64() * 1000.0;
    let rows = board.sorted().into_iter().map(|(key, called)| {
        json!({
            "source": key.source, "destination": key.destination, "method": key.method, "path": key.path,
            "count": called.count, "failures": called.failures, "success": called.success(),
            "latencyMs": { "best": ms(called.best), "worst": ms(called.worst), "last": ms(called.last) },
        })
    });
    json!({ "requests": board.count, "notLookedAt": board.unseen(), "rows": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use leno_proto::control::{Edge, Peer, TapRecord};
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(board: &Board) -> Vec<String> {
        let mut terminal = ratatui::Terminal::new(TestBackend::new(80, 8)).unwrap();
        terminal
            .draw(|frame| draw(frame, board, Duration::from_secs(3), false))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..8).map(|y| line(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn eighty_columns_hold_every_figure_and_nothing_is_said_so() {
        let mut board = Board::default();
        assert!(screen(&board)[2].contains("no workload is connected"));
        let record = TapRecord {
            edge: Some(Edge {
                source: Some(Peer {
                    workload: "productpage-v1".into(),
                    ..Peer::default()
                }),
                destination_service: "reviews.default.svc.cluster.local".into(),
                failures: 1,
                ..Edge::default()
            }),
            method: "GET".into(),
            path: "/reviews/0?x=1".into(),
            duration_us: 7_300,
            ..TapRecord::default()
        };
        board.add(TapResponse {
            records: vec![record],
            over_limit: 5,
            proxies: 2,
            ..TapResponse::default()
        });
        let lines = screen(&board);
        assert_eq!(lines[0], " leno top   2 proxies   1 requests   3 s");
        for part in [
            "productpage",
            "reviews ",
            "GET",
            "/reviews/0",
            "1",
            "7.3ms",
            "0.00%",
        ] {
            assert!(lines[3].contains(part), "{part} is missing in {:?}", lines[3]);
        }
        assert!(
            lines[7].contains("5 more requests were not looked at"),
            "{lines:?}"
        );
    }
}
