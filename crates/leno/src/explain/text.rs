//! An explanation for people: one column of what, one of how, 80 characters wide.

use super::answer::{Action, Endpoint, Explanation, Inbound, Kind, Made, Target, Transport};
use super::words;

/// Nobody is behind it, on purpose.
const BLACK_HOLE: &str = "BlackHoleCluster";
const WIDTH: usize = 80;
const LABEL: usize = 11;
/// Routes that did not take it; the rest is in `-o json`.
const MOST_MISSED: usize = 3;
/// Endpoints of one cluster.
const MOST_ENDPOINTS: usize = 5;

/// Lines with a label at their beginning.
#[derive(Default)]
struct Page(String);

impl Page {
    /// A labelled line, continued below itself.
    fn line(&mut self, label: &str, said: impl AsRef<str>) {
        for (i, line) in wrapped(said.as_ref(), WIDTH - LABEL - 2).into_iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            self.0.push_str(format!("  {label:<LABEL$}{line}").trim_end());
            self.0.push('\n');
        }
    }

    fn lines(&mut self, label: &str, said: &[String]) {
        for (i, said) in said.iter().enumerate() {
            self.line(if i == 0 { label } else { "" }, said);
        }
    }

    fn gap(&mut self) {
        self.0.push('\n');
    }
}

pub fn text(explanation: &Explanation) -> String {
    let mut page = Page::default();
    let method = explanation
        .request
        .as_ref()
        .map(|request| format!("{} ", request.method));
    let heading = format!(
        "{} → {}{}",
        explanation.from,
        method.unwrap_or_default(),
        explanation.to
    );
    for line in wrapped(&heading, WIDTH) {
        page.0.push_str(&line);
        page.gap();
    }
    page.line("by", &explanation.told_by);
    way(&mut page, explanation);
    if let Some(action) = &explanation.action {
        self::action(&mut page, action);
    }
    for target in &explanation.targets {
        page.gap();
        self::target(&mut page, target);
    }
    others(&mut page, explanation);
    page.gap();
    let outcome = &explanation.outcome;
    let status = outcome
        .status
        .map(|status| format!(" {status}"))
        .unwrap_or_default();
    let verdict = match outcome.kind {
        Kind::Forwarded => "forwarded",
        Kind::Answered => "answered",
        Kind::NoRoute => "NO ROUTE",
        Kind::Refused => "REFUSED",
        Kind::NoEndpoint => "NO ENDPOINT",
        Kind::UnknownName => "UNKNOWN NAME",
    };
    for line in wrapped(&format!("{verdict}{status}: {}", outcome.said), WIDTH) {
        page.0.push_str(&line);
        page.gap();
    }
    page.0
}

/// From the name to the route.
fn way(page: &mut Page, explanation: &Explanation) {
    if let Some(request) = explanation.request.as_ref().filter(|request| request.normalised) {
        page.line("path", format!("{} after normalisation", request.path));
    }
    if let Some(name) = &explanation.name {
        let said = match (name.known, name.addresses.as_slice()) {
            (false, _) => format!("{} is nobody's", name.host),
            (true, []) => format!("{} is not the mesh's", name.host),
            (true, [same]) if *same == name.host => format!("{same}, an address"),
            (true, addresses) => format!("{} is at {}", name.host, addresses.join(" and ")),
        };
        page.line("name", said);
    }
    if let Some(listener) = &explanation.listener {
        let said = match listener.chain == listener.name || listener.chain.is_empty() {
            true => format!("{}, taken as {}", listener.name, listener.taken_as),
            false => format!(
                "{}, taken as {} by chain {}",
                listener.name, listener.taken_as, listener.chain
            ),
        };
        page.line("listener", said);
    }
    if let Some(host) = &explanation.host {
        let domains = match host.domains.as_slice() {
            [one] if one == "*" => "any Host".into(),
            [first, rest @ ..] if rest.len() > 2 => format!("{first} and {} more", rest.len()),
            domains => domains.join(", "),
        };
        page.line("host", format!("{} (for {domains})", host.name));
    }
    if let Some(route) = &explanation.route {
        page.line("route", made(&route.made));
        if let Some(place) = &route.made.place {
            page.line("", place);
        }
        page.line("takes", route.matches.join("; "));
    }
}

