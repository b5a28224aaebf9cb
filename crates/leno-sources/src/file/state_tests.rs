use super::*;

const FILE: &str = "mesh/web.yaml";
const MS: Duration = Duration::from_millis(1);

/// The state with a clock that only moves when told to.
struct Bench {
    state: DirectoryState,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            state: DirectoryState::default(),
            now: Instant::now(),
        }
    }

    fn write(&mut self, text: &str) {
        self.state
            .observe(FILE, Observation::Content(text.into()), Duration::ZERO, self.now);
    }

    fn after(&mut self, time: Duration) -> Vec<FileObjects> {
        self.now += time;
        self.state.apply(self.now)
    }

    /// Writes, waits, and returns names and codes of what is then in force.
    fn settle(&mut self, text: &str) -> (Vec<String>, Vec<Code>) {
        self.write(text);
        let changed = self.after(SETTLE);
        let names = changed
            .iter()
            .flat_map(|f| f.objects.iter().map(describe))
            .collect();
        (
            names,
            changed
                .iter()
                .flat_map(|f| f.diagnostics.iter().map(|d| d.code))
                .collect(),
        )
    }
}

fn describe(object: &Object) -> String {
    let leno_api::Spec::Service(spec) = &object.spec else {
        return object.key.to_string();
    };
    format!("{}:{}", object.key.name, spec.ports[0].port)
}

fn service(name: &str, port: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

#[test]
fn a_version_counts_when_it_has_stood_unchanged() {
    let mut bench = Bench::new();
    bench.write(&service("web", "80"));
    assert!(bench.after(30 * MS).is_empty());
    bench.write(&service("web", "81"));
    assert!(bench.after(30 * MS).is_empty());
    assert_eq!(bench.state.deadline(), Some(bench.now + 20 * MS));
    let changed = bench.after(20 * MS);
    assert_eq!(describe(&changed[0].objects[0]), "web:81");
    assert_eq!(bench.state.deadline(), None);
}

#[test]
fn files_written_together_count_together_and_a_busy_one_holds_up_the_others_only_briefly() {
    let mut bench = Bench::new();
    bench.write(&service("web", "80"));
    bench.now += 30 * MS;
    let api = |port: &str| Observation::Content(service("api", port).into());
    bench
        .state
        .observe("mesh/api.yaml", api("1"), Duration::ZERO, bench.now);
    assert!(bench.after(30 * MS).is_empty());
    assert_eq!(bench.after(20 * MS).len(), 2);

    bench.write(&service("web", "81"));
    for port in 2..12 {
        bench
            .state
            .observe("mesh/api.yaml", api(&port.to_string()), Duration::ZERO, bench.now);
        let changed = bench.after(10 * MS);
        assert_eq!(changed.len(), usize::from(port == 11));
    }
}

#[test]
fn a_file_known_to_be_old_counts_at_once() {
    let mut bench = Bench::new();
    let content = Observation::Content(service("web", "80").into());
    bench
        .state
        .observe(FILE, content, Duration::from_secs(9), bench.now);
    assert_eq!(bench.after(Duration::ZERO).len(), 1);
}

#[test]
fn a_half_written_file_leaves_the_last_good_objects() {
    let mut bench = Bench::new();
    bench.settle(&service("web", "80"));
    let (names, codes) = bench.settle("apiVersion: v1\nkind: Service\nmetadata: {name: we");
    assert_eq!(names, ["web:80"]);
    assert_eq!(codes, [Code::Syntax, Code::LastGoodKept]);
    assert_eq!(
        bench.settle(&service("web", "82")),
        (vec!["web:82".into()], vec![])
    );
}

#[test]
fn an_empty_file_leaves_the_last_good_objects() {
    let mut bench = Bench::new();
    bench.settle(&service("web", "80"));
    assert_eq!(
        bench.settle("# soon\n"),
        (vec!["web:80".into()], vec![Code::FileEmpty])
    );
}

#[test]
fn an_invalid_object_keeps_its_last_good_version_and_its_neighbours_proceed() {
    let mut bench = Bench::new();
    bench.settle(&(service("web", "80") + &service("api", "90") + &service("old", "70")));
    let (names, codes) = bench.settle(&(service("web", "0") + &service("api", "91")));
    assert_eq!(names, ["api:91", "web:80"]);
    assert_eq!(codes, [Code::OutOfRange, Code::LastGoodKept]);
}

#[test]
fn an_invalid_object_without_a_good_version_is_not_there() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.settle(&service("web", "0")),
        (vec![], vec![Code::OutOfRange])
    );
}

#[test]
fn a_removed_file_takes_its_objects_along() {
    let mut bench = Bench::new();
    bench.settle(&service("web", "80"));
    bench
        .state
        .observe(FILE, Observation::Gone, Duration::ZERO, bench.now);
    let changed = bench.after(SETTLE);
    assert!(changed[0].objects.is_empty() && changed[0].diagnostics.is_empty());
    assert_eq!(bench.state.known().count(), 0);
}

#[test]
fn removing_and_writing_anew_is_one_change() {
    let mut bench = Bench::new();
    bench.settle(&service("web", "80"));
    bench
        .state
        .observe(FILE, Observation::Gone, Duration::ZERO, bench.now);
    assert!(bench.after(10 * MS).is_empty());
    assert_eq!(
        bench.settle(&service("web", "81")),
        (vec!["web:81".into()], vec![])
    );
}

#[test]
fn writing_the_same_again_changes_nothing() {
    let mut bench = Bench::new();
    bench.settle(&service("web", "80"));
    bench.write("x");
    bench.write(&service("web", "80"));
    assert!(bench.after(SETTLE).is_empty());
}

#[test]
fn an_unreadable_file_leaves_the_last_good_objects() {
    let mut bench = Bench::new();
    bench.settle(&service("web", "80"));
    let seen = Observation::Unreadable("Permission denied".into());
    bench.state.observe(FILE, seen, Duration::ZERO, bench.now);
    let changed = bench.after(SETTLE);
    assert_eq!(changed[0].objects.len(), 1);
    assert_eq!(changed[0].diagnostics[0].code, Code::FileUnreadable);
}
