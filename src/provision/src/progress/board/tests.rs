use console::strip_ansi_codes;

use super::*;
use crate::plan::{Action, Step};

fn at(began: Instant, seconds: u64) -> Instant {
    began + Duration::from_secs(seconds)
}

fn step(phase: &'static str, subject: &str) -> Step {
    Step::new(phase, subject, Action::Create, "")
}

fn plain(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| strip_ansi_codes(line).into_owned()).collect()
}

#[test]
fn a_machine_has_one_line_with_its_step_and_the_time_that_it_takes() {
    let zero = Instant::now();
    let mut board = Board::new(zero);
    board.plan(4);
    let (image, one, two) =
        (step("prepare-image", "lab"), step("create-machine", "lab-1"), step("create-machine", "lab-2"));
    board.step(&StepEvent::started(&image), zero);
    board.detail("lab", "[2/7] packages", at(zero, 1));
    board.step(&StepEvent::started(&one), at(zero, 1));
    board.step(&StepEvent::started(&two), at(zero, 1));
    board.step(&StepEvent::finished(&one, Duration::ZERO), at(zero, 3));
    board.step(&StepEvent::failed(&two, Duration::ZERO, "no memory"), at(zero, 4));
    assert_eq!(
        plain(&board.render(at(zero, 70), 24, 80)),
        [
            "1 of 4 steps, 1m10s",
            "• lab            1m10s  prepare image: [2/7] packages",
            "✓ lab-1             2s  create machine done",
            "✗ lab-2             3s  create machine failed: no memory",
        ]
    );
    assert!(board.is_moving());
    board.step(&StepEvent::finished(&image, Duration::ZERO), at(zero, 71));
    assert!(!board.is_moving());
}

#[test]
fn two_steps_of_one_machine_share_its_line_and_a_failure_is_not_covered() {
    let zero = Instant::now();
    let mut board = Board::new(zero);
    for phase in ["mark-node", "wait-node", "drain-node"] {
        board.step(&StepEvent::started(&step(phase, "lab-1")), zero);
    }
    board.step(&StepEvent::failed(&step("drain-node", "lab-1"), Duration::ZERO, "blocked"), zero);
    board.step(&StepEvent::finished(&step("mark-node", "lab-1"), Duration::ZERO), at(zero, 1));
    let picture = plain(&board.render(at(zero, 2), 24, 80));
    assert_eq!(picture[1], "✗ lab-1             1s  drain node failed: blocked");
}

#[test]
fn many_machines_fit_a_small_terminal_and_what_failed_or_runs_is_seen() {
    let zero = Instant::now();
    let mut board = Board::new(zero);
    let names: Vec<String> = (0..300).map(|number| format!("lab-worker-{number}")).collect();
    for name in &names {
        board.step(&StepEvent::started(&step("create-machine", name)), zero);
    }
    for (number, name) in names.iter().enumerate().skip(3) {
        let step = step("create-machine", name);
        let event = if number == 200 {
            StepEvent::failed(&step, Duration::ZERO, "no")
        } else {
            StepEvent::finished(&step, Duration::ZERO)
        };
        board.step(&event, at(zero, number as u64));
    }
    for rows in [0, 4, 10, 24, 400] {
        for columns in [0, 40, 60, 200] {
            let picture = plain(&board.render(at(zero, 400), rows, columns));
            assert!(picture.len() < rows.max(LEAST_ROWS), "{} lines in {rows} rows", picture.len());
            assert!(picture.iter().all(|line| measure_text_width(line) < columns.max(LEAST_COLUMNS)), "{picture:?}");
        }
    }
    let picture = plain(&board.render(at(zero, 400), 10, 80)).join("\n");
    for seen in ["lab-worker-0 ", "lab-worker-1 ", "lab-worker-2 ", "✗ lab-worker-200 ", "lab-worker-299 "] {
        assert!(picture.contains(seen), "{seen} is not in\n{picture}");
    }
    assert!(picture.ends_with("  … 293 more: 0 running, 293 done"), "{picture}");
}
