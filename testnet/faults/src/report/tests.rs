//! The section of a document, row by row.

use super::*;

const LOST: &[&str] = &["is lost"];

fn line(name: &'static str, kind: Kind, injected: u64, outcome: Result<String, String>) -> Line {
    Line {
        name,
        claim: "nothing is lost",
        kind,
        seed: 7,
        rounds: 3,
        took: Duration::from_secs(2),
        injected,
        outcome,
    }
}

fn report(lines: Vec<Line>) -> Report {
    Report { place: Place { commit: "abc123".into(), machine: "2 × Some".into() }, lines }
}

fn told(outcome: Result<&str, &str>) -> Result<String, String> {
    outcome.map(str::to_owned).map_err(str::to_owned)
}

#[test]
fn a_report_is_good_when_promises_hold_and_twins_fail() {
    let (run, twin) = (Kind::Run { least: 3 }, Kind::Twin { caught: LOST });
    let lost = || told(Err("in round 1: a byte is lost"));
    for (of_run, of_twin, good) in
        [(told(Ok("")), lost(), true), (told(Ok("")), told(Ok("")), false), (lost(), lost(), false)]
    {
        let lines = vec![line("kill", run, 3, of_run), line("kill", twin, 1, of_twin)];
        assert_eq!(report(lines).is_good(), good);
    }
}

#[test]
fn a_twin_that_fails_otherwise_or_before_a_fault_is_not_caught() {
    let twin = Kind::Twin { caught: LOST };
    let is_good = |injected, error| line("kill", twin, injected, told(Err(error))).is_good();
    assert!(is_good(1, "a byte is lost"));
    assert!(!is_good(1, "cannot run cc"));
    assert!(!is_good(0, "a byte is lost"));
    let shown = line("kill", twin, 1, told(Err("cannot run cc"))).to_string();
    assert!(shown.contains("TWIN NOT CAUGHT") && shown.contains("cannot run cc"), "{shown}");
}

#[test]
fn a_run_with_fewer_faults_than_its_rounds_should_have_shows_nothing() {
    let scenario = Scenario {
        name: "idle",
        claim: "",
        few: 1,
        full: 1,
        least: |rounds| 2 * rounds,
        run: |context| {
            context.inject(2 * u64::from(context.rounds) - u64::from(context.seed == 1));
            Ok(String::new())
        },
        twin: |_| Ok(String::new()),
        caught: &[],
    };
    let of = |seed| {
        let context = Context::new(seed, 3, false, "hive".into(), ".".into());
        Line::of(&scenario, &context, false)
    };
    assert!(!of(1).is_good());
    assert!(of(2).is_good());
}

#[test]
fn the_section_is_replaced_row_by_row_and_the_rest_of_the_document_stays() {
    let names: Vec<_> = crate::scenarios().map(|scenario| scenario.name).collect();
    let [first, second, ..] = names[..] else { panic!("{names:?}") };
    let run = Kind::Run { least: 1 };
    let of = |name, text| report(vec![line(name, run, 3, told(Ok(text)))]);
    let text = of(second, "older").put_into("# Title\n\nText.\n");
    let text = of(first, "one | two").put_into(&text);
    let text = of(second, "newer").put_into(&format!("{text}\nMore.\n"));
    assert!(text.starts_with("# Title\n\nText.\n\n<!-- hive-faults: begin -->\n| scenario |"));
    assert!(text.ends_with("<!-- hive-faults: end -->\n\nMore.\n"), "{text}");
    let rows: Vec<_> = text.lines().filter_map(name_of).collect();
    assert_eq!(rows, [first, second]);
    assert!(text.contains("| abc123 | 2 × Some |"), "{text}");
    assert!(text.contains("one / two") && text.contains("newer") && !text.contains("older"));
}
