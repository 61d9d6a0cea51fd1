use super::*;

fn state() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    state.create().unwrap();
    (dir, state)
}

fn lines(state: &StateDir) -> Vec<String> {
    let text = std::fs::read_to_string(state.path("journal.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_event_is_one_line_of_json() {
    let (_dir, state) = state();
    let journal = Journal::open(&state).unwrap();
    journal.record("create-network/demo", Happened::Started, "").unwrap();
    journal.record("create-network/demo", Happened::Failed, "two\nlines \"quoted\"").unwrap();
    let events: Vec<serde_json::Value> = lines(&state).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["step"], &events[0]["happened"]), (&"create-network/demo".into(), &"started".into()));
    assert!(events[0].get("detail").is_none() && events[0]["time"].is_string());
    assert_eq!(events[1]["detail"], "two\nlines \"quoted\"");
}

#[test]
fn a_half_written_line_of_a_killed_run_is_ended_before_the_next() {
    let (_dir, state) = state();
    std::fs::write(state.path("journal.jsonl"), "{\"time\":\"2026-01-01T00:00:00Z\",\"st").unwrap();
    Journal::open(&state).unwrap().record("a/b", Happened::Finished, "").unwrap();
    let lines = lines(&state);
    assert_eq!(lines.len(), 2);
    assert!(serde_json::from_str::<serde_json::Value>(&lines[1]).is_ok(), "{lines:?}");
}

#[test]
fn a_whole_journal_is_gone_on_with_and_an_empty_one_gets_no_empty_line() {
    let (_dir, state) = state();
    for _ in 0..2 {
        Journal::open(&state).unwrap().record("a/b", Happened::Finished, "").unwrap();
    }
    assert_eq!(lines(&state).len(), 2);
    std::fs::write(state.path("journal.jsonl"), "").unwrap();
    Journal::open(&state).unwrap();
    assert_eq!(lines(&state).len(), 0);
}