fn action(page: &mut Page, action: &Action) {
    if let Some(answer) = &action.answer {
        let more = answer.location.as_ref().or(answer.body.as_ref());
        let more = more
            .map(|more| format!(" {}", more.escape_debug()))
            .unwrap_or_default();
        page.line("answers", format!("{}{more}", answer.status));
    }
    if let Some(timeout) = &action.timeout {
        page.line("timeout", timeout);
    }
    if let Some(retries) = &action.retries {
        page.line("retries", retries);
    }
    page.lines("faults", &action.faults);
    page.lines("mirrors", &action.mirrors);
    page.lines("hashed by", &action.hashed);
    if let Some(authority) = &action.authority {
        page.line("rewritten", format!("Host becomes {authority}"));
    }
    if let Some(path) = &action.path {
        page.line("rewritten", format!("path becomes {path}"));
    }
    page.lines("request", &action.request_headers);
    page.lines("answer", &action.response_headers);
}

fn target(page: &mut Page, target: &Target) {
    page.line(&words::shown(target.share), &target.cluster);
    if !target.found {
        page.line("", "there is no such cluster");
        return;
    }
    if let Some(policy) = &target.policy {
        let subset = target.subset.as_ref().map(|subset| format!(", subset {subset}"));
        page.line(
            "policy",
            format!("{}{}", made(policy), subset.unwrap_or_default()),
        );
        if let Some(place) = &policy.place {
            page.line("", place);
        }
    }
    if let Some(balance) = target.balance.as_ref().filter(|_| target.cluster != BLACK_HOLE) {
        let mut said = vec![balance.clone()];
        said.extend(target.limits.iter().cloned());
        page.line("balance", said.join("; "));
    }
    page.lines("request", &target.request_headers);
    if let Some(first) = target.endpoints.first() {
        let same = target
            .endpoints
            .iter()
            .all(|other| other.transport == first.transport);
        if same {
            page.line("speaks", transport(&first.transport));
            page.lines("expects", &first.transport.identities);
        }
        for endpoint in target.endpoints.iter().take(MOST_ENDPOINTS) {
            self::endpoint(page, endpoint, same);
        }
        if target.endpoints.len() > MOST_ENDPOINTS {
            page.line(
                "",
                format!("and {} more", target.endpoints.len() - MOST_ENDPOINTS),
            );
        }
        far(page, target);
    } else if target.cluster != BLACK_HOLE {
        page.line("endpoints", "none");
    }
    if let Some(proxy) = &target.proxy {
        page.line("proxy", proxy);
    }
}

fn endpoint(page: &mut Page, endpoint: &Endpoint, same: bool) {
    let port = endpoint.port.map(|port| format!("port {port}"));
    let mut said: Vec<String> = match (&endpoint.address, endpoint.port) {
        (Some(address), Some(port)) if address.contains(':') => vec![format!("[{address}]:{port}")],
        (Some(address), Some(port)) => vec![format!("{address}:{port}")],
        (Some(address), None) => vec![address.clone()],
        (None, _) => port.into_iter().collect(),
    };
    said.extend(endpoint.workload.clone());
    said.push(match &endpoint.declared {
        Some(declared) => format!("declared by {declared}"),
        None => endpoint.health.into(),
    });
    if endpoint.weight != 1 {
        said.push(format!("weight {}", endpoint.weight));
    }
    if endpoint.priority != 0 {
        said.push(format!("priority {}", endpoint.priority));
    }
    if !endpoint.locality.is_empty() {
        said.push(format!("in {}", endpoint.locality));
    }
    if !same {
        said.push(transport(&endpoint.transport));
    }
    page.line("endpoint", said.join(", "));
}

