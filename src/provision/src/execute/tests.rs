use std::sync::Mutex;

use futures::future::BoxFuture;
use tokio::sync::Barrier;

use super::*;
use crate::exit::classify;
use crate::plan::Action;
use crate::progress::StepState;
use crate::state::StateDir;

/// Fails the steps of this subject, and lets those called `meet` wait for each other.
struct Company {
    fails: &'static str,
    meeting: Barrier,
    log: Mutex<Vec<String>>,
    cancels: CancellationToken,
}

impl Company {
    fn new(fails: &'static str) -> Self {
        Self { fails, meeting: Barrier::new(2), log: Mutex::default(), cancels: CancellationToken::new() }
    }

    fn say(&self, word: &str, step: &Step) {
        self.log.lock().unwrap().push(format!("{word} {}", step.id));
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Carrier for Company {
    fn carry_out<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.say("begin", step);
            match step.phase {
                "meet" => {
                    self.meeting.wait().await;
                }
                "cancel" => {
                    self.cancels.cancel();
                    std::future::pending::<()>().await;
                }
                "late" => {
                    for _ in 0..5 {
                        tokio::task::yield_now().await;
                    }
                }
                _ => {}
            }
            anyhow::ensure!(step.subject != self.fails, "as the test wants it");
            self.say("end", step);
            Ok(())
        })
    }
}

#[derive(Default)]
struct Watched(Mutex<Vec<(String, StepState, Option<String>)>>);

impl Progress for Watched {
    fn step(&self, event: &StepEvent<'_>) {
        let seen = (event.step.to_owned(), event.state, event.error.map(str::to_owned));
        self.0.lock().unwrap().push(seen);
    }
    fn detail(&self, _: &str, _: &str) {}
    fn close(&self) {}
}

fn step(phase: &'static str, subject: &str, after: &[&str]) -> Step {
    Step::new(phase, subject, Action::Create, "").after(after.iter().map(|id| (*id).to_owned()))
}

/// Runs the steps; returns how it ended, the journal and what the user saw.
async fn run(company: &Company, steps: Vec<Step>) -> (Result<()>, String, Arc<Watched>) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    state.create().unwrap();
    let journal = Journal::open(&state).unwrap();
    let watched = Arc::new(Watched::default());
    let progress = Arc::clone(&watched) as Arc<dyn Progress>;
    let observers = Observers { journal: &journal, progress: &progress };
    let result = execute(&Plan::new(steps), company, &observers, &company.cancels).await;
    (result, std::fs::read_to_string(state.path("journal.jsonl")).unwrap(), watched)
}

#[tokio::test]
async fn a_step_begins_when_the_steps_before_it_have_ended() {
    let company = Company::new("");
    let steps = vec![step("c", "x", &["a/x", "b/x"]), step("a", "x", &[]), step("b", "x", &["a/x"])];
    run(&company, steps).await.0.unwrap();
    assert_eq!(company.log(), ["begin a/x", "end a/x", "begin b/x", "end b/x", "begin c/x", "end c/x"]);
}

#[tokio::test]
async fn steps_that_do_not_wait_for_each_other_run_side_by_side() {
    let company = Company::new("");
    // Each waits until the other has begun: one by one, they would never end.
    run(&company, vec![step("meet", "x", &[]), step("meet", "y", &[])]).await.0.unwrap();
    assert_eq!(company.log()[..2], ["begin meet/x", "begin meet/y"]);
}

#[tokio::test]
async fn the_first_of_several_is_enough_and_counts_once() {
    let company = Company::new("bad");
    let any = |step: Step| step.after_any(["a/bad", "a/x", "a/y"].map(str::to_owned));
    let steps = vec![
        step("a", "bad", &[]),
        step("a", "x", &[]),
        step("a", "y", &["late/y"]),
        step("late", "y", &[]),
        any(step("b", "x", &[])),
        any(step("b", "y", &["a/y"])),
    ];
    let (result, ..) = run(&company, steps).await;
    assert_eq!(result.unwrap_err().to_string(), "bad: a failed");
    let log = company.log();
    let at = |line: &str| log.iter().position(|known| known == line).unwrap_or_else(|| panic!("no {line}: {log:?}"));
    assert!(at("end a/x") < at("begin b/x") && at("begin b/x") < at("end a/y"), "{log:?}");
    assert!(at("end a/y") < at("begin b/y"), "it waits for one of them in any case: {log:?}");
    assert_eq!(log.iter().filter(|line| line.starts_with("begin b/")).count(), 2, "{log:?}");
}

