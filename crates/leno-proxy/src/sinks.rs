//! Where statistics are sent at their interval.

use leno_engine::compile::stats::Sink;
use leno_telemetry::stats::{Snapshot, statsd};
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;

use crate::Handle;
use crate::stats;

/// Sends the statistics to their sinks again and again. Never returns.
pub async fn keep_told(proxy: &Handle) {
    let config = proxy.stats_config();
    if config.sinks.is_empty() {
        return std::future::pending().await;
    }
    let mut sinks = Vec::new();
    for sink in &config.sinks {
        match open(sink).await {
            Ok(socket) => sinks.push((sink, socket)),
            Err(error) => tracing::error!(?sink, %error, "statistics are not sent"),
        }
    }
    let mut ticks = tokio::time::interval(config.flush_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Snapshot::default();
    loop {
        ticks.tick().await;
        let now = stats::snapshot(proxy);
        for (sink, socket) in &sinks {
            let Sink::Statsd {
                prefix,
                tags,
                datagram,
                ..
            } = sink;
            let lines = statsd(&before, &now, prefix, *tags, config);
            for datagram in datagrams(&lines, *datagram) {
                // Nobody listens, or not fast enough: as is usual with datagrams.
                if let Err(error) = socket.send(datagram.as_bytes()).await {
                    tracing::debug!(%error, "statsd");
                }
            }
        }
        before = now;
    }
}

async fn open(sink: &Sink) -> std::io::Result<UdpSocket> {
    let Sink::Statsd { to, .. } = sink;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// As many lines in each as there is room for.
fn datagrams(lines: &[String], most: Option<u64>) -> Vec<String> {
    let most = most.map_or(0, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let mut all: Vec<String> = Vec::new();
    for line in lines {
        match all.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= most => {
                last.push('\n');
                last.push_str(line);
            }
            _ => all.push(line.clone()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_up_to_a_size() {
        let lines = ["a:1|c", "b:1|c", "c:1|c"].map(str::to_owned);
        assert_eq!(datagrams(&lines, None).len(), 3);
        assert_eq!(datagrams(&lines, Some(11)), ["a:1|c\nb:1|c", "c:1|c"]);
    }
}