/// The far side's word, once for all that say the same.
fn far(page: &mut Page, target: &Target) {
    let mut told: Vec<(String, &[String], usize)> = Vec::new();
    for inbound in target
        .endpoints
        .iter()
        .filter_map(|endpoint| endpoint.inbound.as_ref())
    {
        let said = inbound_said(inbound);
        match told
            .iter_mut()
            .find(|(known, because, _)| *known == said && *because == inbound.because)
        {
            Some((.., count)) => *count += 1,
            None => told.push((said, &inbound.because, 1)),
        }
    }
    let several = told.len() > 1;
    for (said, because, count) in told {
        let whom = if several {
            format!("{count} of them: ")
        } else {
            String::new()
        };
        page.line("far side", whom + &said);
        page.lines("because", because);
    }
}

fn inbound_said(inbound: &Inbound) -> String {
    match (&inbound.chain, &inbound.application, &inbound.refused) {
        (_, _, Some(refused)) => format!("refuses it: {refused}"),
        (Some(chain), Some(application), None) => {
            let mode = inbound.mode.map(|mode| format!("{mode}: ")).unwrap_or_default();
            let once = match inbound.asks.as_slice() {
                [] => String::new(),
                [one] => format!(" once {one} allows it"),
                several => format!(" once {} allow it", several.join(" and ")),
            };
            format!("{mode}taken by {chain}, goes on to {application}{once}")
        }
        (Some(chain), None, None) => format!("taken by {chain}"),
        (None, ..) => "unknown".into(),
    }
}

fn transport(transport: &Transport) -> String {
    let over = match (transport.mode, &transport.sni) {
        ("plaintext", _) => {
            return match transport.speaks {
                Some(speaks) => format!("{speaks} in plaintext"),
                None => "what the application sends, without TLS of the mesh's".into(),
            };
        }
        (mode, Some(sni)) => format!("{mode} as {sni}"),
        (mode, None) => mode.to_owned(),
    };
    format!("{} over {over}", transport.speaks.unwrap_or("bytes"))
}

/// What nearly matched, what stands too late, what is not in force.
fn others(page: &mut Page, explanation: &Explanation) {
    if !explanation.missed.is_empty() || !explanation.shadowed.is_empty() {
        page.gap();
    }
    for missed in explanation.missed.iter().take(MOST_MISSED) {
        page.line("not", short(&missed.made));
        page.lines("because", &missed.because);
    }
    if explanation.missed.len() > MOST_MISSED {
        let more = explanation.missed.len() - MOST_MISSED;
        page.line("", format!("and {more} more routes (-o json)"));
    }
    for made in &explanation.shadowed {
        page.line("too late", format!("{}, which would take it too", short(made)));
    }
    if !explanation.notes.is_empty() {
        page.gap();
        page.lines("note", &explanation.notes);
    }
    if !explanation.left_out.is_empty() {
        page.gap();
        page.lines("left out", &explanation.left_out);
    }
}

fn made(made: &Made) -> String {
    let Some(object) = &made.object else {
        return "the service's own: no object routes it".into();
    };
    let mut said = object.clone();
    if let Some(rule) = made.rule {
        said.push_str(&format!(", rule {rule}"));
    }
    if let Some(name) = &made.name {
        said.push_str(&format!(" ({name})"));
    }
    said
}

/// With its place on the same line.
fn short(made: &Made) -> String {
    let place = made.place.as_ref().map(|place| format!(" at {place}"));
    self::made(made) + &place.unwrap_or_default()
}

/// At words; what is longer than a line stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let length = line.chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if length > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words_and_long_words_stay_whole() {
        assert_eq!(wrapped("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("a bbbbbb c", 4), ["a", "bbbbbb", "c"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