#[tokio::test]
async fn a_step_whose_last_chance_has_failed_does_not_begin() {
    let company = Company::new("bad");
    let behind = step("b", "x", &[]).after_any(["a/bad".to_owned()]);
    let (result, ..) = run(&company, vec![step("a", "bad", &[]), behind]).await;
    assert_eq!(result.unwrap_err().to_string(), "bad: a failed");
    assert_eq!(company.log(), ["begin a/bad"]);
}

#[tokio::test]
async fn a_failed_step_takes_down_those_that_wait_for_it_and_no_others() {
    let company = Company::new("bad");
    let steps = vec![
        step("a", "bad", &[]),
        step("b", "behind", &["a/bad"]),
        step("c", "far-behind", &["b/behind"]),
        step("a", "good", &[]),
        step("b", "good", &["a/good"]),
    ];
    let (result, journal, watched) = run(&company, steps).await;
    assert_eq!(format!("{:#}", result.unwrap_err()), "bad: a failed: as the test wants it");
    let ended: Vec<String> = company.log().into_iter().filter(|line| line.starts_with("end")).collect();
    assert_eq!(ended, ["end a/good", "end b/good"]);
    assert!(journal.contains(r#""step":"a/bad","happened":"failed","detail":"as the test wants it""#), "{journal}");
    assert!(!journal.contains("behind"), "what never began is not in the journal");
    let seen = watched.0.lock().unwrap().clone();
    assert!(seen.contains(&("a/bad".into(), StepState::Failed, Some("as the test wants it".into()))), "{seen:?}");
    assert!(seen.contains(&("b/good".into(), StepState::Finished, None)), "{seen:?}");
}

#[tokio::test]
async fn the_first_failure_is_the_one_that_is_told() {
    let company = Company::new("bad");
    let steps = vec![step("late", "bad", &[]), step("a", "bad", &[])];
    let error = run(&company, steps).await.0.unwrap_err();
    assert_eq!(error.to_string(), "bad: a failed");
}

#[tokio::test]
async fn a_cancelled_run_stops_at_once_and_begins_nothing_more() {
    let company = Company::new("");
    let (result, journal, _) = run(&company, vec![step("cancel", "x", &[]), step("b", "x", &["cancel/x"])]).await;
    let error = result.unwrap_err();
    assert_eq!(classify(&error), Exit::Interrupted);
    assert_eq!(company.log(), ["begin cancel/x"]);
    assert_eq!(journal.lines().count(), 1, "the journal says what was begun: {journal}");
}

#[tokio::test]
async fn steps_that_wait_for_each_other_are_an_error_and_not_a_success() {
    let company = Company::new("");
    let (result, ..) = run(&company, vec![step("a", "x", &["b/x"]), step("b", "x", &["a/x"])]).await;
    assert_eq!(result.unwrap_err().to_string(), "a/x waits for itself: the plan has a circle");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_stops_the_step_before_it_begins() {
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: there is no /dev/full to stand in for a full disk");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    state.create().unwrap();
    std::os::unix::fs::symlink("/dev/full", state.path("journal.jsonl")).unwrap();
    let journal = Journal::open(&state).unwrap();
    let progress: Arc<dyn Progress> = Arc::new(Watched::default());
    let company = Company::new("");
    let observers = Observers { journal: &journal, progress: &progress };
    let plan = Plan::new(vec![step("a", "x", &[])]);
    let error = execute(&plan, &company, &observers, &CancellationToken::new()).await.unwrap_err();
    assert!(format!("{error:#}").contains("journal.jsonl: No space left on device"), "{error:#}");
    assert!(company.log().is_empty());
}
